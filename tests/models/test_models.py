"""Layers against naive twins, and what the whole generator promises; test_parity.py has its numbers."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from pmv_jax import cameras
from pmv_jax.checkpoints import orbax as checkpoints
from pmv_jax.config import (
    BackboneConfig,
    DecoderConfig,
    GeneratorConfig,
    MappingConfig,
    RenderingConfig,
    SuperresolutionConfig,
)
from pmv_jax.models import ops, superresolution
from pmv_jax.models.generator import Generator


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def assert_close(ours, expected, tolerance=1e-5):
    """Up to a part of the largest expected value."""
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-3))


# ---------------------------------------------------------------------------------------------------------------------
# Operations
# ---------------------------------------------------------------------------------------------------------------------


def plain_conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("band", [1, 15, 10_000])  # pixels: single rows, several, all at once
@pytest.mark.parametrize("name", ["_conv3x3", "_transposed_conv"])
def test_gradients_of_convolutions(rng, name, band, monkeypatch):
    monkeypatch.setattr(ops, "_BAND", band)
    convolve = getattr(ops, name)
    x, kernel = normal(rng, 2, 6, 5, 3), normal(rng, 3, 3, 3, 4)
    g = jax.tree.map(lambda leaf: normal(rng, *leaf.shape), jax.eval_shape(convolve, x, kernel))
    ours, derived = (jax.jit(lambda f=f: jax.vjp(f, x, kernel)[1](g))() for f in (convolve, convolve.__wrapped__))
    jax.tree.map(assert_close, ours, derived)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 2e-2)])
def test_softplus_is_that_of_jax(dtype, tolerance):
    x = jnp.linspace(-12, 12, 49)
    slope = jax.vmap(jax.grad(ops.softplus))(x.astype(dtype)).astype(jnp.float32)
    np.testing.assert_allclose(slope, jax.nn.sigmoid(x), rtol=max(10 * tolerance, 1e-2), atol=tolerance)
    y = ops.softplus(x.astype(dtype)).astype(jnp.float32)
    np.testing.assert_allclose(y, jax.nn.softplus(x), rtol=tolerance, atol=tolerance)
    far = jnp.array([-jnp.inf, -200.0, 200.0, jnp.inf], dtype)
    np.testing.assert_array_equal(ops.softplus(far), jax.nn.softplus(far))
    np.testing.assert_array_equal(jax.vmap(jax.grad(ops.softplus))(far), jnp.array([0, 0, 1, 1], dtype))


@pytest.mark.parametrize("large", [1, 10**9])
def test_gradient_of_the_activation_needs_its_result_alone(rng, monkeypatch, large):
    monkeypatch.setattr(ops, "_LARGE", large)
    x, bias, g = normal(rng, 3, 4, 5), normal(rng, 5), normal(rng, 3, 4, 5)
    plain = lambda x, bias: jnp.clip(jax.nn.leaky_relu(x + bias, 0.2) * 2**0.5, -1, 1)  # noqa: E731
    expected, pullback = jax.vjp(plain, x, bias)
    value, ours = jax.vjp(lambda x, bias: ops.bias_activation(x, bias, 1.0), x, bias)
    assert_close(value, expected)
    jax.tree.map(assert_close, ours(g), pullback(g))


def filtered(x, before, after):
    """x [B, H, W, C] padded with zeros, then the [1, 3, 3, 1] filter with a sum of 2 along both axes."""
    taps = np.array([1, 3, 3, 1]) / 4
    for axis in (1, 2):
        x = np.pad(x, [(before, after) if a == axis else (0, 0) for a in range(4)])
        size = x.shape[axis] - 3
        x = sum(tap * np.take(x, range(i, i + size), axis) for i, tap in enumerate(taps))
    return x


def test_upsample_is_zero_stuffing_and_a_filter(rng):
    x = normal(rng, 2, 5, 3, 4)
    stuffed = np.zeros((2, 10, 6, 4))
    stuffed[:, ::2, ::2] = x
    assert_close(jax.jit(ops.upsample)(x), filtered(stuffed, 2, 1))


def modulated(kernel, style, demodulate):
    """Weights of every image [B, k, k, in, out] (StyleGAN2 eq. 1 and 3)."""
    weights = kernel.astype(np.float64) * style[:, None, None, :, None]
    return weights / np.sqrt((weights**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8) if demodulate else weights


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size, demodulate", [(3, True), (1, False)])
def test_modulated_conv_is_a_convolution_with_modulated_weights(rng, size, demodulate, batch):
    x, kernel, style = normal(rng, batch, 4, 5, 3), normal(rng, size, size, 3, 6), normal(rng, batch, 3)
    weights = modulated(kernel, style, demodulate)
    expected = [plain_conv(x[i : i + 1], weights[i].astype(np.float32))[0] for i in range(batch)]
    ours = jax.jit(lambda *args: ops.modulated_conv(*args, demodulate=demodulate))(x, kernel, style)
    assert_close(ours, np.stack(expected))


def test_modulated_conv_up_is_a_transposed_convolution_and_a_filter(rng):
    x, kernel, style = normal(rng, 2, 4, 5, 3), normal(rng, 3, 3, 3, 6), normal(rng, 2, 3)
    weights = modulated(kernel, style, True)
    scattered = np.zeros((2, 9, 11, 6))
    for row, column in np.ndindex(3, 3):
        contribution = np.einsum("bhwi,bio->bhwo", x, weights[:, row, column])
        scattered[:, row : row + 8 : 2, column : column + 10 : 2] += contribution
    ours = jax.jit(lambda *args: ops.modulated_conv(*args, up=True))(x, kernel, style)
    assert_close(ours, filtered(scattered, 1, 1))


# ---------------------------------------------------------------------------------------------------------------------
# The generator
# ---------------------------------------------------------------------------------------------------------------------

CONFIG = GeneratorConfig(
    z_dim=16,
    w_dim=16,
    image_resolution=32,
    mapping=MappingConfig(num_layers=1),
    backbone=BackboneConfig(plane_resolution=16, plane_channels=8, channel_base=256, channel_max=16),
    decoder=DecoderConfig(hidden_features=16, output_features=8),
    rendering=RenderingConfig(neural_resolution=16, coarse_samples=8, fine_samples=8),
    superresolution=SuperresolutionConfig(
        input_resolution=16, block_channels=(8, 8), block_upsamples=(False, True), adds_to_raw=True
    ),
)


@pytest.fixture(scope="module")
def generator() -> Generator:
    """Random weights, biases and noise strengths included."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        return (0.1 if path[-1].key in ("bias", "noise_strength") else 1) * normal(rng, *leaf.shape)

    return Generator(CONFIG, jax.tree_util.tree_map_with_path(fill, checkpoints.variable_shapes(CONFIG)))


