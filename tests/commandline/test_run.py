"""The wrapper of all commands, seen from outside: small programs run as a user's shell runs them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = '''"""Does a thing.

    usage: program --count N
"""
import resource, sys
from pathlib import Path
from absl import flags
from pmv_jax.commandline import run as entry
from pmv_jax.errors import InputError, NumericalError

COUNT = flags.DEFINE_integer("count", 1, "How often.")
flags.adopt_module_key_flags(entry)

def main():
    {body}

entry.run(main)
'''


def start(tmp_path, body, *arguments, **environment):
    (tmp_path / "program.py").write_text(PROGRAM.format(body=body))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), **environment}
    environment = {name: value for name, value in environment.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return subprocess.Popen(
        [sys.executable, "program.py", *arguments],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(tmp_path, body, *arguments, **environment):
    process = start(tmp_path, body, *arguments, **environment)
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


def test_help(tmp_path):
    code, stdout, stderr = run(tmp_path, "raise AssertionError", "--help")
    assert (code, stderr) == (0, "")
    assert "usage: program --count N" in stdout and "--count " in stdout and "--seed" in stdout
    assert "verbosity" not in stdout and len(stdout.splitlines()) < 30


SHOW_CACHE = "import jax; print(COUNT.value, entry.SET.value, jax.config.jax_compilation_cache_dir)"


def test_success_passes_flags_and_sets_the_compilation_cache(tmp_path):
    arguments = "--count=3", "--set", "a=1", "--set", "b=2"
    code, stdout, stderr = run(tmp_path, SHOW_CACHE, *arguments, XDG_CACHE_HOME=str(tmp_path))
    assert (code, stdout, stderr) == (0, f"3 ['a=1', 'b=2'] {tmp_path}/pmv_jax/xla\n", "")


def test_cache_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    code, stdout, stderr = run(tmp_path, SHOW_CACHE, XDG_CACHE_HOME=f"{tmp_path}/file")
    assert (code, stdout, stderr) == (0, "1 [] None\n", "")


@pytest.mark.parametrize(
    ("body", "arguments", "message"),
    [
        ("pass", ["--cuont=1"], "'cuont'. Did you mean: count"),
        ("pass", ["--count=x"], "--count=x"),
        ("pass", ["--seed=-1"], "--seed=-1"),
        ("pass", ["--count"], "count"),
        ("pass", ["extra"], "unexpected argument 'extra'"),
        ("raise InputError('image a.png: is empty')", [], "image a.png: is empty"),
        ("raise NumericalError('loss is NaN')", [], "loss is NaN"),
        ("Path('/dev/full').write_text('x')", [], "No space left on device"),
        ("raise RuntimeError('ts: No space left on device [x]')", [], "No space left on device"),
        ("Path('x' * 300).touch()", [], "File name too long"),
        ("resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); Path('a').write_text('x' * 99)", [], "File too large"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, body, arguments, message):
    code, stdout, stderr = run(tmp_path, body, *arguments)
    assert (code, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1 and stderr.startswith("error: ") and message in stderr


def test_warnings_are_one_line(tmp_path):
    _, _, stderr = run(tmp_path, "import warnings; warnings.warn('the image\\n is wide')")
    assert stderr == "warning: the image is wide\n"


def test_defects_keep_their_traceback(tmp_path):
    code, _, stderr = run(tmp_path, "[][0]")
    assert code == 1 and "Traceback" in stderr and "IndexError" in stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_is_exit_code_75(tmp_path, number):
    # Where the tests themselves run in the background of a shell, children inherit that Ctrl-C is ignored.
    listen = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); "
    process = start(tmp_path, listen + "print('ready', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 75 and "--resume" in stderr and len(stderr.splitlines()) == 1


def test_flags_that_a_command_does_not_take_are_refused(tmp_path):
    program = PROGRAM.replace("adopt_module_key_flags(entry)", "declare_key_flag('force')")
    (tmp_path / "program.py").write_text(program.format(body="pass"))
    for arguments, code in ((["--force"], 0), (["--seed=1"], 2), (["--help"], 0)):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "program.py", *arguments]
        assert subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True).returncode == code
