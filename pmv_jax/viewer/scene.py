"""What an interactive viewer needs besides a browser: camera conversion, a head ready to render, requests in order.

Nothing here knows viser. Its cameras have the world and the axes of EG3D's (x right, y down, z forward) once its up
direction is +y, so that only the form differs: a quaternion, a position and a field of view over the canvas's height.
A square picture stands in the middle of the canvas, as large as the shorter side.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.spatial.transform import Rotation

from pmv_jax import cameras, images
from pmv_jax.config import GeneratorConfig
from pmv_jax.edits import directions
from pmv_jax.edits.directions import Direction
from pmv_jax.models import frames
from pmv_jax.models.generator import Generator

# Angles of views that generators are trained on, radians; beyond them a picture is still what the field holds there.
KNOWN_YAW, KNOWN_PITCH = 0.6, 0.3
KNOWN_ZOOM = 0.3  # change of distance or focal length, as a share
NEAREST, FARTHEST = 0.5, 2.0  # of the camera's orbit, in units of the distance that the generator was trained with
SETTLE = 0.15  # seconds of rest after which a picture is rendered in full
FRAME_SECONDS = 0.1  # that a picture may take while the camera moves
PICTURES = ("reconstruction", "depth", "normals")  # what can be rendered
BACKDROP = 24  # grey level beside the square picture, and behind a mesh

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


# ---------------------------------------------------------------------------------------------------------------------
# Cameras
# ---------------------------------------------------------------------------------------------------------------------


class ViewerCamera(NamedTuple):
    """A camera as viser has it: unit quaternion wxyz [4] of cam2world, position [3], vertical field of view in rad."""

    wxyz: np.ndarray
    position: np.ndarray
    fov: float


def from_viewer(camera: ViewerCamera, aspect: float) -> np.ndarray:
    """EG3D's camera [25] of the square in the middle of a canvas.

    Args:
      aspect: width of the canvas divided by its height.
    """
    cam2world = np.eye(4)
    cam2world[:3, :3] = Rotation.from_quat(camera.wxyz, scalar_first=True).as_matrix()
    cam2world[:3, 3] = camera.position
    focal = 0.5 / (math.tan(camera.fov / 2) * min(aspect, 1.0))
    intrinsics = np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])
    return np.concatenate([cam2world.ravel(), intrinsics.ravel()]).astype(np.float32)


def to_viewer(camera: np.ndarray, aspect: float) -> ViewerCamera:
    """Inverse of `from_viewer`, for cameras [25] of one focal length and with the principal point in the middle."""
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
    """Where a camera is: yaw and pitch as in `cameras.look_at`, distance and field of view in units of training's."""

    yaw: float
    pitch: float
    distance: float
    zoom: float

    @property
    def is_unknown(self) -> bool:
        """Whether pictures from there are outside of what the generator was trained on."""
        turned = abs(self.yaw) > KNOWN_YAW or abs(self.pitch) > KNOWN_PITCH
        return turned or max(abs(self.distance - 1), abs(self.zoom - 1)) > KNOWN_ZOOM


def place(camera: np.ndarray, config: GeneratorConfig) -> Place:
    """Where a camera [25] is."""
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


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


class Head:
    """An inversion ready to be looked at: its planes are painted once for each set of strengths, not once a frame.

    Args:
      generator: with the head's parameters.
      ws: [num_ws, w_dim].
      edits: directions that it can be moved along, by name.
    """

    def __init__(self, generator: Generator, ws: np.ndarray, edits: Mapping[str, Direction]) -> None:
        self.generator, self._ws = generator, np.asarray(ws)
        num_ws = generator.config.num_ws
        self._steps = {name: directions.step(direction, num_ws) for name, direction in edits.items()}
        self._painted = functools.lru_cache(maxsize=4)(self._paint)
        self._quick_size = generator.config.rendering.neural_resolution // 2

    @property
    def edits(self) -> tuple[str, ...]:
        return tuple(self._steps)

    def prepare(self, camera: np.ndarray) -> None:
        """Compiles everything, side by side, and finds the largest picture that can be had while a camera moves."""
        config = self.generator.config
        shape = jax.eval_shape(_paint, self.generator, self._ws)
        blank = jnp.zeros(shape.shape, shape.dtype)
        ws = jnp.asarray(self._ws)
        with ThreadPoolExecutor() as pool:
            compiled = [
                pool.submit(self._painted, ()),
                pool.submit(_quick, self.generator, blank, camera, self._quick_size),
                pool.submit(_still, self.generator, blank, ws, camera),
            ]
            for future in compiled:
                future.result()
        seconds = min(self._seconds(blank, camera) for _ in range(3))
        full = config.rendering.neural_resolution
        self._quick_size = quick_size(full, self._quick_size, seconds)

    def _seconds(self, planes: Array, camera: np.ndarray) -> float:
        start = time.perf_counter()
        jax.block_until_ready(_quick(self.generator, planes, camera, self._quick_size))
        return time.perf_counter() - start

    def render(self, camera: np.ndarray, strengths: Mapping[str, float], still: bool) -> tuple[np.ndarray, np.ndarray]:
        """Image [N, N, 3] in [-1, 1] and z-depth [n, n] of a camera [25].

        Args:
          strengths: of edits, by name; those that are missing are 0.
          still: through super-resolution and with all rays, not as fast as it goes.
        """
        planes, ws = self._painted(tuple(sorted((name, value) for name, value in strengths.items() if value)))
        if still:
            image, depth = _still(self.generator, planes, ws, camera)
        else:
            image, depth = _quick(self.generator, planes, camera, self._quick_size)
        return np.clip(np.asarray(image), -1, 1), np.asarray(depth)

    def _paint(self, strengths: tuple[tuple[str, float], ...]) -> tuple[Array, Array]:
        ws = jnp.asarray(self._ws + sum(value * self._steps[name] for name, value in strengths), jnp.float32)
        return _paint(self.generator, ws), ws


