"""Other ways to write a camera down: taking them, recognising them, and telling what fits no generator.

The project's own, EG3D's, is `opencv`: 25 numbers, row-major 4x4 cam2world with axes x right, y down, z forward, and
3x3 intrinsics divided by the image size. Everything here is pure NumPy; a camera is [25] float64.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError, suggestion

CONVENTIONS = {
    "opencv": "cam2world with axes x right, y down, z forward",
    "opengl": "camera axes x right, y up, z backward, as in OpenGL, Blender and nerfstudio",
    "pytorch3d": "camera axes x left, y up, z forward, as in PyTorch3D",
    "world2cam": "the matrix takes the world to the camera",
    "transposed": "the matrix is written column by column",
    "pixels": "intrinsics in pixels, of a picture with the principal point in its middle",
}
_AXES = {"opengl": (1.0, -1.0, -1.0), "pytorch3d": (-1.0, -1.0, 1.0)}
# All that can be true together, the simplest first.
_COMBINATIONS = sorted(
    (
        tuple(word for word in choice if word)
        for choice in itertools.product(
            ("", "pixels"), ("", "transposed"), ("", "world2cam"), ("", "opengl", "pytorch3d")
        )
    ),
    key=len,
)

MENDABLE = 0.05  # a rotation's singular values may be off 1 by this; a public file has 0.986 to 1.014
_EXACT = 1e-3  # the same, of a file with at least five digits, which is no cause for a warning
# How far a photograph's camera may be off the generator's: labels of EG3D's tools keep within a third of this.
_OFF_CENTRE = 0.2  # place of the pivot in the picture, from its middle, in picture sizes
_RATIO = 1.25  # of the distance, and of the focal length
_ROLL = math.radians(60)


def parse(text: str) -> tuple[str, ...]:
    """`--camera_convention`: words from CONVENTIONS joined by commas, for example `world2cam,pixels`.

    Raises:
      InputError: an unknown word, or two that exclude each other.
    """
    words = tuple(word.strip() for word in text.split(","))
    for word in words:
        if word not in CONVENTIONS:
            raise InputError(f"--camera_convention {text}: {word!r} is not one; {suggestion(word, CONVENTIONS)}")
    axes = [word for word in words if word == "opencv" or word in _AXES]
    if len(axes) > 1:
        raise InputError(f"--camera_convention {text}: {' and '.join(axes)} exclude each other")
    return tuple(word for word in words if word != "opencv")


def convert(camera: np.ndarray, convention: tuple[str, ...]) -> np.ndarray:
    """A camera [25] that is written in a convention, a tuple of words as `parse` gives it -> [25] in `opencv`.

    Raises:
      numpy.linalg.LinAlgError: a world2cam that has no inverse.
    """
    matrix, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    if "pixels" in convention:
        # The generator's pictures are square and cut around the middle: the shorter side is what counts.
        side = 2 * min(intrinsics[0, 2], intrinsics[1, 2])
        intrinsics = np.array([[1 / side], [1 / side], [1]]) * intrinsics
        intrinsics[:2, 2] = 0.5
    if "transposed" in convention:
        matrix = matrix.T
    if "world2cam" in convention:
        matrix = np.linalg.inv(matrix)
    for word in convention:
        if word in _AXES:
            matrix = matrix * np.array([*_AXES[word], 1.0])
    return np.concatenate([matrix.ravel(), intrinsics.ravel()])


def mended(camera: np.ndarray) -> tuple[np.ndarray, float]:
    """Replaces a cam2world's near-rotation by the nearest rotation, where MENDABLE allows.

    Returns:
      The camera [25], and how far the singular values were off 1: 0 where nothing had to be mended.
    """
    if not np.isfinite(camera).all():
        return camera, 0.0
    matrix = camera[:16].reshape(4, 4)
    left, values, right = np.linalg.svd(matrix[:3, :3])
    off = float(np.abs(values - 1).max())
    if off <= _EXACT / 2 or off > MENDABLE:
        return camera, 0.0
    matrix = matrix.copy()
    matrix[:3, :3] = left @ right
    return np.concatenate([matrix.ravel(), camera[16:]]), off


def misfit(camera: np.ndarray, family: GeneratorConfig) -> str | None:
    """Why a camera [25] cannot be that of a picture which a generator could have made; None if it can.

    The head must be in the middle of the picture and upright, distance and focal length near those of the training.

    Args:
      camera: a rotation, a position and intrinsics, see `files.find_problem`.
      family: the generator's configuration, for its pivot, radius and focal length.
    """
    matrix, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    rotation, position = matrix[:3, :3], matrix[:3, 3]
    local = (np.asarray(family.camera_pivot) - position) @ rotation
    if local[2] <= 0:
        return "looks away from the head"
    offset = (intrinsics @ local)[:2] / local[2] - 0.5
    if np.abs(offset).max() > _OFF_CENTRE:
        return f"sees the head's middle {np.abs(offset).max():.2g} picture sizes off the picture's middle"
    if abs(math.atan2(rotation[1, 0], -rotation[1, 1])) > _ROLL and np.hypot(*rotation[1, :2]) > 0.5:
        return "sees the head lying or upside down"
    distance = float(np.linalg.norm(position))
    if max(distance / family.camera_radius, family.camera_radius / distance) > _RATIO:
        scale = family.camera_radius / distance
        return (
            f"stands {distance:.3g} away from the origin, this generator's cameras {family.camera_radius:.3g}; "
            f"if the world has another unit, multiply the position by {scale:.3g}"
        )
    focal = math.sqrt(abs(intrinsics[0, 0] * intrinsics[1, 1]))
    if not family.camera_focal / _RATIO <= focal <= family.camera_focal * _RATIO:
        return f"has a focal length of {focal:.4g} picture sizes, this generator's cameras {family.camera_focal:.4g}"
    return None


def recognise(camera: np.ndarray, family: GeneratorConfig) -> tuple[str, ...] | None:
    """The convention by which a camera [25] fits a generator, with the fewest words: () for the project's own, None if
    there is none."""
    return next((words for words in _COMBINATIONS if _fits(camera, words, family)), None)


def hint(camera: np.ndarray, family: GeneratorConfig) -> str:
    """The end of a message on a camera [25] that is refused: what it looks like, and how to have it taken."""
    words = recognise(camera, family)
    if not words:
        return ""
    meaning = ", ".join(CONVENTIONS[word] for word in words)
    return f"; it looks like another convention ({meaning}), which --camera_convention {','.join(words)} takes"


def _fits(camera: np.ndarray, words: tuple[str, ...], family: GeneratorConfig) -> bool:
    with np.errstate(all="ignore"):
        try:
            converted, _ = mended(convert(camera, words))
        except np.linalg.LinAlgError:
            return False
        if not np.isfinite(converted).all():
            return False
        matrix, intrinsics = converted[:16].reshape(4, 4), converted[16:].reshape(3, 3)
        return bool(
            np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-4)
            and np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=2 * _EXACT)
            and np.linalg.det(matrix[:3, :3]) > 0
            and np.allclose(intrinsics[2], [0, 0, 1], atol=1e-4)
            and misfit(converted, family) is None
        )
