"""The rasteriser against twins that try every sample."""

import numpy as np
import pytest

from tools.heads.rasteriser import (
    FAR,
    Strands,
    draw_strands,
    draw_triangles,
    empty_samples,
    one_texture,
    taper,
    visibility,
)

UV = np.zeros((1, 6), np.float32)
PLAIN = np.zeros(1, np.int32)


def drawn_triangle(corners: np.ndarray, perspective: bool, size: int = 24):
    samples = empty_samples(size, size)
    triangle = np.array([[0, 1, 2]], np.int32)
    draw_triangles(samples, corners.astype(np.float32), triangle, UV, PLAIN, one_texture(), perspective)
    return samples


def brute_force_triangle(corners: np.ndarray, perspective: bool, size: int = 24):
    """Depth [size, size], and how far inside each sample is, by solving for barycentric weights."""
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    system = np.stack([corners[:, 0], corners[:, 1], np.ones(3)])
    weights = np.linalg.solve(system, np.stack([x.ravel(), y.ravel(), np.ones(size * size)])).T
    depth = 1 / (weights @ (1 / corners[:, 2])) if perspective else weights @ corners[:, 2]
    return depth.reshape(size, size), weights.min(1).reshape(size, size)


@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_triangle_covers_and_has_the_depth_of_its_twin(seed, perspective):
    corners = np.random.default_rng(seed).uniform((-4, -4, 2), (28, 28, 4), (3, 3))
    samples = drawn_triangle(corners, perspective)
    depth, inside = brute_force_triangle(corners, perspective)
    covered = samples.depth < FAR
    clear = np.abs(inside) > 1e-5  # samples on an edge may fall either way
    np.testing.assert_array_equal(covered[clear], inside[clear] > 0)
    np.testing.assert_allclose(samples.depth[covered], depth[covered], rtol=1e-5)
    np.testing.assert_array_equal(samples.primitive, np.where(covered, 0, -1))


def test_place_is_perspective_correct():
    corners = np.array([[0, 0, 1.0], [24, 0, 4.0], [0, 24, 2.0]])
    samples = drawn_triangle(corners, True)
    u, v = samples.place[5, 6]
    point = np.array([u, v, 1 - u - v]) @ (corners * corners[:, 2:] ** [1, 1, 0])
    np.testing.assert_allclose(point[:2] / point[2], [6.5, 5.5], rtol=1e-5)


def test_the_nearer_triangle_wins_whatever_the_order():
    near = np.array([[0, 0, 1], [24, 0, 1], [0, 24, 1]], np.float32)
    far = near + np.array([0, 0, 1], np.float32)
    triangles, twice = np.array([[0, 1, 2], [3, 4, 5]], np.int32), np.zeros(2, np.int32)
    for first, second, winner in ((near, far, 0), (far, near, 1)):
        samples = empty_samples(24, 24)
        corners = np.concatenate([first, second])
        draw_triangles(samples, corners, triangles, np.tile(UV, (2, 1)), twice, one_texture(), False)
        assert set(np.unique(samples.primitive)) == {-1, winner}


def test_half_transparent_textures_keep_their_share_and_complement_one_another():
    corners = np.array([[-10, -10, 1], [200, -10, 1], [-10, 200, 1]])
    covered = []
    for shown in ((0.0, 0.3), (0.3, 1.0)):
        textures = one_texture()._replace(shown=np.array([shown], np.float32))
        samples = empty_samples(64, 64)
        triangle = np.array([[0, 1, 2]], np.int32)
        draw_triangles(samples, corners.astype(np.float32), triangle, UV, PLAIN, textures, False)
        covered.append(samples.primitive >= 0)
    assert np.all(covered[0] ^ covered[1])
    assert covered[0].mean() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("alpha", [0, 64, 128, 255])
def test_cut_out_textures_cover_by_their_alpha(alpha):
    textures = one_texture()._replace(pool=np.array([0, 0, 0, alpha], np.uint8), cutout=np.ones(1, bool))
    samples = empty_samples(64, 64)
    corners = np.array([[-10, -10, 1], [200, -10, 1], [-10, 200, 1]], np.float32)
    draw_triangles(samples, corners, np.array([[0, 1, 2]], np.int32), UV, PLAIN, textures, False)
    assert (samples.primitive >= 0).mean() == pytest.approx(alpha / 255, abs=1 / 16)


