"""What TPUs and GPUs are given in place of the processor's way, against that: both run here."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.rendering import compositing, sampling, scatter, triplanes

SIZE = (12, 16)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def planes(rng):
    return jnp.asarray(rng.standard_normal((3, *SIZE, 8)), jnp.float32)


@pytest.fixture
def points(rng):
    """Some of them outside of the box, one on its corner, one far away."""
    inside = rng.uniform(-0.7, 0.7, (200, 3))
    return jnp.asarray(np.concatenate([inside, [[0.5, 0.5, 0.5], [-9.0, 3.0, 0.0]]]), jnp.float32)


def near(planes, points, axes):
    return triplanes.sample(planes, points, axes, 1.0)


def packed(planes, points, axes, dtype=jnp.float32):
    return triplanes.sample_packed(triplanes.packed(planes), SIZE, points, axes, 1.0, dtype)


@pytest.mark.parametrize("axes", triplanes.AXES)
def test_packed_cells_are_the_four_neighbours(planes, points, axes):
    np.testing.assert_allclose(packed(planes, points, axes), near(planes, points, axes), atol=1e-6)


def test_gradients_of_packed_cells(planes, points):
    def loss(look_up):
        return lambda planes, points: jnp.sum(jnp.sin(look_up(planes, points, "xy_xz_zy")))

    found, expected = (jax.grad(loss(look_up), (0, 1))(planes, points) for look_up in (packed, near))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6 * float(jnp.abs(b).max())), found, expected)


def test_packed_cells_in_bfloat16_are_not_darker(planes, points):
    exact = near(planes, points, "xy_xz_zx")
    rounded = packed(planes, points, "xy_xz_zx", jnp.bfloat16)
    assert rounded.dtype == jnp.bfloat16
    error = rounded.astype(jnp.float32) - exact
    assert jnp.abs(error).max() < 0.02 * jnp.abs(exact).max()
    slope = jnp.vdot(rounded.astype(jnp.float32), exact) / jnp.vdot(exact, exact)
    assert abs(slope - 1) < 5e-4  # a mean over planes that is rounded to bfloat16 would be 2e-3 off


def test_kernel_adds_what_a_scatter_adds(rng):
    count = 600  # two blocks, the second one not full
    cells = jnp.asarray(rng.integers(0, 301, (3, count)), jnp.int32)
    weights = jnp.asarray(rng.uniform(0, 1, (12, count)), jnp.float32)
    g = jnp.asarray(rng.standard_normal((32, count)), jnp.float32)
    expected = np.zeros((3, 301, 128))
    for plane in range(3):
        rows = np.concatenate([weights[4 * plane + corner] * g for corner in range(4)]).T
        np.add.at(expected[plane], np.asarray(cells[plane]), rows)
    for way in (scatter.add_cells, scatter._add, lambda *args: scatter._add_in_core(*args, interpret=True)):
        np.testing.assert_allclose(way(301, cells, weights, g), expected, atol=1e-5)


def test_sums_take_and_put_what_gathers_and_scatters_do(rng):
    x = jnp.asarray(rng.standard_normal((5, 9)), jnp.float32)
    index = jnp.asarray(rng.integers(0, 9, (5, 4)), jnp.int32)
    places = jnp.asarray(rng.permuted(np.tile(np.arange(9), (5, 1)), axis=1), jnp.int32)
    np.testing.assert_array_equal(sampling._take_by_sum(x, index), sampling._take(x, index))
    np.testing.assert_array_equal(compositing._permute_by_sum(x, places), compositing._permute(x, places))
    np.testing.assert_array_equal(compositing._unpermuted(compositing._permuted(x, places), places), x)
    weights = jnp.asarray(rng.standard_normal((5, 9)), jnp.float32)
    gradient = jax.grad(lambda x: jnp.sum(weights * compositing._permuted(x, places)))(x)
    np.testing.assert_array_equal(gradient, sampling._take(weights, places))
