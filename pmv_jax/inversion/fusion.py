"""One surface out of what several views are told of it.

An encoder and a completer tell the depth of each view by itself, and no two of them quite the same. A generator that is
to match the photograph in one place, and its warp in another, matches neither. So the views agree first: every point
goes along its ray to where the mean of their signed distances is zero, each weighted by how sure it is (B. Curless and
M. Levoy, "A Volumetric Method for Building Complex Models from Range Images", SIGGRAPH 1996, equations 1 to 4; here
without a volume, since all that is asked for is the depth of those very views).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax import cameras
from pmv_jax.inversion import visibility

_SAME_SURFACE = 0.05  # depth from which on another view has no say, in units of the world: it sees another surface
_ROUNDS = 3  # of moving all points: two bring nearly all that five do


def fused(z_depth: Array, width: Array, matte: Array, views: Array) -> Array:
    """Depths that agree.

    Args:
      z_depth: [K, n, n] of K views.
      width: [K, n, n], their standard deviations, in units of the world.
      matte: [K, n, n] in [0, 1]; what is less than half the head's has no say.
      views: [K, 25], their cameras.

    Returns:
      [K, n, n]; as it was where no view knows the surface.
    """
    sure = jnp.where(matte > 0.5, matte / jnp.square(width), 0)
    maps = jnp.stack([z_depth, sure], axis=-1)

    def moved(own: Array, camera: Array) -> Array:
        points = visibility.points(own, camera).reshape(-1, 3)
        say, off = (x.sum(0) for x in jax.lax.map(lambda other: _said(*other, points), (views, maps)))
        return own + jnp.where(say > 0, off / jnp.where(say > 0, say, 1), 0).reshape(own.shape)

    def all_moved(_: int, depths: Array) -> Array:
        return jax.lax.map(lambda each: moved(*each), (depths, views))

    return jax.lax.fori_loop(0, _ROUNDS, all_moved, z_depth)


def _said(camera: Array, maps: Array, points: Array) -> tuple[Array, Array]:
    """What a camera [25] of depth and weight [n, n, 2] says of points [N, 3]: how much that counts [N], and times as
    much how far the surface lies behind them [N]; by its four nearest pixels, each by itself, so that no depth is
    taken between two surfaces."""
    size = len(maps)
    place, depth = cameras.project(camera, points)
    column, row = jnp.moveaxis(size * place - 0.5, -1, 0)
    say, total = jnp.zeros_like(depth), jnp.zeros_like(depth)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        i, j = jnp.floor(row) + down, jnp.floor(column) + right
        share = (1 - jnp.abs(row - i)) * (1 - jnp.abs(column - j))
        inside = (i >= 0) & (i < size) & (j >= 0) & (j < size)
        surface, sure = maps[jnp.where(inside, i, 0).astype(jnp.int32), jnp.where(inside, j, 0).astype(jnp.int32)].T
        off = surface - depth
        near = jnp.square(jnp.maximum(1 - jnp.square(off / _SAME_SURFACE), 0))  # Tukey's biweight
        weight = inside * share * sure * near
        say, total = say + weight, total + weight * off
    return say, total
