"""Volume rendering of a field: a coarse pass finds the surface, a fine pass samples it (EG3D `ImportanceRenderer`)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax.config import RenderingConfig
from pmv_jax.rendering import compositing, sampling

Field = Callable[[Array], tuple[Array, Array]]  # points [..., 3] -> colours [..., F] in [0, 1], raw densities [...]


def render_rays(
    field: Field, origins: Array, directions: Array, config: RenderingConfig, key: Array | None = None
) -> tuple[Array, Array]:
    """Renders the rays of one image.

    Args:
      field: the scene.
      origins, directions: [R, 3]; directions are unit vectors.
      key: jitters the samples; None takes the deterministic ones.

    Returns:
      features [R, F] in [-1, 1] and ray_distance [R].
    """
    coarse_key, fine_key = (None, None) if key is None else jax.random.split(key)
    if config.ray_start is None or config.ray_end is None:
        start, end = sampling.box_bounds(origins, directions, config.box_size)
    else:
        start, end = (jnp.full(origins.shape[:1], bound) for bound in (config.ray_start, config.ray_end))
    distances = sampling.stratified(
        start, end, config.coarse_samples, disparity=config.disparity_sampling, key=coarse_key
    )
    colours, densities = field(_points(origins, directions, distances))
    if config.fine_samples:
        weights = compositing.weights(densities, distances)
        fine = sampling.importance(distances, weights, config.fine_samples, fine_key)
        fine_colours, fine_densities = field(_points(origins, directions, fine))
        distances = jnp.concatenate([distances, fine], axis=1)
        densities = jnp.concatenate([densities, fine_densities], axis=1)
        colours = jnp.concatenate([colours, fine_colours], axis=1)
    return compositing.composite(colours, densities, distances, white_background=config.white_background)


def _points(origins: Array, directions: Array, distances: Array) -> Array:
    return origins[:, None, :] + distances[:, :, None] * directions[:, None, :]
