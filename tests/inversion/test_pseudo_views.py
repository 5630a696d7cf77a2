"""Pseudo-views: their cameras, their masks, and who fills in what the input hides."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from pmv_jax import cameras
from pmv_jax.cameras import look_at, yaw_pitch
from pmv_jax.config import GeneratorConfig, PseudoViewConfig, load_recipe
from pmv_jax.inversion import masks, pseudo_views
from pmv_jax.inversion.stage import Photograph
from tests.small_inversion import CAMERA, a_code, generator, picture, views_of
from tests.small_inversion import CONFIG as TINY

ROOT = Path(__file__).parents[2]


def test_soften_erodes_and_blurs_inwards():
    mask = np.float32(ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(64, 64)), 5) > 0)
    assert 0.3 < mask.mean() < 0.7
    # Without a blur it is erosion, with the outside visible.
    for width, reach in ((0.0, 0), (0.03, 1), (0.1, 3)):
        expected = ndimage.minimum_filter(mask, 2 * reach + 1, mode="constant", cval=1.0)
        np.testing.assert_array_equal(masks.soften(mask, width, 0.0), expected)
    # With a blur it is the smaller of the eroded mask and its Gaussian: nothing hidden becomes visible.
    eroded, sigma = ndimage.minimum_filter(mask, 3, mode="constant", cval=1.0), 0.2 * 64 / 6
    blurred = ndimage.gaussian_filter(eroded, sigma, mode="nearest", radius=round(3 * sigma))
    softened = np.asarray(masks.soften(mask, 0.03, 0.2))
    np.testing.assert_allclose(softened, np.minimum(eroded, blurred), atol=1e-5)
    assert (softened[mask == 0] == 0).all() and 0 < np.mean((softened > 0.01) & (softened < 0.99))


@pytest.mark.parametrize("pattern", ["disc", "ellipse"])
def test_view_cameras_surround_the_frontal_one(pattern):
    camera = look_at(0.2, -0.1, focal=3.0)
    config = PseudoViewConfig(count=8, pattern=pattern, yaw_range=0.4, pitch_range=0.2)
    views = jax.jit(pseudo_views.view_cameras, static_argnums=(1, 2))(camera, config, TINY)
    assert views.shape == (8, 25)
    np.testing.assert_array_equal(views[:, 16:], np.tile(camera[16:], (8, 1)))
    offsets = np.stack(yaw_pitch(views), -1) / (0.4, 0.2)
    radii = np.linalg.norm(offsets, axis=-1)
    if pattern == "ellipse":
        np.testing.assert_allclose(offsets.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(radii, 1.0, atol=1e-4)
    else:  # rings of equal area, no two cameras close
        np.testing.assert_allclose(np.square(radii), (np.arange(8) + 0.5) / 8, atol=1e-4)
        apart = np.linalg.norm(offsets[:, None] - offsets, axis=-1) + 9 * np.eye(8)
        assert apart.min() > 0.4


def test_pseudo_view_cameras_of_the_paper():
    config, frontal = load_recipe("hfgi3d_paper"), look_at(0.0, 0.0)
    ours = cameras.split(pseudo_views.view_cameras(frontal, config.pseudo_views, GeneratorConfig()))[0]
    with np.load(ROOT / "tests" / "data" / "cameras.npz") as values:
        theirs = np.float32(values["pseudo_view_cam2world"])
    # Its code takes 3.14 for pi: at the end of the round, 2.7 * 0.35 * 0.0031 units beside ours.
    np.testing.assert_allclose(ours, theirs, atol=5e-3)


def test_of_two_photographs_each_point_comes_from_the_one_that_sees_it_from_the_most_similar_direction():
    """Against each photograph alone: red from the left, green from the right, both of the tiny generator's surface."""
    config = PseudoViewConfig(count=6, yaw_range=0.9, erode=0.0, blur=0.0)
    size, sides = TINY.image_resolution, look_at([-0.6, 0.6], 0.0)
    known = jnp.ones((size, size))
    red, green = (jnp.zeros((size, size, 3)).at[..., channel].set(1.0) for channel in (0, 1))
    left, right = (Photograph(image, side, weights=known) for image, side in zip((red, green), sides, strict=True))
    one, other, both = (
        pseudo_views.make(generator(), generator(), a_code(3), seen, config=config)
        for seen in ((left,), (right,), (left, right))
    )
    assert both.distances.shape[0] == 2 + 6 and one.distances.shape[0] == 1 + 6
    np.testing.assert_allclose(both.visibility, np.maximum(one.visibility, other.visibility), atol=1e-5)
    by_left, by_right = one.visibility > 0.99, other.visibility > 0.99
    hidden_from_left = (one.visibility < 1e-6) & by_right
    hidden_from_right = (other.visibility < 1e-6) & by_left
    assert hidden_from_left.sum() > 20 and hidden_from_right.sum() > 20
    np.testing.assert_allclose(both.warp[hidden_from_left], np.tile([0, 1, 0], (hidden_from_left.sum(), 1)), atol=1e-3)
    np.testing.assert_allclose(
        both.warp[hidden_from_right], np.tile([1, 0, 0], (hidden_from_right.sum(), 1)), atol=1e-3
    )
    # Where both see a point: the nearer direction, and the mean in the middle between them.
    place = jax.vmap(lambda distance, view: cameras.ray_distance_to_z_depth(distance, view))
    depths = place(both.distances[2:], both.cameras)
    finer = jax.vmap(lambda z: jax.image.resize(z, (size, size), "bilinear"))(depths)
    angles = np.stack(
        [pseudo_views.angles_between(z, view, sides) for z, view in zip(finer, both.cameras, strict=True)]
    )
    clear = by_left & by_right & (np.abs(angles[:, 0] ** 2 - angles[:, 1] ** 2) > 0.2)
    nearer_left = angles[:, 0] < angles[:, 1]
    assert (clear & nearer_left).any() and (clear & ~nearer_left).any()
    share_of_left = np.asarray(both.warp)[..., 0]
    assert (share_of_left[clear] > 0.5).tolist() == nearer_left[clear].tolist()
    np.testing.assert_allclose(np.asarray(both.warp).sum(-1)[by_left | by_right], 1.0, atol=1e-3)


