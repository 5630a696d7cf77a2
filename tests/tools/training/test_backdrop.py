"""The wall behind the head: rays end on it, and its colours are those of its numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from tools.training import backdrop
from tools.training.network import NETWORK


def _walls(yaw: float, pitch: float):
    origins, directions = cameras.rays(cameras.look_at(yaw, pitch), 16)
    distance = backdrop.distance(origins, directions)
    return distance, origins + distance[..., None] * directions


@pytest.mark.parametrize("yaw, pitch", [(0.0, 0.0), (0.75, -0.35), (-0.75, 0.35), (0.3, 0.2)])
def test_rays_end_on_the_far_side_of_the_cylinder_or_on_a_cap(yaw, pitch):
    distance, points = _walls(yaw, pitch)
    radius, height = jnp.hypot(points[:, 0], points[:, 2]), jnp.abs(points[:, 1])
    on_side = (jnp.abs(radius - backdrop.RADIUS) < 1e-4) & (height <= backdrop.HEIGHT + 1e-4)
    on_cap = (jnp.abs(height - backdrop.HEIGHT) < 1e-4) & (radius <= backdrop.RADIUS + 1e-4)
    assert (on_side | on_cap).all()
    assert (distance > NETWORK.rendering.ray_start).all() and (distance < NETWORK.rendering.ray_end).all()
    middle = points.reshape(16, 16, 3)[8, 8]
    assert jnp.sum(middle * cameras.split(cameras.look_at(yaw, pitch))[0][:3, 3]) < 0  # behind the axis


def test_numbers_of_zero_are_grey_and_the_first_is_lightness():
    points = jnp.array([[0.0, 0.1, -backdrop.RADIUS]])
    np.testing.assert_allclose(backdrop.colour(jnp.zeros((1, 6)), points), 0.5, atol=1e-6)
    light = backdrop.colour(jnp.array([[1.0, 0, 0, 0, 0, 0]]), points)[0]
    assert light[0] > 0.7 and np.ptp(light) < 1e-6


def test_gradients_of_the_backdrop_run_upwards_and_to_the_right():
    up = jnp.array([[0.0, y, -backdrop.RADIUS] for y in (-0.3, 0.0, 0.3)])
    right = jnp.array([[x, 0.0, -0.3] for x in (-0.3, 0.0, 0.3)])
    for number, points in ((3, up), (4, right)):
        seen = backdrop.colour(jnp.zeros(6).at[number].set(1.0), points)
        assert (jnp.diff(seen, axis=0) > 0.02).all()


def test_another_background_is_that_where_nothing_covers_it():
    """A picture over grey is colour * mask + 0.5 * (1 - mask); over another one, the same with that in place of 0.5."""
    rng = np.random.default_rng(0)
    colour, mask, background = rng.random((8, 3)), rng.random(8), rng.random((8, 3))
    over = lambda behind: colour * mask[:, None] + behind * (1 - mask[:, None])  # noqa: E731
    np.testing.assert_allclose(backdrop.put_behind(over(0.5), mask, background), over(background), atol=1e-12)
