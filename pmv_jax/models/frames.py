"""From cameras to frames: one head from many cameras; colour, depth and normals as pictures to look at."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import chex
import jax
import numpy as np
from jax import Array

from pmv_jax import cameras, images
from pmv_jax.models.generator import Generator

Render = Callable[[np.ndarray], dict[str, np.ndarray]]  # as `Inversion.render`
Progress = Callable[[int, int], None]  # views rendered, of all

BATCH = 4  # views in memory at once
SMALLEST = 256  # video players and the eye want more pixels than a small generator gives


def render(
    generator: Generator,
    planes: Array,
    ws: Array,
    views: np.ndarray | Array,
    *,
    resolution: int | None = None,
    samples: int = 1,
) -> dict[str, np.ndarray]:
    """`Generator.render` of one head from each camera.

    A loop of calls, not a compiled loop: one program serves any number of views, and while it computes one the next
    is sent on its way.

    Args:
      generator: with the head's parameters.
      planes: [3, H, W, C], of `Generator.planes`.
      ws: w_plus [num_ws, w_dim].
      views: cameras [V, 25], at least one, at any distance.
      resolution, samples: see `Generator.render`.

    Returns:
      image [V, H, W, 3] in about [-1, 1], image_raw [V, n, n, 3], ray_distance [V, n, n].
    """
    chex.assert_shape(views, (None, 25))
    made = [
        generator.render(planes, ws, camera, resolution=resolution, samples=samples) for camera in np.asarray(views)
    ]
    return jax.tree.map(lambda *parts: np.stack(jax.device_get(parts)), *made)


def render_views(
    render: Render, views: np.ndarray, progress: Progress | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures of any number of views, without all of them being in memory.

    Args:
      render: `Inversion.render`, or anything like it.
      views: cameras [V, 25].
      progress: called with the number of views rendered so far and of all.

    Yields:
      For each camera the image [H, W, 3] in [-1, 1], and z-depth [n, n] in world units.
    """
    chex.assert_shape(views, (None, 25))
    for start in range(0, len(views), BATCH):
        if progress:
            progress(start, len(views))
        part = views[start : start + BATCH]
        batch = render(part)
        for image, distance, camera in zip(batch["image"], batch["ray_distance"], part, strict=True):
            yield np.clip(image, -1, 1), np.asarray(cameras.ray_distance_to_z_depth(distance, camera), np.float32)
    if progress:
        progress(len(views), len(views))


def shown_size(side: int) -> int:
    """The smallest multiple of a picture's side that has SMALLEST pixels."""
    return side * math.ceil(SMALLEST / side)


def scale(image: np.ndarray, size: int) -> np.ndarray:
    """A square picture [N, N, 3], in [-1, 1] or uint8, as uint8 frame of the next even side: video needs that."""
    side = 2 * math.ceil(size / 2)
    return images.resize(image, (side, side))


def depth_frames(depths: np.ndarray) -> np.ndarray:
    """z-depths [V, h, w] -> uint8 [V, h, w, 3], all in one scale of colours, so that they do not flicker."""
    count, height, width = depths.shape
    return images.colour_depth(depths.reshape(count * height, width)).reshape(count, height, width, 3)


def normals(z_depth: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Unit normals of a depth map, in the camera's own axes but with y up and z towards the camera.

    Args:
      z_depth: [h, w], along the optical axis.
      camera: [25].

    Returns:
      [h, w, 3] in [-1, 1], which is the usual picture of normals as well: x red, y green, z blue.
    """
    directions = np.asarray(_directions(camera, z_depth.shape[0]))
    rotation = camera[:16].reshape(4, 4)[:3, :3]
    points = (directions @ rotation).reshape(*z_depth.shape, 3) * z_depth[..., None]
    down, right = np.gradient(points, axis=(0, 1))
    cross = np.cross(down, right)  # y down times x right: towards the camera, that is to negative z
    return cross / np.maximum(np.linalg.norm(cross, axis=-1, keepdims=True), 1e-12) * np.array([1.0, -1.0, -1.0])


@functools.partial(jax.jit, static_argnames="size")
def _directions(camera: Array, size: int) -> Array:
    return cameras.unproject(camera, cameras.pixel_centres(size).reshape(-1, 2))
