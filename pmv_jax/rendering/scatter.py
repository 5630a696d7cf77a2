"""Gradients of places on planes, added up: what `triplanes.sample_packed` needs on its way back.

XLA's own scatter sorts the rows on a TPU, takes some 19 cycles for each of them, and long to compile. The kernel here
keeps a plane's table in the core's own memory, makes the rows there and adds one after the other: 4 cycles each in
bfloat16, 6.4 in float32. These figures are read from the schedules that the compiler makes for v5e; no TPU was there.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

_POINTS = 512  # that are brought to the core at a time
_UNROLLED = 32  # of them, in a turn of the loop
_LANES = 128  # numbers of a row that are added at once
_LARGEST = 48 * 2**20  # bytes of a table that the core's memory has room for: v5p has 64 MB, v5e and v6e 128


def add_cells(count: int, cells: Array, weights: Array, g: Array) -> Array:
    """Tables [3, count, 4 C] of three planes: each point adds its `g` to a row of each, for each corner by its weight.

    Args:
      count: rows of a table.
      cells: int32 [3, N], rows of points, in range.
      weights: [12, N], of the four corners in each plane.
      g: [C, N].

    Returns:
      float32.
    """
    kernel = functools.partial(_add_in_core, count)
    plain = functools.partial(_add, count)
    if 4 * len(g) != _LANES or 4 * _LANES * count > _LARGEST:
        return plain(cells, weights, g)
    return lax.platform_dependent(cells, weights, g, tpu=kernel, default=plain)


def _add(count: int, cells: Array, weights: Array, g: Array) -> Array:
    def one(plane: tuple[Array, Array]) -> Array:
        cells, weights = plane
        rows = _rows(weights, g)
        return jnp.zeros((count, rows.shape[1]), rows.dtype).at[cells].add(rows, mode="promise_in_bounds")

    return lax.map(one, (cells, weights.reshape(3, 4, -1)))


def _add_in_core(count: int, cells: Array, weights: Array, g: Array, interpret: bool = False) -> Array:
    blocks = -(-g.shape[1] // _POINTS)
    missing = blocks * _POINTS - g.shape[1]
    if missing:
        cells, weights, g = (jnp.pad(x, ((0, 0), (0, missing))) for x in (cells, weights, g))
    height = -(-count // 8) * 8
    channels = len(g)
    tables = pl.pallas_call(
        functools.partial(_kernel, blocks),
        grid=(3, blocks),
        in_specs=[
            pl.BlockSpec((_POINTS,), lambda plane, block: (plane * blocks + block,), memory_space=pltpu.SMEM),
            pl.BlockSpec((1, 4, _POINTS), lambda plane, block: (plane, 0, block)),
            pl.BlockSpec((channels, _POINTS), lambda plane, block: (0, block)),
        ],
        out_specs=pl.BlockSpec(memory_space=pl.ANY),
        out_shape=jax.ShapeDtypeStruct((3, height, _LANES), jnp.float32),
        scratch_shapes=[
            pltpu.VMEM((height, _LANES), jnp.float32),
            pltpu.VMEM((_POINTS, _LANES), jnp.float32),
            pltpu.SemaphoreType.DMA,
        ],
        compiler_params=pltpu.CompilerParams(
            vmem_limit_bytes=_LARGEST + 8 * 2**20, dimension_semantics=("arbitrary", "arbitrary")
        ),
        interpret=interpret,
    )(cells.reshape(-1), weights.reshape(3, 4, -1), g)
    return tables[:, :count]


def _kernel(
    blocks: int, cells: Array, weights: Array, g: Array, out: Array, table: Array, rows: Array, semaphore: Array
) -> None:
    plane, block = pl.program_id(0), pl.program_id(1)

    @pl.when(block == 0)
    def _() -> None:
        def clear(i: Array, _: None) -> None:
            table[pl.ds(pl.multiple_of(8 * i, 8), 8), :] = jnp.zeros((8, _LANES), jnp.float32)

        lax.fori_loop(0, table.shape[0] // 8, clear, None)

    rows[...] = _rows(weights[0], g[...])

    def add(turn: Array, _: None) -> None:
        for i in range(_UNROLLED):
            row = turn * _UNROLLED + i
            table[pl.ds(cells[row], 1), :] += rows[pl.ds(row, 1), :]

    lax.fori_loop(0, _POINTS // _UNROLLED, add, None)

    @pl.when(block == blocks - 1)
    def _() -> None:
        copy = pltpu.make_async_copy(table, out.at[plane], semaphore)
        copy.start()
        copy.wait()


def _rows(weights: Array, g: Array) -> Array:
    """What points add: their weights [4, N] times g [C, N] -> [N, 4 C], by products with zeros and ones."""
    channels = len(g)
    corner = lax.broadcasted_iota(jnp.int32, (4, 4 * channels), 0)
    lane = lax.broadcasted_iota(jnp.int32, (4, 4 * channels), 1)
    spread = (corner == lane // channels).astype(g.dtype)
    channel = lax.broadcasted_iota(jnp.int32, (channels, 4 * channels), 0)
    lane = lax.broadcasted_iota(jnp.int32, (channels, 4 * channels), 1)
    repeat = (channel == lane % channels).astype(g.dtype)
    return _product(weights.astype(g.dtype), spread) * _product(g, repeat)


def _product(a: Array, b: Array) -> Array:
    """a [K, N], b [K, M] -> [N, M] in float32."""
    precision = "highest" if a.dtype == jnp.float32 else None
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())), precision=precision, preferred_element_type=jnp.float32)
