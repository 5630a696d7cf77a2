"""Camera paths around a head: closed curves to make videos of, and lists of cameras from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pmv_jax import cameras
from pmv_jax.cameras import files as camera_files
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError

YAW, PITCH = 0.5, 0.2  # radians, default amplitudes: within what the generators were trained with
DOLLY = 0.3  # share of the camera's distance by which a dolly comes nearer
_FORM = 'a list of cameras of 25 numbers each, or {"cameras": [...]}'


def around_head(
    config: GeneratorConfig, yaw: np.ndarray, pitch: np.ndarray, *, focal: float, distance: np.ndarray | float = 1.0
) -> np.ndarray:
    """Cameras [V, 25] that look at the generator's pivot.

    Args:
      yaw, pitch: [V] radians from the frontal view, see `cameras.look_at`.
      focal: in units of the image size.
      distance: [V] or scalar, from the pivot, in units of the distance that the generator was trained with.
    """
    shape = np.broadcast_shapes(np.shape(yaw), np.shape(pitch), np.shape(distance))
    yaw, pitch, distance = (np.broadcast_to(np.asarray(x, np.float32), shape) for x in (yaw, pitch, distance))
    views = np.array(cameras.look_at(yaw, pitch, pivot=config.camera_pivot, radius=config.camera_radius, focal=focal))
    pivot = np.asarray(config.camera_pivot, np.float32)
    offset = views[:, 3:12:4] - pivot  # along the optical axis, which a change of distance must not turn
    views[:, 3:12:4] = pivot + distance[:, None] * offset
    return views


def orbit(config: GeneratorConfig, frames: int, *, focal: float, yaw: float = YAW, pitch: float = PITCH) -> np.ndarray:
    """An ellipse over yaw and pitch, at even steps; the last camera leads to the first.

    Args:
      config: of the generator whose pivot is looked at.
      frames: how many cameras.
      focal: in units of the image size.
      yaw, pitch: amplitudes in radians.

    Returns:
      Cameras [frames, 25].
    """
    phase = _phase(frames)
    return around_head(config, yaw * np.sin(phase), pitch * np.cos(phase), focal=focal)


def figure8(
    config: GeneratorConfig, frames: int, *, focal: float, yaw: float = YAW, pitch: float = PITCH
) -> np.ndarray:
    """A figure of eight through the frontal view: pitch swings twice while yaw swings once. Arguments as of `orbit`."""
    phase = _phase(frames)
    return around_head(config, yaw * np.sin(phase), pitch * np.sin(2 * phase), focal=focal)


def dolly(config: GeneratorConfig, frames: int, *, focal: float, yaw: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    """Nearer by DOLLY and back along one line of sight, from yaw and pitch in radians. Arguments as of `orbit`."""
    distance = 1 - DOLLY * 0.5 * (1 - np.cos(_phase(frames)))
    return around_head(config, np.float32(yaw), np.float32(pitch), focal=focal, distance=distance)


def all_round(config: GeneratorConfig, *, focal: float) -> np.ndarray:
    """The frontal view, and others that together show all of a head that generators are trained on [7, 25]."""
    yaw, pitch = np.array([(0, 0), (-0.3, 0), (0.3, 0), (-0.6, 0), (0.6, 0), (0, -0.3), (0, 0.3)]).T
    return around_head(config, yaw, pitch, focal=focal)


PATHS: dict[str, Callable[..., np.ndarray]] = {"orbit": orbit, "figure8": figure8, "dolly": dolly}


def load_cameras(path: str | Path) -> np.ndarray:
    """Reads a list of cameras [V, 25] from `.json` (a list of cameras, or `{"cameras": [...]}`).

    Raises:
      InputError: unreadable, of another shape, or numbers that are no cameras (the first such is named).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"--path {path}: no such file; give one of {', '.join(PATHS)}, or a .json file with {_FORM}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        values = np.asarray(data.get("cameras") if isinstance(data, dict) else data, np.float64)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"--path {path}: cannot be read ({error}); it must hold {_FORM}") from error
    if values.ndim != 2 or values.shape[1] != 25 or not len(values):
        raise InputError(f"--path {path}: has shape {list(values.shape)} instead of [frames, 25]; it must hold {_FORM}")
    for index, camera in enumerate(values):
        problem = camera_files.find_problem(camera)
        if problem:
            raise InputError(f"--path {path}: camera {index} {problem}")
    return values.astype(np.float32)


def _phase(frames: int) -> np.ndarray:
    return 2 * np.pi * np.arange(frames) / frames
