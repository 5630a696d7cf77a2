"""Shards in the format of rendered heads, of something simple: a ball whose colour and size are its latent."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pmv_jax import cameras
from tools.benchmarks.truth import Rendered, TakePicture

SIZE = 32
NUMBERS = 128


def radius(p: np.ndarray) -> float:
    return 0.2 + 0.03 * np.tanh(p[0])


def colour(p: np.ndarray) -> np.ndarray:
    """sRGB in (0, 1)."""
    return 1 / (1 + np.exp(-p[1:4]))


def render(p: np.ndarray, camera: np.ndarray, size: int = SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rgb [N, N, 3] over grey 0.5, mask [N, N], z_depth [N, N] with 0 for the background."""
    origins, directions = (np.asarray(x) for x in cameras.rays(camera, size))
    b = np.sum(origins * directions, axis=-1)
    inside = b**2 - np.sum(origins**2, axis=-1) + radius(p) ** 2
    hit = (inside > 0).reshape(size, size)
    distance = (-b - np.sqrt(np.maximum(inside, 0))).reshape(size, size)
    z_depth = np.asarray(cameras.ray_distance_to_z_depth(distance, camera))
    rgb = np.where(hit[..., None], colour(p), 0.5)
    return rgb, hit.astype(np.float32), np.where(hit, z_depth, 0)


def pictures(p: np.ndarray) -> TakePicture:
    """Takes pictures of the ball for a benchmark."""
    return lambda camera, size, smooth: Rendered(*render(p, camera, size))


def shard(path: Path, heads: int, views: int, seed: int) -> None:
    """Writes a shard of `heads` balls."""
    rng = np.random.default_rng(seed)
    p = rng.standard_normal((heads, NUMBERS)).astype(np.float32)
    p /= np.sqrt(np.mean(p**2, axis=-1, keepdims=True))
    camera = np.asarray(cameras.look_at(rng.uniform(-0.7, 0.7, (heads, views)), rng.uniform(-0.3, 0.3, (heads, views))))
    made = [[render(p[i], camera[i, v]) for v in range(views)] for i in range(heads)]
    rgb, mask, depth = (np.stack([[view[k] for view in row] for row in made]) for k in range(3))
    coarse = depth.astype(np.float16)
    fine = np.round((depth - coarse.astype(np.float32)) * 65536).clip(-127, 127).astype(np.int8)
    to_bytes = lambda x: (255 * x + 0.5).astype(np.uint8)  # noqa: E731
    np.savez(path, p=p, camera=camera, rgb=to_bytes(rgb), mask=to_bytes(mask), z_depth=coarse, z_fine=fine)
