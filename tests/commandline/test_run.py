"""What makes a function a command: mostly called here, and from outside where the process itself is what matters."""

import logging
import os
import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from pmv_jax.commandline import exit_codes
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.errors import InputError, NumericalError
from tests.command import Done, run

ROOT = Path(__file__).parents[2]


def call(folder: Path, body, *arguments: str) -> Done:
    """Runs a command that prints its flags and does what `body` does; its help is the docstring of this module."""
    flags = Flags()
    count, changes, seed = flags.integer("count", 1, "How often."), flags.changes(), flags.seed()
    flags.resume()

    @command(flags)
    def main():
        print(count.value, changes.value, seed.value, flags.given())
        return body()

    main.__wrapped__.__module__ = __name__
    return run(main, folder, *arguments)


def raising(error: BaseException):
    def body():
        raise error

    return body


def nothing() -> None:
    pass


def test_flags_arrive(tmp_path):
    done = call(tmp_path, nothing, "--count=3", "--set", "a=1", "--set", "b=2")
    assert done == (0, "3 ['a=1', 'b=2'] None ['count', 'set']\n", "")
    assert call(tmp_path, lambda: exit_codes.SOME_FAILED).returncode == 3


def test_a_second_call_knows_nothing_of_the_first(tmp_path):
    flags = Flags()
    number, words = flags.integer("number", 1, ""), flags.strings("word", "")
    main = command(flags)(lambda: print(number.value, words.value, flags.given()))
    assert run(main, tmp_path, "--number=2", "--word=a").stdout == "2 ['a'] ['number', 'word']\n"
    assert run(main, tmp_path, "--word=b").stdout == "1 ['b'] ['word']\n"
    assert run(main, tmp_path).stdout == "1 [] []\n"


def test_help(tmp_path):
    code, stdout, stderr = call(tmp_path, raising(AssertionError()), "--help")
    assert (code, stderr) == (0, "")
    assert stdout.startswith(__doc__.strip()) and stdout.count("--count ") == 1 and "--seed" in stdout
    assert "verbosity" not in stdout and len(stdout.splitlines()) < 13


def test_a_command_shows_what_the_package_logs(tmp_path):
    logger = logging.getLogger("pmv_jax.batch.job")

    def body():
        logger.info("%d done", 3)
        logger.warning("one failed")
        logger.debug("nobody asked")

    done = call(tmp_path, body)
    assert done.stdout.endswith("\n3 done\n") and done.stderr == "one failed\n"
    assert not logging.getLogger("pmv_jax").handlers and not logger.isEnabledFor(logging.INFO)


def write_to_a_full_disk():
    Path("/dev/full").write_text("x")


def write_more_than_allowed():
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        Path("a").write_text("x" * 99)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("body", "arguments", "message"),
    [
        (nothing, ["--cuont=1"], "'cuont'. Did you mean: count"),
        (nothing, ["--count=x"], "--count=x"),
        (nothing, ["--seed=-1"], "--seed=-1"),
        (nothing, ["--count"], "count"),
        (nothing, ["--force"], "Unknown command line flag 'force'"),
        (nothing, ["extra"], "unexpected argument 'extra'"),
        (raising(InputError("image a.png: is\nempty")), [], "image a.png: is empty"),
        (raising(NumericalError("loss is NaN")), [], "loss is NaN"),
        (write_to_a_full_disk, [], "No space left on device"),
        (raising(RuntimeError("ts: No space left on device [x]")), [], "No space left on device"),
        (lambda: Path("x" * 300).touch(), [], "File name too long"),
        (write_more_than_allowed, [], "File too large"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, body, arguments, message):
    code, stdout, stderr = call(tmp_path, body, *arguments)
    assert code == 2 and (stdout == "" or not arguments)
    assert len(stderr.splitlines()) == 1 and stderr.startswith("error: ") and message in stderr


def test_warnings_are_one_line_while_the_command_runs(tmp_path):
    before = warnings.showwarning
    done = call(tmp_path, lambda: warnings.warn("the image\n is wide", stacklevel=1))
    assert done.stderr == "warning: the image is wide\n" and warnings.showwarning is before


def test_defects_keep_their_traceback(tmp_path):
    with pytest.raises(IndexError):
        call(tmp_path, lambda: [][0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_is_exit_code_75(tmp_path, number):
    # Where the tests themselves run in the background of a shell, they inherit that Ctrl-C is ignored.
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = call(tmp_path, lambda: os.kill(os.getpid(), number))
        assert signal.getsignal(signal.SIGTERM) == handlers[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGINT, handlers[signal.SIGINT])
    assert done == (75, done.stdout, "error: interrupted; the same command with --resume continues\n")


# ---------------------------------------------------------------------------------------------------------------------
# A process of its own
# ---------------------------------------------------------------------------------------------------------------------

PROGRAM = """
import sys
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command

@command(Flags())
def main():
    {body}

sys.exit(main())
"""
SHOW_CACHE = "import jax; print(jax.config.jax_compilation_cache_dir)"
SHOW_LEAST = "import jax; print(jax.config.jax_persistent_cache_min_compile_time_secs)"
LEAST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def start(folder: Path, body: str, *arguments: str, **own: str) -> subprocess.Popen:
    own_caches = "JAX_COMPILATION_CACHE_DIR", "PMV_JAX_TRACES", LEAST
    inherited = {name: value for name, value in os.environ.items() if name not in own_caches}
    environment = {**inherited, "PYTHONPATH": str(ROOT), "HOME": str(folder), **own}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body), *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_compilation_cache_is_set(tmp_path):
    process = start(tmp_path, SHOW_CACHE, XDG_CACHE_HOME=str(tmp_path))
    assert process.communicate(timeout=60) == (f"{tmp_path}/pmv_jax/xla\n", "")


def test_traces_are_kept_beside_it(tmp_path):
    show = "import os; from pmv_jax import traces; print(os.environ[traces.DIRECTORY])"
    process = start(tmp_path, show, XDG_CACHE_HOME=str(tmp_path))
    assert process.communicate(timeout=60) == (f"{tmp_path}/pmv_jax/traces\n", "")


@pytest.mark.parametrize(("own", "least"), [({}, "0.0\n"), ({LEAST: "3"}, "3.0\n")])
def test_small_programs_are_kept_too_unless_the_user_says_otherwise(tmp_path, own, least):
    assert start(tmp_path, SHOW_LEAST, **own).communicate(timeout=60) == (least, "")


def test_cache_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    process = start(tmp_path, SHOW_CACHE, XDG_CACHE_HOME=f"{tmp_path}/file")
    assert process.communicate(timeout=60) == ("None\n", "") and process.returncode == 0


def test_a_batch_systems_stop_is_exit_code_75(tmp_path):
    process = start(tmp_path, "import time; print('ready', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (75, "error: interrupted\n")  # it has no --resume
