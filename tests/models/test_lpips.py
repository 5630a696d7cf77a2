"""LPIPS: equal to lpips's own values and gradients, and what holds for every weight map."""

import functools
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.checkpoints import lpips as lpips_weights
from pmv_jax.config import LossConfig
from pmv_jax.inversion.losses import image_loss
from pmv_jax.models import lpips as perceptual

DATA = Path(__file__).parents[1] / "data"
NETWORKS = ["alex", "vgg"]
SIDE = 64


def rule_backbone(network):
    """A backbone in torch's names and layout whose weights follow from their names, see tests/data/README.md."""
    tensors = {}
    for layer, leaves in perceptual.variable_shapes(network)["features"].items():
        *size, inputs, outputs = leaves["weight"].shape
        for leaf, shape in {"weight": (outputs, inputs, *size), "bias": (outputs,)}.items():
            name = f"features.{layer}.{leaf}"
            noise = np.random.default_rng(zlib.crc32(f"dev/{name}".encode())).standard_normal(shape, dtype=np.float32)
            tensors[name] = noise * np.float32(np.sqrt(2 / np.prod(shape[1:])) if leaf == "weight" else 0.1)
    return tensors


def heads(network):
    """The heads in lpips's names."""
    with np.load(DATA / f"lpips_{network}.npz") as values:
        return {f"lin{i}.model.1.weight": values[f"lin{i}"] for i in range(5)}


def decode(stored):
    """Images in 16 bits, where these do: one ReLU of VGG16 that changes its mind moves its gradient by 1e-3."""
    return np.float32(stored) / 32767 if stored.dtype == np.int16 else stored


@functools.cache
def load(network):
    lpips = lpips_weights.from_state_dicts(rule_backbone(network), heads(network), "backbone", "heads")
    return jax.tree.map(jnp.asarray, lpips)


def pictures(seed=0, side=SIDE):
    """Two smooth pictures with texture [side, side, 3]."""
    rng = np.random.default_rng(seed)
    coarse = jax.image.resize(rng.uniform(-0.8, 0.8, (2, 8, 8, 3)), (2, side, side, 3), "linear")
    return jnp.float32(coarse + rng.normal(0, 0.1, coarse.shape)).clip(-1, 1)


value_and_gradient = jax.jit(jax.value_and_grad(perceptual.distance, 1))


@pytest.mark.parametrize("network", NETWORKS)
def test_parity(network):
    with np.load(DATA / f"lpips_{network}.npz") as values:
        image, target = (decode(values[name]) for name in ("image0", "image1"))
        terms, gradient = values["per_layer"], values["grad_image0"]

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=1, has_aux=True)
    def run(lpips, image):
        layers = perceptual.layer_distances(lpips, image, target)
        return jnp.sum(layers), layers

    (total, layers), ours = run(load(network), image)
    np.testing.assert_allclose(layers, terms, rtol=1e-4)
    np.testing.assert_allclose(total, terms.sum(), rtol=1e-4)
    error = np.asarray(ours)[::3, ::3] - gradient
    assert np.linalg.norm(error) < 1e-4 * np.linalg.norm(gradient)
    assert np.abs(error).max() < 1e-4 * np.abs(gradient).max()


def test_equal_images_have_no_distance_and_the_order_does_not_matter():
    (a, b), lpips = pictures(), load("alex")
    same, gradient = value_and_gradient(lpips, a, a)
    assert 0 <= same < 1e-12 and np.abs(gradient).max() < 1e-8  # rounding: two fused programs, one for each image
    there, back = value_and_gradient(lpips, a, b)[0], value_and_gradient(lpips, b, a)[0]
    assert there > 1e-3
    np.testing.assert_allclose(there, back, rtol=1e-5)
    between = value_and_gradient(lpips, (a + b) / 2, b)[0]
    assert 0 < between < there


def test_gradient_is_finite_where_a_pixel_has_no_feature():
    lpips = load("alex")
    silent = jax.tree.map(jnp.zeros_like, lpips.variables["features"])
    dead = lpips.replace(variables={**lpips.variables, "features": silent})
    value, gradient = value_and_gradient(dead, *pictures())
    assert value == 0 and np.isfinite(gradient).all() and not gradient.any()


