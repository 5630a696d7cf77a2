"""Directions found in codes whose attributes are known, and those of rendered heads."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.checkpoints.orbax import load_config, variable_shapes
from pmv_jax.config import MappingConfig
from pmv_jax.edits import directions, latent
from pmv_jax.errors import InputError
from pmv_jax.models.generator import Generator
from tests import command, shipped, small_inversion
from tools import find_directions
from tools.training.network import NETWORK


@pytest.fixture(scope="module")
def codes():
    """w [N, 6] of a known covariance, and a vector a: the score is a . w."""
    random = np.random.default_rng(0)
    mixing = random.standard_normal((6, 6)) + 2 * np.eye(6)
    return random.standard_normal((20_000, 6)) @ mixing.T + 3.0, mixing @ mixing.T, random.standard_normal(6)


@pytest.mark.parametrize("binary", [False, True])
def test_hyperplane_moves_along_the_pattern_by_one_deviation(codes, binary):
    w, covariance, a = codes
    score = (w - 3.0) @ a
    labels = (score + 0.3 * score.std() * np.random.default_rng(1).standard_normal(len(w)) > 0) if binary else score
    found = find_directions.hyperplane("x", w, labels, {})
    expected = covariance @ a / np.sqrt(a @ covariance @ a)
    np.testing.assert_allclose(found.vector, expected, atol=0.12 * np.linalg.norm(expected))
    assert found.vector @ found.normal == pytest.approx(1)
    assert (w @ found.normal).std() == pytest.approx(1, rel=1e-6)


def test_direction_of_one_attribute_leaves_independent_ones(codes):
    w, covariance, _ = codes
    sources = np.linalg.solve(np.linalg.cholesky(covariance), (w - 3.0).T).T  # independent, of unit variance
    found = find_directions.hyperplane("x", w, sources[:, 2], {})
    moved = np.linalg.solve(np.linalg.cholesky(covariance), found.vector)
    np.testing.assert_allclose(moved, np.eye(6)[2], atol=0.05)


@pytest.mark.parametrize("labels", [np.ones(50), np.full(50, np.nan), np.arange(49.0)])
def test_labels_that_teach_nothing(labels):
    with pytest.raises(InputError, match="labels of x"):
        find_directions.hyperplane("x", np.random.default_rng(0).standard_normal((50, 3)), labels, {})


def test_principal_components_are_those_of_the_covariance(codes):
    w, covariance, _ = codes
    found = find_directions.principal_components(w, 3, {})
    variances, vectors = np.linalg.eigh(covariance)
    for direction, variance, vector in zip(found, variances[::-1], vectors.T[::-1], strict=False):
        assert np.linalg.norm(direction.vector) ** 2 == pytest.approx(variance, rel=0.05)
        assert abs(direction.vector @ vector) == pytest.approx(np.sqrt(variance), rel=0.05)
        assert direction.vector @ direction.normal == pytest.approx(1)
    with pytest.raises(InputError, match="--count 7: w varies in 6 directions only"):
        find_directions.principal_components(w, 7, {})


@pytest.fixture(scope="module")
def small() -> Generator:
    """Takes the numbers of a head, and no camera; w is a random map of them."""
    mapping = MappingConfig(num_layers=2, lr_multiplier=1.0)
    shape = {"z_dim": len(find_directions.NUMBERS), "c_dim": 0, "w_dim": 24, "mapping": mapping}
    config, random = dataclasses.replace(small_inversion.CONFIG, **shape), np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(random.standard_normal(leaf.shape, np.float32))  # noqa: E731
    return Generator(config, jax.tree.map(draw, variable_shapes(config)))


def test_every_number_of_z_has_a_name(small):
    names = find_directions.NUMBERS
    assert len(set(names)) == len(names) == NETWORK.z_dim
    assert names[find_directions.number_of("hair_length")] == "hair.length"
    places = {find_directions.number_of(name) for name in find_directions.ATTRIBUTES}
    assert len(places) == len(find_directions.ATTRIBUTES)
    z, _ = find_directions.sample(small, 5, 0)
    labels = find_directions.procedural_labels(3 * z)
    p = z / np.sqrt(np.mean(z**2, axis=1, keepdims=True))
    np.testing.assert_allclose(labels["smile"], p[:, names.index("expression.smile")], rtol=1e-5)


def test_parameters_of_inverts_the_mapping(small):
    """More numbers than w has: what is found has the code, and is near to where it was looked for."""
    z, w = find_directions.sample(small, 4, 3)
    target = w[::-1].astype(np.float32)
    start = find_directions.numbers(z)
    found = np.asarray(find_directions.parameters_of(small, jnp.asarray(target), jnp.asarray(start)))
    np.testing.assert_allclose(small.mapping(jnp.asarray(found), None)[:, 0], target, atol=0.06)
    np.testing.assert_allclose(np.mean(found**2, axis=1), 1, rtol=1e-5)
    moved = lambda x: np.linalg.norm(x - start, axis=1)  # noqa: E731
    assert (moved(found) < moved(find_directions.numbers(z[::-1]))).all()
    unmoved = find_directions.parameters_of(small, jnp.asarray(w, jnp.float32), jnp.asarray(start))
    np.testing.assert_allclose(unmoved, start, atol=0.02)


def test_a_direction_raises_its_own_number(small):
    z, w = find_directions.sample(small, 3000, 0)
    labels = find_directions.procedural_labels(z)
    found = [find_directions.hyperplane(name, w, labels[name], {}) for name in ("smile", "age")]
    for direction in find_directions.measure(small, found, seed=5, count=20):
        figures = direction.provenance["measured"]
        assert figures["right_way"] == 1 and figures["effect"] > 0.05
        assert figures["leaks_into"] in find_directions.NUMBERS


@pytest.mark.slow
def test_shipped_directions_do_what_they_say():
    """Moves codes of new heads, and reads off the numbers of a near code that the mapping makes."""
    generator = shipped.generator()
    config = generator.config
    found = directions.load_directions(shipped.DIRECTORY / directions.DEFAULT_FILE, config.num_ws, config.w_dim)
    assert tuple(found.directions) == tuple(find_directions.ATTRIBUTES)
    assert found.fingerprint == latent.fingerprint(generator)
    measured = find_directions.measure(generator, list(found.directions.values()), seed=5, count=60)
    for direction in measured:
        figures = direction.provenance["measured"]
        assert figures["right_way"] >= 0.95 and figures["effect"] > 0.35, direction
        assert abs(figures["leakage"]) < 0.7 * figures["effect"], direction


def test_label_files(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("smile, age\n1,2\n3,4\n")
    labels = find_directions.load_labels(path)
    assert list(labels) == ["smile", "age"] and labels["age"].tolist() == [2, 4]
    for text in ("", "smile\n", "smile\nyes\n", "a,b\n1\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="labels.csv"):
            find_directions.load_labels(path)


def run(folder: Path, arguments: str) -> command.Done:
    return command.run(find_directions.main, folder, *arguments.split())


def test_command_finds_directions_in_labelled_codes(tmp_path):
    random, config = np.random.default_rng(0), load_config(default_generator_directory())
    w = random.standard_normal((200, config.w_dim))
    np.save(tmp_path / "w.npy", w)
    (tmp_path / "labels.csv").write_text("bright\n" + "\n".join(f"{x}" for x in w[:, 3]))
    done = run(tmp_path, "--codes w.npy --labels labels.csv --layer-range 2-4 --out found/d.json")
    assert done.returncode == 0, done.stderr
    found = directions.load_directions(tmp_path / "found" / "d.json", config.num_ws, config.w_dim)["bright"]
    assert found.layers == (2, 5) and np.abs(found.normal).argmax() == 3
    assert json.loads((tmp_path / "found" / "d.json").read_text())["provenance"]["labels"] == "labels.csv"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--method hyperplane takes one of"),
        ("--method pca --procedural", "--method pca takes none"),
        ("--labels x.csv", "--codes and --labels go together"),
        ("--method pca --out d.txt", "must end in .json"),
    ],
)
def test_command_refuses(tmp_path, arguments, message):
    done = run(tmp_path, arguments)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
