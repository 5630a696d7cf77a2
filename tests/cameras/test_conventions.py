"""Cameras as others write them: each is told from the project's own, and taken by its name."""

import itertools
import re

import numpy as np
import pytest

from pmv_jax.cameras import conventions, look_at
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError

FAMILY = GeneratorConfig()
ANGLES = [(yaw, pitch) for yaw in (-0.8, -0.3, 0.15, 0.5) for pitch in (-0.3, 0.1, 0.25)]


def camera(yaw: float, pitch: float) -> np.ndarray:
    return np.asarray(look_at(yaw, pitch), np.float64)


def written(cam2world: np.ndarray, word: str) -> np.ndarray:
    """The same camera [25] in another convention: each by its definition, not by way of `convert`."""
    matrix, intrinsics = cam2world[:16].reshape(4, 4).copy(), cam2world[16:].reshape(3, 3).copy()
    rotation, position = matrix[:3, :3], matrix[:3, 3]
    if word == "opengl":
        matrix[:3, :3] = np.stack([rotation[:, 0], -rotation[:, 1], -rotation[:, 2]], 1)
    elif word == "pytorch3d":
        matrix[:3, :3] = np.stack([-rotation[:, 0], -rotation[:, 1], rotation[:, 2]], 1)
    elif word == "world2cam":
        matrix = np.vstack([np.c_[rotation.T, -rotation.T @ position], [0, 0, 0, 1]])
    elif word == "transposed":
        matrix = np.array([[matrix[j, i] for j in range(4)] for i in range(4)])
    elif word == "pixels":
        intrinsics[:2] *= 512
    return np.concatenate([matrix.ravel(), intrinsics.ravel()])


@pytest.mark.parametrize("word", [word for word in conventions.CONVENTIONS if word != "opencv"])
@pytest.mark.parametrize(("yaw", "pitch"), ANGLES)
def test_each_convention_is_recognised_and_taken(word, yaw, pitch):
    own = camera(yaw, pitch)
    other = written(own, word)
    assert conventions.recognise(own, FAMILY) == ()
    assert conventions.recognise(other, FAMILY) == (word,)
    np.testing.assert_allclose(conventions.convert(other, (word,)), own, atol=1e-6)
    assert f"--camera_convention {word} " in conventions.hint(other, FAMILY)


@pytest.mark.parametrize("words", list(itertools.permutations(("opengl", "world2cam", "pixels", "transposed"), 2)))
def test_two_at_a_time(words):
    """Axes are changed before the matrix is inverted, and it is inverted before it is transposed."""
    own = other = camera(0.4, -0.2)
    for word in ("opengl", "world2cam", "transposed", "pixels"):
        other = written(other, word) if word in words else other
    found = conventions.recognise(other, FAMILY)
    assert found is not None and set(found) == set(words)
    np.testing.assert_allclose(conventions.convert(other, conventions.parse(",".join(words))), own, atol=1e-6)


def test_whoever_says_opencv_means_it():
    assert conventions.parse("opencv") == () and conventions.parse("opencv, pixels") == ("pixels",)
    with pytest.raises(InputError, match="did you mean 'opengl'"):
        conventions.parse("opengll")
    with pytest.raises(InputError, match="exclude each other"):
        conventions.parse("opengl,opencv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c * np.array([*[1, 1, 1, 4] * 3, 1, 1, 1, 1, *[1] * 9]), "stands 10.8 away.*by 0.25"),
        (lambda c: c * np.array([*[1] * 16, 0.24, 1, 1, 1, 0.24, 1, 1, 1, 1]), "focal length of 1.024.*4.265"),
        (lambda c: c + np.array([0, 0, 0, 1.0, *[0] * 21]), "off the picture's middle"),
        (lambda c: written(c, "opengl"), "looks away"),
        (lambda c: written(c, "pytorch3d"), "upside down"),
    ],
)
def test_what_fits_no_generator(change, message):
    problem = conventions.misfit(change(camera(0.3, 0.1)), FAMILY)
    assert re.search(message, problem), problem


def test_every_view_of_the_generator_fits():
    for yaw in np.linspace(-np.pi, np.pi, 9):
        for pitch in (-1.2, -0.5, 0.0, 0.5, 1.2):
            assert conventions.misfit(camera(yaw, pitch), FAMILY) is None
    cars = GeneratorConfig(camera_radius=1.3, camera_pivot=(0, 0, 0), camera_focal=1.0254)
    view = np.asarray(look_at(2.0, 0.4, pivot=(0, 0, 0), radius=1.3, focal=1.0254), np.float64)
    assert conventions.misfit(view, cars) is None and conventions.misfit(view, FAMILY) is not None


def test_near_rotations_become_rotations():
    """Polar decomposition: the nearest rotation in the Frobenius norm, and what is one already stays to the bit."""
    own, random = camera(0.3, 0.1), np.random.default_rng(0)
    unchanged, off = conventions.mended(own)
    assert off == 0 and (unchanged == own).all()
    rotation = own[:16].reshape(4, 4)[:3, :3]
    stretch = np.array([[1.012, 0.004, 0], [0.004, 0.99, -0.006], [0, -0.006, 1.003]])
    bad = own.copy()
    bad.reshape(-1)[:16].reshape(4, 4)[:3, :3] = rotation @ stretch
    fixed, off = conventions.mended(bad)
    np.testing.assert_allclose(fixed, own, atol=1e-6)
    assert off == pytest.approx(np.abs(np.linalg.eigvalsh(stretch) - 1).max(), rel=1e-4)
    found = fixed[:16].reshape(4, 4)[:3, :3]
    for _ in range(20):  # no rotation near it is nearer
        turn, _ = np.linalg.qr(np.eye(3) + 1e-2 * random.normal(size=(3, 3)))
        turn *= np.sign(np.diag(turn))
        assert np.linalg.norm(found @ turn - rotation @ stretch) >= np.linalg.norm(found - rotation @ stretch)
    scaled = own.copy()
    scaled[:16].reshape(4, 4)[:3, :3] *= 1.2
    assert (conventions.mended(scaled)[0] == scaled).all()
