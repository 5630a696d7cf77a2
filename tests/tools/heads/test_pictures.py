"""Whole heads: where the assets are (PMV_HEADS_ASSETS)."""

import functools

import jax
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.inversion.visibility import warp
from tools.heads import latent
from tools.heads.description import describe
from tools.heads.outfit import HEADWEAR, Decal, Headwear, Outfit
from tools.heads.rendering import project, render
from tools.heads.shape import eye_centres, shape_head

SIZE = 256
FAR_BACKGROUND = 9.0


@pytest.fixture(scope="module")
def view_of(studio):
    """Views by number of head and yaw, each rendered once."""
    scene = functools.cache(lambda number: studio.head(latent.sample(0, number)))

    @functools.cache
    def view(number: int, yaw: float):
        return render(scene(number), camera(yaw), SIZE)

    return view


def camera(yaw: float) -> np.ndarray:
    return np.asarray(cameras.look_at(yaw, 0.0))


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((first - second) ** 2)))


def test_a_picture_is_a_function_of_p(studio, view_of):
    again = render(studio.head(latent.sample(0, 0)), camera(0.3), SIZE)
    for first, second in zip(view_of(0, 0.3), again, strict=True):
        np.testing.assert_array_equal(first, second)


def agreement(view_of, number: int) -> float:
    """PSNR of one view carried into another by pmv_jax's own warp, on what both see."""
    views = [view_of(number, yaw) for yaw in (0.0, 0.3)]
    lenses = [camera(yaw) for yaw in (0.0, 0.3)]
    depths = [np.where(view.z_depth > 0, view.z_depth, FAR_BACKGROUND).astype(np.float32) for view in views]
    warped = jax.jit(warp)(views[0].rgb.astype(np.float32), depths[0], lenses[0], depths[1], lenses[1])
    seen = (np.asarray(warped.visibility) > 0.9) & (views[1].mask > 0.999) & (views[1].z_depth > 0)
    assert seen.mean() > 0.2
    return psnr(np.asarray(warped.colour)[seen], views[1].rgb[seen])


def test_views_agree_by_depth_and_cameras(view_of):
    """36 dB on average: skin has more, long hair has less, since its strands are thinner than pixels."""
    measured = [agreement(view_of, number) for number in (0, 4, 5)]
    assert np.mean(measured) >= 36, measured
    assert min(measured) >= 32, measured


@pytest.mark.parametrize("number", range(4))
def test_eyes_are_where_pictures_of_ffhq_have_them(studio, number):
    """From the front: both eyes at y = 190 of 512, 124 to 148 apart, on average 136, about the middle."""
    regions = studio.regions
    inside = (regions.mouth_inside, regions.mouth_depth)
    cage = shape_head(studio.assets, inside, describe(latent.sample(0, number)))
    eyes = project(camera(0.0), eye_centres(studio.assets.topology, cage), 512)
    assert eyes[:, 1].mean() == pytest.approx(190, abs=1)
    assert eyes[:, 0].mean() == pytest.approx(256, abs=1)
    assert 120 < abs(eyes[0, 0] - eyes[1, 0]) < 152


@pytest.mark.parametrize("number", [0, 1])
def test_mask_depth_and_background_agree(view_of, number):
    view = view_of(number, 0.0)
    assert np.all(view.z_depth[view.mask > 0.999] > 0)
    assert not view.z_depth[view.mask == 0].any()
    assert view.z_depth[view.z_depth > 0].min() > 2.2
    assert view.z_depth.max() < 3.3
    assert 0.5 < view.mask.mean() < 0.9
    np.testing.assert_allclose(view.rgb[view.mask == 0], 0.5)


def test_small_steps_of_p_change_little(studio, view_of):
    p = latent.sample(0, 1)
    step = 0.02 * np.random.default_rng(0).standard_normal(latent.SIZE)
    moved = render(studio.head(p + step), camera(0.3), SIZE)
    inside = view_of(1, 0.3).mask > 0.5
    assert psnr(moved.rgb[inside], view_of(1, 0.3).rgb[inside]) > 27


def test_outfits_change_pictures_where_they_are(studio, view_of):
    """A star on the forehead is seen there, and the head is the same otherwise."""
    star = Decal("star", 0.0, 0.62, 0.3, 0.0, (0.9, 0.1, 0.1))
    dressed = render(studio.head(latent.sample(0, 4), Outfit(decals=(star,))), camera(0.0), SIZE)
    changed = np.abs(dressed.rgb - view_of(4, 0.0).rgb).max(-1) > 0.05
    rows, columns = np.nonzero(changed)
    assert 300 < changed.sum() < 4000
    assert 20 < rows.mean() < 90  # above the eyes, which are at 95
    assert abs(columns.mean() - 128) < 8
    np.testing.assert_allclose(dressed.z_depth, view_of(4, 0.0).z_depth, atol=1e-5)


@pytest.mark.parametrize("kind", HEADWEAR)
def test_headwear_covers_the_crown_and_leaves_the_face(studio, view_of, kind):
    outfit = Outfit(headwear=Headwear(kind, (0.9, 0.1, 0.8), (0.9, 0.1, 0.8)))
    dressed = render(studio.head(latent.sample(0, 4), outfit), camera(0.0), SIZE)
    magenta = (dressed.rgb[..., 0] > 1.5 * dressed.rgb[..., 1]) & (dressed.rgb[..., 2] > 1.5 * dressed.rgb[..., 1])
    assert magenta[:8, 100:156].mean() > 0.9
    assert magenta[100:150, 100:156].mean() < 0.02
    assert psnr(dressed.rgb[105:145, 100:156], view_of(4, 0.0).rgb[105:145, 100:156]) > 20
