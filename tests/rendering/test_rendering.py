"""Volume rendering against closed forms and brute force."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.config import RenderingConfig
from pmv_jax.rendering import compositing, sampling, triplanes, volume

EMPTY, OPAQUE = -1e3, 1e4  # raw densities


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Compositing
# ---------------------------------------------------------------------------------------------------------------------

composite = jax.jit(compositing.composite, static_argnames="white_background")


@pytest.mark.parametrize("white", [False, True])
def test_a_slab_of_constant_density_obeys_beer_and_lambert(white):
    near, far, raw = 2.0, 3.0, np.float32([-3.0, 1.0, 4.0])
    density, length = np.log1p(np.exp(raw - 1)), far - near
    distances = np.tile(np.linspace(near, far, 1000, dtype=np.float32), (3, 1))
    colour = np.float32([0.2, 0.7])
    rays, distance = composite(
        np.broadcast_to(colour, (3, 1000, 2)), np.tile(raw[:, None], (1, 1000)), distances, white_background=white
    )
    transmitted = np.exp(-density * length)
    expected = (1 - transmitted)[:, None] * colour + (transmitted[:, None] if white else 0)
    np.testing.assert_allclose(0.5 * (rays + 1), expected, atol=1e-4)
    mean = near + 1 / density - length * transmitted / (1 - transmitted)  # of an exponential cut off at `far`
    np.testing.assert_allclose(distance, mean, atol=2e-3)


def test_weights_are_a_share_of_the_light(rng):
    densities = rng.normal(0, 5, (50, 20)).astype(np.float32)
    weights = compositing.render_weights_from_density(densities, np.cumsum(rng.random((50, 20), np.float32), axis=1))
    assert weights.shape == (50, 19) and weights.min() >= 0 and weights.sum(axis=1).max() <= 1 + 1e-6


def test_samples_are_put_in_order_and_equal_ones_keep_theirs(rng):
    distances = rng.integers(0, 9, (50, 24)).astype(np.float32)
    numbers = rng.normal(size=distances.shape).astype(np.float32)
    places, numbers_in_order, in_order = compositing._sorted(jnp.asarray(numbers), jnp.asarray(distances))
    order = np.argsort(distances, axis=1, kind="stable")
    np.testing.assert_array_equal(places, np.argsort(order, axis=1))
    np.testing.assert_array_equal(in_order, np.sort(distances, axis=1))
    np.testing.assert_array_equal(numbers_in_order, np.take_along_axis(numbers, order, axis=1))


def test_an_empty_ray_is_black_or_white_and_as_far_as_its_image():
    distances = np.float32([[1, 2, 3], [2, 4, 5]])
    densities = np.float32([[EMPTY] * 3, [OPAQUE] * 3])
    colours = np.full((2, 3, 1), 0.5, np.float32)
    black, distance = composite(colours, densities, distances)
    white, _ = composite(colours, densities, distances, white_background=True)
    np.testing.assert_allclose(distance, [5, 3], rtol=1e-6)
    np.testing.assert_allclose(black[:, 0], [-1, 0], atol=1e-6)
    np.testing.assert_allclose(white[:, 0], [1, 0], atol=1e-6)


def test_half_of_the_light_comes_from_before_the_median(rng):
    near, far, raw = 2.0, 3.0, np.float32([-3.0, 1.0, 4.0])
    density = np.log1p(np.exp(raw - 1))
    distances = np.tile(np.linspace(near, far, 1000, dtype=np.float32), (3, 1))
    shuffled = rng.permutation(1000)
    median = jax.jit(compositing.median_distance)(np.tile(raw[:, None], (1, 1000)), distances[:, shuffled])
    collected = 1 - np.exp(-density * (far - near))
    np.testing.assert_allclose(median, near - np.log(1 - collected / 2) / density, atol=1e-4)


def test_what_shines_through_moves_the_mean_and_not_the_median():
    distances = np.linspace(2, 3, 101, dtype=np.float32)[None]
    dense = np.abs(distances - 2.2) < 0.011  # a surface that a tenth of the light passes, and a wall behind it
    densities = np.where(dense, 116.0, np.where(distances > 2.8, OPAQUE, EMPTY)).astype(np.float32)
    _, mean = composite(np.zeros((1, 101, 1), np.float32), densities, distances)
    assert 0.03 < mean[0] - 2.2 < 0.1
    np.testing.assert_allclose(compositing.median_distance(densities, distances), 2.2, atol=0.01)


def test_an_empty_ray_has_its_median_at_its_end():
    distances = np.float32([[1, 2, 3], [2, 4, 5]])
    np.testing.assert_array_equal(compositing.median_distance(np.full((2, 3), EMPTY, np.float32), distances), [3, 5])


def test_no_image_clamps_the_distances_of_another(rng):
    distances = np.stack([np.linspace(1, 2, 8), np.linspace(5, 9, 8)])[:, None].repeat(6, 1).astype(np.float32)
    densities = rng.normal(0, 5, distances.shape).astype(np.float32)
    densities[:, 0] = EMPTY
    colours = rng.random((*distances.shape, 3), np.float32)
    batch = jax.jit(jax.vmap(compositing.composite))(colours, densities, distances)
    for i in range(2):
        single = composite(colours[i], densities[i], distances[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-6, atol=1e-6), batch, single)
    np.testing.assert_allclose(batch[1][:, 0], [2, 9])


def test_gradients_are_finite_at_the_extremes():
    @jax.jit
    def gradients(*arguments):
        return jax.grad(loss, (0, 1, 2))(*arguments)

    def loss(colours, densities, distances):
        colour, distance = compositing.composite(colours, densities, distances, white_background=True)
        return jnp.sum(colour) + jnp.sum(distance)

    for raw in (EMPTY, -30.0, OPAQUE):
        densities = np.full((2, 5), raw, np.float32)
        for gradient in gradients(np.full((2, 5, 3), 0.5, np.float32), densities, np.float32([[1, 2, 3, 4, 5]] * 2)):
            assert np.isfinite(gradient).all()


# ---------------------------------------------------------------------------------------------------------------------
# Both passes
# ---------------------------------------------------------------------------------------------------------------------


def wall(points):
    """Opaque beyond z = 0.1; its colour is its x."""
    return points[..., :1], jnp.where(points[..., 2] < 0.1, OPAQUE, EMPTY)


def empty(points):
    return points[..., :1], jnp.full(points.shape[:-1], EMPTY)


FIXED = RenderingConfig(coarse_samples=32, fine_samples=32)
AUTO = dataclasses.replace(FIXED, ray_start=None, ray_end=None)


def rays_from_the_front(rng, count):
    origins = np.tile(np.float32([0.1, 0.2, 2.7]), (count, 1))
    targets = rng.uniform(-0.2, 0.2, (count, 3)) + [0, 0, 0.1]
    return origins, unit(targets - origins)


@pytest.mark.parametrize("config, seed", [(FIXED, None), (AUTO, 0)], ids=["fixed-deterministic", "auto-random"])
def test_an_opaque_wall_is_seen_where_it_stands(rng, config, seed):
    origins, directions = rays_from_the_front(rng, 40)
    key = None if seed is None else jax.random.key(seed)
    colour, distance = jax.jit(lambda o, d: volume.render_rays(wall, o, d, config, key))(origins, directions)
    expected = (0.1 - origins[:, 2]) / directions[:, 2]
    spacing = 1.05 / 32  # of the coarse samples; the fine ones fall into the few strata around the wall
    assert np.abs(distance - expected).max() < spacing
    assert np.abs(distance - expected).mean() < spacing / 4
    hits = origins + expected[:, None] * directions
    np.testing.assert_allclose(0.5 * (colour[:, 0] + 1), hits[:, 0], atol=0.3 * spacing)
    if key is None:
        median = jax.jit(lambda o, d: volume.median_distance(wall, o, d, config))(origins, directions)
        assert np.abs(median - expected).max() < spacing


@pytest.mark.parametrize("seed", [None, 0])
def test_groups_of_rays_are_the_rays_of_one_image(rng, seed):
    """However many they are, random samples included."""
    origins, directions = rays_from_the_front(rng, 37)
    key = None if seed is None else jax.random.key(seed)

    @functools.partial(jax.jit, static_argnums=0)
    def render(at_once, *rays):
        return volume.render_rays(wall, *rays, AUTO, key, at_once), volume.median_distance(wall, *rays, AUTO, at_once)

    whole, two, ten = (render(at_once, origins, directions) for at_once in (10**6, 1280, 256))
    jax.tree.map(lambda a, b, c: np.testing.assert_allclose((b, c), (a, a), atol=1e-6), whole, two, ten)


def test_gradients_of_empty_rays_are_finite(rng):
    origins, directions = rays_from_the_front(rng, 8)
    directions[:4] *= -1  # away from the box

    @jax.jit
    @jax.value_and_grad
    def loss(origins):
        return sum(jnp.sum(x) for x in volume.render_rays(empty, origins, directions, AUTO))

    for o in (origins, origins + 100):
        value, gradient = loss(o)
        assert np.isfinite(value) and np.isfinite(gradient).all()


def test_images_are_rendered_independently(rng):
    origins, directions = (np.stack(x) for x in zip(*(rays_from_the_front(rng, 10) for _ in range(2)), strict=True))
    directions[0, :3] *= -1  # these take the bounds of their neighbours
    origins[1] *= 0.8
    keys = jax.random.split(jax.random.key(1))
    render = lambda *args: volume.render_rays(wall, *args[:2], AUTO, args[2])  # noqa: E731
    batch, single = jax.jit(jax.vmap(render)), jax.jit(render)
    together = batch(origins, directions, keys)
    for i in range(2):
        alone = single(origins[i], directions[i], keys[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-5), together, alone)


# ---------------------------------------------------------------------------------------------------------------------
# Where samples are
# ---------------------------------------------------------------------------------------------------------------------

box_bounds = jax.jit(sampling.box_bounds)
stratified = jax.jit(sampling.stratified, static_argnames=("count", "disparity"))
importance = jax.jit(sampling.importance)


def test_box_bounds_agree_with_walking_along_the_ray(rng):
    side = 1.6
    origins = rng.uniform(-3, 3, (300, 3)).astype(np.float32)
    directions = unit(rng.uniform(-1.2, 1.2, (300, 3)) - origins)
    directions[:4] = [0, 0, -1]
    origins[:4] = [[0.1, 0.2, 2], [0.7, -0.7, 3], [0, 0.9, 2], [2, 0, 2]]  # the first two hit, the others pass by
    walk = np.linspace(-8, 8, 8001)
    inside = (np.abs(origins[:, None] + walk[:, None] * directions[:, None]) <= side / 2).all(axis=-1)
    hit = inside.any(axis=1)
    assert 150 < hit.sum() < 250
    first, last = walk[inside.argmax(axis=1)], walk[8000 - inside[:, ::-1].argmax(axis=1)]
    start, end = box_bounds(origins, directions, side)
    np.testing.assert_allclose(start, np.where(hit, first, first[hit].min()), atol=3e-3)
    np.testing.assert_allclose(end, np.where(hit, last, first[hit].max()), atol=3e-3)


def test_rays_that_miss_the_box_borrow_bounds_from_those_that_hit():
    origins = np.float32([[0, 0, 2], [0, 0, 3], [2, 0, 2], [0, 5, 1]])
    directions = np.tile(np.float32([0, 0, -1]), (4, 1))
    start, end = box_bounds(origins, directions, 1.0)
    np.testing.assert_allclose(start, [1.5, 2.5, 1.5, 1.5])
    np.testing.assert_allclose(end, [2.5, 3.5, 2.5, 2.5])  # the farthest entry: EG3D's choice
    start, end = box_bounds(origins[2:], directions[2:], 1.0)
    np.testing.assert_array_equal([start, end], [[-1, -1], [-2, -2]])


@pytest.mark.parametrize("disparity", [False, True])
def test_stratified_samples_stay_in_their_strata(disparity):
    start, end = np.float32([1.0, 2.0]), np.float32([3.0, 2.5])
    edges = np.linspace(0, 1, 10)[:, None]
    edges = 1 / ((1 - edges) / start + edges / end) if disparity else start + edges * (end - start)
    sample = lambda key: np.asarray(stratified(start, end, count=10, disparity=disparity, key=key))  # noqa: E731
    first, again, other = (sample(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    for distances in (first, other, sample(None)):
        assert distances.shape == (2, 10)
        assert (np.diff(distances) > 0).all()
        assert (distances.T >= edges - 1e-5).all() and (distances.T[:-1] <= edges[1:] + 1e-5).all()
    if not disparity:
        np.testing.assert_allclose(sample(None).T, edges + 0.5 * (end - start) / 9, rtol=1e-6)


def test_stratified_samples_fill_their_strata_evenly():
    keys = jax.random.split(jax.random.key(0), 2000)
    distances = jax.jit(jax.vmap(lambda key: sampling.stratified(0.0, 1.0, 5, key=key)))(keys).reshape(-1, 5)
    within = (distances - jnp.linspace(0, 1, 5)) * 4
    np.testing.assert_allclose(within.mean(axis=0), 0.5, atol=0.03)
    np.testing.assert_allclose(within.var(axis=0), 1 / 12, atol=0.01)


@pytest.fixture
def coarse(rng):
    """Sorted distances [R, S] and compositing weights [R, S - 1] with one peak a ray, in interval 5 + ray."""
    distances = np.sort(rng.uniform(2, 3, (8, 24)).astype(np.float32), axis=1)
    weights = np.zeros((8, 23), np.float32)
    weights[np.arange(8), 5 + np.arange(8)] = 1
    return distances, weights


def test_importance_samples_are_where_the_weight_is(coarse):
    distances, weights = coarse
    for key in (None, jax.random.key(0)):
        fine = np.asarray(importance(distances, weights, sampling.uniforms(len(distances), 200, key)))
        for ray in range(8):
            peak = 5 + ray  # widened by an interval to either side, and moved by half of one
            low, high = distances[ray, peak - 2], distances[ray, peak + 2]
            assert ((fine[ray] >= low) & (fine[ray] <= high)).mean() > 0.85


def test_importance_samples_invert_the_distribution(coarse):
    distances, weights = coarse
    fine = np.asarray(importance(distances, weights, sampling.uniforms(len(distances), 50)))
    assert (np.diff(fine) >= 0).all()
    middles = 0.5 * (distances[:, 1:] + distances[:, :-1])
    assert (fine >= middles[:, :1]).all() and (fine <= middles[:, -2:-1]).all()
    padded = np.pad(weights, ((0, 0), (1, 1)))
    widened = np.maximum(padded[:, 1:], padded[:, :-1])
    density = (0.5 * (widened[:, 1:] + widened[:, :-1]) + 0.01)[:, 1:-1] + 1e-5
    cdf = np.pad(np.cumsum(density / density.sum(axis=1, keepdims=True), axis=1), ((0, 0), (1, 0)))
    for ray in range(8):
        expected = np.interp((np.arange(50) + 0.5) / 50, cdf[ray], middles[ray, :-1])
        np.testing.assert_allclose(fine[ray], expected, atol=1e-4)


def test_importance_samples_carry_no_gradient(coarse):
    gradients = jax.jit(jax.grad(lambda *args: sampling.importance(*args, sampling.uniforms(4, 10)).sum(), (0, 1)))(
        *coarse
    )
    assert all((np.asarray(g) == 0).all() for g in gradients)


# ---------------------------------------------------------------------------------------------------------------------
# Tri-planes
# ---------------------------------------------------------------------------------------------------------------------


def bilinear(plane, x, y):
    """Value of plane [H, W, C] at (x, y) in pixels, (0, 0) the centre of the first one, zero outside."""
    value = np.zeros(plane.shape[2])
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                value += (1 - abs(y - row)) * (1 - abs(x - column)) * plane[row, column]
    return value


@pytest.mark.parametrize("axes", ["xy_xz_zx", "xy_xz_zy"])
@pytest.mark.parametrize("side", [1.0, 1.6])
def test_lookup_is_the_mean_of_three_bilinear_lookups(rng, axes, side):
    planes = rng.standard_normal((3, 6, 8, 4)).astype(np.float32)
    points = rng.uniform(-0.7 * side, 0.7 * side, (200, 3)).astype(np.float32)
    points[:8] = side / 2 * np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), -1).reshape(8, 3)  # the box's corners
    points[8:11] = [[1e3, 0, 0], [0, -1e3, 0], [1e6, 1e6, 1e6]]
    ours = jax.jit(triplanes.sample, static_argnums=(2, 3))(planes, points.reshape(2, 100, 3), axes, side)
    expected = np.zeros((200, 4))
    for plane, pair in zip(planes, axes.split("_"), strict=True):
        first, second = ("xyz".index(letter) for letter in pair)
        x, y = ((points[:, axis] / side + 0.5) * size - 0.5 for axis, size in ((first, 8), (second, 6)))
        expected += np.stack([bilinear(plane, *position) for position in zip(x, y, strict=True)]) / 3
    np.testing.assert_allclose(ours.reshape(200, 4), expected, atol=2e-5)
    assert (np.asarray(ours)[0, 10] == 0).all()


def test_lookup_gradients_agree_with_differences(rng):
    planes = rng.standard_normal((3, 5, 5, 2)).astype(np.float32)
    points = rng.uniform(-0.6, 0.6, (50, 3)).astype(np.float32)
    weights = rng.standard_normal((50, 2)).astype(np.float32)
    step = 1e-3 * rng.standard_normal(3).astype(np.float32)

    @jax.jit
    def total(planes, points):
        return jnp.sum(triplanes.sample(planes, points, "xy_xz_zx", 1.0) * weights)

    by_planes, by_points = jax.jit(jax.grad(total, (0, 1)))(planes, points)
    np.testing.assert_allclose(np.vdot(by_planes, planes), total(planes, points), rtol=1e-4)  # linear in the planes
    change = total(planes, points + step) - total(planes, points - step)
    np.testing.assert_allclose(np.sum(by_points * 2 * step), change, rtol=0.05)