def with_config(generator: Generator, group: str, **changes) -> Generator:
    """The same weights under another config."""
    changed = dataclasses.replace(getattr(generator.config, group), **changes)
    return generator.replace(config=dataclasses.replace(generator.config, **{group: changed}))


@functools.partial(jax.jit, static_argnames="noise_mode")
def planes_of(generator, ws, noise_mode="const"):
    return generator.model.apply(generator.variables, ws, noise_mode, method="planes")


@pytest.fixture
def ws(rng):
    return normal(rng, 2, CONFIG.num_ws, CONFIG.w_dim)


@pytest.fixture
def views():
    return np.stack([cameras.look_at(0.0, 0.0), cameras.look_at(0.4, -0.2, radius=2.5)])


def test_vmap_over_images_equals_a_loop(generator, ws, views):
    generator = with_config(generator, "rendering", ray_start=None, ray_end=None, box_size=0.5)  # many rays miss it

    def image(params, ws, camera):
        own = generator.with_params(params)
        planes = own.planes(ws)
        return planes, *own.march(planes, camera, CONFIG.rendering.neural_resolution)

    params = jax.tree.map(lambda x: np.stack([x, 0.9 * x]), generator.params)  # each image has its own generator
    batch, single = jax.jit(jax.vmap(image))(params, ws, views), jax.jit(image)
    for i in range(2):
        alone = single(jax.tree.map(lambda x, i=i: x[i], params), ws[i], views[i])
        jax.tree.map(lambda a, b, i=i: assert_close(a, b[i], 1e-4), alone, batch)


