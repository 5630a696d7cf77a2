"""Head and backdrop: where the backdrop is found, what the outline's loss pulls at, and what may be warped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.config import PseudoViewConfig, override
from pmv_jax.errors import InputError
from pmv_jax.inversion import outline, pipeline, pseudo_views
from pmv_jax.inversion.losses import Outline, outline_loss
from pmv_jax.inversion.stage import Photograph
from tests.small_inversion import CAMERA, RECIPE, SIZE, a_code, generator, picture

SIDE = 24
_Y, _X = np.mgrid[-1 : 1 : 1j * SIDE, -1 : 1 : 1j * SIDE]
HEAD = np.hypot(_X, _Y) < 0.5
WALL = 3.0 - 0.2 * _X**2 + 0.05 * _Y  # a curved backdrop
DEPTH = np.where(HEAD, 2.5, WALL)


def test_the_backdrop_goes_on_behind_the_head():
    limit = outline.head_limit(DEPTH)
    np.testing.assert_allclose(limit, WALL - 0.1, atol=0.02)
    assert ((limit > DEPTH) == HEAD).all()


def test_without_a_backdrop_there_is_no_limit():
    assert outline.head_limit(np.random.default_rng(0).uniform(2.4, 2.9, (SIDE, SIDE))) is None
    assert outline.head_limit(np.full((SIDE, SIDE), 2.5)) is None


def held(matte=HEAD, weight=1.0) -> Outline:
    return Outline(*(jnp.broadcast_to(jnp.float32(x), (SIDE, SIDE)) for x in (matte, weight, WALL - 0.1)))


def test_the_loss_pulls_what_is_on_the_wrong_side_and_nothing_else():
    wrong = np.zeros_like(HEAD)
    wrong[2:5, 2:5] = wrong[11:13, 11:13] = True  # a ghost before the backdrop, a hole in the head
    distance = np.where(wrong, np.where(HEAD, WALL, 2.5), DEPTH)
    value, pull = jax.value_and_grad(outline_loss)(jnp.float32(distance), held())
    assert outline_loss(jnp.float32(DEPTH), held()) < 0.03 < value
    assert (pull[wrong & HEAD] > 0).all() and (pull[wrong & ~HEAD] < 0).all()
    assert np.abs(pull[~wrong]).max() < 0.1 * np.abs(pull[wrong]).min()
    # By the formula: cross-entropy of Bernoulli variables.
    chance = 1 / (1 + np.exp(-(WALL - 0.1 - distance) / 0.03))
    entropy = -np.where(HEAD, np.log(chance), np.log1p(-np.minimum(chance, 1 - 1e-12)))
    np.testing.assert_allclose(value, entropy.mean(), rtol=1e-3)


def test_what_is_made_up_has_no_outline():
    value = outline_loss(jnp.float32(DEPTH), held(matte=~HEAD, weight=0.0))
    assert value == 0


def test_belief_ends_where_matte_and_surface_disagree():
    matte = np.zeros((4 * SIDE, 4 * SIDE), np.float32)
    inside = np.kron(HEAD, np.ones((4, 4))) > 0
    matte[inside] = 1
    matte[:20, :20] = 1  # hair that the surface does not have
    share = np.asarray(outline.agreement(matte, DEPTH, WALL - 0.1))
    assert (share[1:19, 1:19] == 0).all() and (share[44:52, 44:52] == 1).all() and (share[-20:, -20:] == 1).all()
    edge = np.abs(np.diff(inside.astype(int), axis=1)) > 0
    assert edge.any() and (share[:, 1:][edge] == 0).all()


@pytest.mark.slow
def test_nothing_is_warped_across_the_outline():
    """With a surface that is backdrop all over, a matte that says head lets no pixel through; and the other way."""
    config = PseudoViewConfig(count=2, yaw_range=0.3, erode=0.0, blur=0.0)
    photograph = Photograph(picture(), CAMERA, weights=jnp.ones((SIZE, SIZE)))

    def visible(photograph):
        return pseudo_views.make(generator(), generator(), a_code(3), (photograph,), config=config).visibility

    def seen(matte, limit):
        maps = {"matte": jnp.full((SIZE, SIZE), matte), "head_limit": jnp.full((16, 16), limit)}
        return visible(photograph.replace(**maps))

    plain = visible(photograph)
    assert plain.max() > 0.5
    assert seen(1.0, 0.0).max() == 0 and seen(0.0, 9.0).max() == 0
    np.testing.assert_allclose(seen(0.0, 0.0), plain, atol=1e-5)
    np.testing.assert_allclose(seen(1.0, 9.0), plain, atol=1e-5)


def test_stages_are_held_to_the_outline_of_a_matte(monkeypatch):
    """Where there is a backdrop, and a weight in the recipe; what is made up is not held to it."""
    matte, weights = np.zeros((2, SIZE, SIZE), np.float32)
    matte[8:, 8:24], weights[:20] = 1, 1

    def first(config=RECIPE, **options):
        request = next(pipeline.stages([Photograph(picture(), CAMERA, **options)], generator(), config))
        return request.own[0].outline, request.program

    def depth_is_limit(z_depth):
        return np.full_like(z_depth, 2.5)

    monkeypatch.setattr(outline, "head_limit", depth_is_limit)
    held, program = first(matte=matte, weights=weights)
    assert held.matte.shape == (1 + RECIPE.pseudo_views.count, 16, 16)
    np.testing.assert_allclose(held.matte[0], matte.reshape(16, 2, 16, 2).mean((1, 3)), atol=0.3)
    assert held.weight[0, 0].min() > 0.999 and held.weight[0, -1].max() == 0 and not held.weight[1:].any()
    assert 2.5 <= held.limit[0].min() < 2.5 * 1.01 and held.limit[0, 0, 0] > held.limit[0, 8, 8]
    plain, unheld = first()
    assert plain is None and program != unheld
    assert first(matte=matte, config=override(RECIPE, ["loss.outline_weight=0"]))[0] is None
    monkeypatch.setattr(outline, "head_limit", lambda z_depth: None)
    assert first(matte=matte)[0] is None
    with pytest.raises(InputError, match="matte of shape"):
        first(matte=matte[:16])
