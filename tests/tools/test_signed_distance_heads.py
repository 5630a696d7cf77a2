"""Procedural heads: where the face is, that rays end where they should, and that parameters do what their names say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tools.signed_distance_heads import decals, heads
from tools.signed_distance_heads.heads import HEAD_SCALE, HEAD_SHIFT_Y

FOCAL, RADIUS, PIVOT = 4.2647, 2.7, (0.0, 0.0, 0.2)
RAYS = 28  # a side; one number, since every other shape is compiled anew


def look_at(yaw: float, pitch: float) -> np.ndarray:
    """EG3D's orbit camera [25], written out here so that the heads' scale is checked independently of the package."""
    polar = np.arccos(1 - 2 * (np.pi / 2 + pitch) / np.pi)
    azimuth = np.pi / 2 - yaw
    origin = RADIUS * np.array([np.sin(polar) * np.cos(azimuth), np.cos(polar), np.sin(polar) * np.sin(azimuth)])
    forward = np.array(PIVOT) - origin
    forward /= np.linalg.norm(forward)
    right = -np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, origin], axis=-1)
    intrinsics = [FOCAL, 0, 0.5, 0, FOCAL, 0.5, 0, 0, 1]
    return np.concatenate([pose.ravel(), intrinsics]).astype(np.float32)


def project(camera: np.ndarray, point: np.ndarray, size: int = 512) -> np.ndarray:
    """Pixel (x, y) of a world point."""
    pose = camera[:16].reshape(4, 4)
    local = pose[:3, :3].T @ (np.asarray(point) - pose[:3, 3])
    return size * (FOCAL * local[:2] / local[2] + 0.5)


def with_parameter(name: str, value: float) -> jax.Array:
    """The mean head with one parameter changed."""
    return jnp.zeros(heads.NUM_PARAMETERS).at[heads.PARAMETERS.index(name)].set(value)


_trace = jax.jit(heads.trace)
_distance = jax.jit(heads.signed_distance)
_render = jax.jit(heads.render, static_argnums=(2, 3))


def view(p: jax.Array, yaw: float = 0.0, pitch: float = 0.0) -> heads.HeadView:
    return jax.tree.map(np.asarray, _render(p, look_at(yaw, pitch), 64, 2))


def region(image: np.ndarray, x: float, y: float, half: float = 6.0) -> np.ndarray:
    """Mean colour around a pixel of the 512-pixel picture."""
    scale = image.shape[0] / 512
    x0, x1, y0, y1 = (round(scale * v) for v in (x - half, x + half, y - half, y + half))
    return image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].mean(axis=(0, 1))


@pytest.fixture(scope="module")
def samples() -> jax.Array:
    return heads.sample_parameters(jax.random.PRNGKey(5), 4)


def test_sampled_parameters_are_normalised(samples):
    assert samples.shape == (4, heads.NUM_PARAMETERS)
    np.testing.assert_allclose(np.mean(np.square(samples), axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(heads.normalise(3.0 * samples[0]), samples[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "x", "y", "tolerance"),
    [
        ("left_eye", 188, 190, 6),
        ("right_eye", 330, 190, 6),
        ("nose_tip", 257, 262, 6),
        ("mouth", 257, 325, 6),
        # Ears of real crops are not symmetric about the picture's middle, a head that faces the camera is.
        ("left_ear", 95, 215, 8),
        ("right_ear", 430, 215, 8),
    ],
)
def test_mean_head_fits_ffhq_crops(name, x, y, tolerance):
    point = heads.landmarks(jnp.zeros(heads.NUM_PARAMETERS))[name]
    np.testing.assert_allclose(project(look_at(0, 0), point), (x, y), atol=tolerance)


def test_landmarks_lie_on_the_surface(samples):
    for p in [jnp.zeros(heads.NUM_PARAMETERS), *samples]:
        points = heads.landmarks(p)
        stacked = jnp.stack([points[k] for k in ("left_eye", "right_eye", "nose_tip", "mouth")])
        np.testing.assert_allclose(_distance(p, stacked), 0.0, atol=4e-3)


def test_every_ray_ends_in_the_box_and_in_range(samples):
    cameras = [look_at(yaw, pitch) for yaw in (-0.7, -0.3, 0.0, 0.7) for pitch in (-0.4, 0.0, 0.4)]
    for i, camera in enumerate(cameras):
        p = samples[i % len(samples)]
        origins, directions, _ = heads._pixel_rays(camera, RAYS)
        surface = _trace(p, origins, directions)
        t = np.asarray(surface.ray_distance)
        points = np.asarray(origins) + t[:, None] * np.asarray(directions)
        assert t.min() > 2.25 and t.max() < 3.25
        assert np.abs(points).max() < 0.5
        for leaf in surface:
            assert np.isfinite(leaf).all()
        assert np.abs(surface.colour).max() <= 1.0
        distance = np.asarray(_distance(p, points))
        head = np.asarray(surface.is_head)
        assert 0.3 < head.mean() < 1.0
        assert np.mean(np.abs(distance[head]) < 1e-3) > 0.99
        assert np.abs(distance[head]).max() < 0.003
        assert distance[~head].min() > -1e-3
        centred = (points[~head] - [0, 0, heads.BOWL_CENTRE_Z]) / heads.BOWL_RADII
        np.testing.assert_allclose((centred**4).sum(axis=-1), 1.0, atol=1e-4)


def test_first_surface_is_found_by_brute_force(samples):
    """No ray steps through the head: the densely sampled distance is positive before the hit."""
    origins, directions, _ = heads._pixel_rays(look_at(0.4, -0.2), RAYS)
    surface = _trace(samples[1], origins, directions)
    share = jnp.linspace(0.0, 1.0, 400)[:, None]
    t = 2.2 + share * (surface.ray_distance - 0.004 - 2.2)
    points = origins + t[..., None] * directions
    distance = _distance(samples[1], points.reshape(-1, 3)).reshape(t.shape)
    assert np.mean(np.asarray(distance).min(axis=0) > -1e-3) > 0.995


def test_depths_agree_with_the_rays(samples):
    out = view(samples[0], 0.3, -0.1)
    _, _, cosine = heads._pixel_rays(look_at(0.3, -0.1), 64)
    np.testing.assert_allclose(out.z_depth, out.ray_distance * np.asarray(cosine).reshape(64, 64), rtol=1e-5)
    axis = np.sqrt(1 + 2 * (31.5 / 64 / FOCAL) ** 2)
    np.testing.assert_allclose(out.ray_distance[0, 0] / out.z_depth[0, 0], axis, rtol=1e-5)
    assert out.image.shape == (64, 64, 3) and out.mask.shape == (64, 64)
    assert out.mask.min() == 0.0 and out.mask.max() == 1.0


def test_z_depth_of_the_nose_is_where_the_landmark_is():
    p = jnp.zeros(heads.NUM_PARAMETERS)
    nose = np.asarray(heads.landmarks(p)["nose_tip"])
    x, y = project(look_at(0, 0), nose, 64)
    np.testing.assert_allclose(view(p).z_depth[int(y), int(x)], RADIUS - nose[2], atol=0.006)


def test_vmap_equals_loop(samples):
    origins, directions, _ = heads._pixel_rays(look_at(0.2, 0.1), RAYS)
    together = jax.jit(jax.vmap(heads.trace, (0, None, None)))(samples, origins, directions)
    for i, p in enumerate(samples):
        alone = _trace(p, origins, directions)
        # Compiled differently, a ray may end on the other side of a silhouette; nearly all must agree.
        assert np.mean(np.asarray(together.is_head[i] == alone.is_head)) > 0.995
        close = np.abs(np.asarray(together.ray_distance[i] - alone.ray_distance)) < 1e-4
        assert close.mean() > 0.99
        assert np.abs(np.asarray(together.colour[i] - alone.colour))[close].mean() < 1e-3


def test_every_parameter_shows():
    mean = view(with_parameter("smile", 0.0), 0.3).image
    for name in heads.PARAMETERS:
        change = np.abs(view(with_parameter(name, 1.5), 0.3).image - mean).mean()
        assert change > 5e-4, name


def test_smile_raises_the_mouth_corners():
    def rise(value: float) -> float:
        shape = heads.head_shape(with_parameter("smile", value))
        _, corner = heads._mouth_coordinates(shape, shape.mouth_half_width, jnp.zeros(()))
        _, centre = heads._mouth_coordinates(shape, jnp.zeros(()), jnp.zeros(()))
        return float(centre - corner)

    assert rise(-1.5) < 0.0 < rise(0.0) < rise(1.5)


def test_colour_parameters_colour_their_parts():
    def colour(name: str, value: float, x: float, y: float) -> np.ndarray:
        return region(view(with_parameter(name, value)).image, x, y, 10)

    hair, forehead, shoulder, wall = (256, 25), (256, 110), (90, 500), (20, 60)
    assert colour("hair_colour", 1.5, *hair).mean() > colour("hair_colour", -1.5, *hair).mean() + 0.3
    assert colour("skin_tone", 1.5, *forehead).mean() > colour("skin_tone", -1.5, *forehead).mean() + 0.3
    assert colour("cloth_lightness", 1.5, *shoulder).mean() > colour("cloth_lightness", -1.5, *shoulder).mean() + 0.2
    assert colour("backdrop_lightness", 1.5, *wall).mean() > colour("backdrop_lightness", -1.5, *wall).mean() + 0.3
    warm, cold = colour("hair_red", 1.5, *hair), colour("hair_red", -1.5, *hair)
    assert warm[0] - warm[2] > cold[0] - cold[2] + 0.05


def test_shape_parameters_move_the_silhouette():
    covered = {v: view(with_parameter("hair_length", v)).mask.sum() for v in (-1.5, 0.0, 1.5)}
    assert covered[-1.5] < covered[0.0] < covered[1.5]
    assert view(with_parameter("head_width", 1.5)).mask.sum() > view(with_parameter("head_width", -1.5)).mask.sum()


@pytest.fixture(scope="module")
def decorated() -> dict[float, tuple[heads.HeadView, heads.HeadView]]:
    """The mean head without and with a green square on the right cheek, by yaw."""
    decal = square_decal((0.066, -0.030), (0.040, 0.040))
    p = jnp.zeros(heads.NUM_PARAMETERS)

    def pair(yaw: float) -> tuple[heads.HeadView, heads.HeadView]:
        painted = _render(p, look_at(yaw, 0.0), 64, 2, decals=(decal,))
        return view(p, yaw), jax.tree.map(np.asarray, painted)

    return {yaw: pair(yaw) for yaw in (-0.6, 0.0, 0.5)}


def square_decal(centre: tuple[float, float], size: tuple[float, float]) -> heads.Decal:
    texture = jnp.tile(jnp.array([0.0, 0.6, 0.0, 1.0]), (8, 8, 1))
    return heads.Decal(texture, jnp.array(centre), jnp.array(size), jnp.zeros(()))


def test_a_decal_shows_where_it_is_put_and_nowhere_else(decorated):
    plain, painted = decorated[0.0]
    changed = np.abs(painted.image - plain.image).max(axis=-1) > 1e-3
    x, y = project(look_at(0, 0), [HEAD_SCALE * 0.066, HEAD_SCALE * -0.030 + HEAD_SHIFT_Y, 0.16], 64)
    red, green, blue = region(painted.image, 8 * x, 8 * y, 16)
    assert green > max(red, blue) + 0.3
    rows, columns = np.nonzero(changed)
    np.testing.assert_allclose((columns.mean() + 0.5, rows.mean() + 0.5), (x, y), atol=1.0)
    side = 64 * FOCAL * HEAD_SCALE * 0.040 / (RADIUS - 0.16)
    assert 0.7 * side**2 < changed.sum() < 1.6 * side**2
    np.testing.assert_array_equal(painted.z_depth, plain.z_depth)
    np.testing.assert_array_equal(painted.mask, plain.mask)


def test_a_decal_stays_on_its_place_of_the_surface(decorated):
    """Seen from one side, what changed lies at the same x and y of the head; from the other side little is seen."""
    yaw = 0.5
    plain, painted = decorated[yaw]
    changed = (np.abs(painted.image - plain.image).max(axis=-1) > 0.2).ravel()
    origins, directions, _ = heads._pixel_rays(look_at(yaw, 0.0), 64)
    points = np.asarray(origins + plain.ray_distance.reshape(-1, 1) * directions)[changed]
    assert len(points) > 10
    centre = (HEAD_SCALE * 0.066, HEAD_SCALE * -0.030 + HEAD_SHIFT_Y)
    np.testing.assert_allclose(np.median(points[:, :2], axis=0), centre, atol=0.01)
    assert np.abs(points[:, :2] - centre).max() < 0.5 * HEAD_SCALE * 0.040 + 0.02
    plain, painted = decorated[-0.6]
    assert np.mean(np.abs(painted.image - plain.image).max(axis=-1) > 0.2) < 0.5 * changed.mean()


def test_decals_lie_on_bare_skin_only():
    """Neither on hair, nor on cloth, nor on the back of the neck."""
    shape, colours = heads.head_shape(jnp.zeros(heads.NUM_PARAMETERS)), heads.palette(jnp.zeros(heads.NUM_PARAMETERS))
    everywhere = square_decal((0.0, 0.0), (2.0, 2.0))
    cheek, hair, chest, nape = (0.066, -0.030, 0.128), (0.0, 0.15, 0.119), (0.12, -0.27, 0.04), (0.0, -0.20, -0.112)
    points = tuple(jnp.array([cheek, hair, chest, nape]).T)
    change = jnp.abs(jnp.stack(heads.shade(shape, colours, points, (everywhere,))) - jnp.stack(
        heads.shade(shape, colours, points)
    )).max(axis=0)  # fmt: skip
    assert change[0] > 0.1
    np.testing.assert_allclose(change[1:], 0.0, atol=1e-6)


def test_no_decals_cost_nothing():
    arguments = (jnp.zeros(heads.NUM_PARAMETERS), jnp.zeros((3, 3)), jnp.ones((3, 3)))
    plain = jax.make_jaxpr(heads.trace)(*arguments)
    empty = jax.make_jaxpr(lambda *a: heads.trace(*a, decals=()))(*arguments)
    assert str(plain) == str(empty)
    assert "gather" not in str(plain)


def opacity(decal: heads.Decal) -> np.ndarray:
    return np.asarray(decal.texture[..., 3])


def test_face_paint_covers_one_side_but_neither_eyes_nor_lips():
    right, left = (decals.paint_decal((0.8, 0.1, 0.1), (0.1, 0.1, 0.8), side) for side in (1, -1))
    half = decals.TEXTURE_SIZE // 2
    assert opacity(right)[:, half:].mean() > 4 * opacity(right)[:, :half].mean()
    np.testing.assert_allclose(opacity(left), opacity(right)[:, ::-1], atol=1e-6)

    def at(x: float, y: float) -> float:
        column, row = (np.array([x, -y]) / right.size + 0.5) * decals.TEXTURE_SIZE
        return opacity(right)[int(row), int(column)]

    assert at(heads.EYE_X, heads.EYE_Y) == at(0.02, heads.MOUTH_Y) == 0.0
    assert at(heads.EYE_X, heads.EYE_Y - 0.04) == pytest.approx(0.85)


def test_stickers_are_opaque_with_a_border_and_birthmarks_differ():
    for kind in decals.STICKERS:
        sticker = decals.sticker_decal(kind, (0.0, 0.0), 0.05, colour=(1.0, 0.0, 0.0), border=(0.0, 0.0, 1.0))
        middle = decals.TEXTURE_SIZE // 2
        np.testing.assert_allclose(sticker.texture[middle, middle], (1, 0, 0, 1), atol=1e-3)
        assert 0.15 < opacity(sticker).mean() < 0.8
        edge = sticker.texture[(opacity(sticker) > 0.95)]
        assert (edge[:, 2] > 0.9).any() and (edge[:, 0] > 0.9).any()
        np.testing.assert_allclose(opacity(sticker), opacity(sticker)[:, ::-1], atol=1e-5)  # all are symmetric
    star = decals.sticker_decal("star", (0.0, 0.0), 0.05)
    assert opacity(star).mean() < 0.4  # notched
    one, other = (decals.birthmark_decal(seed, (0.0, 0.0), 0.04) for seed in (1, 2))
    assert np.abs(opacity(one) - opacity(other)).mean() > 0.01
    assert opacity(decals.empty_decal()).max() == 0.0


def worn(**switches: float) -> heads.Accessories:
    colours = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    off = {name: jnp.zeros(()) for name in ("glasses", "patch", "scarf")}
    on = {name: jnp.asarray(value, jnp.float32) for name, value in switches.items()}
    sizes = {"glasses_size": jnp.array([0.034, 0.026]), "scarf_checks": jnp.array([12.0, 4.0])}
    return heads.Accessories(
        **off | on, **sizes, glasses_colour=jnp.array([0.0, 1, 0]), patch_colour=jnp.zeros(3), scarf_colours=colours
    )


def test_accessories_that_are_off_change_nothing(samples):
    """The generator was trained on heads without: nothing may be computed for them where none are given."""
    arguments = (jnp.zeros(heads.NUM_PARAMETERS), jnp.zeros((3, 3)), jnp.ones((3, 3)))
    plain = jax.make_jaxpr(heads.trace)(*arguments)
    assert str(plain) == str(jax.make_jaxpr(lambda *a: heads.trace(*a, accessories=None))(*arguments))
    points = jax.random.uniform(jax.random.key(0), (400, 3), minval=-0.3, maxval=0.3)
    np.testing.assert_allclose(
        heads.signed_distance(samples[0], points, worn()), heads.signed_distance(samples[0], points), atol=1e-6
    )


@pytest.mark.parametrize(
    ("switch", "value", "inside"),
    [
        # In head units; the rim stands around the eye, the patch in front of it, the scarf around the neck.
        ("glasses", 1, (heads.EYE_X, heads.EYE_Y + 0.026, heads.GLASSES_Z - heads.GLASSES_SLANT * heads.EYE_X)),
        ("glasses", 1, (0.0, heads.EYE_Y + 0.0095, heads.GLASSES_Z)),
        ("patch", 1, (heads.EYE_X, heads.EYE_Y, 0.154)),
        ("patch", -1, (-heads.EYE_X, heads.EYE_Y, 0.154)),
        ("scarf", 1, (0.0, -0.195, heads.SCARF_Z + heads.SCARF_RADIUS)),
    ],
)
def test_accessories_add_geometry(switch, value, inside):
    p = jnp.zeros(heads.NUM_PARAMETERS)
    mirrored = (-inside[0], *inside[1:])
    points = HEAD_SCALE * jnp.array([inside, mirrored]) + jnp.array([0.0, HEAD_SHIFT_Y, 0.0])
    bare, dressed = _distance(p, points), heads.signed_distance(p, points, worn(**{switch: value}))
    assert bare[0] > 0.004 and dressed[0] < 0
    assert (dressed[1] < 0) == (switch != "patch")  # only the patch has a side


def test_accessories_have_their_colours_and_no_decals():
    shape, colours = heads.head_shape(jnp.zeros(heads.NUM_PARAMETERS)), heads.palette(jnp.zeros(heads.NUM_PARAMETERS))
    angle = np.linspace(-1.5, 1.5, 200)
    radius = heads.SCARF_RADIUS + heads.SCARF_ROLL
    scarf = radius * np.sin(angle), -0.178 - 0.30 * radius * np.cos(angle), heads.SCARF_Z + radius * np.cos(angle)
    rim = (heads.EYE_X, heads.EYE_Y + 0.026, heads.GLASSES_Z - heads.GLASSES_SLANT * heads.EYE_X + heads.GLASSES_RADIUS)
    patch = (-heads.EYE_X, heads.EYE_Y, 0.158)
    points = tuple(jnp.append(ring, jnp.array([a, b])) for ring, a, b in zip(scarf, rim, patch, strict=True))
    everywhere = square_decal((0.0, 0.0), (2.0, 2.0))._replace(texture=jnp.ones((8, 8, 4)))  # white
    dressed = worn(scarf=1.0, glasses=1.0, patch=-1.0)
    red, green, blue = np.asarray(jax.jit(heads.shade)(shape, colours, points, (everywhere,), dressed))
    checks = (red > 0.4 * blue)[:200]  # half red or not at all
    assert np.sum(np.diff(checks.astype(int)) != 0) >= 8
    assert green[:200].max() < 0.1
    assert green[200] > 0.3 and green[200] > 5 * max(red[200], blue[200])
    assert max(red[201], green[201], blue[201]) < 0.1


def test_decals_are_drawn_upright():
    word = np.asarray(decals.text_decal("L").texture[..., 3])
    assert word.max() == pytest.approx(1.0, abs=1e-3)
    assert word[-word.shape[0] // 4 :, -word.shape[1] // 4 :].sum() > 10 * word[: word.shape[0] // 4, -24:].sum()
    assert word[:, : word.shape[1] // 4].sum() > word[:, -word.shape[1] // 4 :].sum()
    bars = np.asarray(decals.stripes_decal(3).texture[:, 48, 3]) > 0.45
    assert np.sum(np.diff(bars.astype(int)) == 1) == 3
    for decal in (decals.text_decal("LOVE"), decals.stripes_decal(), decals.freckles_decal()):
        assert np.asarray(decal.texture).min() >= 0.0 and np.asarray(decal.texture).max() <= 1.0
        border = np.asarray(decal.texture[..., 3])[:, [0, -1]]
        assert border.max() < 0.05


def test_heads_stay_as_they_are():
    """The trained demo generator imitates this very map from p to pictures: retrain it if this has to change."""
    p = heads.normalise(jnp.sin(2.0 * jnp.arange(heads.NUM_PARAMETERS) + 1.0))
    coarse = view(p, 0.3, -0.1).image.reshape(4, 16, 4, 16, 3).mean(axis=(1, 3, 4))
    expected = [
        [0.482, -0.012, 0.006, -0.307],
        [0.408, 0.151, 0.226, 0.056],
        [0.334, 0.081, 0.125, 0.230],
        [0.241, 0.112, 0.134, 0.191],
    ]
    np.testing.assert_allclose(coarse, expected, atol=5e-3)
