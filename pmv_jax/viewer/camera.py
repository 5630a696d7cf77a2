"""Cameras between viser and EG3D.

Viser's cameras have the world and the axes of EG3D's (x right, y down, z forward) once its up direction is +y, so that
only the form differs: a quaternion, a position and a field of view over the canvas's height. A square picture stands in
the middle of the canvas, as large as the shorter side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import chex
import numpy as np
from scipy.spatial.transform import Rotation

from pmv_jax.config import GeneratorConfig

# Angles of the views that generators are trained on, in radians; beyond them a picture is still what the field holds.
KNOWN_YAW, KNOWN_PITCH = 0.6, 0.3
KNOWN_ZOOM = 0.3  # change of distance or focal length, as a share
NEAREST, FARTHEST = 0.5, 2.0  # of the camera's orbit, in units of the distance that the generator was trained with


class ViewerCamera(NamedTuple):
    """A camera as viser has it.

    Attributes:
      wxyz: unit quaternion [4] of cam2world's rotation.
      position: [3], in world units.
      fov: field of view over the height, in radians.
    """

    wxyz: np.ndarray
    position: np.ndarray
    fov: float


def from_viewer(camera: ViewerCamera, aspect: float) -> np.ndarray:
    """The square in the middle of a canvas as a camera of EG3D.

    Args:
      camera: of the whole canvas.
      aspect: width of the canvas divided by its height.

    Returns:
      [25].
    """
    cam2world = np.eye(4)
    cam2world[:3, :3] = Rotation.from_quat(camera.wxyz, scalar_first=True).as_matrix()
    cam2world[:3, 3] = camera.position
    focal = 0.5 / (math.tan(camera.fov / 2) * min(aspect, 1.0))
    intrinsics = np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])
    return np.concatenate([cam2world.ravel(), intrinsics.ravel()]).astype(np.float32)


def to_viewer(camera: np.ndarray, aspect: float) -> ViewerCamera:
    """Inverse of `from_viewer`.

    Args:
      camera: [25], with one focal length and the principal point in the middle.
      aspect: width of the canvas divided by its height.
    """
    chex.assert_shape(camera, (25,))
    cam2world = np.asarray(camera[:16], np.float64).reshape(4, 4)
    wxyz = Rotation.from_matrix(cam2world[:3, :3]).as_quat(scalar_first=True)
    return ViewerCamera(wxyz, cam2world[:3, 3], vertical_fov(field_of_view(camera), aspect))


def field_of_view(camera: np.ndarray) -> float:
    """Angle that a camera's [25] square picture spans, radians."""
    return 2 * math.atan(0.5 / float(camera[20]))


def vertical_fov(square: float, aspect: float) -> float:
    """Field of view over the height of a canvas in whose middle a square spans the angle `square`, both in radians."""
    return 2 * math.atan(math.tan(square / 2) / min(aspect, 1.0))


class Place(NamedTuple):
    """Where a camera is, against the cameras of training.

    Attributes:
      yaw, pitch: as in `cameras.look_at`, in radians.
      distance: from the origin, in units of the distance of training.
      zoom: focal length in units of that of training.
    """

    yaw: float
    pitch: float
    distance: float
    zoom: float

    @property
    def is_unknown(self) -> bool:
        """Whether the generator has seen no pictures from there in training."""
        turned = abs(self.yaw) > KNOWN_YAW or abs(self.pitch) > KNOWN_PITCH
        return turned or max(abs(self.distance - 1), abs(self.zoom - 1)) > KNOWN_ZOOM


def place(camera: np.ndarray, config: GeneratorConfig) -> Place:
    """Where a camera [25] is, against those that a generator was trained with."""
    chex.assert_shape(camera, (25,))
    x, y, z = position = camera[3:12:4].astype(np.float64)
    distance = float(np.linalg.norm(position))
    return Place(
        math.atan2(x, z),
        -math.pi / 2 * y / distance,
        distance / config.camera_radius,
        float(camera[20]) / config.camera_focal,
    )


def looked_at(camera: np.ndarray, pivot: Sequence[float]) -> np.ndarray:
    """The point [3] on the optical axis of a camera [25] that is nearest to a pivot."""
    position, forward = camera[3:12:4].astype(np.float64), camera[2:12:4].astype(np.float64)
    return position + forward * float((np.asarray(pivot) - position) @ forward)
