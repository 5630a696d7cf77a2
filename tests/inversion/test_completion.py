"""What a completer is given of other views, and what pseudo-views make of what it tells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.cameras import look_at
from pmv_jax.config import PseudoViewConfig, override
from pmv_jax.inversion import completion, outline, pipeline, pseudo_views, visibility
from pmv_jax.inversion.losses import Outline, Surface
from pmv_jax.inversion.stage import Photograph
from pmv_jax.inversion.view_fitting import Views
from pmv_jax.models.completer import DEPTH_UNIT, SEEN_CHANNELS, Completion
from pmv_jax.models.encoder import Glance
from tests.inversion.test_camera import Saying
from tests.small_inversion import CONFIG, RECIPE, SIZE, generator, picture

N, RAW, COUNT = 16, CONFIG.rendering.neural_resolution, RECIPE.pseudo_views.count
HIT, RELIEF, COLOUR, WIDTH, MIRRORED = 0, 1, slice(2, 5), 5, 6


def seen_from(around, camera, relief, matte=None, image=None, size=N):
    matte = np.ones((N, N), np.float32) if matte is None else matte
    image = colours() if image is None else image
    width = np.full((N, N), 0.02, np.float32)
    return completion.seen_from(jnp.stack(around), image, matte, relief, width, camera, CONFIG, size)


def colours(seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (N, N, 3)).astype(np.float32)


def waves():
    x, y = np.meshgrid(np.linspace(-1, 1, N), np.linspace(-1, 1, N))
    return np.float32(0.05 * np.sin(3 * x) * np.cos(2 * y))


def test_from_its_own_camera_a_photograph_is_as_it_was():
    camera, image, matte = look_at(0.3, -0.1), colours(), np.float32(np.indices((N, N))[1] >= 4)
    (seen,) = seen_from([camera], camera, waves(), matte, image)
    assert seen.shape == (N, N, SEEN_CHANNELS)
    np.testing.assert_array_equal(seen[..., HIT], matte)
    np.testing.assert_allclose(seen[..., COLOUR], matte[..., None] * image, atol=1e-5)
    np.testing.assert_allclose(seen[..., RELIEF], matte * waves() / DEPTH_UNIT, atol=1e-4)
    np.testing.assert_allclose(seen[..., WIDTH], matte * 0.02 / DEPTH_UNIT, atol=1e-6)
    np.testing.assert_allclose(seen[..., -2:], np.broadcast_to([0.0, 0.3], (N, N, 2)), atol=1e-6)


def test_the_second_half_is_what_the_mirrored_photograph_shows():
    """And the picture of a mirrored view is the mirror image, halves exchanged."""
    camera, other = look_at(0.3, 0.1), look_at(-0.2, 0.0)
    (seen,) = seen_from([other], camera, waves())
    flipped = waves()[:, ::-1], None, colours()[:, ::-1]
    (again,) = seen_from([other], cameras.mirrored(camera), *flipped)
    np.testing.assert_allclose(seen[..., MIRRORED : 2 * MIRRORED], again[..., :MIRRORED], atol=1e-4)
    assert seen[..., MIRRORED].sum() > 50


def test_what_is_in_front_hides_what_is_behind():
    """A square before a wall, seen from the side: where both fall into a pixel it is the square's alone."""
    relief = np.full((N, N), 0.3, np.float32)
    square = np.zeros((N, N), bool)
    square[5:11, 5:11] = True
    relief[square] = -0.2
    image = np.where(square[..., None], np.float32([1, -1, 0]), np.float32([-1, 1, 0]))
    (seen,) = seen_from([look_at(0.35, 0.0)], look_at(0.0, 0.0), relief, image=image, size=8)
    hit = np.asarray(seen[..., HIT] > 0)
    pure = np.isclose(np.abs(seen[..., 2]), 1, atol=1e-4)
    assert (pure == hit).all() and hit.mean() > 0.5
    in_front = hit & np.asarray(seen[..., 2] > 0)
    assert (
        in_front.sum() >= 4
        and (seen[..., RELIEF][in_front] < 0).all()
        and (seen[..., RELIEF][hit & ~in_front] > 0).all()
    )


