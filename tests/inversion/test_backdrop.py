"""The backdrop behind the head and beyond the frame, and what other views see of it."""

import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.inversion import backdrop, visibility

SIZE = 32
Y, X = np.mgrid[0 : 1 : 1j * SIZE, 0 : 1 : 1j * SIZE].astype(np.float32)
HOLE = (np.abs(X - 0.5) < 0.25) & (Y > 0.2)
RAMP = np.stack([0.6 * X, 0.5 - 0.5 * Y, 0.3 * X + 0.4 * Y], axis=-1)
CAMERA = cameras.look_at(0.0, 0.0)
WALL = jnp.full((SIZE, SIZE), 3.0)


def beyond(image, known, view=CAMERA):
    """What a camera sees of the backdrop of an image by the frontal one: a wall at z-depth 3 in both."""
    return np.asarray(backdrop.seen_from(backdrop.continued(image, known, CAMERA, WALL), WALL, view))


def test_what_is_known_stays_and_what_is_not_goes_on_evenly():
    found = beyond(RAMP, 1.0 - HOLE)
    np.testing.assert_allclose(found[~HOLE], RAMP[~HOLE], atol=1e-6)
    assert np.abs(found - RAMP)[HOLE].max() < 0.1
    texture = RAMP - 0.2 + 0.2 * np.sin(40 * X)[..., None]
    np.testing.assert_allclose(beyond(texture, 1.0 - HOLE)[~HOLE], texture[~HOLE], atol=1e-6)


@pytest.mark.parametrize("known", [1.0 - HOLE, np.float32(X < 0.2)])
def test_what_changes_evenly_along_the_world_goes_on_beyond_the_frame(known):
    """As the backdrops that the demo generator was trained with do."""
    view = CAMERA.at[3].add(0.2)  # moved along the wall, half of which the photograph does not show

    def wall(camera):
        points = visibility.points(WALL, camera)[..., :2]
        return jnp.tanh(points @ jnp.float32([[2.0, -1.0, 0.0], [0.5, 1.0, -2.0]]) + jnp.float32([0.3, 0.0, -0.4]))

    np.testing.assert_allclose(beyond(wall(CAMERA), known, view), wall(view), atol=0.08)


def test_a_hat_that_is_taken_for_backdrop_does_not_colour_the_rest_of_it():
    """A third of what is known, in a corner."""
    wall, hat = np.float32([0.1, -0.3, 0.4]), np.float32([1.0, -1.0, -1.0])
    known = 1.0 - HOLE
    picture = np.where(((X < 0.6) & (Y < 0.3))[..., None], hat, wall)
    view = CAMERA.at[3].add(-0.1).at[7].add(-0.1)  # which shows what is beyond the frame, below and to the left
    below = beyond(picture, known, view)[SIZE // 2 :, : SIZE // 2]
    assert np.abs(below - wall).max() < 0.05


@pytest.mark.parametrize("known", [1.0 - HOLE, np.float32(HOLE), np.float32((X == 0) & (Y == 0)), 0.25 * (1 - HOLE)])
def test_one_colour_is_one_colour_everywhere(known):
    colour = np.float32([0.3, -0.2, 0.9])
    image = np.where(known[..., None] > 0, colour, 7.0)
    for view in (CAMERA, cameras.look_at(0.6, 0.2)):
        found = beyond(image, jnp.asarray(known), view)
        np.testing.assert_allclose(found, np.broadcast_to(colour, found.shape), atol=1e-5)


def test_another_view_sees_the_points_of_the_wall():
    """A wall at z = -0.5 whose colours are known in closed form."""
    camera, view = cameras.look_at(0.0, 0.0), cameras.look_at(0.15, -0.1)

    def seen(by):
        origins, directions = cameras.rays(by, SIZE)
        distance = (-0.5 - origins[:, 2]) / directions[:, 2]
        points = origins + distance[:, None] * directions
        colour = jnp.stack([jnp.sin(6 * points[:, 0]), jnp.cos(5 * points[:, 1]), points[:, 0] + points[:, 1]], -1)
        z_depth = cameras.ray_distance_to_z_depth(distance.reshape(1, SIZE, SIZE), by[None])[0]
        return np.asarray(colour).reshape(SIZE, SIZE, 3), z_depth, points

    image, own_wall, _ = seen(camera)
    truth, wall, points = seen(view)
    found = backdrop.seen_from(backdrop.continued(image, jnp.ones((SIZE, SIZE)), camera, own_wall), wall, view)
    place = cameras.project(camera, points)[0].reshape(SIZE, SIZE, 2)
    inside = np.all(np.abs(place - 0.5) < 0.5 - 0.5 / SIZE, axis=-1)
    assert 0.3 < inside.mean() < 0.9
    np.testing.assert_allclose(found[inside], truth[inside], atol=2e-3)
    assert np.isfinite(found).all()
