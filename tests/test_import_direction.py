"""Imports run one way: each module may use what stands above it, never what stands below."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pmv_jax"

# From the bottom of the house to its roof. Within a line nothing imports a neighbour, except inside one subpackage.
LAYERS = (
    ("errors",),
    ("config", "cameras", "heap", "inert_pickle"),
    ("camera_files", "manifest", "directions", "images", "tensor_files", "demo", "workspace"),
    ("camera_paths", "faces", "identity", "ports", "video"),
    ("rendering",),
    ("models",),
    ("generator",),
    ("checkpoints", "eg3d_import", "losses", "metrics"),
    ("lpips_weights",),
    ("frames", "inversion", "meshing"),
    ("comparison", "editing", "mesh_files", "report", "viewing"),
    ("result", "viewer"),
    ("entry",),
    ("cluster", "inputs", "summary"),
    ("storage",),
    ("job",),
    ("align", "edit", "evaluate", "invert", "mesh", "render", "view"),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
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


def component(path: Path) -> str:
    """Module or subpackage of pmv_jax that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = component(path)
    assert own in RANK, f"pmv_jax/{own} has no place in LAYERS yet"
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] not in ("tools", "tests"), f"{own} imports {name}"
        if parts[0] == "pmv_jax" and parts[1] != own:
            assert RANK[parts[1]] < RANK[own], f"{own} imports {name}, which stands above it"
        if name.startswith("flax.linen"):
            assert own == "models", f"{own} imports {name}: only models own parameters"
        assert parts[0] != "torch", f"{own} imports {name}"


@pytest.mark.parametrize(
    "name",
    [
        "directions",
        "edit",
        "entry",
        "invert",
        "mesh",
        "render",
        "video",
        "view",
        "workspace",
        "config",
        "images",
        "camera_files",
    ],
)
def test_commands_start_without_jax(name):
    """Otherwise --help and a wrong flag would take seconds to answer."""
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    top = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    top |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert not {module.split(".")[0] for module in top} & {"jax", "flax", "optax", "orbax"}
