"""Directions and their algebra in closed form; paintings found, carried, and fitted without touching the rest."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmv_jax import cameras
from pmv_jax.edits import directions, editing
from pmv_jax.edits.directions import Direction
from pmv_jax.errors import InputError
from pmv_jax.inversion.result import load_inversion
from tests import small_inversion

SIZE = 64


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_step_moves_its_layers_only():
    vector = draw(4)
    direction = directions.on_layers(Direction("a", vector), (1, 3))
    np.testing.assert_allclose(directions.step(direction, 5), np.outer([0, 1, 1, 0, 0], vector), rtol=1e-6)
    rows = draw(5, 4)
    np.testing.assert_allclose(directions.step(Direction("b", rows), 5), rows, rtol=1e-6)


@pytest.mark.parametrize("layers", [None, (1, 3)])
@pytest.mark.parametrize("shape", [(4,), (5, 4)])
def test_score_rises_by_one_per_step(layers, shape):
    direction = directions.on_layers(Direction("a", draw(*shape)), layers if len(shape) == 1 else None)
    assert np.sum(directions.scorer(direction, 5) * directions.step(direction, 5)) == pytest.approx(1, rel=1e-5)


@given(st.integers(0, 1000), st.booleans())
def test_keeping_leaves_other_scores_and_its_own_unit(seed, with_normals):
    vectors, normals = draw(3, 16, seed=seed), draw(3, 16, seed=seed + 1)
    normals = normals + vectors  # so that each direction moves its own score
    normals /= np.sum(normals * vectors, axis=1, keepdims=True)
    own, *others = (
        Direction(str(i), v, n if with_normals else None) for i, (v, n) in enumerate(zip(vectors, normals, strict=True))
    )
    try:
        kept = directions.keep(own, others, num_ws=3)
    except InputError:
        return
    assert kept.vector.shape == (16,)
    scores = [np.sum(directions.scorer(d, 3) * directions.step(kept, 3)) for d in (own, *others)]
    np.testing.assert_allclose(scores, [1, 0, 0], atol=2e-4 * np.abs(kept.vector).max())


def test_without_normals_keeping_is_orthogonal_projection():
    a, b = draw(8), draw(8, seed=1)
    kept = directions.keep(Direction("a", a), [Direction("b", b)], 3).vector
    expected = a - (a @ b) / (b @ b) * b
    np.testing.assert_allclose(kept / np.linalg.norm(kept), expected / np.linalg.norm(expected), atol=1e-9)


def test_nothing_is_left_of_a_direction_that_is_kept():
    with pytest.raises(InputError, match="--keep b: leaves 0% of a"):
        directions.keep(Direction("a", draw(8)), [Direction("b", -2 * draw(8))], 3)


@pytest.mark.parametrize(("text", "expected"), [("2-4", (2, 5)), ("3", (3, 4)), ("-2", (0, 3)), ("4-", (4, 6))])
def test_layer_ranges(text, expected):
    assert directions.parse_layers(text, 6) == expected


@pytest.mark.parametrize("text", ["", "-", "4-2", "0-6", "a-b", "1-2-3"])
def test_layer_ranges_that_are_none(text):
    with pytest.raises(InputError, match="has layers 0 to 5"):
        directions.parse_layers(text, 6)


def test_files_round_trip(tmp_path):
    given_ = [
        Direction("a", draw(4), draw(4, seed=1), (0, 3), "metres", {"from": "here"}),
        Direction("b", draw(6, 4)),
    ]
    directions.save_directions(tmp_path / "d.json", given_, 6, "abc", {})
    found = directions.load_directions(tmp_path / "d.json", 6, 4)
    assert found.fingerprint == "abc" and list(found.directions) == ["a", "b"]
    for name, direction in zip("ab", given_, strict=True):
        np.testing.assert_allclose(found[name].vector, direction.vector, rtol=1e-4)
        assert (found[name].layers, found[name].unit) == (direction.layers, direction.unit)
    np.testing.assert_allclose(found["a"].normal, given_[0].normal, rtol=1e-4)
    np.save(tmp_path / "grin.npy", draw(1, 4))
    np.savez(tmp_path / "all.npz", up=draw(4), down=draw(6, 4))
    assert directions.load_directions(tmp_path / "grin.npy", 6, 4)["grin"].vector.shape == (4,)
    assert list(directions.load_directions(tmp_path / "all.npz", 6, 4).directions) == ["up", "down"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.npy", draw(5), r"has shape \[5\]; this generator takes \[4\] or \[6, 4\]"),
        ("w.npy", draw(5, 4), r"has shape \[5, 4\]"),
        ("w.npy", np.zeros(4), "zero or not finite"),
        ("w.npy", np.full(4, np.nan), "zero or not finite"),
        ("w.npy", np.array(["a"]), "holds no numbers"),
        ("w.npy", b"nonsense", "cannot be read"),
        ("w.npz", b"PK", "cannot be read"),
        ("w.json", b"{}", "cannot be read"),
        ("w.json", b'{"format": 9}', "format 9, this program reads 1"),
        ("w.pt", b"", "unknown kind of file '.pt'"),
        ("w.npy", None, "no such file"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(InputError, match=message) as raised:
        directions.load_directions(path, 6, 4)
    assert str(path) in str(raised.value)


def test_positions_count_standard_deviations(quick_compilation):
    inversion = small_inversion.make()
    generator = inversion.generator
    codes = np.asarray(editing._random_codes(generator), np.float64)
    vector = draw(codes.shape[1])
    score = codes @ vector / (vector @ vector)
    middle = np.tile(codes.mean(0), (generator.config.num_ws, 1))
    direction = Direction("a", vector * score.std())
    inversion = dataclasses.replace(inversion, ws=middle)
    after = editing.move(inversion, [editing.Move(direction, 2.5)])
    [place] = editing.positions(generator, middle, after.ws, [direction])
    assert place.before == pytest.approx(0, abs=1e-3) and place.after == pytest.approx(2.5, rel=1e-3)
    assert not place.leaves_range and editing.Position(0, -3.1).leaves_range
    assert not editing.Position(5, 4).leaves_range  # on its way back


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
    mask = editing.changed_region(photograph(), picture)
    assert mask[region].min() == 1
    far = np.ones_like(region)
    far[16:34, 8:44] = False
    assert mask[far].max() == 0


def test_mask_takes_the_place_of_the_difference():
    region = np.zeros((SIZE, SIZE), bool)
    region[5:9, 5:9] = True
    mask = editing.changed_region(photograph(), photograph(), region)
    assert mask[region].min() == 1 and (mask > 0.5).sum() <= 36


def test_unusable_paintings():
    before, (picture, _) = photograph(), painted()
    with pytest.raises(InputError, match="a.png: does not differ"):
        editing.changed_region(before, before, name="a.png")
    with pytest.raises(InputError, match="is shifted by 2 pixels to the right and -1 down"):
        editing.changed_region(before, np.roll(picture, (-1, 2), (0, 1)))
    with pytest.raises(InputError, match="is it another picture"):
        editing.changed_region(before, np.clip(0.5 - before[::-1], -1, 1))


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
    colour, amount, unsure = editing._carry(jnp.asarray(image), jnp.asarray(mask), distance, views)
    pixels = shift * 2.0 / depth * size  # focal length times shift over depth
    rows, columns = np.mgrid[:size, :size]
    for index, moved in ((0, 0.0), (1, pixels)):
        weight = np.asarray(amount[index])
        assert weight.sum() == pytest.approx(100, rel=1e-3)
        assert (weight * columns).sum() / weight.sum() == pytest.approx(34.5 - moved, abs=0.01)
        assert (weight * rows).sum() / weight.sum() == pytest.approx(24.5, abs=0.01)
    assert np.asarray(unsure).max() < 1e-6


def test_paint_changes_what_was_painted_and_holds_the_rest(quick_compilation, tmp_path):
    inversion = small_inversion.make()
    size = small_inversion.SIZE
    shown = np.clip(inversion.render(inversion.camera[None])["image"][0], -1, 1)
    mask = np.zeros((size, size), np.float32)
    mask[10:18, 12:20] = 1
    image = np.where(mask[..., None] > 0, np.float32([0.8, -0.8, 0.0]), shown)
    steps = []
    after, now_shown = editing.paint(
        inversion,
        editing.Painting(image, mask, inversion.camera),
        shown,
        editing.TextureConfig(steps=30),
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


def test_plane_map_is_added_to_the_planes(quick_compilation):
    inversion = small_inversion.make()
    ws = jnp.asarray(inversion.ws)
    before = editing._planes(inversion.generator, ws)
    generator = editing._with_plane_map(inversion.generator)
    np.testing.assert_array_equal(editing._planes(generator, ws), before)
    offset = jnp.asarray(draw(*before.shape), jnp.float32)
    for times in (1, 2):
        generator = editing._add_to_planes(editing._with_plane_map(generator), offset)
        np.testing.assert_allclose(editing._planes(generator, ws), before + times * offset, atol=1e-4)
