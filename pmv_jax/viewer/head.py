"""A head that is ready to be looked at: rendered coarsely while the camera moves, in full when it rests."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras, images
from pmv_jax.edits import directions
from pmv_jax.edits.directions import Direction
from pmv_jax.models import frames
from pmv_jax.models.generator import Generator

FRAME_SECONDS = 0.1  # that a picture may take while the camera moves
PICTURES = ("reconstruction", "depth", "normals")  # what can be rendered
BACKDROP = 24  # grey level beside the square picture, and behind a mesh
_HEADS_KEPT = 4  # planes of so many sets of strengths stay in memory


class Head:
    """An inversion ready to be looked at. Its planes are made once for each set of strengths, not once a frame."""

    def __init__(self, generator: Generator, ws: np.ndarray, edits: Mapping[str, Direction]) -> None:
        """
        Args:
          generator: with the head's parameters.
          ws: w_plus [num_ws, w_dim].
          edits: directions that it can be moved along, by name.
        """
        chex.assert_shape(ws, (generator.config.num_ws, generator.config.w_dim))
        self.generator, self._ws = generator, np.asarray(ws)
        num_ws = generator.config.num_ws
        self._steps = {name: directions.step(direction, num_ws) for name, direction in edits.items()}
        self._moved = functools.lru_cache(maxsize=_HEADS_KEPT)(self._move)
        self._quick_size = generator.config.rendering.neural_resolution // 2

    @property
    def edits(self) -> tuple[str, ...]:
        """Names of the directions that it can be moved along."""
        return tuple(self._steps)

    def prepare(self, camera: np.ndarray) -> None:
        """Compiles everything, side by side, and finds the largest picture that can be had while a camera moves.

        Args:
          camera: [25], any.
        """
        ws = jnp.asarray(self._ws)
        shape = jax.eval_shape(self.generator.planes, ws)
        blank = jnp.zeros(shape.shape, shape.dtype)
        with ThreadPoolExecutor() as pool:
            compiled = [
                pool.submit(self._moved, ()),
                pool.submit(_quick, self.generator, blank, camera, self._quick_size),
                pool.submit(_still, self.generator, blank, ws, camera),
            ]
            for future in compiled:
                future.result()
        seconds = min(self._seconds(blank, camera) for _ in range(3))
        self._quick_size = quick_size(self.generator.config.rendering.neural_resolution, self._quick_size, seconds)

    def render(self, camera: np.ndarray, strengths: Mapping[str, float], still: bool) -> tuple[np.ndarray, np.ndarray]:
        """The head from one camera.

        Args:
          camera: [25], at any distance.
          strengths: of edits, by name; those that are missing are 0.
          still: whether with all rays and through super-resolution, or as fast as possible.

        Returns:
          Image [N, N, 3] in [-1, 1], and z-depth [n, n] in world units.
        """
        planes, ws = self._moved(tuple(sorted((name, value) for name, value in strengths.items() if value)))
        if still:
            image, depth = _still(self.generator, planes, ws, camera)
        else:
            image, depth = _quick(self.generator, planes, camera, self._quick_size)
        return np.clip(np.asarray(image), -1, 1), np.asarray(depth)

    def _move(self, strengths: tuple[tuple[str, float], ...]) -> tuple[Array, Array]:
        """Planes and code of the head, moved by these strengths."""
        ws = jnp.asarray(self._ws + sum(value * self._steps[name] for name, value in strengths), jnp.float32)
        return self.generator.planes(ws), ws

    def _seconds(self, planes: Array, camera: np.ndarray) -> float:
        start = time.perf_counter()
        jax.block_until_ready(_quick(self.generator, planes, camera, self._quick_size))
        return time.perf_counter() - start


@functools.partial(jax.jit, static_argnames="size")
def _quick(generator: Generator, planes: Array, camera: Array, size: int) -> tuple[Array, Array]:
    features, distance = generator.march(planes, camera, size)
    return features[..., :3], cameras.ray_distance_to_z_depth(distance, camera)


@jax.jit
def _still(generator: Generator, planes: Array, ws: Array, camera: Array) -> tuple[Array, Array]:
    made = generator.render(planes, ws, camera)
    return made["image"], cameras.ray_distance_to_z_depth(made["ray_distance"], camera)


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
    """A rendered view as a picture to look at.

    Args:
      kind: one of PICTURES.
      image: [N, N, 3] in [-1, 1].
      z_depth: [n, n].
      camera: [25] of the view.

    Returns:
      [N, N, 3] or [n, n, 3], in [-1, 1] or uint8.
    """
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
