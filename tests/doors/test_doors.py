"""The doors: what may be imported in which order, what starts, and what the list says."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pmv_jax.__main__
from pmv_jax.commands import COMMANDS
from tests import command

ROOT = Path(__file__).parents[2]


def python(*arguments: str) -> str:
    """What a Python of its own prints, started outside of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd="/", env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_invert_is_the_function_whatever_is_imported_before():
    """And the command still starts, also where the function has taken its module's place."""
    print(python("-c", ORDERS))


ORDERS = """
import pmv_jax.invert
function = pmv_jax.invert
assert callable(function) and function.__module__ == "pmv_jax.inversion.pipeline", function

import pmv_jax.commands.invert
from pmv_jax.invert import __name__ as name
from pmv_jax import invert
assert pmv_jax.invert is invert is function and name == "invert"

import runpy, sys
sys.argv = ["pmv_jax.invert", "--help"]
try:
    runpy.run_module("pmv_jax.invert", run_name="__main__")
except SystemExit as end:
    assert end.code == 0
assert pmv_jax.invert is function
"""


def test_importing_registers_no_flags_and_commands_start_without_jax():
    """So --help and a wrong flag are answered at once, and the flags of a program that imports all this are its own."""
    imports = "; ".join(f"import pmv_jax.commands.{name}" for name in COMMANDS)
    alone = "import sys, pmv_jax; assert not {'jax', 'flax', 'numpy'} & set(sys.modules)"
    python("-c", f"{alone}; {imports}; assert not {{'jax', 'flax', 'optax', 'orbax'}} & set(sys.modules)")
    everything = "import pmv_jax.batch.job, pmv_jax.viewer.server, pmv_jax.edits.texture"
    before = "from absl import flags; import absl.logging, chex, jax, orbax.checkpoint; known = set(flags.FLAGS)"
    python("-c", f"{before}; {everything}; {imports}; assert set(flags.FLAGS) == known, set(flags.FLAGS) - known")


def test_python_m_starts_a_command():
    assert "python -m pmv_jax.invert --image" in python("-m", "pmv_jax.invert", "--help")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "invert"])
def test_each_door_leads_to_its_command(name):
    door, room = (__import__(f"pmv_jax.{path}", fromlist=["main"]) for path in (name, f"commands.{name}"))
    assert door.main is room.main


def test_every_command_is_in_the_list(tmp_path):
    modules = {path.stem for path in (ROOT / "pmv_jax" / "commands").glob("[!_]*")}
    assert modules == set(COMMANDS)
    done = command.run(pmv_jax.__main__.main, tmp_path)
    assert done.returncode == 0
    for name in COMMANDS:
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"python -m pmv_jax.{name} ")]
        assert line.endswith((".", ":")) and len(line) < 140


def test_every_command_has_a_console_script():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {f"pmv-{name}": f"pmv_jax.commands.{name}:main" for name in COMMANDS}