def drawn_strand(screen: np.ndarray, radius: float, label: int = 0, size: int = 48):
    samples = empty_samples(size, size)
    strands = Strands(
        np.zeros((1, *screen.shape), np.float32), np.array([radius], np.float32), np.array([label], np.int32)
    )
    draw_strands(samples, screen[None].astype(np.float32), strands, 1.0, False, 10)
    return samples


@pytest.mark.parametrize("seed", range(6))
def test_a_strand_covers_what_its_capsule_does(seed):
    """Thick strands: all that is well inside of the capsules about their segments, nothing that is well outside."""
    random = np.random.default_rng(seed)
    a, b = random.uniform(8, 40, (2, 3))
    points = np.linspace(a, b, 5)
    radius = 3.0
    samples = drawn_strand(points, radius)
    x, y = np.meshgrid(np.arange(48) + 0.5, np.arange(48) + 0.5)
    pixels, along = np.stack([x, y], -1), (b - a)[:2]
    t = ((pixels - a[:2]) @ along) / (along @ along)
    distance = np.linalg.norm(pixels - a[:2] - t[..., None] * along, axis=-1)
    end = 2 * radius / np.linalg.norm(along)  # ends are cut along rows or columns, and are not round
    between = (t > end) & (t < 1 - end)
    # Segments meet along rows or columns: at a place it may be this one's width, or the one's before or after.
    wide, narrow = (radius * taper((np.clip(np.floor(4 * t) + shift, 0, 3) + 0.5) / 4) for shift in (-1, 1))
    covered = samples.depth < FAR
    assert np.all(covered[between & (distance < narrow - 0.8)])
    assert not covered[(distance > wide + 0.8) & between].any()
    assert not covered[(t < -end) | (t > 1 + end)].any()
    inside = covered & between & (distance < 1)
    np.testing.assert_allclose(
        samples.depth[inside], (a[2] + t * (b[2] - a[2]))[inside], atol=1.2 * abs(b[2] - a[2]) / 8
    )


@pytest.mark.parametrize("radius", [0.05, 0.2, 0.4])
def test_thin_strands_cover_their_share_of_samples(radius):
    """As wide as a part of a sample, a strand covers that part of a column, wherever it is between sample centres."""
    covered, labels = 0, range(60)
    for label in labels:
        line = np.stack([np.full(3, 20 + label / 60), np.linspace(0, 48, 3), np.ones(3)], 1)
        covered += (drawn_strand(line, radius, label).depth < FAR).sum() / 48
    expected = radius * (taper(0.25) + taper(0.75))
    assert covered / len(labels) == pytest.approx(expected, abs=0.01)


def test_strands_are_numbered_by_segment_and_place():
    line = np.stack([np.full(3, 20.5), np.array([0.0, 16, 48]), np.ones(3)], 1)
    samples = drawn_strand(line, 1.0)
    assert set(np.unique(samples.primitive[:16, 20])) == {10}
    assert set(np.unique(samples.primitive[17:, 20])) == {11}
    np.testing.assert_allclose(samples.place[17:47, 20, 0], (np.arange(17, 47) + 0.5 - 16) / 32, atol=1e-5)


def test_light_fades_behind_a_depth_map():
    depth_map = np.full((8, 8), FAR, np.float32)
    depth_map[:, :4] = 1.0
    depths = np.array([0.5, 1.05, 1.3, 2.0], np.float32)
    points = np.stack([np.full(4, 2.0), np.full(4, 4.0), depths], 1).astype(np.float32)
    seen = np.empty(4, np.float32)
    visibility(depth_map, points, 0.1, 5.0, seen)
    np.testing.assert_allclose(seen, np.exp(-5 * np.maximum(depths - 1.1, 0)), rtol=1e-5)
    points[:, 0] = 4.0  # between the covered half and the open one
    halfway = np.empty(4, np.float32)
    visibility(depth_map, points, 0.1, 5.0, halfway)
    np.testing.assert_allclose(halfway, 0.5 + 0.5 * seen, rtol=1e-5)
