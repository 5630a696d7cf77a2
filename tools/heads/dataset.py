"""Data sets of heads: shards of 20 heads as `.npz` files, written whole or not at all, resumable at the shard.

`shard_NNNN.npz` holds heads 20 NNNN to 20 NNNN + 19 of a seed, with V views of N pixels each:

    p        float32 [20, 128]       the latent, of unit root mean square
    camera   float32 [20, V, 25]     as `pmv_jax.cameras`
    rgb      uint8 [20, V, N, N, 3]  sRGB over the grey 0.5; rgb + (1 - mask) (background - 0.5) is over another
    mask     uint8 [20, V, N, N]     coverage, 255 is opaque
    z_depth  float16 [20, V, N, N]   along the optical axis, at pixel centres; 0 is background. Steps of 0.002, so:
    z_fine   int8 [20, V, N, N]      z_depth + z_fine / 65536, in float32, is the depth to 1e-5

The last shard holds fewer heads if their number is no multiple of 20. Head i of a seed does not depend on their number.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tools.heads import latent
from tools.heads.curves import to_bytes
from tools.heads.rendering import Scene, View, render
from tools.heads.views import draw_cameras

HEADS_PER_SHARD = 20
FINE_STEPS = 65536

MakeHead = Callable[[np.ndarray, int], Scene]


def pack_views(views: list[View]) -> dict[str, np.ndarray]:
    """Pictures as they are stored: `rgb`, `mask`, `z_depth`, `z_fine`, each [V, ...]."""
    depth = np.stack([view.z_depth for view in views]).astype(np.float32)
    coarse = depth.astype(np.float16)
    fine = np.round((depth - coarse.astype(np.float32)) * FINE_STEPS)
    return {
        "rgb": np.stack([to_bytes(view.rgb) for view in views]),
        "mask": np.stack([to_bytes(view.mask) for view in views]),
        "z_depth": coarse,
        "z_fine": np.clip(fine, -127, 127).astype(np.int8),
    }


def unpack_depth(shard: dict[str, np.ndarray]) -> np.ndarray:
    """z-depth float32 of a shard, 0 where nothing is."""
    return shard["z_depth"].astype(np.float32) + shard["z_fine"].astype(np.float32) / FINE_STEPS


def shard_paths(out: Path, heads: int) -> list[Path]:
    """All shards of a data set of so many heads."""
    return [out / f"shard_{number:04d}.npz" for number in range(-(-heads // HEADS_PER_SHARD))]


def write_dataset(
    out: Path, make_head: MakeHead, *, heads: int, views: int, size: int, seed: int, focal: float, first: int = 0
) -> Iterator[Path]:
    """Writes the shards that are not there yet, from shard `first` on, and yields the path of each.

    Args:
      make_head: p [128] and the number of the head -> a lit scene.
      heads, views: their number; `views` a head.
      size: of pictures in pixels.
      focal: of the cameras in picture sizes.
    """
    out.mkdir(parents=True, exist_ok=True)
    for number, path in list(enumerate(shard_paths(out, heads)))[first:]:
        if path.exists():
            continue
        numbers = range(number * HEADS_PER_SHARD, min((number + 1) * HEADS_PER_SHARD, heads))
        rows = [_one_head(make_head, seed, i, views, size, focal) for i in numbers]
        unfinished = path.with_suffix(".partial")
        with unfinished.open("wb") as file:
            np.savez_compressed(file, **{key: np.stack([row[key] for row in rows]) for key in rows[0]})
        os.replace(unfinished, path)
        yield path


def _one_head(
    make_head: MakeHead, seed: int, number: int, views: int, size: int, focal: float
) -> dict[str, np.ndarray]:
    p, cameras = latent.sample(seed, number), draw_cameras(seed, number, views, focal)
    scene = make_head(p, number)
    return {"p": p, "camera": cameras, **pack_views([render(scene, camera, size) for camera in cameras])}
