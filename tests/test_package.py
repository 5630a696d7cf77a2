"""What the package says of itself agrees: metadata, citation, changes, extras; and a missing extra is one line."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests import command

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OF_DEVELOPERS = {"all", "heads", "test"}


def test_version_is_one():
    citation, changes = ((ROOT / name).read_text() for name in ("CITATION.cff", "CHANGELOG.md"))
    assert f"\nversion: {PROJECT['version']}\n" in citation
    assert f"\n## {PROJECT['version']}" in changes and "\n## Unreleased\n" in changes
    assert f"\nlicense: {PROJECT['license']}\n" in citation


def test_all_is_every_extra_for_users():
    (everything,) = EXTRAS["all"]
    assert everything == f"pmv_jax[{','.join(sorted(set(EXTRAS) - OF_DEVELOPERS))}]"


def test_extras_that_are_named_exist():
    files = [*(ROOT / "pmv_jax").rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    found = re.findall(r"(?:pmv_jax|'\.)\[([\w,]+)\]|require\(\"\w+\", \"(\w+)\"", "".join(map(Path.read_text, files)))
    named = {name for pair in found for names in pair for name in names.split(",") if name}
    assert {"face", "view", "mesh", "hub"} <= named <= set(EXTRAS)


@pytest.mark.parametrize(
    ("name", "flags", "package", "extra"),
    [("view", "--inversion x", "viser", "view"), ("mesh", "--inversion x --texture 512", "xatlas", "mesh")],
)
def test_missing_extra_is_one_line(tmp_path, monkeypatch, name, flags, package, extra):
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    done = command.run(importlib.import_module(f"pmv_jax.commands.{name}").main, tmp_path, *flags.split())
    assert done.returncode == 2 and done.stdout == "" and not any(tmp_path.iterdir())
    assert re.fullmatch(rf"error: .* needs {package}; pip install 'pmv_jax\[{extra}\]'\n", done.stderr)
