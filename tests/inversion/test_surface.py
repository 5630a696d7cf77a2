"""The surface that an encoder sees: where it lies in the world, how far it is believed, and what its loss pulls at."""

import jax
import jax.numpy as jnp
import numpy as np

from pmv_jax import cameras
from pmv_jax.config import override
from pmv_jax.inversion import pipeline
from pmv_jax.inversion.losses import Surface, surface_loss
from pmv_jax.inversion.stage import Photograph
from pmv_jax.models.encoder import Glance
from tests.inversion.test_camera import Saying
from tests.small_inversion import CAMERA, CONFIG, RECIPE, SIZE, generator, picture

SIDE = CONFIG.rendering.neural_resolution


def encoder_that_sees(relief: np.ndarray, width: float) -> Saying:
    pose, code = (jnp.zeros(6), jnp.full(6, 0.01)), (jnp.zeros(8), jnp.ones(8))
    maps = jnp.ones((32, 32)), jnp.float32(relief), jnp.full((32, 32), width)
    return Saying(Glance(*pose, *code, *maps))


def first(config=RECIPE, encoder=None, **options):
    photograph = Photograph(picture(), CAMERA, **options)
    request = next(pipeline.stages([photograph], generator(), config, encoder=encoder))
    return request.own[0].surface, request.program


def test_a_relief_lies_around_the_pivot():
    """A plane through the pivot, across the optical axis, has no relief; one behind it has as much everywhere."""
    pivot = np.asarray(CONFIG.camera_pivot)
    cam2world = np.asarray(CAMERA[:16]).reshape(4, 4)
    origins, directions = (np.asarray(x) for x in cameras.rays(CAMERA, SIDE))
    for depth in (0.0, 0.15):
        surface, _ = first(encoder=encoder_that_sees(np.full((32, 32), depth), 1e-4), matte=np.ones((SIZE, SIZE)))
        points = origins + surface.distance[0].reshape(-1, 1) * directions
        np.testing.assert_allclose((points - pivot) @ cam2world[:3, 2], depth, atol=1e-3)
        assert surface.weight.shape == (1 + RECIPE.pseudo_views.count, SIDE, SIDE)
        assert surface.weight[0].min() > 0.99 and not surface.weight[1:].any()


def test_it_is_believed_by_matte_weights_and_width():
    matte, weights = np.zeros((2, SIZE, SIZE), np.float32)
    matte[:, : SIZE // 2], weights[: SIZE // 2] = 1, 1
    surface, _ = first(encoder=encoder_that_sees(np.zeros((32, 32)), 0.04), matte=matte, weights=weights)
    belief = np.asarray(surface.weight[0])
    np.testing.assert_allclose(belief[: SIDE // 2 - 1, : SIDE // 2 - 1], 0.5, atol=1e-3)
    assert belief[SIDE // 2 + 1 :].max() == 0 and belief[:, SIDE // 2 + 1 :].max() == 0


def test_without_encoder_matte_or_weight_there_is_none():
    encoder, matte = encoder_that_sees(np.zeros((32, 32)), 0.01), np.ones((SIZE, SIZE))
    held, program = first(encoder=encoder, matte=matte)
    free, other_program = first(matte=matte)
    assert held is not None and free is None and program != other_program
    assert first(encoder=encoder)[0] is None
    assert first(override(RECIPE, ["loss.surface_weight=0"]), encoder=encoder, matte=matte)[0] is None


def test_the_loss_pulls_alike_however_far_off_a_ray_is():
    true = np.full((4, 4), 2.4, np.float32)
    distance, weight = true.copy(), np.ones((4, 4), np.float32)
    distance[0, 0], distance[1, 1], distance[2, 2], weight[2, 2] = 2.9, 2.3, 9.0, 0.0
    surface = Surface(jnp.asarray(true), jnp.asarray(weight))
    value, pull = jax.value_and_grad(surface_loss)(jnp.asarray(distance), surface)
    np.testing.assert_allclose(value, (0.5 + 0.1) / 16, rtol=1e-5)
    assert pull[0, 0] == -pull[1, 1] > 0 and pull[2, 2] == 0
