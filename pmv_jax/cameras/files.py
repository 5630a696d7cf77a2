"""Cameras from files: `.npy`, or `.json` of many kinds (`formats`). What a camera is: see `geometry`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from pmv_jax.cameras import conventions, formats
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError

_ROTATION_TOLERANCE = 1e-3  # on the entries of R R^T - I; files carry at least five digits


def load_camera(
    path: str | Path, image_name: str | Path | None = None, convention: tuple[str, ...] | None = None
) -> np.ndarray:
    """Reads and checks one camera.

    Args:
      path: `.npy` with 25 numbers; or `.json` in one of the forms of `formats`.
      image_name: which entry to take where the file has one per image. Folders in front of the name count only where
        the name alone is ambiguous; a suffix only where it tells two entries apart.
      convention: in which the numbers are written, see `conventions.parse`; None is the project's own.

    Returns:
      [25] float32.

    Raises:
      InputError: unreadable file, no entry for the image, or numbers that are no camera.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"camera {path}: no such file; give a .npy or .json file")
    if path.suffix == ".npy":
        values, speaks_for_itself = _read_npy(path), False
    elif path.suffix == ".json":
        values, speaks_for_itself = formats.select(_read_json(path), path, image_name)
    else:
        raise InputError(f"camera {path}: unknown kind of file {path.suffix!r}; give a .npy or .json file")
    if speaks_for_itself and convention is not None:
        raise InputError(f"camera {path}: its form says how it is to be read; leave --camera_convention away")
    return checked(values, f"camera {path}", convention or ())


def checked(values: Any, name: str, convention: tuple[str, ...] = ()) -> np.ndarray:
    """What should be a camera -> one [25] float32, with a near-rotation made a rotation and a warning that says so.

    Args:
      values: from a file, of any type.
      name: what messages begin with.
      convention: see `load_camera`.

    Raises:
      InputError: they are no camera; the message says what they look like.
    """
    try:
        camera = np.squeeze(np.asarray(values, np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: holds something else than numbers; {formats.FORM}") from error
    if camera.shape != (25,):
        raise InputError(f"{name}: has shape {list(camera.shape)} instead of [25]; {formats.FORM}")
    raw = camera
    try:
        camera, off = conventions.mended(conventions.convert(camera, convention))
    except np.linalg.LinAlgError as error:
        raise InputError(f"{name}: the matrix has no inverse, so it is no world2cam; check the file") from error
    problem = find_problem(camera)
    if problem:
        remedy = conventions.hint(raw, GeneratorConfig()) or "; without --camera it is estimated"
        raise InputError(f"{name}: {problem}{remedy}")
    if off:
        warnings.warn(
            f"{name}: its rotation is off by {100 * off:.1f} %; taking the nearest true rotation", stacklevel=2
        )
    return camera.astype(np.float32)


def find_problem(camera: np.ndarray) -> str | None:
    """What is wrong with numbers [25] as a camera, and the remedy; None if nothing is.

    Checked: finite; cam2world with a rotation, looking towards the world's origin, where heads are; intrinsics with
    positive focal lengths, normalised by the image size.
    """
    if not np.isfinite(camera).all():
        return "has values that are not finite"
    cam2world, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    if not np.allclose(cam2world[3], [0, 0, 0, 1], atol=1e-6):
        return "the last row of cam2world is not 0 0 0 1"
    rotation, position = cam2world[:3, :3], cam2world[:3, 3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=_ROTATION_TOLERANCE):
        return "the upper left 3x3 of cam2world is not a rotation (columns must be orthogonal, of length 1)"
    if np.linalg.det(rotation) < 0:
        return "the upper left 3x3 of cam2world mirrors (determinant -1); flip one axis: x right, y down, z forward"
    if rotation[:, 2] @ position > 0:
        return "looks away from the head at the origin; the axes must be x right, y down, z forward"
    if not np.allclose(intrinsics[2], [0, 0, 1], atol=1e-6) or abs(intrinsics[1, 0]) > 1e-6:
        return "intrinsics are not [fx s cx; 0 fy cy; 0 0 1]"
    (fx, _, cx), (_, fy, cy) = intrinsics[:2]
    if fx <= 0 or fy <= 0:
        return f"focal lengths must be positive, not {fx:g} and {fy:g}"
    if max(fx, fy) > 100 or max(cx, cy) > 1:
        return "intrinsics look like pixels; divide the first two rows by the image size"
    if min(cx, cy) < 0:
        return f"principal point ({cx:g}, {cy:g}) lies outside the image, whose sides run from 0 to 1"
    return None


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"camera {path}: is not a .npy file of numbers; write it with numpy.save") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"camera {path}: is not valid JSON ({error}); check the file") from error
