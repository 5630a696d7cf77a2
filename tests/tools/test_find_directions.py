"""Directions found in codes whose attributes are known, and the demo generator's own."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.edits import directions, latent
from pmv_jax.errors import InputError
from tests import command
from tools import find_directions
from tools.signed_distance_heads import heads as procedural_heads

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "weights" / "demo"


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


def test_shipped_directions_do_what_they_say():
    """Moves codes of new heads, and reads off the parameters of the nearest code that the mapping makes."""
    generator = load_generator(DEMO)
    config = generator.config
    found = directions.load_directions(DEMO / directions.DEFAULT_FILE, config.num_ws, config.w_dim)
    assert tuple(found.directions) == procedural_heads.PARAMETERS
    assert found.fingerprint == latent.fingerprint(generator)
    measured = find_directions.measure(generator, list(found.directions.values()), seed=5, count=60)
    for direction in measured:
        figures = direction.provenance["measured"]
        assert figures["correlation"] > 0.88 and figures["right_way"] >= 0.95 and figures["effect"] > 0.35, direction
        assert abs(figures["leakage"]) < 0.25, direction


def test_parameters_of_inverts_the_mapping():
    generator = load_generator(DEMO)
    z, w = find_directions.sample(generator, 8, 3)
    p = np.stack(list(find_directions.procedural_labels(z).values()), axis=1)
    start = p + 0.1 * np.random.default_rng(0).standard_normal(p.shape)
    found = find_directions.parameters_of(generator, jnp.asarray(w, jnp.float32), jnp.asarray(start, jnp.float32))
    np.testing.assert_allclose(found, p, atol=0.02)


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
    random = np.random.default_rng(0)
    w = random.standard_normal((200, 128))
    np.save(tmp_path / "w.npy", w)
    (tmp_path / "labels.csv").write_text("bright\n" + "\n".join(f"{x}" for x in w[:, 3]))
    done = run(tmp_path, "--codes w.npy --labels labels.csv --layer-range 2-4 --out found/d.json")
    assert done.returncode == 0, done.stderr
    found = directions.load_directions(tmp_path / "found" / "d.json", 12, 128)["bright"]
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