@jax.jit
def _paint(generator: Generator, ws: Array) -> Array:
    return generator.planes(ws)


@functools.partial(jax.jit, static_argnames="size")
def _quick(generator: Generator, planes: Array, camera: Array, size: int) -> tuple[Array, Array]:
    features, distance = frames.march(generator, planes, camera, size)
    return features[..., :3], cameras.ray_distance_to_z_depth(distance, camera)


@jax.jit
def _still(generator: Generator, planes: Array, ws: Array, camera: Array) -> tuple[Array, Array]:
    view = frames.render_view(generator, planes, ws, camera)
    return view["image"], cameras.ray_distance_to_z_depth(view["ray_distance"], camera)


def quick_size(full: int, tried: int, seconds: float) -> int:
    """Side of pictures while a camera moves: full, 1/2, 1/4 or 1/8, the largest that keeps to FRAME_SECONDS.

    Args:
      full: neural resolution of the generator.
      tried: side of a picture that took `seconds`; time goes with the number of rays.
    """
    return next(
        (full // part for part in (1, 2, 4) if seconds * (full / part / tried) ** 2 <= FRAME_SECONDS), full // 8
    )


def picture(kind: str, image: np.ndarray, z_depth: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """One of PICTURES of a rendered view, [N, N, 3] in [-1, 1] or uint8."""
    if kind == "depth":
        return images.colour_depth(z_depth)
    return frames.normals(z_depth, camera) if kind == "normals" else image


def letterbox(square: np.ndarray, width: int, height: int, largest: int = 768) -> np.ndarray:
    """A square picture in the middle of one with a canvas's proportions, uint8 [h, w, 3].

    Args:
      square: [N, N, 3] in [-1, 1] or uint8.
      width, height: of the canvas in pixels.
      largest: pixels of the square's side, at most; the browser enlarges the rest of the way.
    """
    scale = min(1.0, largest / min(width, height))
    side, width, height = (max(1, round(scale * x)) for x in (min(width, height), width, height))
    sheet = np.full((height, width, 3), BACKDROP, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    sheet[top : top + side, left : left + side] = images.resize(square, (side, side))
    return sheet


# ---------------------------------------------------------------------------------------------------------------------
# Requests
# ---------------------------------------------------------------------------------------------------------------------


class Newest(Generic[Key, Value]):
    """What viewers want to see, only the newest wish of each: what came before and was not begun is dropped.

    Each wish is handed out twice: at once, for a quick picture, and after a rest without a newer one, for a still.
    """

    def __init__(self, settle: float = SETTLE) -> None:
        self._settle = settle
        self._quick: dict[Key, tuple[float, Value]] = {}
        self._still: dict[Key, tuple[float, Value]] = {}
        self._changed = threading.Condition()

    def put(self, key: Key, value: Value) -> None:
        """A new wish of one viewer, from any thread."""
        with self._changed:
            self._quick[key] = (time.monotonic(), value)
            self._still.pop(key, None)
            self._changed.notify()

    def drop(self, key: Key) -> None:
        """Forgets a viewer who has left."""
        with self._changed:
            self._quick.pop(key, None)
            self._still.pop(key, None)

    def take(self, timeout: float) -> tuple[Key, Value, bool] | None:
        """What to render next, and whether as a still; None if nothing is due within `timeout` seconds."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                now = time.monotonic()
                if self._quick:
                    key = next(iter(self._quick))  # whoever has waited longest
                    asked, value = self._quick.pop(key)
                    self._still[key] = (asked + self._settle, value)
                    return key, value, False
                due = min(self._still, key=lambda key: self._still[key][0], default=None)
                if due is not None and self._still[due][0] <= now:
                    return due, self._still.pop(due)[1], True
                if now >= end:
                    return None
                self._changed.wait(min(end, end if due is None else self._still[due][0]) - now)