def test_noise_modes(generator, ws):
    def quieten(path, x):
        return 0 * x if path[-1].key == "noise_strength" else x

    quiet = generator.with_params(jax.tree_util.tree_map_with_path(quieten, generator.params))
    const, silent = planes_of(generator, ws), planes_of(quiet, ws)
    assert_close(planes_of(generator, ws, "none"), silent)
    assert np.abs(const - silent).max() > 1e-2 * np.abs(silent).max()


@functools.partial(jax.jit, static_argnums=0)
def superresolve(config, variables, features, ws):
    """Image and raw image, and the image after the first block."""
    method = lambda module, *args: module.superresolution(*args)  # noqa: E731
    model = Generator(config, variables).model
    out, state = model.apply(variables, features, ws, method=method, capture_intermediates=True)
    return *out, state["intermediates"]["superresolution"]["block0"]["__call__"][0][1]


def test_raw_image_as_eg3d_returns_it(generator, rng, ws):
    plain = with_config(generator, "superresolution", adds_to_raw=False)
    features = np.tanh(normal(rng, 2, 16, 16, 8))
    image, raw, after_first_block = superresolve(generator.config, generator.variables, features, ws)
    same_image, colour, _ = superresolve(plain.config, plain.variables, features, ws)
    np.testing.assert_array_equal(image, same_image)
    np.testing.assert_array_equal(colour, features[..., :3])
    np.testing.assert_array_equal(raw, after_first_block)
    assert np.abs(raw - colour).max() > 1e-2
    small = features[:, ::2, ::2]  # is resized, and the block adds to the resized one
    np.testing.assert_array_equal(superresolve(generator.config, generator.variables, small, ws)[1], small[..., :3])


def test_superresolution_in_bands_is_that_of_the_whole(generator, rng, ws, monkeypatch):
    features, wanted = np.tanh(normal(rng, 2, 16, 16, 8)), normal(rng, 2, 32, 32, 3)

    def value_and_grad(count):
        monkeypatch.setattr(superresolution, "_bands", lambda resolution, channels: count)

        def loss(params, features, ws):
            model = generator.model
            image = model.apply({**generator.variables, "params": params}, features, ws, method="superresolve")
            return jnp.mean(jnp.square(image - wanted)), image

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(generator.params, features, ws)

    (_, image), grads = value_and_grad(1)
    for count in (2, 8):  # of 8 bands, the block that keeps the resolution has two rows, as many as lie beside a band
        (_, in_bands), grads_in_bands = value_and_grad(count)
        assert_close(in_bands, image)
        jax.tree.map(assert_close, grads_in_bands, grads)


def test_bands_are_for_large_images():
    assert superresolution._bands(512, 128) == 4 and superresolution._bands(256, 256) == 2
    assert superresolution._bands(128, 32) == 1
    assert superresolution._bands(512, 192) == 8  # six would not divide the 256 rows that it doubles


def test_bfloat16_is_close_to_float32(generator, ws, views):
    mixed = generator.replace(config=dataclasses.replace(CONFIG, compute_dtype="bfloat16"))
    exact, near = generator.synthesis(ws, views), mixed.synthesis(ws, views)
    for key, value in near.items():
        assert value.dtype == jnp.float32
        psnr = 20 * np.log10(np.ptp(exact[key]) / np.sqrt(np.mean(np.square(exact[key] - value))))
        assert psnr >= 40, f"{key}: {psnr:.1f} dB"
