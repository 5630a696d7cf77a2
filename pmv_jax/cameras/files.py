"""Cameras from files: `.npy`, `.json`, or an entry of an EG3D `dataset.json`. What a camera is: see `cameras.py`."""

from __future__ import annotations

import difflib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pmv_jax.errors import InputError

_ROTATION_TOLERANCE = 1e-3  # on the entries of R R^T - I; files carry at least five digits
_FORM = "a camera is 25 numbers: row-major 4x4 cam2world, then 3x3 intrinsics divided by the image size"


def load_camera(path: str | Path, image_name: str | Path | None = None) -> np.ndarray:
    """Reads and checks one camera.

    Args:
      path: `.npy` with 25 numbers; or `.json` with a list of 25 numbers, with `{"camera": [25 numbers]}` (such as the
        `metrics.json` of a result), or EG3D's `{"labels": [[image name, [25 numbers]], ...]}`.
      image_name: which entry to take where the file has one per image. Folders in front of the name count only where
        the name alone is ambiguous.

    Returns:
      [25] float32.

    Raises:
      InputError: unreadable file, no entry for the image, or numbers that are no camera.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"camera {path}: no such file; give a .npy or .json file")
    if path.suffix == ".npy":
        values = _read_npy(path)
    elif path.suffix == ".json":
        values = _select(_read_json(path), path, image_name)
    else:
        raise InputError(f"camera {path}: unknown kind of file {path.suffix!r}; give a .npy or .json file")
    try:
        camera = np.squeeze(np.asarray(values, np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"camera {path}: holds something else than numbers; {_FORM}") from error
    if camera.shape != (25,):
        raise InputError(f"camera {path}: has shape {list(camera.shape)} instead of [25]; {_FORM}")
    problem = find_problem(camera)
    if problem:
        raise InputError(f"camera {path}: {problem}; without --camera it is estimated")
    return camera.astype(np.float32)


def find_problem(camera: np.ndarray) -> str | None:
    """What is wrong with 25 numbers as a camera, and the remedy; None if nothing is.

    Checked: finite; cam2world with a rotation, looking towards the world's origin, where heads are; intrinsics with
    positive focal lengths, normalised by the image size.
    """
    if not np.isfinite(camera).all():
        return "has values that are not finite"
    cam2world, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    if not np.allclose(cam2world[3], [0, 0, 0, 1], atol=1e-6):
        return "the last row of cam2world is not 0 0 0 1; is the matrix transposed?"
    rotation, position = cam2world[:3, :3], cam2world[:3, 3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=_ROTATION_TOLERANCE):
        return "the upper left 3x3 of cam2world is not a rotation (columns must be orthogonal, of length 1)"
    if np.linalg.det(rotation) < 0:
        return "the upper left 3x3 of cam2world mirrors (determinant -1); flip one axis: x right, y down, z forward"
    if rotation[:, 2] @ position > 0:
        return "looks away from the head at the origin; the axes are x right, y down, z forward (OpenGL: flip y and z)"
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
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"camera {path}: is not valid JSON ({error}); check the file") from error


def _select(data: Any, path: Path, image_name: str | Path | None) -> Any:
    if isinstance(data, list):
        return data
    if isinstance(data, dict) and "camera" in data:
        return data["camera"]
    if not isinstance(data, dict) or not data.get("labels"):
        raise InputError(f'camera {path}: is neither a list nor has it a "camera" or "labels" entry; {_FORM}')
    try:
        labels = [(PurePosixPath(name), values) for name, values in data["labels"]]
    except (TypeError, ValueError) as error:
        raise InputError(f'camera {path}: "labels" must be a list of [image name, 25 numbers] pairs') from error
    if image_name is None:
        raise InputError(f"camera {path}: holds {len(labels)} cameras by image name; name the image")
    return _select_label(labels, path, Path(image_name))


def _select_label(labels: list[tuple[PurePosixPath, Any]], path: Path, image: Path) -> Any:
    matches = [(name, values) for name, values in labels if name.name == image.name]
    if len(matches) > 1:
        parts = image.absolute().parts
        matches = [(name, values) for name, values in matches if parts[-len(name.parts) :] == name.parts]
    if len(matches) == 1:
        return matches[0][1]
    if matches:
        raise InputError(f"camera {path}: has {len(matches)} entries for {image}; keep one")
    near = difflib.get_close_matches(image.name, [name.name for name, _ in labels], 1)
    hint = f"the nearest is {near[0]!r}" if near else f"the first of {len(labels)} is {str(labels[0][0])!r}"
    raise InputError(f"camera {path}: has no entry for {image.name!r}; {hint}")
