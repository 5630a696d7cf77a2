"""Pictures of a closed-form scene, and the shards they are written in."""

import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from tests.tools.heads.plain_scenes import grey_quad, plain_scene
from tools.heads import latent
from tools.heads.curves import linear_from_srgb, srgb_from_linear
from tools.heads.dataset import HEADS_PER_SHARD, shard_paths, unpack_depth, write_dataset
from tools.heads.rendering import project, render
from tools.heads.views import camera_row, draw_cameras

HALF, Z, SIZE = 0.2, 0.1, 32


def camera(yaw: float = 0.3, pitch: float = 0.2) -> np.ndarray:
    return np.asarray(cameras.look_at(yaw, pitch), np.float32)


def hits(view: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the rays of all pixels meet the plane of the quad, [size, size, 3], and at what z-depth."""
    pose, intrinsics = view[:16].reshape(4, 4).astype(np.float64), view[16:].reshape(3, 3)
    x, y = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(intrinsics).T @ pose[:3, :3].T
    depth = (Z - pose[2, 3]) / rays[..., 2]
    return pose[:3, 3] + depth[..., None] * rays, depth


def test_projection_is_that_of_the_cameras():
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (10, 3))
    places = project(camera(), points, 100)
    expected, depth = cameras.project(jnp.asarray(camera()), jnp.asarray(points))
    np.testing.assert_allclose(places[:, :2], 100 * expected, rtol=1e-4)
    np.testing.assert_allclose(places[:, 2], depth, rtol=1e-5)


@pytest.mark.parametrize("yaw", [-0.7, 0.0, 0.4])
def test_depth_and_mask_of_a_quad(yaw):
    view = render(plain_scene([grey_quad(HALF, Z)]), camera(yaw), SIZE)
    points, depth = hits(camera(yaw), SIZE)
    edge = np.abs(points[..., :2]).max(-1) - HALF
    pixel = 2 * 2.7 / 4.26 / SIZE  # on the quad, with room for its slant
    inside, outside = edge < -pixel, edge > pixel
    np.testing.assert_allclose(view.z_depth[inside], depth[inside], rtol=1e-5)
    np.testing.assert_allclose(view.mask[inside], 1, rtol=1e-6)
    assert not view.z_depth[outside].any()
    assert not view.mask[outside].any()
    assert ((view.mask > 0) & (view.mask < 1)).any()


def test_colour_is_the_texture_under_white_light_and_grey_outside():
    view = render(plain_scene([grey_quad(HALF, Z, level=128)]), camera(), SIZE)
    x = 1.05 * linear_from_srgb(np.array(128, np.uint8))
    developed = srgb_from_linear(x * (1 + x / 4) / (1 + 0.62 * x))
    np.testing.assert_allclose(view.rgb[view.mask > 0.999], developed, atol=2e-3)
    np.testing.assert_allclose(view.rgb[view.mask == 0], 0.5)


def test_other_backgrounds_follow_from_the_mask():
    scene = plain_scene([grey_quad(HALF, Z)])
    grey, white = render(scene, camera(), SIZE), render(scene, camera(), SIZE, background=1.0)
    np.testing.assert_allclose(grey.rgb + (1 - grey.mask[..., None]) * 0.5, white.rgb, atol=1e-6)


def test_rendering_is_deterministic():
    scene = plain_scene([grey_quad(HALF, Z), grey_quad(0.1, 0.2, level=40)])
    for first, second in zip(render(scene, camera(), SIZE), render(scene, camera(), SIZE), strict=True):
        np.testing.assert_array_equal(first, second)


def test_cameras_of_data():
    drawn = draw_cameras(3, 7, 50)
    angles = np.stack(cameras.yaw_pitch(jnp.asarray(drawn)), 1)
    assert np.abs(angles[:, 0]).max() < 0.76
    assert np.abs(angles[:, 0]).max() > 0.6
    np.testing.assert_array_equal(drawn[:4], draw_cameras(3, 7, 50)[:4])
    np.testing.assert_allclose(camera_row((0.2,), focal=3.0)[0, 16], 3.0)


def make_head(p: np.ndarray, number: int):
    """A head that is a quad, as large as p says."""
    return plain_scene([grey_quad(0.1 + 0.05 * abs(float(p[0])), Z)])


def written(out, heads: int, **options) -> list:
    settings = dict(views=2, size=16, seed=4, focal=cameras.FFHQ_FOCAL) | options
    return list(write_dataset(out, make_head, heads=heads, **settings))


def test_shards_have_the_documented_format(tmp_path):
    paths = written(tmp_path, HEADS_PER_SHARD + 3)
    assert paths == shard_paths(tmp_path, HEADS_PER_SHARD + 3)
    for path, count in zip(paths, (HEADS_PER_SHARD, 3), strict=True):
        with np.load(path) as shard:
            described = {key: (shard[key].dtype.name, shard[key].shape) for key in shard}
        assert described == {
            "p": ("float32", (count, 128)),
            "camera": ("float32", (count, 2, 25)),
            "rgb": ("uint8", (count, 2, 16, 16, 3)),
            "mask": ("uint8", (count, 2, 16, 16)),
            "z_depth": ("float16", (count, 2, 16, 16)),
            "z_fine": ("int8", (count, 2, 16, 16)),
        }


def test_shards_hold_what_is_rendered(tmp_path):
    (path,) = written(tmp_path, 2)
    with np.load(path) as stored:
        shard = dict(stored)
    np.testing.assert_array_equal(shard["p"][1], latent.sample(4, 1))
    np.testing.assert_array_equal(shard["camera"][1], draw_cameras(4, 1, 2))
    view = render(make_head(shard["p"][1], 1), shard["camera"][1, 0], 16)
    np.testing.assert_allclose(unpack_depth(shard)[1, 0], view.z_depth, atol=1e-5)
    np.testing.assert_allclose(shard["rgb"][1, 0] / 255, view.rgb, atol=0.003)
    np.testing.assert_allclose(shard["mask"][1, 0] / 255, view.mask, atol=0.003)


def test_heads_do_not_depend_on_their_number(tmp_path):
    (few,), (more,) = written(tmp_path / "few", 1), written(tmp_path / "more", 3)
    np.testing.assert_array_equal(np.load(few)["rgb"][0], np.load(more)["rgb"][0])


def test_writing_goes_on_where_it_stopped(tmp_path):
    def failing(p: np.ndarray, number: int):
        if number == HEADS_PER_SHARD:
            raise KeyboardInterrupt
        return make_head(p, number)

    settings = dict(heads=HEADS_PER_SHARD + 1, views=1, size=8, seed=4, focal=cameras.FFHQ_FOCAL)
    first, second = shard_paths(tmp_path, HEADS_PER_SHARD + 1)
    with pytest.raises(KeyboardInterrupt):
        list(write_dataset(tmp_path, failing, **settings))
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    before = first.stat().st_mtime_ns
    assert list(write_dataset(tmp_path, make_head, **settings)) == [second]
    assert first.stat().st_mtime_ns == before
