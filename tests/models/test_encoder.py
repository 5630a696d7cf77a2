"""The encoder: what it takes, and that what it gives is in the units that it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.models import encoder
from pmv_jax.models.encoder import DEPTH_UNIT, MIRRORED, POSE_NUMBERS, POSE_UNITS, Encoder, EncoderNetwork

CONFIG = EncoderConfig(resolution=32, widths=(4, 4, 8, 8, 8), blocks=(0, 0, 0, 0, 0), hidden_features=8, code_dim=5)


@pytest.fixture(scope="module")
def random_encoder() -> Encoder:
    """Random in its last layers too, which begin with zeros."""
    random = np.random.default_rng(0)
    params = encoder.initialise(CONFIG, jax.random.key(0)).params
    return Encoder(CONFIG, jax.tree.map(lambda x: jnp.asarray(0.3 * random.standard_normal(x.shape), x.dtype), params))


def picture(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (size, size, 3)).astype(np.float32)


def test_a_new_encoder_sees_the_same_in_every_picture():
    new = encoder.initialise(CONFIG, jax.random.key(1))
    glance = new(picture(32))
    np.testing.assert_array_equal(glance.pose, np.zeros(POSE_NUMBERS))
    np.testing.assert_allclose(glance.pose_width, POSE_UNITS, rtol=1e-6)
    np.testing.assert_array_equal(glance.code, np.zeros(CONFIG.code_dim))
    np.testing.assert_array_equal(glance.code_width, np.ones(CONFIG.code_dim))
    assert glance.relief.shape == glance.relief_width.shape == glance.matte.shape == (32, 32)


def test_a_glance_is_the_mean_of_two_looks_in_its_units(random_encoder):
    image = picture(32)
    glance = random_encoder(image)
    network = EncoderNetwork(CONFIG)
    one, other = (network.apply({"params": random_encoder.params}, x[None]) for x in (image, image[:, ::-1]))
    units, poses = np.array(POSE_UNITS), (one.pose[0], np.array(MIRRORED) * other.pose[0])
    np.testing.assert_allclose(glance.pose, units * np.mean(poses, axis=0), rtol=1e-4, atol=1e-6)
    variances = [np.exp(2 * look.pose_log_width[0]) for look in (one, other)]
    width = np.sqrt(np.mean(variances, axis=0) + np.var(poses, axis=0))
    np.testing.assert_allclose(glance.pose_width, units * width, rtol=1e-4)
    np.testing.assert_allclose(glance.code, one.code[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(glance.code_width, np.exp(one.code_log_width[0]), rtol=1e-4)
    mattes = [1 / (1 + np.exp(-look.matte_logits[0])) for look in (one, other)]
    np.testing.assert_allclose(glance.matte, (mattes[0] + mattes[1][:, ::-1]) / 2, rtol=1e-3, atol=1e-6)
    assert np.ptp(glance.matte) > 0.01 and np.abs(glance.pose).min() > 0
    reliefs = [one.relief[0], other.relief[0][:, ::-1]]
    np.testing.assert_allclose(glance.relief, DEPTH_UNIT * np.mean(reliefs, axis=0), rtol=1e-3, atol=1e-6)
    variances = [np.exp(2 * one.relief_log_width[0]), np.exp(2 * other.relief_log_width[0][:, ::-1])]
    width = np.sqrt(np.mean(variances, axis=0) + np.var(reliefs, axis=0))
    np.testing.assert_allclose(glance.relief_width, DEPTH_UNIT * width, rtol=1e-3)


def test_a_mirror_image_is_seen_as_the_mirrored_head(random_encoder):
    image = picture(32)
    glance, mirrored = random_encoder(image), random_encoder(image[:, ::-1])
    np.testing.assert_allclose(mirrored.pose, np.array(MIRRORED) * glance.pose, atol=1e-6)
    np.testing.assert_allclose(mirrored.pose_width, glance.pose_width, rtol=1e-5)
    for name in ("matte", "relief", "relief_width"):
        np.testing.assert_allclose(getattr(mirrored, name), getattr(glance, name)[:, ::-1], atol=1e-6)


def test_a_larger_picture_is_seen_as_the_same_one_in_small(random_encoder):
    large = np.kron(picture(32), np.ones((3, 3, 1), np.float32))
    small = jax.image.resize(large, (32, 32, 3), "bilinear", antialias=True)
    np.testing.assert_allclose(random_encoder(large).pose, random_encoder(small).pose, atol=1e-4)
