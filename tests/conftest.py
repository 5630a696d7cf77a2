"""How tests compile, share what is compiled, and let go of memory."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

LARGEST_PROCESS = 2.3e9  # bytes; files of tests share programs below it
# JAX makes objects by the million when it traces, few of which are garbage: looking for that took a tenth of the time.
GARBAGE = 200_000, 50, 1000  # as of `gc.set_threshold`
# On a CPU, XLA takes more than half of its time over code for fused operations that a test runs once or twice.
SIMPLER_CODE = "--xla_cpu_use_fusion_emitters=false"


def pytest_configure(config):
    """How this process, other workers, and processes that tests start compile; JAX is not imported yet."""
    if hasattr(config, "cache"):  # unless pytest is told to keep none
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("compiled")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    os.environ["PMV_JAX_TRACES"] = ""  # tests replace parts of functions, which no trace of before would know
    if config.option.markexpr == "not slow" and "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        if takes_xla_flag(SIMPLER_CODE):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {SIMPLER_CODE}"


def pytest_collection_finish():
    """What is there by now stays: no collection need look at it again."""
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def takes_xla_flag(flag: str) -> bool:
    """Whether the installed XLA takes a flag: one that it does not know ends the process."""
    environment = {**os.environ, "XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}
    program = [sys.executable, "-c", "import jax; jax.devices()"]
    return not subprocess.run(program, env=environment, capture_output=True).returncode


def resident() -> float:
    """Bytes of memory that this process occupies; endless where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return float("inf")


@pytest.fixture(autouse=True, scope="module")
def let_go_of_programs():
    """JAX keeps every program it has compiled: with one worker these grew to gigabytes over the whole suite."""
    yield
    if "jax" in sys.modules and resident() > LARGEST_PROCESS:
        import jax

        from pmv_jax.commandline import heap

        jax.clear_caches()
        gc.collect()
        heap.give_back()
