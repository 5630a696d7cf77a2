"""Imports run one way: each module may use what stands above it, never what stands below."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pmv_jax"

# The rooms of the house, from its foundation to its roof; each may use those above it in this list. A line has rooms
# that do not know one another. Files at the top level but `errors`, `traces` and `whole_files` are doors: they may use
# every room, and none uses another door.
ROOMS = (
    ("errors", "whole_files"),
    ("config", "images"),
    ("traces",),
    ("cameras", "commandline", "rendering"),
    ("faces", "models"),
    ("checkpoints", "meshes"),
    ("inversion", "splats"),
    ("edits", "evaluation", "inputs"),
    ("results",),
    ("batch", "viewer"),
    ("commands",),
)
RANK = {name: rank for rank, line in enumerate(ROOMS) for name in line}
DOOR = len(ROOMS)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, inside functions too; `from a import b` gives a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(path: Path) -> str:
    """Folder of pmv_jax that a file stands in, or its own name at the top level."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_folder_has_its_place():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(RANK) - {"errors", "traces", "whole_files"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = room_of(path)
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] not in ("tools", "tests"), f"{own} imports {name}"
        if parts[0] == "pmv_jax" and parts[1] != own:
            assert RANK.get(parts[1], DOOR) < RANK.get(own, DOOR), f"{own} imports {name}, which stands above it"
        if name.startswith("flax.linen"):
            assert own == "models", f"{own} imports {name}: only models own parameters"
        assert parts[0] != "torch", f"{own} imports {name}"
