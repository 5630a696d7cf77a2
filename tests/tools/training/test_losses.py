"""What is true along rays, against a ball whose surface has a closed form; and the loss of geometry."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from tests import rendered_spheres as spheres
from tools.training import backdrop, losses
from tools.training.data import Heads
from tools.training.network import NETWORK
from tools.training.report import view_of

SURFACE = 2.7
NUMBERS = np.array([[0.5, -1.0, 0.3, 0.8, -0.6, 1.1]], np.float32)
# Four final pixels to a raw one, as in the network that is trained.
TINY = dataclasses.replace(
    NETWORK, image_resolution=spheres.SIZE, rendering=dataclasses.replace(NETWORK.rendering, neural_resolution=8)
)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    spheres.shard(directory / "shard_0000.npz", heads=2, views=2, seed=0)
    return Heads(directory)


def _expected(p: np.ndarray, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ray distance, hit, and colour in [-1, 1] of a ball before the backdrop of `NUMBERS`."""
    b = np.sum(origins * directions, axis=-1)
    inside = b**2 - np.sum(origins**2, axis=-1) + spheres.radius(p) ** 2
    hit = inside > 0
    wall = np.asarray(backdrop.distance(origins, directions))
    behind = np.asarray(backdrop.colour(NUMBERS, origins + wall[..., None] * directions))
    colour = np.where(hit[..., None], spheres.colour(p), behind)
    return np.where(hit, -b - np.sqrt(np.maximum(inside, 0)), wall), hit, 2 * colour - 1


def test_single_pixels_see_the_ball_and_the_wall_behind_it(heads):
    batch = heads.scattered(np.random.default_rng(0), heads=1, views=2, rays=200)
    truth = losses.truth_of_pixels(batch, NUMBERS, spheres.SIZE)
    distance, hit, colour = _expected(batch.p[0], np.asarray(truth.origins[0]), np.asarray(truth.directions[0]))
    np.testing.assert_array_equal(truth.hit[0], hit)
    assert 20 < hit.sum() < 380
    np.testing.assert_allclose(truth.ray_distance[0], distance, atol=5e-5)
    np.testing.assert_allclose(truth.colour[0], colour, atol=0.005)
    assert truth.z.shape == (1, spheres.NUMBERS + backdrop.NUMBERS)


def test_a_whole_picture_has_rays_through_the_centres_of_raw_pixels(heads):
    batch = view_of(heads, 1, 0)
    truth = losses.truth_of_crops(batch, NUMBERS, TINY)
    origins, directions = cameras.rays(batch.camera[0, 0], 8)
    np.testing.assert_allclose(truth.origins[0], origins, atol=1e-6)
    np.testing.assert_allclose(truth.directions[0], directions, atol=1e-6)
    distance, hit, _ = _expected(batch.p[0], np.asarray(origins), np.asarray(directions))
    facing = distance < 2.6  # at grazing rays the four pixels beside the middle say little of it
    np.testing.assert_allclose(truth.ray_distance[0][facing], distance[facing], atol=2e-3)
    assert (np.asarray(truth.hit[0]) == hit).mean() > 0.95


def test_a_crop_is_a_part_of_the_whole_picture(heads):
    whole = view_of(heads, 0, 1)
    part = whole._replace(corner=np.array([[[[8, 12]]]], np.int32), pixels=whole.pixels[:, :, 8:24, 12:28])
    all_of_it, some = (losses.truth_of_crops(batch, NUMBERS, TINY) for batch in (whole, part))
    np.testing.assert_allclose(some.image[0], all_of_it.image[0, 8:24, 12:28], atol=1e-5)
    for name in ("ray_distance", "hit", "colour", "directions"):
        large, small = np.asarray(getattr(all_of_it, name)[0]), np.asarray(getattr(some, name)[0])
        large = large.reshape(8, 8, -1)[2:6, 3:7].reshape(small.shape)
        np.testing.assert_allclose(small, large, atol=1e-5)


def test_a_raw_pixel_has_the_mean_colour_of_its_final_ones(heads):
    truth = losses.truth_of_crops(view_of(heads, 0, 0), NUMBERS, TINY)
    means = np.asarray(truth.image[0]).reshape(8, 4, 8, 4, 3).mean((1, 3))
    np.testing.assert_allclose(truth.colour[0].reshape(8, 8, 3), means, atol=1e-5)


def test_guided_distances_increase_and_half_of_them_are_at_the_surface():
    surface = jnp.full((1, 100), SURFACE)
    distances = losses.guided_distances(jax.random.key(0), surface, NETWORK.rendering, 20)
    assert distances.shape == (1, 100, 20) and (jnp.diff(distances, axis=-1) >= 0).all()
    assert ((jnp.abs(distances - SURFACE) < 0.1).sum(-1) >= 9).all()
    assert distances.min() < 2.35 and distances.max() > 3.2


def _loss(density_behind: float, shift: float, margin: float) -> float:
    """`geometry_loss` of an empty space that turns into `density_behind` at a distance `shift` behind the surface."""
    distances = jnp.linspace(2.6, 2.8, 401)[None, None]
    densities = jnp.where(distances < SURFACE + shift, -1e3, density_behind)
    return float(losses.geometry_loss(densities, distances, jnp.full((1, 1), SURFACE), margin))


def test_geometry_loss_is_nothing_for_a_solid_behind_the_surface_and_one_for_none():
    assert _loss(1e4, 0.0, 0.002) == pytest.approx(0, abs=1e-6)
    assert _loss(-1e3, 0.0, 0.002) == pytest.approx(1, abs=1e-6)


def test_geometry_loss_of_a_half_transparent_solid():
    optical = 0.02 * np.log1p(np.exp(50.0 - 1))  # of a step 0.02 long, by softplus(density - 1)
    assert _loss(50.0, 0.0, 0.002) == pytest.approx(np.exp(-optical), rel=1e-4)


def test_geometry_is_free_within_the_margin_alone():
    for shift in (-0.004, 0.004):
        assert _loss(1e4, shift, 0.006) == pytest.approx(0, abs=1e-6)
        assert _loss(1e4, shift, 0.002) > 0.02
