"""docs/api.md: every line of it runs, and every public name is in it."""

import dataclasses
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import pmv_jax
from pmv_jax import cameras, images
from pmv_jax.inversion import pipeline
from tests import small_inversion

TEXT = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
CODE = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))


def small_invert(*args, **kwargs) -> pmv_jax.Inversion:
    """An inversion that is there already, for arguments that `invert` would take; the search calls back."""
    given = inspect.signature(pipeline.invert).bind(*args, **kwargs).arguments
    assert np.shape(given["image"]) == (small_inversion.SIZE, small_inversion.SIZE, 3)
    given["progress"]("latent", 0, 20, float("nan"))
    return small_inversion.make()


def small_invert_photographs(*args, **kwargs) -> pmv_jax.Inversion:
    """Likewise, for `invert_photographs`."""
    given = inspect.signature(pipeline.invert_photographs).bind(*args, **kwargs).arguments["photographs"]
    assert all(np.shape(one.image) == (small_inversion.SIZE, small_inversion.SIZE, 3) for one in given)
    return dataclasses.replace(small_inversion.make(), other_cameras=np.stack([one.camera for one in given[1:]]))


def run() -> dict[str, object]:
    names: dict[str, object] = {}
    exec(compile(CODE, "docs/api.md", "exec"), names)
    return names


def check(names: dict[str, object]) -> None:
    """What the comments of the page claim."""
    camera = names["camera"]
    assert names["same"]
    np.testing.assert_allclose(names["camera_again"], camera, atol=1e-6)
    np.testing.assert_allclose(names["lens_by_angle"], names["lens"], rtol=2e-3)
    assert np.isfinite(names["decibels"])
    np.testing.assert_allclose([names["yaw"], names["roll"]], [0.2, 0.1], atol=1e-5)
    np.testing.assert_allclose(names["pixels"], cameras.pixel_centres(8).reshape(-1, 2), atol=1e-5)
    np.testing.assert_allclose(names["along_axis"], names["z_depth"], rtol=1e-5)
    assert 0 <= names["visibility"].min() and names["visibility"].max() <= 1
    assert names["warped"].shape == names["view"].shape and names["turned"].shape[0] == 3
    assert names["stored"] == names["mine"] and names["mine"].joint.steps == 400 and "demo" in names["names"]
    np.testing.assert_array_equal(names["again"].ws, names["inversion"].ws)
    assert names["found"].shape == (2, 25)
    assert Path("depth.png").is_file() and Path("sheet.png").is_file()


def test_every_line_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pmv_jax, "load_generator", small_inversion.generator)
    monkeypatch.setattr(pmv_jax, "invert", small_invert)
    monkeypatch.setattr(pmv_jax, "invert_photographs", small_invert_photographs)
    check(run())


@pytest.mark.slow
def test_every_line_runs_as_it_stands(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = run()
    check(names)
    assert [stage.name for stage in names["again"].stages] == ["latent", "tuning", "joint"]
    assert all(stage.loss_last < stage.loss_first for stage in names["again"].stages)


@pytest.mark.parametrize("module", [pmv_jax, cameras, images])
def test_every_public_name_is_in_it(module):
    missing = [name for name in module.__all__ if not re.search(rf"\b{name}\b", TEXT)]
    assert not missing
