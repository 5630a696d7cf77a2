"""Holds what is rendered of a head to the depth that an encoder sees in a photograph."""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import Array

_TOLERANCE = 0.01  # of a ray distance, in units of the world: noses are finer than what a glance tells


class Surface(NamedTuple):
    """Where a view's surface is taken to be.

    Attributes:
      distance: [n, n], ray distances in units of the world.
      weight: [n, n] in [0, 1], how far that is known.
    """

    distance: Array
    weight: Array


def surface_loss(distance: Array, surface: Surface) -> Array:
    """How far rendered rays miss the surface by more than a tolerance. Inside of that the picture and the generator
    decide; outside the pull is the same everywhere, so that hair which hangs on the backdrop is drawn as a cheek is,
    and a few wrong pixels do little.

    Args:
      distance: [n, n], rendered ray distances in units of the world.
      surface: of the same view.

    Returns:
      A scalar >= 0, the weighted mean over all pixels, in units of the world.
    """
    chex.assert_equal_shape([distance, *surface])
    off = jnp.abs(distance - surface.distance)
    return jnp.mean(surface.weight * jax.nn.relu(off - _TOLERANCE))
