"""Where to sample along rays. All for the R rays of one image; distances are along unit directions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax


def box_bounds(origins: Array, directions: Array, side: float) -> tuple[Array, Array]:
    """Where rays enter and leave the axis-parallel cube of the given side around the origin: origins, directions [R, 3]
    -> distances [R], [R].

    As EG3D's 'auto' bounds, rays that miss get stand-ins from the rays of the same image that hit: the nearest entry as
    entry and the farthest *entry* as exit. If none hits, (-1, -2) stays, as there.
    """
    origins, directions = lax.stop_gradient((origins, directions))
    slopes = 1 / directions
    near = (-side / 2 * jnp.where(slopes < 0, -1, 1) - origins) * slopes
    far = (side / 2 * jnp.where(slopes < 0, -1, 1) - origins) * slopes
    start, end = near.max(axis=-1), far.min(axis=-1)
    hit = start <= end
    first = jnp.min(start, where=hit, initial=jnp.inf)
    last = jnp.max(start, where=hit, initial=-jnp.inf)
    some = hit.any()
    start = jnp.where(hit, start, jnp.where(some, first, -1.0))
    end = jnp.where(hit, end, jnp.where(some, last, -2.0))
    return start, end


def stratified(start: Array, end: Array, count: int, *, disparity: bool = False, key: Array | None = None) -> Array:
    """One sample in each of `count` strata (EG3D `sample_stratified`) -> [R, count], increasing.

    As there, strata begin at the points of `linspace(start, end, count)`, so the last sample lies past `end`.

    Args:
      start, end: [R] or scalars broadcast to [R, 1].
      disparity: spaces samples evenly in 1 / distance.
      key: jitter within strata; None takes their middles.
    """
    start, end = jnp.asarray(start)[..., None], jnp.asarray(end)[..., None]
    shape = (*start.shape[:-1], count)
    jitter = jnp.full(shape, 0.5) if key is None else jax.random.uniform(key, shape)
    position = (jnp.arange(count) + jitter) / (count - 1)
    if disparity:
        return 1 / ((1 - position) / start + position / end)
    return start + position * (end - start)


def uniforms(rays: int, count: int, key: Array | None = None) -> Array:
    """Numbers in [0, 1) for `importance`: [rays, count] random ones, or (k + 0.5) / count [count] without a key."""
    return (jnp.arange(count) + 0.5) / count if key is None else jax.random.uniform(key, (rays, count))


def importance(distances: Array, weights: Array, u: Array, eps: float = 1e-5) -> Array:
    """Draws distances from the piecewise-constant density of compositing weights (EG3D `sample_importance`).

    Weights are widened by a running maximum and mean and lifted by 0.01. The last interval is never drawn from: the
    reference's inverse CDF stops one short, and parity keeps it.

    Args:
      distances: [R, S] of the coarse samples.
      weights: [R, S - 1] of the intervals between them.
      u: [count] or [R, count] in [0, 1), of `uniforms`.
      eps: added to the weights, and the least that the CDF rises by where it is divided by.

    Returns:
      [R, count], without gradient.
    """
    distances, weights = lax.stop_gradient((distances, weights))
    padded = jnp.pad(weights, ((0, 0), (1, 1)), constant_values=-jnp.inf)
    widened = jnp.maximum(padded[:, :-1], padded[:, 1:])
    smooth = 0.5 * (widened[:, :-1] + widened[:, 1:]) + 0.01
    bins = 0.5 * (distances[:, :-1] + distances[:, 1:])
    density = smooth[:, 1:-1] + eps
    density = density / density.sum(axis=-1, keepdims=True)
    cdf = jnp.pad(jnp.cumsum(density, axis=-1), ((0, 0), (1, 0)))
    u = jnp.broadcast_to(u, (distances.shape[0], u.shape[-1]))
    above = jnp.sum(cdf[:, None, :] <= u[:, :, None], axis=-1)
    below = jnp.maximum(above - 1, 0)
    above = jnp.minimum(above, density.shape[-1])
    low, high = take(cdf, below), take(cdf, above)
    width = jnp.where(high - low < eps, 1.0, high - low)
    left, right = take(bins, below), take(bins, above)
    return left + (u - low) / width * (right - left)


def take(table: Array, index: Array) -> Array:
    """Numbers of each row: table [R, S], index [R, N] -> [R, N]."""
    return lax.platform_dependent(table, index, tpu=_take_by_sum, default=_take)


def _take(table: Array, index: Array) -> Array:
    return jnp.take_along_axis(table, index, axis=-1)


def _take_by_sum(table: Array, index: Array) -> Array:
    """A TPU gathers no faster than one number at a time; to add up all of a row, times zero or one, takes it less."""
    chosen = index[:, :, None] == jnp.arange(table.shape[1])
    return jnp.sum(jnp.where(chosen, table[:, None, :], 0), axis=-1)
