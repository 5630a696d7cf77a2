"""Examples for encoders: what is done to a picture is what its pose says, in the terms of `cameras.poses`."""

import numpy as np
import pytest
from PIL import Image

from pmv_jax import cameras
from pmv_jax.cameras import poses
from tests import rendered_spheres
from tests.small_inversion import CONFIG
from tools.encoding import backdrops
from tools.encoding.examples import Placement, Source, placed_relief
from tools.training.data import Heads

SIDE = 48


@pytest.fixture
def source(tmp_path):
    rendered_spheres.shard(tmp_path / "shard_0000.npz", heads=3, views=2, seed=0)
    return Source([Heads(tmp_path)], [], SIDE)


def centre(picture: np.ndarray) -> np.ndarray:
    """Where the bright dot is, in picture sizes."""
    weight = picture.astype(np.float64) ** 4
    y, x = (np.mgrid[: len(picture), : len(picture)] + 0.5) / len(picture)
    return np.array([np.sum(x * weight), np.sum(y * weight)]) / weight.sum()


@pytest.mark.parametrize("placement", [(0, 0, 0, 0), (0.3, 0, 0, 0), (0, 0.1, -0.05, 0), (0.2, 0.06, 0.1, 0.0)])
def test_placing_a_picture_is_moving_the_camera(placement):
    """A point before the camera of a pose is seen where placing the untouched picture puts it."""
    plain = poses.to_camera(np.array([0.3, -0.1, 0.0, 0.0, 0.0], np.float32), CONFIG)
    moved = poses.to_camera(np.array([0.3, -0.1, *placement[:3]], np.float32), CONFIG)
    pose = np.asarray(plain[:16]).reshape(4, 4)
    # As far away as the pivot, where shifts are measured.
    point = np.asarray(CONFIG.camera_pivot) + pose[:3, :3] @ [0.05, -0.08, 0.0]
    where, expected = (np.asarray(cameras.project(camera, point[None])[0][0]) for camera in (plain, moved))
    size = 200
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    dot = 255 * np.exp(-np.square((x - where[0]) / 0.02) / 2 - np.square((y - where[1]) / 0.02) / 2)
    placed = Placement(*placement).apply(Image.fromarray(dot.astype(np.uint8)), 100)
    np.testing.assert_allclose(centre(np.asarray(placed)), expected, atol=2e-3)


def test_a_head_is_larger_by_its_scale():
    y, x = (np.mgrid[:200, :200] + 0.5) / 200 - 0.5
    disc = Image.fromarray(np.where(np.hypot(x, y) < 0.2, 255, 0).astype(np.uint8))
    areas = [np.mean(np.asarray(Placement(log_scale=s).apply(disc, 100)) / 255) for s in (0.0, 0.3)]
    assert areas[1] / areas[0] == pytest.approx(np.exp(0.6), rel=0.02)


@pytest.mark.parametrize("placement", [Placement(), Placement(right=0.1, log_scale=0.2)])
def test_the_relief_of_a_ball_is_the_ball(placement):
    """Of one around the pivot, seen from 2.7 away; larger in the picture it is larger in depth as well."""
    p = np.zeros(rendered_spheres.NUMBERS)
    camera = np.asarray(cameras.look_at(0.0, 0.0, pivot=(0.0, 0.0, 0.0), radius=2.7))
    _, _, z_depth = rendered_spheres.render(p, camera, 256)
    relief = placed_relief(z_depth, 2.7, placement, SIDE)
    scale, places = np.exp(placement.log_scale), (np.arange(SIDE) + 0.5) / SIDE - 0.5
    x, y = np.meshgrid((places - placement.right) / scale, places / scale)
    rays = np.stack([x, y], axis=-1) / camera[16]  # focal length, in picture sizes
    # Of the ray (x, y, 1) t with (x t)^2 + (y t)^2 + (t - 2.7)^2 = radius^2.
    square = 1 + np.sum(rays**2, axis=-1)
    inside = 2.7**2 - square * (2.7**2 - rendered_spheres.radius(p) ** 2)
    expected = scale * ((2.7 - np.sqrt(np.maximum(inside, 0))) / square - 2.7)
    middle = inside > 0.03  # at the rim a pixel sees many depths
    assert middle.mean() > 0.05 and np.isnan(relief[0]).all()
    np.testing.assert_allclose(relief[middle], expected[middle], atol=4e-3)


def test_examples_are_drawn_from_the_generator_of_random_numbers_alone(source):
    first, second = (source.batch(np.random.default_rng(5), 6) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_examples_are_pictures_with_their_truth(source):
    batch = source.batch(np.random.default_rng(0), 40)
    assert batch.image.shape == (40, SIDE, SIDE, 3) and batch.image.dtype == np.float32
    assert np.abs(batch.image).max() <= 1 and batch.matte.min() >= 0 and batch.matte.max() <= 1
    assert 0.05 < batch.matte.mean() < 0.95
    known = np.isfinite(batch.relief)
    assert (batch.matte[known] > 0.98).all() and known.mean() > 0.5 * (batch.matte > 0.5).mean()
    mirrored = ~batch.known.any(1)
    assert 0 < mirrored.sum() < 40, "some heads are mirrored, and have numbers that nobody knows"
    assert (batch.known.all(1) | mirrored | ~batch.known[:, -1]).all()
    for axis in range(6):
        assert np.std(batch.pose[:, axis]) > 0.01


def test_every_kind_of_backdrop_is_drawn_and_stays_near_the_range_of_colours(source):
    random, pictures = np.random.default_rng(0), [Image.fromarray(np.full((40, 50, 3), 90, np.uint8))]
    neighbour = lambda: np.ones((SIDE, SIDE, 4)) * 0.5  # noqa: E731
    drawn = [backdrops.draw(SIDE, pictures, neighbour, random) for _ in range(40)]
    assert all(back.shape == (SIDE, SIDE, 3) and np.isfinite(back).all() for back in drawn)
    assert np.mean([(back < -0.5).mean() + (back > 1.5).mean() for back in drawn]) < 0.02
    assert np.std([back.mean() for back in drawn]) > 0.05
