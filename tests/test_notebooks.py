"""The notebooks: without outputs as committed, and run to their end with a small generator and few steps."""

import ast
import json
from pathlib import Path

import pytest

from pmv_jax.checkpoints.orbax import save_generator
from tests import small_inversion

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
CHANGES = ["latent.steps=3", "tuning.steps=2", "joint.steps=3", "pseudo_views.count=2"]
CHANGES += ["camera.heads=8", "camera.refine_heads=4"]


def code_of(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_outputs(path):
    cells = code_of(path)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert "%pip install" in "".join(cells[0]["source"]) and cells[1]["metadata"]["tags"] == ["parameters"]
    for cell in cells[1:]:
        source = "".join(cell["source"])
        ast.parse(source.partition("\n")[2] if source.startswith("%%") else source)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_to_its_end(path, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of the kernel: compiles sooner
    nbformat, nbclient = (pytest.importorskip(name) for name in ("nbformat", "nbclient"))
    save_generator(tmp_path / "generator", small_inversion.generator(), provenance={})
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    parameters.source += f'\nGENERATOR, CHANGES = "generator", {CHANGES!r}'
    nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in shown)
    text = "".join(output.text for output in shown if output.get("name") == "stdout")
    assert {"one_photo": "PSNR at the input", "own_loss": "local_correlation: input"}[path.stem] in text
