"""`python -m tools.benchmarks`: what it finds, and that it hands on flags and exit codes."""

import importlib

import pytest

from pmv_jax.commandline.dispatch import kinds
from tests import command
from tools.benchmarks import __main__ as dispatcher

BENCHMARKS = kinds(dispatcher.FOLDER)


def test_every_benchmark_is_found_and_says_what_it_is(tmp_path):
    assert {"camera", "editing", "heads", "inversion", "speed"} <= set(BENCHMARKS)
    assert not {"cases", "truth", "peer", "reference", "timing"} & set(BENCHMARKS)
    done = command.run(dispatcher.main, tmp_path)
    for name, line in BENCHMARKS.items():
        assert f"python -m tools.benchmarks {name} " in done.stdout and line and line in done.stdout


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_help_of_each(tmp_path, name):
    done = command.run(dispatcher.main, tmp_path, name, "--help")
    assert done.returncode == 0 and done.stdout.startswith(BENCHMARKS[name]) and "--help" in done.stdout
    assert importlib.import_module(f"tools.benchmarks.{name}").main(["--nothing-of-that-name"]) == 2


def test_a_wrong_name_is_one_line(tmp_path):
    done = command.run(dispatcher.main, tmp_path, "sped")
    assert (done.returncode, done.stderr) == (
        2,
        "error: python -m tools.benchmarks knows no 'sped'; did you mean 'speed'?\n",
    )