def test_gradient_of_the_fixed_convolution_is_that_of_an_ordinary_one():
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(1, 9, 7, 4)), rng.normal(size=(1, 9, 7, 6))
    kernel = jnp.float32(rng.normal(size=(5, 5, 4, 6)))
    ordinary = jax.vjp(lambda x: perceptual._plain_convolution(x, kernel, 1, 2), jnp.float32(x))[1](jnp.float32(g))
    ours = jax.vjp(lambda x: perceptual._fixed_convolution(x, kernel), jnp.float32(x))[1](jnp.float32(g))
    np.testing.assert_allclose(ours[0], ordinary[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("side", [6, 7])
def test_pooling_takes_maxima_of_windows_inside(window, side):
    x = np.random.default_rng(0).normal(size=(1, side, 9, 2)).astype(np.float32)
    starts = range(0, side - window + 1, 2), range(0, 9 - window + 1, 2)
    expected = [[x[0, i : i + window, j : j + window].max((0, 1)) for j in starts[1]] for i in starts[0]]
    np.testing.assert_array_equal(perceptual._max_pool(jnp.asarray(x), window)[0], expected)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_one_weight_everywhere_scales_the_distance(share):
    (a, b), lpips = pictures(), load("alex")
    plain, gradient = value_and_gradient(lpips, a, b)
    weighted, weighted_gradient = value_and_gradient(lpips, a, b, jnp.full((SIDE, SIDE), share))
    np.testing.assert_allclose(weighted, share * plain, rtol=1e-5)
    np.testing.assert_allclose(weighted_gradient, share * gradient, rtol=1e-3, atol=1e-5 * np.abs(gradient).max())


def test_pixels_without_weight_have_neither_value_nor_gradient():
    (a, b), lpips = pictures(), load("alex")
    weight = np.ones((SIDE, SIDE), np.float32)
    weight[10:40, 5:31] = 0
    value, gradient = value_and_gradient(lpips, a, b, weight)
    gradient = np.asarray(gradient)
    assert value > 0 and not gradient[weight == 0].any() and gradient[weight == 1].any()
    damaged = np.where(weight[..., None] == 0, 1e3, a)
    np.testing.assert_array_equal(value_and_gradient(lpips, damaged, b, weight)[0], value)
    assert value_and_gradient(lpips, np.where(weight[..., None] == 0, a, b), b, weight)[0] < 1e-12


def test_damage_counts_as_much_as_its_surroundings_weigh():
    (_, b), lpips = pictures(), load("alex")
    weight = np.full((SIDE, SIDE), 0.1, np.float32)
    weight[:, SIDE // 2 :] = 1
    left = b.at[20:40, 4:16].set(0.7)
    right = b.at[20:40, SIDE // 2 + 12 : SIDE // 2 + 24].set(0.7)
    ratio = [value_and_gradient(lpips, x, b, weight)[0] / value_and_gradient(lpips, x, b)[0] for x in (left, right)]
    assert 0.1 < ratio[0] < 0.4 and 0.6 < ratio[1] < 1  # coarse features see over the border


def test_a_batch_is_its_images_one_by_one():
    lpips, images, targets = load("alex"), pictures(1), pictures(2)
    weights = np.random.default_rng(0).uniform(0, 1, (2, SIDE, SIDE)).astype(np.float32)
    together = jax.jit(jax.vmap(perceptual.distance, (None, 0, 0, 0)))(lpips, images, targets, weights)
    alone = [value_and_gradient(lpips, *pair)[0] for pair in zip(images, targets, weights, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 32 pixels"):
        perceptual.distance(load("alex"), *pictures(side=31))
    assert perceptual.distance(load("alex"), *pictures(side=32)) > 0


def test_loss_is_the_weighted_sum_of_l2_and_lpips():
    (a, b), lpips = pictures(), load("alex")
    config = LossConfig(perceptual_weight=0.5, perceptual="lpips_alex")
    loss = jax.jit(image_loss, static_argnums=2)
    expected = np.mean(np.square(a - b)) + 0.5 * value_and_gradient(lpips, a, b)[0]
    np.testing.assert_allclose(loss(a, b, config, None, lpips), expected, rtol=1e-4)
    for wrong in (None, lpips.replace(network="vgg")):
        with pytest.raises(ValueError, match="lpips_alex needs its network"):
            image_loss(a, b, config, None, wrong)
