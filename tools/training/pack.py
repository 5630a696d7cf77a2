"""Packs a part of a data set small enough to carry to a machine that is lent for minutes: 20 KB a view.

    python -m tools.training.pack --data DIR --out DIR --megabytes 44 --views 3

See `pixels.pack_view` for what is lost. Heads are taken in the order of their shards, with the first `--views` views.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import flags

from pmv_jax.commandline import run as entry
from pmv_jax.errors import InputError
from tools.training.data import Heads
from tools.training.pixels import pack_view

HEADS = 20  # in a pack


def write(path: Path, p: np.ndarray, camera: np.ndarray, views: list[tuple[bytes, bytes, bytes]]) -> None:
    """A pack of heads p [n, D] from cameras [n, V, 25]; `views` in their order."""
    parts = [part for view in views for part in view]
    data = np.frombuffer(b"".join(parts), np.uint8)
    np.savez(path, p=p, camera=camera, packed=data, ends=np.cumsum([len(part) for part in parts]))


def pack(heads: Heads, out: Path, limit: int, views: int) -> int:
    """Writes packs of no more than `limit` bytes together; returns how many heads they have."""
    out.mkdir(parents=True, exist_ok=True)
    size = done = 0
    for number, first in enumerate(range(0, len(heads), HEADS)):
        chosen = range(first, min(first + HEADS, len(heads)))
        packed = [pack_view(heads.view(head, view)) for head in chosen for view in range(views)]
        size += sum(len(part) for view in packed for part in view)
        if size > limit:
            break
        write(out / f"shard_{number:04d}.npz", heads.p[chosen], heads.camera[chosen, :views], packed)
        done += len(chosen)
    return done


flags.declare_key_flag("out")
_DATA = flags.DEFINE_string("data", None, "directory of shards of rendered heads")
_MEGABYTES = flags.DEFINE_float("megabytes", 44.0, "size of all packs together", lower_bound=0.0)
_VIEWS = flags.DEFINE_integer("views", 3, "of each head", lower_bound=1)


def main() -> None:
    if not _DATA.value or not entry.OUT.value:
        raise InputError("--data, --out: give the directory of the shards and one for the packs")
    count = pack(Heads(_DATA.value), Path(entry.OUT.value), int(1e6 * _MEGABYTES.value), _VIEWS.value)
    print(f"{count} heads")


if __name__ == "__main__":
    entry.run(main)