def test_points_lie_where_the_camera_says():
    """Single points of a photograph against `cameras.project`, one by one."""
    camera, other, relief = look_at(0.2, 0.1), look_at(-0.25, -0.1), waves()
    pivot = np.asarray(CONFIG.camera_pivot)
    depth = float(cameras.project(camera, pivot[None])[1][0])
    points = np.asarray(visibility.points(jnp.asarray(depth + relief), camera))
    for row, column in ((3, 4), (8, 8), (12, 6)):
        matte = np.zeros((N, N), np.float32)
        matte[row, column] = 1
        (seen,) = seen_from([other], camera, relief, matte)
        place, z = (np.asarray(x[0]) for x in cameras.project(other, points[row, column][None]))
        x, y = np.floor(N * place).astype(int)
        assert [tuple(p) for p in np.argwhere(seen[..., HIT] > 0)] == [(y, x)]
        middle = cameras.project(other, pivot[None])[1][0]
        assert seen[y, x, RELIEF] == pytest.approx(float(z - middle) / DEPTH_UNIT, abs=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# What it tells
# ---------------------------------------------------------------------------------------------------------------------


def told(matte=0.9, relief=0.05, width=0.01, colour=0.5, colour_width=0.05, count=COUNT, side=8):
    maps = [jnp.full((count, side, side), x, jnp.float32) for x in (matte, relief, width)]
    return Completion(*maps, jnp.full((count, side, side, 3), colour), jnp.full((count, side, side), colour_width))


@pytest.mark.parametrize(
    ("given", "believed"), [({"width": 0.04}, 0.45), ({"width": 1e-4}, 0.9), ({"matte": 0.1}, 0.1)]
)
def test_pseudo_views_are_held_to_what_is_told_and_inputs_are_not(given, believed):
    nothing = jnp.zeros((1 + COUNT, RAW, RAW))
    views = Views(nothing, nothing, nothing, None, Outline(nothing, nothing, nothing), Surface(nothing, nothing))
    around = look_at(jnp.linspace(-0.5, 0.5, COUNT), 0.1)
    limits, pivot = jnp.full((COUNT, RAW, RAW), 3.1), np.asarray(CONFIG.camera_pivot)
    held = completion.held(views, told(**given), around, limits, config=CONFIG)
    for old in jax.tree.leaves((held.surface, held.outline)):
        assert not old[0].any() and old.shape == nothing.shape
    np.testing.assert_allclose(held.surface.weight[1:], believed, atol=0.01)
    np.testing.assert_allclose(held.outline.matte[1:], given.get("matte", 0.9), atol=1e-6)
    np.testing.assert_allclose(held.outline.weight[1:], 0.64, atol=1e-5)  # (2 * 0.9 - 1)^2
    for view, distance, limit in zip(around, held.surface.distance[1:], held.outline.limit[1:], strict=True):
        pivot_depth = float(cameras.project(view, pivot[None])[1][0])
        z_depth = cameras.ray_distance_to_z_depth(distance, view)
        np.testing.assert_allclose(z_depth, pivot_depth + 0.05, atol=1e-4)
        np.testing.assert_allclose(cameras.ray_distance_to_z_depth(limit, view), 3.1, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "depth"),
    [
        ({"matte": 1.0, "width": 0.001}, "told"),
        ({"matte": 1.0, "width": 0.2}, "own"),
        ({"matte": 0.6, "width": 0.04}, "own"),
        ({"matte": 0.1}, "wall"),
    ],
)
@pytest.mark.parametrize("seen", [True, False])
def test_a_warp_goes_by_what_is_surely_told(given, depth, seen):
    """Also of the photograph, if an encoder has seen it; the rest is the generator's."""
    camera, around = look_at(0.2, 0.0), look_at(jnp.array([-0.3, 0.4]), 0.1)
    everyone = jnp.concatenate([camera[None], around])
    answer = told(**given, count=2)
    maps = [answer.relief[0], answer.relief_width[0]]
    own = glance()._replace(relief=maps[0], relief_width=maps[1])
    known = {"glance": own, "head_limit": jnp.full((RAW, RAW), 3.0)} if seen else {}
    photograph = Photograph(picture(), camera, weights=jnp.ones((SIZE, SIZE)), matte=answer.matte[0], **known)
    photograph = photograph.replace(weights=jnp.ones(photograph.matte.shape))
    z_depth, limits = jnp.full((3, 32, 32), 2.5), jnp.full((2, RAW, RAW), 3.0)
    corrected = completion.corrected(z_depth, (photograph,), answer, everyone, limits, config=CONFIG)
    for i, view in enumerate(everyone):
        pivot = cameras.project(view, jnp.asarray(CONFIG.camera_pivot)[None])[1][0]
        expected = {"told": pivot + 0.05, "own": 2.5, "wall": 3.0 + outline.CLEARANCE}
        np.testing.assert_allclose(corrected[i], expected[depth if seen or i else "own"], atol=1e-4)


