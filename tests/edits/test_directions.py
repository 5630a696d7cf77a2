"""Directions and their algebra in closed form, layer ranges, and files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmv_jax.edits import directions
from pmv_jax.edits.directions import Direction
from pmv_jax.errors import InputError


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