def test_the_angle_between_lines_of_sight():
    """Of a plane before two cameras, in closed form; and of a camera with itself none."""
    camera, other = look_at([0.0, 0.5], 0.0)
    z_depth = jnp.full((9, 9), 2.7)  # through the pivot
    own, turned = pseudo_views.angles_between(z_depth, camera, jnp.stack([camera, other]))
    np.testing.assert_allclose(own, 0, atol=1e-3)
    assert turned[4, 4] == pytest.approx(0.5, abs=1e-3)
    origin, place = (np.asarray(cameras.split(x)[0][:3, 3]) for x in (camera, other))
    point = origin + 2.7 * np.asarray(cameras.unproject(camera, cameras.pixel_centres(9)[2, 7][None]))[0]
    a, b = point - origin, point - place
    assert turned[2, 7] == pytest.approx(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-4)


def test_fill_says_whose_the_hidden_parts_are():
    # Tuning has changed the colours, not the geometry.
    params = jax.tree.map(lambda x: x, generator().params)
    torgb = params["superresolution"]["block1"]["torgb"]
    torgb["bias"] = torgb["bias"] + 0.3
    tuned = generator().with_params(params)
    known = a_code(3), (Photograph(picture(), CAMERA, weights=jnp.ones(picture().shape[:2])),)
    views = {
        fill: pseudo_views.make(tuned, generator(), *known, config=PseudoViewConfig(count=3, yaw_range=1.5, fill=fill))
        for fill in ("tuned", "both")
    }
    around, visible = views["tuned"].cameras, views["tuned"].visibility
    own, untuned = (np.clip(views_of(network, a_code(3), around)["image"], -1, 1) for network in (tuned, generator()))
    hidden = jnp.abs(views["tuned"].blend - own)[visible == 0]
    assert hidden.size > 0 and hidden.max() < 1e-5
    same = jnp.abs(views["both"].blend - untuned).max(-1) < 1e-5
    differs = jnp.abs(views["both"].blend - views["tuned"].blend).max(-1) > 1e-5
    assert differs.any()  # somewhere the input shows nothing
    assert same[differs].mean() > 0.5 and not differs[visible > 0.999].any()


RADIUS = 0.25


def ball_seen(camera, centre, size):
    """A ball in colours whose left half is like the right, before a wall at 4: image [size, size, 3], ray distances."""
    origins, directions = cameras.rays(camera, size)
    offset = origins - centre
    along = jnp.sum(offset * directions, -1)
    root = jnp.square(along) - jnp.sum(jnp.square(offset), -1) + RADIUS**2
    distance = jnp.where(root > 0, -along - jnp.sqrt(jnp.maximum(root, 0)), 4.0)[:, None]
    colour = 0.4 + 0.5 * jnp.cos(4 * (origins + distance * directions) + jnp.array([0.0, 0.5, 1.0]))
    return jnp.where(distance < 4, colour, 0).reshape(size, size, 3), distance.reshape(size, size)


def ball_in_views(camera, centre, size, config):
    """Of an input and its pseudo-views, cameras [1 + V, 25] and the truth; and what two generators show that know the
    ball's shape and of its colours nothing, as `pseudo_views.blended` takes it."""
    everyone = jnp.concatenate([camera[None], pseudo_views.view_cameras(camera, config, TINY)])
    truth, distance = jax.vmap(ball_seen, in_axes=(0, None, None))(everyone, centre, size)
    rendered = {"image": jnp.zeros_like(truth), "ray_distance": distance}
    return everyone, truth, rendered, {name: values[1:] for name, values in rendered.items()}


