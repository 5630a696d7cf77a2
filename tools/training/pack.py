"""Packs a part of a data set small enough to carry to a machine that is lent for minutes: 20 KB a view.

    python -m tools.training.pack --data DIR --out DIR --megabytes 44 --views 3

See `pixels.pack_view` for what is lost. Heads are taken in the order of their shards, with the first `--views` views.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
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


FLAGS = Flags()
_DATA = FLAGS.string("data", None, "Directory of shards of rendered heads. Required.")
_OUT = FLAGS.string("out", None, "Directory for the packs. Required.")
_MEGABYTES = FLAGS.number("megabytes", 44.0, "Size of all packs together.", least=0.0)
_VIEWS = FLAGS.integer("views", 3, "Of each head.", least=1)


@command(FLAGS)
def main() -> None:
    if not _DATA.value or not _OUT.value:
        raise InputError("--data, --out: give the directory of the shards and one for the packs")
    count = pack(Heads(_DATA.value), Path(_OUT.value), int(1e6 * _MEGABYTES.value), _VIEWS.value)
    print(f"{count} heads")


if __name__ == "__main__":
    sys.exit(main())
