"""Looking up features of world points on three axis-parallel planes.

Twice, with the same result: `sample` takes the four neighbours of a point one by one, as processors like it. An
accelerator moves whole rows of 128 numbers, whatever part of a row is wanted, so for it a table is made (`packed`) in
whose rows the four neighbours lie side by side: a point is one row of each plane, and its weights are applied and its
neighbours added by matrix products (`sample_packed`).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pmv_jax.config import PlaneAxes
from pmv_jax.rendering import scatter

# For each plane the world axes along its width and its height.
AXES: dict[str, tuple[tuple[int, int], ...]] = {
    "xy_xz_zx": ((0, 1), (0, 2), (2, 0)),  # official EG3D weights, NVlabs/eg3d issue 67
    "xy_xz_zy": ((0, 1), (0, 2), (2, 1)),  # corrected
}


def sample(planes: Array, points: Array, axes: PlaneAxes, box_size: float, still: Array | None = None) -> Array:
    """Mean over the three planes of bilinearly interpolated features (EG3D `sample_from_planes` and decoder's mean).

    Args:
      planes: [3, H, W, C]; they span the cube of side `box_size` around the origin, pixel centres at (i + 0.5) / N of
        it. Outside is zero, with a bilinear fade over half a pixel as in torch's `grid_sample(padding_mode='zeros')`.
      points: [..., 3] in world coordinates.
      still: bool [], whether nobody asks for the gradient by the points: then it is zero, and no time goes into it.

    Returns:
      [..., C].
    """
    flat = points.reshape(-1, 3) / box_size + 0.5
    features = _sample(planes, jnp.stack([flat[:, list(pair)] for pair in AXES[axes]]), still)
    return features.reshape(*points.shape[:-1], planes.shape[-1])


@jax.custom_vjp
def _sample(planes: Array, positions: Array, still: Array | None) -> Array:
    """planes [3, H, W, C] at positions [3, N, 2] (x, y; (0, 1) inside) -> the mean over planes [N, C]; `still` as of
    `sample`.

    The gradient goes plane by plane, in a loop: what JAX derives holds the gradients at all corners of all planes at
    once, twelve times the size of the result.
    """
    return sum(_bilinear(plane, position) for plane, position in zip(planes, positions, strict=True)) / 3


def _sample_forward(planes: Array, positions: Array, still: Array | None) -> tuple[Array, tuple[Array | None, ...]]:
    return _sample(planes, positions, still), (planes, positions, still)


def _sample_backward(residuals: tuple[Array | None, ...], g: Array) -> tuple[Array | np.ndarray | None, ...]:
    *pairs, still = residuals
    g = g / 3

    def one(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        plane, position = pair
        height, width, channels = plane.shape
        total = jnp.zeros(((height + 3) * (width + 3), channels), g.dtype)
        for index, weight in _corners(position, height, width):
            total = total.at[index].add(weight[:, None] * g, mode="promise_in_bounds")
        total = total.reshape(height + 3, width + 3, channels)[1 : height + 1, 1 : width + 1]
        if still is None:
            return total, to_position(plane, position)
        return total, lax.cond(still, lambda _, position: jnp.zeros_like(position), to_position, plane, position)

    def to_position(plane: Array, position: Array) -> Array:
        return jax.vjp(functools.partial(_bilinear, plane), position)[1](g)[0]

    return *lax.map(one, tuple(pairs)), None if still is None else np.zeros((), jax.dtypes.float0)


_sample.defvjp(_sample_forward, _sample_backward)


def _bilinear(plane: Array, position: Array) -> Array:
    """plane [H, W, C] at position [N, 2] -> [N, C]. Four gathers of C numbers: against one gather from a table of all
    2x2 patches that is eight times as fast on a CPU, and needs no table."""
    height, width, channels = plane.shape
    padded = jnp.pad(plane, ((1, 2), (1, 2), (0, 0))).reshape(-1, channels)
    corners = _corners(position, height, width)
    return sum(weight[:, None] * padded.at[index].get(mode="promise_in_bounds") for index, weight in corners)


def _corners(position: Array, height: int, width: int) -> list[tuple[Array, Array]]:
    """The four neighbours of positions [N, 2]: index [N] into a flat plane with a border of 1 before and 2 after, and
    weight [N]."""
    x = jnp.clip(position[:, 0] * width + 0.5, 0.0, width + 1.0)
    y = jnp.clip(position[:, 1] * height + 0.5, 0.0, height + 1.0)
    column, row = x.astype(jnp.int32), y.astype(jnp.int32)
    x, y, first = x - column, y - row, row * (width + 3) + column
    return [
        (first, (1 - y) * (1 - x)),
        (first + 1, (1 - y) * x),
        (first + width + 3, y * (1 - x)),
        (first + width + 4, y * x),
    ]


# ---------------------------------------------------------------------------------------------------------------------
# For accelerators
# ---------------------------------------------------------------------------------------------------------------------


def packed(planes: Array) -> Array:
    """The 2x2 neighbours of every place, side by side: planes [3, H, W, C] -> [3, (H + 2) (W + 2), 4 C].

    Row `row * (W + 2) + column` has the pixels (row - 1, column - 1), (row - 1, column), (row, column - 1) and
    (row, column), zeros outside.
    """
    _, height, width, channels = planes.shape
    padded = jnp.pad(planes, ((0, 0), (1, 2), (1, 2), (0, 0)))
    shifted = [padded[:, i : i + height + 2, j : j + width + 2] for i in (0, 1) for j in (0, 1)]
    return jnp.concatenate(shifted, axis=-1).reshape(3, (height + 2) * (width + 2), 4 * channels)


def sample_packed(
    table: Array, size: tuple[int, int], points: Array, axes: PlaneAxes, box_size: float, dtype: jnp.dtype
) -> Array:
    """`sample` by a table of `packed`; other arguments and the result are as there.

    Args:
      table: [3, (H + 2) (W + 2), 4 C].
      size: (H, W) of the planes.
      points: [N, 3].
      axes, box_size: as of `sample`.
      dtype: of the numbers that are multiplied, and of the result.
    """
    x, y, z = jnp.split(points.reshape(-1, 3).T / box_size + 0.5, 3)
    positions = jnp.stack([jnp.concatenate([(x, y, z)[axis] for axis in pair]) for pair in AXES[axes]])
    return _sample_packed(table, positions, size, jnp.dtype(dtype)).T.reshape(*points.shape[:-1], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _sample_packed(table: Array, positions: Array, size: tuple[int, int], dtype: jnp.dtype) -> Array:
    """table [3, cells, 4 C] at positions [3, 2, N] -> [C, N], with the points along the lanes."""
    cells, weights = _cells(positions, size)
    return _product(_fold(table, dtype), _rows(table, cells, dtype) * _spread(weights, table, dtype), (0, 1))


def _sample_packed_forward(
    table: Array, positions: Array, size: tuple[int, int], dtype: jnp.dtype
) -> tuple[Array, tuple[Array, Array]]:
    return _sample_packed(table, positions, size, dtype), (table, positions)


def _sample_packed_backward(
    size: tuple[int, int], dtype: jnp.dtype, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    table, positions = residuals
    (cells, weights), to_positions = jax.vjp(lambda positions: _cells(positions, size), positions)
    d_table = scatter.add_cells(table.shape[1], cells, weights, g).astype(table.dtype)
    rows = _rows(table, cells, dtype) * _product(g, _fold(table, dtype), (0, 1))
    d_weights = _product(_corners_of(table, dtype), rows, (1, 1))
    no_cells = np.zeros(cells.shape, jax.dtypes.float0)
    return d_table, to_positions((no_cells, d_weights.astype(weights.dtype)))[0]


_sample_packed.defvjp(_sample_packed_forward, _sample_packed_backward)


def _cells(positions: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Rows of the table [3, N] and the weights of their corners [12, N], three planes with four corners each, which
    add up to one."""
    height, width = size
    x = jnp.clip(positions[:, 0] * width + 0.5, 0.0, width + 1.0)
    y = jnp.clip(positions[:, 1] * height + 0.5, 0.0, height + 1.0)
    column, row = x.astype(jnp.int32), y.astype(jnp.int32)
    x, y = x - column, y - row
    weights = jnp.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], axis=1)
    return row * (width + 2) + column, weights.reshape(12, -1) / 3


