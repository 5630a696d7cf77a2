"""Shards of rendered heads as a set that can be read at random and grows while it is read.

A shard is an `.npz` file with `p` [n, D], `camera` [n, V, 25], `rgb` uint8 [n, V, N, N, 3] (sRGB over grey 0.5), `mask`
uint8 [n, V, N, N], `z_depth` float16 [n, V, N, N] (0 is background) and `z_fine` int8, which adds `z_fine / 65536`. A
compressed file cannot be read at random, so each is decoded once, into one array of six bytes a pixel next to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pmv_jax.errors import InputError
from pmv_jax.whole_files import appearing
from tools.training.pixels import Pixels, encode, unpack_view


class Batch(NamedTuple):
    """Views of `H` heads, `V` of each, and what is seen in them."""

    p: np.ndarray  # [H, D]
    camera: np.ndarray  # [H, V, 25]
    corner: np.ndarray  # [H, V, R, 2] int32 row and column of single pixels, or [H, V, 1, 2] of the crop's first one
    pixels: Pixels  # [H, V, R, 6] or [H, V, side, side, 6]


class Heads:
    """The heads of all shards in a directory.

    Attributes:
      p: [N, D] latents.
      camera: [N, V, 25].
      size: pixels a side.
    """

    def __init__(self, directory: str | Path) -> None:
        """Raises `InputError` where there is no shard to begin with."""
        self.directory = Path(directory)
        self._shards: dict[str, Pixels] = {}
        self._place: list[tuple[Pixels, int]] = []
        self.p = self.camera = np.zeros((0,))
        if not self.refresh():
            raise InputError(f"{directory}: holds no shard_*.npz; render heads into it first")
        self.size = self._place[0][0].shape[2]

    def __len__(self) -> int:
        return len(self._place)

    def refresh(self) -> int:
        """Takes in shards that have appeared since; returns the number of heads."""
        for path in sorted(self.directory.glob("shard_*[0-9].npz")):
            if path.name not in self._shards:
                self._add(path)
        return len(self)

    def _add(self, path: Path) -> None:
        with np.load(path) as shard:
            p, camera = shard["p"], shard["camera"]
        pixels = np.load(_decoded(path), mmap_mode="r")
        self._shards[path.name] = pixels
        self._place += [(pixels, i) for i in range(len(p))]
        self.p = np.concatenate([self.p, p]) if len(self.p) else p
        self.camera = np.concatenate([self.camera, camera]) if len(self.camera) else camera

    def view(self, head: int, view: int) -> Pixels:
        """[N, N, 6]."""
        pixels, index = self._place[head]
        return pixels[index, view]

    def crops(self, rng: np.random.Generator, heads: int, views: int, side: int) -> Batch:
        """Random square crops of `side` pixels: `views` different views of each of `heads` heads."""
        chosen, seen = self._choose(rng, heads, views)
        corner = rng.integers(0, self.size - side + 1, (heads, views, 1, 2), dtype=np.int32)
        pixels = [
            [self.view(h, v)[r : r + side, c : c + side] for v, (r, c) in zip(vs, cs[:, 0], strict=True)]
            for h, vs, cs in zip(chosen, seen, corner, strict=True)
        ]
        return Batch(self.p[chosen], self.camera[chosen[:, None], seen], corner, np.array(pixels))

    def scattered(self, rng: np.random.Generator, heads: int, views: int, rays: int) -> Batch:
        """Random single pixels, `rays` of each view: half anywhere, half around the middle, where the face is."""
        chosen, seen = self._choose(rng, heads, views)
        shape = (heads, views, rays // 2, 2)
        face = 0.5 + np.array([0.2, 0.16]) * rng.standard_normal(shape)
        place = np.concatenate([rng.random((heads, views, rays - rays // 2, 2)), face], axis=2)
        corner = np.clip(place * self.size, 0, self.size - 1).astype(np.int32)
        pixels = [
            [self.view(h, v)[rc[:, 0], rc[:, 1]] for v, rc in zip(vs, rcs, strict=True)]
            for h, vs, rcs in zip(chosen, seen, corner, strict=True)
        ]
        return Batch(self.p[chosen], self.camera[chosen[:, None], seen], corner, np.array(pixels))

    def _choose(self, rng: np.random.Generator, heads: int, views: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.integers(0, len(self), heads)
        return chosen, np.stack([rng.permutation(self.camera.shape[1])[:views] for _ in chosen])


def _pixels_of(shard: np.lib.npyio.NpzFile) -> Pixels:
    depth = shard["z_depth"].astype(np.float32) + shard["z_fine"] / np.float32(65536)
    return encode(shard["rgb"], shard["mask"], np.where(shard["z_depth"] > 0, depth, 0))


def _decoded(path: Path) -> Path:
    """The array of pixels [n, V, N, N, 6] of a shard, made where it is not there yet."""
    target = path.parent / "decoded" / f"{path.stem}.npy"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        with np.load(path) as shard:
            pixels = _unpacked(shard) if "packed" in shard else _pixels_of(shard)
        with appearing(target) as partial:
            np.save(partial, pixels)
    return target


def _unpacked(shard: np.lib.npyio.NpzFile) -> Pixels:
    """The pixels [n, V, N, N, 6] of a pack."""
    data, ends = shard["packed"].tobytes(), [0, *shard["ends"]]
    parts = [data[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    views = [unpack_view(*parts[i : i + 3]) for i in range(0, len(parts), 3)]
    return np.stack(views).reshape(*shard["camera"].shape[:2], *views[0].shape)