@pytest.mark.parametrize(
    ("given", "mirror", "share", "expected"),
    [
        ({"matte": 1.0}, 0.5, 0.0, 0.5),  # no mirror image: as told
        ({"matte": 1.0}, 0.52, 1.0, 0.52),  # a likely one
        ({"matte": 1.0}, -0.9, 1.0, 0.5),  # one that contradicts
        ({"matte": 1.0, "colour_width": 20.0}, -0.9, 1.0, -0.9),  # nobody knows better
        ({"matte": 0.0}, 0.5, 1.0, -0.3),  # no head: the backdrop
        ({"matte": 0.25}, 0.5, 0.0, 0.25 * 0.5 - 0.75 * 0.3),
    ],
)
def test_the_hidden_is_filled_by_what_is_likely(given, mirror, share, expected):
    ones = jnp.ones((2, 32, 32, 3))
    filled, of_mirror = completion.filled(told(**given, count=2), mirror * ones, share * ones[..., :1], -0.3 * ones)
    np.testing.assert_allclose(filled, expected, atol=0.03)
    shown = bool(share and expected == mirror)
    np.testing.assert_allclose(of_mirror, shown, atol=0.03)


def test_the_hidden_is_in_the_light_of_what_is_seen():
    """By as much as both differ where both are known; the backdrop is not, and nothing is where nothing is seen."""
    noise = np.float32(np.random.default_rng(0).uniform(-0.1, 0.1, (2, 64, 64, 3)))
    fill, light = noise, np.float32([0.2, 0.1, -0.15])
    visible = np.zeros((2, 64, 64), np.float32)
    visible[0, :, :40] = 1
    matte = np.zeros((2, 16, 16), np.float32)
    matte[:, :, 4:14] = 1
    lit = np.asarray(completion.lit(fill, fill + light, visible, matte)) - fill
    np.testing.assert_allclose(lit[0, :, 40:44], np.broadcast_to(light, (64, 4, 3)), rtol=0.25)
    strength = lit[0, 32, 36:56] / light
    assert (strength[0] > 0.95).all() and (np.diff(strength, axis=0) < 1e-6).all()  # it fades from there
    np.testing.assert_allclose(lit[0, :, 60:], 0, atol=1e-6)
    np.testing.assert_allclose(lit[1], 0, atol=1e-6)


def test_what_is_another_thing_changes_no_light():
    fill, visible, matte = jnp.zeros((1, 32, 32, 3)), np.zeros((1, 32, 32), np.float32), jnp.ones((1, 8, 8))
    visible[..., :16] = 1
    light, hair = (jnp.full((1, 32, 16, 3), x) for x in (0.1, 1.5))
    lit = completion.lit(fill, jnp.concatenate([hair[:, :, :8], light, light[:, :, :8]], axis=2), visible, matte)
    assert 0.1 < lit[..., :16, :].mean() and lit.max() < 0.25  # the mean of both is 0.8


# ---------------------------------------------------------------------------------------------------------------------
# In the method
# ---------------------------------------------------------------------------------------------------------------------


def glance():
    pose, code = (jnp.zeros(6), jnp.full(6, 0.01)), (jnp.zeros(8), jnp.ones(8))
    return Glance(*pose, *code, jnp.ones((32, 32)), jnp.zeros((32, 32)), jnp.full((32, 32), 0.01))


def draft(encoder, fill="completed", photographs=1, matte=True):
    recipe = override(RECIPE, [f"pseudo_views.fill={fill}"])
    mask = np.ones((SIZE, SIZE), np.float32) if matte else None
    views = [Photograph(picture(), look_at(0.4 * k, 0.0), matte=mask) for k in range(photographs)]
    return pipeline._first_draft(views, generator(), recipe, encoder)


