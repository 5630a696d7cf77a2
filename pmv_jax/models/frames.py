"""From cameras to frames: rendering in batches of one size; colour, depth and normals as pictures to look at."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras, images
from pmv_jax.models.generator import Generator

Render = Callable[[np.ndarray], dict[str, np.ndarray]]  # as `Inversion.render`
Progress = Callable[[int, int], None]  # views rendered, of all

BATCH = 4  # views rendered at once: one compiled program for all, and little memory
SMALLEST = 256  # video players and the eye want more pixels than a small generator gives


def render_views(
    render: Render, views: np.ndarray, progress: Progress | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Image [H, W, 3] in [-1, 1] and z-depth [h, w] of each camera [V, 25], in batches of one size.

    Args:
      render: `Inversion.render`, or what `renderer` returns.
      progress: called with the number of views rendered so far and of all.
    """
    padded = np.concatenate([views, np.repeat(views[-1:], -len(views) % BATCH, axis=0)])
    for start in range(0, len(views), BATCH):
        if progress:
            progress(start, len(views))
        batch = render(padded[start : start + BATCH])
        for index in range(min(BATCH, len(views) - start)):
            depth = _z_depth(batch["ray_distance"][index], padded[start + index])
            yield np.clip(batch["image"][index], -1, 1), np.asarray(depth, np.float32)
    if progress:
        progress(len(views), len(views))


def renderer(generator: Generator, ws: np.ndarray, samples: int = 1) -> Render:
    """Like `Inversion.render`, for cameras at any distance and with more samples along each ray.

    A generator's bounds along rays hold for the distance that it was trained with; here they move with the camera. The
    planes are painted once for all calls.

    Args:
      generator: with the head's parameters.
      ws: [num_ws, w_dim].
      samples: factor on the generator's numbers of samples. Fine structure that falls between two samples in one frame
        and not in the next flickers; twice the samples is the known cure.
    """
    config = generator.config
    rendering = dataclasses.replace(
        config.rendering,
        coarse_samples=samples * config.rendering.coarse_samples,
        fine_samples=samples * config.rendering.fine_samples,
    )
    generator = generator.replace(config=dataclasses.replace(config, rendering=rendering))
    ws = jnp.asarray(ws)
    planes = jax.jit(generator.planes)(ws)
    return lambda views: jax.tree.map(np.asarray, _render(generator, planes, ws, jnp.asarray(views)))


@jax.jit
def _render(generator: Generator, planes: Array, ws: Array, views: Array) -> dict[str, Array]:
    return jax.lax.map(lambda camera: render_view(generator, planes, ws, camera), views)


def render_view(generator: Generator, planes: Array, ws: Array, camera: Array) -> dict[str, Array]:
    """planes [3, H, W, C], ws [num_ws, w_dim], camera [25] at any distance -> image [H, W, 3], ray_distance [n, n]."""
    features, distance = march(generator, planes, camera, generator.config.rendering.neural_resolution)
    apply = functools.partial(generator.model.apply, generator.variables)
    return {"image": apply(features[None], ws[None], method="superresolve")[0], "ray_distance": distance}


def march(generator: Generator, planes: Array, camera: Array, size: int) -> tuple[Array, Array]:
    """Volume rendering from any distance, of as many pixels as are asked for.

    Args:
      planes: [3, H, W, C] of a head.
      camera: [25].
      size: side of the result; the generator's neural resolution is what super-resolution takes.

    Returns:
      features [size, size, F] in [-1, 1], of which the first three are colour, and ray_distance [size, size].
    """
    origins, directions = cameras.rays(camera, size)
    # Moved away along the rays, so that bounds along them stay what they are.
    excess = jnp.linalg.norm(origins[0]) - generator.config.camera_radius
    origins = origins + excess * directions
    features, distance = generator.model.apply(
        generator.variables, planes[None], origins[None], directions[None], method="render_rays"
    )
    return features.reshape(size, size, -1), distance.reshape(size, size) + excess


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


# Compiled whole; else each of their steps is compiled by itself, which takes seconds for what runs in microseconds.
_z_depth = jax.jit(cameras.ray_distance_to_z_depth)


@functools.partial(jax.jit, static_argnames="size")
def _directions(camera: Array, size: int) -> Array:
    return cameras.unproject(camera, cameras.pixel_centres(size).reshape(-1, 2))
