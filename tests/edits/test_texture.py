"""Paintings found, carried to other views, and fitted without touching the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.edits import texture
from pmv_jax.errors import InputError
from pmv_jax.inversion.result import load_inversion
from tests import small_inversion

SIZE = 64


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def photograph() -> np.ndarray:
    """Smooth, with edges enough to tell a shift."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    layers = [np.sin(9 * x + 5 * y), np.cos(14 * y * x), np.where((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1, 0.6, -0.4)]
    return (0.6 * np.stack(layers, axis=-1)).astype(np.float32)


def painted() -> tuple[np.ndarray, np.ndarray]:
    region = np.zeros((SIZE, SIZE), bool)
    region[20:30, 12:40] = True
    picture = photograph()
    picture[region] = (0.9, -0.9, 0.9)
    return picture, region


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_changed_region_is_what_was_painted(noise):
    picture, region = painted()
    picture = picture + noise * draw(*picture.shape).astype(np.float32)
    picture[60, 3] += 1.0  # a hot pixel
    mask = texture.changed_region(photograph(), picture)
    assert mask[region].min() == 1
    far = np.ones_like(region)
    far[16:34, 8:44] = False
    assert mask[far].max() == 0


def test_mask_takes_the_place_of_the_difference():
    region = np.zeros((SIZE, SIZE), bool)
    region[5:9, 5:9] = True
    mask = texture.changed_region(photograph(), photograph(), region)
    assert mask[region].min() == 1 and (mask > 0.5).sum() <= 36


def test_unusable_paintings():
    before, (picture, _) = photograph(), painted()
    with pytest.raises(InputError, match="a.png: does not differ"):
        texture.changed_region(before, before, name="a.png")
    with pytest.raises(InputError, match="is shifted by 2 pixels to the right and -1 down"):
        texture.changed_region(before, np.roll(picture, (-1, 2), (0, 1)))
    with pytest.raises(InputError, match="is it another picture"):
        texture.changed_region(before, np.clip(0.5 - before[::-1], -1, 1))


def test_painting_is_carried_over_a_plane_as_geometry_says():
    """A spot on a fronto-parallel plane keeps its place in the world: a camera beside it sees it beside."""
    size, depth, shift = 64, 2.0, 0.1
    first = np.asarray(cameras.look_from(jnp.array([0.0, 0, depth]), jnp.zeros(3), 2.0))
    second = first.copy()
    second[3] += shift  # to the right
    views = jnp.asarray(np.stack([first, second]))
    distance = cameras.z_depth_to_ray_distance(jnp.full((2, size, size), depth), views)
    mask = np.zeros((size, size), np.float32)
    mask[20:30, 30:40] = 1
    image = np.full((size, size, 3), 0.5, np.float32)
    colour, amount, unsure = texture._warp_painting(jnp.asarray(image), jnp.asarray(mask), distance, views)
    pixels = shift * 2.0 / depth * size  # focal length times shift over depth
    rows, columns = np.mgrid[:size, :size]
    for index, moved in ((0, 0.0), (1, pixels)):
        weight = np.asarray(amount[index])
        assert weight.sum() == pytest.approx(100, rel=1e-3)
        assert (weight * columns).sum() / weight.sum() == pytest.approx(34.5 - moved, abs=0.01)
        assert (weight * rows).sum() / weight.sum() == pytest.approx(24.5, abs=0.01)
    assert np.asarray(unsure).max() < 1e-6


def test_painting_changes_what_was_painted_and_holds_the_rest(tmp_path):
    inversion = small_inversion.make()
    size = small_inversion.SIZE
    shown = np.clip(inversion.render(inversion.camera[None])["image"][0], -1, 1)
    mask = np.zeros((size, size), np.float32)
    mask[10:18, 12:20] = 1
    image = np.where(mask[..., None] > 0, np.float32([0.8, -0.8, 0.0]), shown)
    steps = []
    after, now_shown = texture.apply_painting(
        inversion,
        texture.Painting(image, mask, inversion.camera),
        shown,
        texture.TextureConfig(steps=30),
        lambda done, total: steps.append((done, total)),
    )
    assert steps == [(20, 30), (30, 30)] and after.stages[-1].name == "texture_1"
    assert after.stages[-1].losses[-1] < 0.9 * after.stages[-1].losses[0]
    np.testing.assert_array_equal(after.ws, inversion.ws)
    np.testing.assert_array_equal(now_shown, image)
    new = after.render(inversion.camera[None])["image"][0]
    inside = mask > 0
    old = inversion.render(inversion.camera[None])["image"][0]  # random weights do not keep to [-1, 1]
    assert np.abs(new - image)[inside].mean() < 0.95 * np.abs(old - image)[inside].mean()
    assert not np.isnan(new).any()
    # Of the backbone nothing but the map has changed, and what is saved and loaded again is painted still.
    synthesis = after.generator.params["backbone"]["synthesis"]
    assert np.abs(synthesis["plane_map"]).max() > 0
    rest = {**synthesis}
    del rest["plane_map"]
    jax.tree.map(np.testing.assert_array_equal, rest, inversion.generator.params["backbone"]["synthesis"])
    after.save(tmp_path / "painted")
    again = load_inversion(tmp_path / "painted").render(inversion.camera[None])["image"][0]
    np.testing.assert_allclose(again, new, atol=1e-5)


def test_plane_map_is_added_to_the_planes():
    inversion = small_inversion.make()
    ws = jnp.asarray(inversion.ws)
    before = inversion.generator.planes(ws)
    generator = texture._with_plane_map(inversion.generator)
    np.testing.assert_array_equal(generator.planes(ws), before)
    offset = jnp.asarray(draw(*before.shape), jnp.float32)
    for times in (1, 2):
        generator = texture._add_to_planes(texture._with_plane_map(generator), offset)
        np.testing.assert_allclose(generator.planes(ws), before + times * offset, atol=1e-4)