AROUND = look_at(jnp.array([-0.3, 0.1, 0.5]), 0.0)


def test_it_is_asked_where_there_is_a_matte_a_completer_and_the_wish(monkeypatch):
    monkeypatch.setattr(completion, "told_by", lambda completer, *_, config: completer)
    encoder = Saying(glance(), completer="told")
    assert completion.of_views(draft(encoder), AROUND) == "told"
    assert completion.of_views(draft(encoder, fill="mirror"), AROUND) is None
    assert completion.of_views(draft(encoder, matte=False), AROUND) is None
    assert completion.of_views(draft(Saying(glance())), AROUND) is None
    assert completion.of_views(draft(None), AROUND) is None


def test_photographs_and_views_agree_on_one_surface():
    """A plane that faces a photograph, told twice: at its pivot and behind it. The other one knows nothing of it."""
    known = draft(Saying(glance()), photographs=2)
    blind = known.photographs[1].replace(glance=None)
    known = known.replace(photographs=(known.photographs[0], blind))
    answer = told(matte=1.0, relief=0.03, width=0.01, count=1, side=16)
    (first, second), agreed = completion.agreed(known.photographs, answer, known.photographs[0].camera[None], CONFIG)
    assert agreed.relief.shape == agreed.matte.shape == (1, 32, 32) and agreed.colour.shape == (1, 32, 32, 3)
    for relief in (first.glance.relief, agreed.relief[0]):
        np.testing.assert_allclose(relief, 0.015, atol=1e-3)
    assert second is blind


def test_of_several_photographs_the_one_from_the_nearest_side_is_asked(monkeypatch):
    def by_yaw(completer, photograph, around, *, config):
        yaw, _ = cameras.yaw_pitch(photograph.camera)
        return told(colour=float(yaw), count=len(around))

    monkeypatch.setattr(completion, "told_by", by_yaw)
    made = completion.of_views(draft(Saying(glance(), completer="any"), photographs=2), AROUND)
    np.testing.assert_allclose(made.colour[:, 0, 0, 0], [0.0, 0.0, 0.4], atol=1e-6)


def test_a_completer_without_a_backdrop_changes_nothing():
    """What stands behind a head that ends where it says would be unknown."""
    size = 32
    camera, config = look_at(0.3, 0.0), PseudoViewConfig(count=2)
    photograph = Photograph(picture()[:size, :size], camera, weights=jnp.ones((size, size)))
    everyone = jnp.concatenate([camera[None], pseudo_views.view_cameras(camera, config, CONFIG)])
    rendered = {"image": jnp.zeros((3, size, size, 3)), "ray_distance": jnp.full((3, 8, 8), 2.7)}
    other = jax.tree.map(lambda x: x[1:], rendered)
    plain, asked = (
        pseudo_views.blended((photograph,), everyone, rendered, None, other, None, x, config=config)
        for x in (None, told(count=2))
    )
    np.testing.assert_array_equal(plain.blend, asked.blend)


def test_what_is_told_reaches_the_views_that_are_fitted():
    """And nothing is held where nothing is told."""
    known = draft(Saying(glance()))
    limit, photograph = jnp.full((RAW, RAW), 3.1), known.photographs[0]
    known = known.replace(photographs=(photograph.replace(head_limit=limit),))
    pixels, around = jnp.zeros((COUNT, SIZE, SIZE)), look_at(jnp.linspace(-0.5, 0.5, COUNT), 0.0)
    images, limits = jnp.zeros((COUNT, SIZE, SIZE, 3)), jnp.stack([limit] * COUNT)
    made = pseudo_views.PseudoViews(around, images, pixels, images, pixels, jnp.zeros((1 + COUNT, RAW, RAW)))
    weights = []
    for answer in (None, told(width=1e-4)):
        views = pseudo_views.targets(known.replace(pseudo_views=made._replace(told=answer, limits=limits)))
        weights.append((views.surface.weight, views.outline.weight))
        assert views.surface.weight[0].mean() > 0.5 and (views.outline.weight[0] > 0.99).all()
    assert not any(each[1:].any() for each in weights[0])
    np.testing.assert_allclose(weights[1][0][1:], 0.9, atol=1e-3)
    assert (weights[1][1][1:] > 0.5).all()
