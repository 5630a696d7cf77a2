"""Fixtures for all tests, and how they share what is compiled and let go of memory."""

import contextlib
import gc
import os
import sys

import pytest


def pytest_configure(config):
    """One folder of compiled programs for all workers of a run, the processes they start, and later runs."""
    if hasattr(config, "cache"):  # unless pytest is told to keep none
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("compiled")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


@pytest.fixture(autouse=True, scope="module")
def let_go_of_programs():
    """JAX keeps every program it has compiled: with one worker these grew to gigabytes over the whole suite."""
    yield
    if "jax" in sys.modules:
        import jax

        from pmv_jax.commandline import heap

        jax.clear_caches()
        gc.collect()
        heap.give_back()


@pytest.fixture
def quick_compilation(request):
    """Unless the test is slow, compiles with few optimisations: small programs that run once are done sooner so."""
    from tests import compilation

    with contextlib.nullcontext() if request.node.get_closest_marker("slow") else compilation.quick():
        yield
