"""JSON files that hold cameras, their own and other programs': which entry is an image's, and its 25 numbers.

[25 numbers]                                               one camera
{"camera": [25 numbers], ...}                              such as the metrics.json of a result
{"labels": [[image, [25 numbers]], ...]}                   EG3D's dataset.json
{image: {"pose": 4x4, "intrinsics": 3x3}, ...}             cameras.json of EG3D's preprocessing
{"frames": [{"file_path", "transform_matrix"}, ...], ...}  transforms.json of nerfstudio and instant-ngp
"""

from __future__ import annotations

import difflib
import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pmv_jax.cameras import conventions
from pmv_jax.errors import InputError

FORM = "a camera is 25 numbers: row-major 4x4 cam2world, then 3x3 intrinsics divided by the image size"
_EG3D_PICTURE, _EG3D_CROP = 1024, 700  # pixels: its preprocessing cuts the middle out (`crop_images.py`)
_EG3D_RADIUS = 2.7  # what it sets the distance to (`preprocess_ffhq_cameras.py`, fix_pose_orig)

Labels = list[tuple[PurePosixPath, Any]]


def select(data: Any, path: Path, image: str | Path | None) -> tuple[Any, bool]:
    """The values of one camera in parsed JSON.

    Args:
      data: what the file holds.
      path: of the file, for messages.
      image: name of the picture, for files with a camera for each.

    Returns:
      What should be 25 numbers, and whether the file's form itself says how they are to be read.

    Raises:
      InputError: another form, or no entry for the image.
    """
    if isinstance(data, list):
        if data and all(isinstance(entry, dict) and "rotation" in entry for entry in data):
            raise InputError(
                f"camera {path}: is the cameras.json of 3D Gaussian splatting, whose world is not a head's; {FORM}"
            )
        return data, False
    if not isinstance(data, dict):
        raise InputError(f"camera {path}: is neither a list nor an object; {FORM}")
    if "camera" in data:
        return data["camera"], False
    if data.get("labels"):
        try:
            labels = [(PurePosixPath(name), values) for name, values in data["labels"]]
        except (TypeError, ValueError) as error:
            raise InputError(f'camera {path}: "labels" must be a list of [image name, 25 numbers] pairs') from error
        return _of_image(labels, path, image), False
    try:
        if isinstance(data.get("frames"), list):
            frames = [(PurePosixPath(frame["file_path"]), frame) for frame in data["frames"]]
            return _nerfstudio(_of_image(frames, path, image), data), True
        if data and all(isinstance(entry, dict) and "pose" in entry for entry in data.values()):
            entries = [(PurePosixPath(name), entry) for name, entry in data.items()]
            return _eg3d_preprocessing(_of_image(entries, path, image)), True
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"camera {path}: an entry cannot be understood ({error!r}); {FORM}") from error
    raise InputError(f'camera {path}: is neither a list nor has it a "camera", "labels" or "frames" entry; {FORM}')


def _nerfstudio(frame: dict[str, Any], data: dict[str, Any]) -> np.ndarray:
    """Axes are OpenGL's; intrinsics stand in the frame or at the top, in pixels, or as `camera_angle_x` (radians). The
    picture is the central square of the frame."""
    known = data | frame
    if "fl_x" in known:
        cx, cy, width, height = (float(known[key]) if key in known else None for key in ("cx", "cy", "w", "h"))
        width, height = width or 2 * cx, height or 2 * cy
        side = min(width, height)
        cx, cy = (0.5 if c is None else (c - length / 2) / side + 0.5 for c, length in ((cx, width), (cy, height)))
        fx, fy = (float(known.get(key, known["fl_x"])) / side for key in ("fl_x", "fl_y"))
    else:
        fx = fy = 0.5 / math.tan(float(known["camera_angle_x"]) / 2)
        cx = cy = 0.5
    matrix = np.asarray(frame["transform_matrix"], np.float64).reshape(4, 4)
    return conventions.convert(np.array([*matrix.ravel(), fx, 0, cx, 0, fy, cy, 0, 0, 1]), ("opengl",))


def _eg3d_preprocessing(entry: dict[str, Any]) -> np.ndarray:
    """As EG3D makes its labels of them: the distance is set to that of its cameras, and pixels are those of a picture
    of which the middle becomes the crop."""
    matrix = np.array(entry["pose"], np.float64).reshape(4, 4)
    matrix[:3, 3] *= _EG3D_RADIUS / max(np.linalg.norm(matrix[:3, 3]), 1e-9)
    camera = np.concatenate([matrix.ravel(), np.asarray(entry["intrinsics"], np.float64).ravel()])
    if camera[16] > 100:
        camera = conventions.convert(camera, ("pixels",))
        camera[[16, 20]] *= _EG3D_PICTURE / _EG3D_CROP
    return camera


def _of_image(entries: Labels, path: Path, image: str | Path | None) -> Any:
    """The entry of an image: by its name, or, where no name is the same, by its name without the suffix. Folders count
    only where the name alone is ambiguous."""
    if image is None:
        raise InputError(f"camera {path}: holds {len(entries)} cameras by image name; name the image")
    image = Path(image)
    matches = [entry for entry in entries if entry[0].name == image.name]
    matches = matches or [entry for entry in entries if entry[0].stem == image.stem]
    if len(matches) > 1:
        parts = image.absolute().with_suffix("").parts
        matches = [entry for entry in matches if parts[-len(entry[0].parts) :] == entry[0].with_suffix("").parts]
    if len(matches) == 1:
        return matches[0][1]
    if matches:
        raise InputError(f"camera {path}: has {len(matches)} entries for {image}; keep one")
    near = difflib.get_close_matches(image.name, [name.name for name, _ in entries], 1)
    hint = f"the nearest is {near[0]!r}" if near else f"the first of {len(entries)} is {str(entries[0][0])!r}"
    raise InputError(f"camera {path}: has no entry for {image.name!r}; {hint}")
