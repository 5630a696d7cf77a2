"""The density of a field on a grid, as an MRC2014 file (Cheng et al., J. Struct. Biol. 192, 2015), for ChimeraX.

The layout is that of EG3D's `gen_samples.py --shapes`, so that what reads its files reads these: axes are x, y, z of
the world with x turned around, the grid's ends lie on the box's sides, and a border all round is -1000, which cuts off
what fields have at the sides of their boxes.
"""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np

from pmv_jax.meshes.extraction import SLAB_POINTS, Field, Progress
from pmv_jax.whole_files import appearing

BORDER = 30 / 256  # of the grid's side, on each of the six sides
OUTSIDE = -1000.0


def write_density(
    path: Path, look_up: Field, *, resolution: int, box_size: float, progress: Progress | None = None
) -> None:
    """Writes the raw density of a field, complete or not at all; no more than a slab of it is in memory at once.

    Args:
      path: ends in .mrc.
      look_up: the field.
      resolution: points N of the grid along each side of the box; the file holds [N, N, N] float32.
      box_size: side of the cube around the origin.
      progress: called with slabs done and all.

    Raises:
      OSError: it cannot be written.
    """
    ends = np.linspace(-box_size / 2, box_size / 2, resolution, dtype=np.float32)
    border = int(BORDER * resolution)
    kept = range(border, resolution - border)
    depth = max(1, SLAB_POINTS // resolution**2)
    starts = kept[::depth]
    shape = (resolution,) * 3
    with appearing(path) as partial, mrcfile.new_mmap(partial, shape, mrc_mode=2, fill=OUTSIDE) as file:
        inner = slice(kept.start, kept.stop)
        for index, start in enumerate(starts):
            if progress:
                progress(index, len(starts))
            stop = min(start + depth, kept.stop)
            grid = np.stack(np.meshgrid(-ends[start:stop], ends[inner], ends[inner], indexing="ij"), axis=-1)
            file.data[start:stop, inner, inner] = look_up(grid.reshape(-1, 3))[0].reshape(grid.shape[:3])
        file.update_header_stats()
    if progress:
        progress(len(starts), len(starts))
