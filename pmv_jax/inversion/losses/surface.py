"""Holds what is rendered of a head to the depth that an encoder sees in a photograph."""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax.numpy as jnp
from jax import Array


class Surface(NamedTuple):
    """Where a view's surface is taken to be.

    Attributes:
      distance: [n, n], ray distances in units of the world.
      weight: [n, n] in [0, 1], how far that is known.
    """

    distance: Array
    weight: Array


def surface_loss(distance: Array, surface: Surface) -> Array:
    """How far rendered rays miss the surface. The pull is the same however far off they are, so that hair which hangs
    on the backdrop is drawn as a cheek is, and a few wrong pixels do little.

    Args:
      distance: [n, n], rendered ray distances in units of the world.
      surface: of the same view.

    Returns:
      A scalar >= 0, the weighted mean over all pixels, in units of the world.
    """
    chex.assert_equal_shape([distance, *surface])
    return jnp.mean(surface.weight * jnp.abs(distance - surface.distance))
