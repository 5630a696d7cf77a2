"""The recipes in configs/ load, and are what they say."""

from pathlib import Path

import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig, InversionConfig, from_dict, load_recipe, override, to_dict
from pmv_jax.inversion import pseudo_views, tuning

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_loads(path):
    config = load_recipe(path)
    assert from_dict(InversionConfig, to_dict(config)) == config  # every value is of its field's type
    hash(config)  # as a static argument of compiled functions has to be
    assert override(config, ["tuning.steps=3"]).tuning.steps == 3
    assert f"--config configs/{path.name}" in path.read_text()


def test_demo_recipe_is_the_default():
    assert load_recipe(ROOT / "configs" / "demo.py") == InversionConfig()


def test_readme_of_the_weights_names_recipes_that_exist():
    text = (ROOT / "weights" / "README.md").read_text()
    named = {word.strip("`|.,)") for word in text.split() if "configs/" in word}
    assert named and all((ROOT / name).is_file() for name in named)


def test_pseudo_view_cameras_of_the_paper():
    config, frontal = load_recipe(ROOT / "configs" / "hfgi3d_paper.py"), cameras.look_at(0.0, 0.0)
    ours = cameras.split(pseudo_views.view_cameras(frontal, config.pseudo_views, GeneratorConfig()))[0]
    with np.load(Path(__file__).parents[1] / "data" / "cameras.npz") as values:
        theirs = np.float32(values["pseudo_view_cam2world"])
    # Its code takes 3.14 for pi: at the end of the round, 2.7 * 0.35 * 0.0031 units beside ours.
    np.testing.assert_allclose(ours, theirs, atol=5e-3)


def test_rate_of_the_paper_is_constant():
    config = load_recipe(ROOT / "configs" / "hfgi3d_paper.py").joint
    plan = tuning.joint_plan(config)
    np.testing.assert_allclose(plan.weights_rate[: config.steps], 3e-4)
    assert not np.any(plan.weights_rate[config.steps :]) and not np.any(plan.code_rate) and plan.extra_views == 1