@pytest.mark.parametrize("aside", [0.0, 0.1])
def test_the_hidden_half_is_the_mirror_image_of_the_other_where_the_head_is_as_symmetric(aside):
    """Of a ball that two generators know the shape of, and of its colours nothing."""
    centre, camera, size = jnp.array([aside, 0.0, 0.0]), look_at(0.7, 0.0), 64
    photograph = Photograph(ball_seen(camera, centre, size)[0], camera, weights=jnp.ones((size, size)))
    settings = {"count": 4, "yaw_range": 0.9, "pitch_range": 0.1, "erode": 0.0, "blur": 0.0}
    everyone, truth, rendered, other = ball_in_views(camera, centre, size, PseudoViewConfig(**settings))
    distance = rendered["ray_distance"]
    made = {
        fill: pseudo_views.blended(
            (photograph,), everyone, rendered, None, other, config=PseudoViewConfig(fill=fill, **settings)
        )
        for fill in ("both", "mirror")
    }
    hidden = (distance[1:] < 4) & (made["both"].visibility == 0)
    assert hidden.sum() > 100
    weights = {fill: views.weight[hidden] for fill, views in made.items()}
    config = PseudoViewConfig()
    np.testing.assert_allclose(weights["both"], config.hidden_weight)
    mirrored = weights["mirror"] > config.mirror_weight - 1e-3
    assert mirrored.mean() > 0.5 or aside
    errors = {fill: float(jnp.abs(views.blend - truth[1:])[hidden].mean()) for fill, views in made.items()}
    if aside:  # no point of the ball has a mirror image on it
        assert errors["mirror"] > 0.8 * errors["both"]
    else:
        assert errors["mirror"] < 0.3 * errors["both"]
    np.testing.assert_allclose(made["mirror"].warp, made["both"].warp, atol=1e-3)


@pytest.mark.parametrize("matte", [False, True])
def test_the_backdrop_goes_on_behind_the_head(matte):
    """Of a ball before a wall of one colour, which generators paint in another; a hat of a third colour is head by the
    matte alone, and no part of the wall."""
    centre, camera, size = jnp.zeros(3), look_at(0.3, 0.0), 64
    image, distance = ball_seen(camera, centre, size)
    wall = jnp.array([0.2, -0.4, 0.7])
    image = jnp.where(distance[..., None] < 4, image, wall)
    drawn = distance < 4
    if matte:
        hat = jnp.zeros((size, size), bool).at[:12].set(True) & ~drawn
        image, drawn = jnp.where(hat[..., None], -1.0, image), drawn | hat
    limit = jnp.full((8, 8), 3.5)
    photograph = Photograph(
        image, camera, weights=jnp.ones((size, size)), matte=drawn.astype(float) if matte else None, head_limit=limit
    )
    settings = {"count": 4, "yaw_range": 0.9, "pitch_range": 0.1, "erode": 0.0, "blur": 0.0}
    config = PseudoViewConfig(fill="mirror", **settings)
    everyone, _, rendered, other = ball_in_views(camera, centre, size, config)
    distances = rendered["ray_distance"]
    limits = jnp.broadcast_to(limit, (4, 8, 8))
    made = pseudo_views.blended((photograph,), everyone, rendered, None, other, limits, config=config)
    beside = ndimage.minimum_filter(np.asarray(distances[1:] == 4), (1, 5, 5))  # but for a rim around the head
    behind = beside & np.asarray(made.visibility == 0)
    assert behind.sum() > 100
    np.testing.assert_allclose(made.blend[behind], np.broadcast_to(wall, (int(behind.sum()), 3)), atol=1e-3)
    # Nothing else has changed.
    before = pseudo_views.blended((photograph,), everyone, rendered, None, other, config=config)
    np.testing.assert_allclose(made.blend[distances[1:] < 4], before.blend[distances[1:] < 4], atol=1e-4)


def test_a_mirrored_photograph_shows_the_head_alone():
    """Of a photograph whose left third is head: it is on the right then, and nothing else is believed."""
    size, camera = 24, look_at(0.5, 0.1)
    image = jax.random.uniform(jax.random.key(0), (size, size, 3))
    z_depth = jnp.where(jnp.arange(size) < size // 3, 2.5, 3.2) * jnp.ones((size, 1))
    weights = jnp.ones((size, size)).at[:3].set(0)
    photograph = Photograph(image, camera, weights=weights, head_limit=jnp.full((8, 8), 2.9))
    mirrored = pseudo_views._mirrored(photograph, z_depth)
    np.testing.assert_array_equal(mirrored.image, image[:, ::-1])
    expected = np.zeros((size, size))
    expected[3:, -size // 3 :] = 1
    np.testing.assert_array_equal(mirrored.weights, expected)
    np.testing.assert_allclose(yaw_pitch(mirrored.camera), (-0.5, 0.1), atol=1e-6)
