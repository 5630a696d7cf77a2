"""What docs/extending.md shows: a loss, a stage and a generator of one's own, each with one line of registration."""

import dataclasses
import json
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

import pmv_jax
from pmv_jax.checkpoints.orbax import load_generator, save_generator
from pmv_jax.config import ARCHITECTURES, PERCEPTUAL_TERMS, LossConfig, load_recipe, override
from pmv_jax.errors import InputError
from pmv_jax.inversion import losses
from pmv_jax.inversion.result import load_inversion
from pmv_jax.models.generator import initialise
from tests.extending.polish import POLISHED
from tests.small_inversion import CAMERA, CONFIG, RECIPE, SIZE, generator, picture

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "extending.md"


@pytest.mark.parametrize("name", ["random_features", "polish", "bilinear"])
def test_the_page_shows_the_very_files(name):
    assert f"```python\n{(HERE / f'{name}.py').read_text()}```" in PAGE.read_text()


def test_a_loss_of_ones_own(monkeypatch, tmp_path):
    monkeypatch.setitem(PERCEPTUAL_TERMS, "random_features", "removed again after this test")
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith('PERCEPTUAL_TERMS["')]
    (tmp_path / "recipe.py").write_text(
        "from pmv_jax.config import PERCEPTUAL_TERMS, InversionConfig, LossConfig\n"
        + "".join(line.replace("my_losses", "tests.extending.random_features") + "\n" for line in lines)
        + 'def config(): return InversionConfig(loss=LossConfig(perceptual="random_features"))\n'
    )
    loss = load_recipe(tmp_path / "recipe.py").loss
    target, network = picture(), losses.load_network(loss)
    image = np.float32(target + np.random.default_rng(0).normal(0, 0.1, target.shape))
    terms = losses.terms(image, target, loss, network=network)
    assert float(terms.watched()) == float(terms.perceptual) > 0
    np.testing.assert_allclose(terms.total(loss), terms.l2 + terms.perceptual, rtol=1e-6)
    recipe = dataclasses.replace(override(RECIPE, ["tuning.steps=0", "joint.steps=0"]), loss=loss)
    inversion = pmv_jax.invert(target, CAMERA, generator(), recipe)
    (stage,) = inversion.stages
    assert stage.loss_last < stage.loss_first
    inversion.save(tmp_path / "saved")
    assert load_inversion(tmp_path / "saved").config.loss == loss
    # Where nobody has registered it, the result is still a head.
    monkeypatch.delitem(PERCEPTUAL_TERMS, "random_features")
    with pytest.warns(UserWarning, match="left out: loss.perceptual$"):
        assert load_inversion(tmp_path / "saved").config.loss == LossConfig()
    with pytest.raises(InputError, match="random_features"):
        losses.perceptual_term(loss)


def test_a_stage_of_ones_own():
    plain = pmv_jax.invert(picture(), CAMERA, generator(), RECIPE)
    polished = pmv_jax.invert(picture(), CAMERA, generator(), RECIPE, method=POLISHED)
    assert [stage.name for stage in polished.stages] == ["latent", "tuning", "joint", "polish"]
    for stage, same in zip(polished.stages, plain.stages, strict=False):  # it does not stir the others
        np.testing.assert_array_equal(stage.losses, same.losses)
    assert polished.stages[3].steps == 10 and polished.stages[3].loss_last < polished.stages[3].loss_first
    np.testing.assert_array_equal(polished.ws, plain.ws)

    def error(inversion: pmv_jax.Inversion) -> float:
        return float(np.mean(np.square(inversion.render(np.asarray(CAMERA)[None])["image"][0] - picture())))

    assert error(polished) < error(plain)


def test_a_generator_class_of_ones_own(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="setting architecture: 'bilinear' is not one of triplane"):
        dataclasses.replace(CONFIG, architecture="bilinear")
    monkeypatch.setitem(ARCHITECTURES, "bilinear", "tests.extending.bilinear:BilinearGenerator")
    ours = initialise(dataclasses.replace(CONFIG, architecture="bilinear"), jax.random.key(0))
    assert "superresolution" not in ours.params and ours.fingerprint() != generator().fingerprint()
    save_generator(tmp_path / "generator", ours, provenance={})
    assert json.loads((tmp_path / "generator" / "generator.json").read_text())["config"]["architecture"] == "bilinear"
    loaded = load_generator(tmp_path / "generator")
    chex.assert_trees_all_equal(loaded.variables, ours.variables)
    inversion = pmv_jax.invert(picture(), CAMERA, loaded, override(RECIPE, ["weights.rank=1", "joint.steps=0"]))
    rendered = inversion.render(np.asarray(CAMERA)[None])
    enlarged = jax.image.resize(rendered["image_raw"], (1, SIZE, SIZE, 3), "bilinear")
    np.testing.assert_allclose(rendered["image"], enlarged, atol=1e-5)
    assert inversion.stages[-1].losses.min() < inversion.stages[-1].loss_first
    monkeypatch.delitem(ARCHITECTURES, "bilinear")
    with pytest.raises(InputError, match="generator.json: setting architecture: 'bilinear' is not one of triplane"):
        load_generator(tmp_path / "generator")
