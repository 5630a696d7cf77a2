"""Losses of images and depths: what they are zero for, what they ignore, where they pull."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.config import LossConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion import losses
from pmv_jax.inversion.losses import image_loss
from tests.small_inversion import SIZE, picture

loss = jax.jit(image_loss, static_argnums=2)


def test_loss_is_zero_for_equal_images_and_grows_with_damage():
    image, noise = picture(), np.random.default_rng(0).normal(size=(SIZE, SIZE, 3)).astype(np.float32)
    values = [float(loss(image + scale * noise, image, LossConfig())) for scale in (0, 0.01, 0.1, 1)]
    assert values[0] == pytest.approx(0, abs=1e-6) and values == sorted(values) and values[1] > 1e-5
    assert loss(image + 0.1, image, LossConfig(perceptual="none")) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("config", [LossConfig(), LossConfig(perceptual="none")])
def test_loss_ignores_pixels_without_weight(config):
    image, damaged, weight = picture(), picture().copy(), np.ones((SIZE, SIZE), np.float32)
    weight[5:20, 7:10] = 0  # an odd place for the coarser scales
    damaged[weight == 0] = 1e3
    assert loss(damaged, image, config, weight) == pytest.approx(0, abs=1e-6)
    assert loss(damaged, image, config) > 1e3


def test_loss_has_finite_gradients_and_batches():
    image, config = jnp.asarray(picture()), LossConfig()
    weight = np.float32(np.random.default_rng(0).random((SIZE, SIZE)))
    weight[:9, :9] = 0
    gradients_of = jax.jit(jax.value_and_grad(lambda x: image_loss(x, image, config, weight)))
    stack = jnp.stack([image, 0 * image, image + 0.2])  # the first is the target itself
    values, gradients = jax.jit(jax.vmap(gradients_of))(stack)
    assert np.isfinite(values).all() and np.isfinite(gradients).all()
    for index, x in enumerate(stack):
        value, gradient = gradients_of(x)
        np.testing.assert_allclose(values[index], value, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(gradients[index], gradient, rtol=1e-3, atol=1e-7)


def test_depth_pulls_where_surfaces_nearly_agree_and_not_across_a_gap():
    reference = jnp.full((4, 4), 2.7)
    pull = jax.jit(jax.grad(lambda offset: losses.depth_loss(reference + offset, reference)))
    near, far = pull(0.01), pull(0.5)  # of r^2 / (1 + r^2), r in units of 0.02: 2 r / (1 + r^2)^2 / 0.02
    np.testing.assert_allclose([near, far], [2 * 0.5 / 1.25**2 / 0.02, 2 * 25 / 626**2 / 0.02], rtol=1e-4)
    assert losses.depth_loss(reference, reference) == 0 and losses.depth_loss(reference + 9, reference) < 1


def test_a_perceptual_term_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="'lpips' is not one of gradients, none"):
        LossConfig(perceptual="lpips")