def _rows(table: Array, cells: Array, dtype: jnp.dtype) -> Array:
    """The cells [3, N] of three planes side by side [N, 12 C]."""
    pairs = zip(table.astype(dtype), cells, strict=True)
    return jnp.concatenate([plane.at[cell].get(mode="promise_in_bounds") for plane, cell in pairs], axis=-1)


def _spread(weights: Array, table: Array, dtype: jnp.dtype) -> Array:
    """The weights [12, N] of corners as those of the numbers in a row [N, 12 C]."""
    return _product(weights.astype(dtype), _corners_of(table, dtype), (0, 0))


def _corners_of(table: Array, dtype: jnp.dtype) -> Array:
    """[12, 12 C]: 1 where a number of a row belongs to a corner."""
    return jnp.repeat(jnp.eye(12, dtype=dtype), table.shape[-1] // 4, axis=1)


def _fold(table: Array, dtype: jnp.dtype) -> Array:
    """[12 C, C]: adds the corners of all planes."""
    return jnp.tile(jnp.eye(table.shape[-1] // 4, dtype=dtype), (12, 1))


def _product(a: Array, b: Array, contracted: tuple[int, int]) -> Array:
    """Sum over one axis of each matrix, exact for float32."""
    precision = "highest" if a.dtype == jnp.float32 else None
    dimensions = (((contracted[0],), (contracted[1],)), ((), ()))
    return lax.dot_general(a, b, dimensions, precision=precision, preferred_element_type=a.dtype)
