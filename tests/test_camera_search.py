"""The camera that landmarks tell, in the search: where it starts, and how far the generator can take it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.config import (
    BackboneConfig,
    CameraSearchConfig,
    DecoderConfig,
    GeneratorConfig,
    InversionConfig,
    RenderingConfig,
    SuperresolutionConfig,
)
from pmv_jax.generator import initialise
from pmv_jax.inversion import camera_search
from pmv_jax.inversion.pipeline import search_camera

TINY = GeneratorConfig(
    z_dim=8,
    w_dim=8,
    image_resolution=32,
    backbone=BackboneConfig(plane_resolution=16, plane_channels=4, channel_base=128, channel_max=8),
    decoder=DecoderConfig(hidden_features=8, output_features=4),
    rendering=RenderingConfig(neural_resolution=16, coarse_samples=6, fine_samples=6),
    superresolution=SuperresolutionConfig(input_resolution=16, block_channels=(4, 4), block_upsamples=(False, True)),
)
GUESS = np.asarray(cameras.rolled(cameras.look_at(0.4, -0.2), 0.1))


@pytest.fixture(scope="module")
def generator():
    return initialise(TINY, jax.random.key(0))


@pytest.fixture(scope="module")
def image(generator):
    return camera_search.average_head(generator, cameras.look_at(0.1, 0.0))


def recipe(**settings) -> InversionConfig:
    return InversionConfig(
        camera=CameraSearchConfig(resolution=16, yaw_steps=3, pitch_steps=1, candidates=1, **settings)
    )


def test_prior_around_a_guess_is_that_camera():
    prior = camera_search.around(jnp.asarray(GUESS), CameraSearchConfig())
    again = camera_search.to_camera(prior.angles, TINY, prior.roll)
    np.testing.assert_allclose(again, GUESS, atol=1e-5)


def test_guess_without_refinement_is_kept(generator, image):
    np.testing.assert_allclose(search_camera(image, generator, recipe(refine_steps=0), GUESS), GUESS, atol=1e-5)


@pytest.mark.usefixtures("quick_compilation")
def test_guess_holds_the_gradient(generator, image):
    """The narrower the width around the guess, the less the generator moves it; the roll stays."""
    moved = []
    for width in (0.003, 10.0):
        found = search_camera(image, generator, recipe(refine_steps=20, guess_width=width, learning_rate=0.3), GUESS)
        moved.append(float(np.abs(np.subtract(cameras.yaw_pitch(found), cameras.yaw_pitch(GUESS))).max()))
        assert float(cameras.roll_of(found)) == pytest.approx(0.1, abs=1e-4)
    assert moved[0] < 0.05 and moved[0] < moved[1]
