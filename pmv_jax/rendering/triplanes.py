"""Looking up features of world points on three axis-parallel planes."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from pmv_jax.config import PlaneAxes

# For each plane the world axes along its width and its height.
AXES: dict[str, tuple[tuple[int, int], ...]] = {
    "xy_xz_zx": ((0, 1), (0, 2), (2, 0)),  # official EG3D weights, NVlabs/eg3d issue 67
    "xy_xz_zy": ((0, 1), (0, 2), (2, 1)),  # corrected
}


def sample(planes: Array, points: Array, axes: PlaneAxes, box_size: float) -> Array:
    """Mean over the three planes of bilinearly interpolated features (EG3D `sample_from_planes` and decoder's mean).

    Args:
      planes: [3, H, W, C]; they span the cube of side `box_size` around the origin, pixel centres at (i + 0.5) / N of
        it. Outside is zero, with a bilinear fade over half a pixel as in torch's `grid_sample(padding_mode='zeros')`.
      points: [..., 3] in world coordinates.

    Returns:
      [..., C].
    """
    flat = points.reshape(-1, 3)
    total = sum(_bilinear(planes[i], flat[:, list(pair)] / box_size + 0.5) for i, pair in enumerate(AXES[axes]))
    return (total / 3).reshape(*points.shape[:-1], planes.shape[-1])


def _bilinear(plane: Array, position: Array) -> Array:
    """plane [H, W, C] at position [N, 2] (x, y; (0, 1) inside) -> [N, C].

    The four neighbours of a point are gathered as one row of a table that holds every 2x2 patch: one gather forward and
    one scatter backward in place of four, which on a CPU and a GPU costs more than the table.
    """
    height, width, channels = plane.shape
    padded = jnp.pad(plane, ((1, 1), (1, 1), (0, 0)))
    corners = [padded[i : i + height + 1, j : j + width + 1] for i in (0, 1) for j in (0, 1)]
    table = jnp.concatenate(corners, axis=-1).reshape(-1, 4 * channels)
    x = jnp.clip(position[:, 0] * width + 0.5, 0.0, width + 1.0)
    y = jnp.clip(position[:, 1] * height + 0.5, 0.0, height + 1.0)
    column = jnp.minimum(x.astype(jnp.int32), width)
    row = jnp.minimum(y.astype(jnp.int32), height)
    x, y = (x - column).astype(plane.dtype), (y - row).astype(plane.dtype)
    patch = table.at[row * (width + 1) + column].get(mode="promise_in_bounds")
    # Spelled out: as a sum over an axis of four, XLA's CPU compiler hands it to a reduction 20 times slower.
    weights = ((1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x)
    corners = jnp.split(patch, 4, axis=-1)
    return sum(weight[:, None] * corner for weight, corner in zip(weights, corners, strict=True))
