"""Holds what is rendered of a head to the outline that a matte of the photograph draws."""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import Array

_SOFTNESS = 0.03  # of the step between head and backdrop, in units of the world: what lies further on a side is on it


class Outline(NamedTuple):
    """Where a view has to show the head, and where the backdrop.

    Attributes:
      matte: [n, n] in [0, 1], the share of each pixel that is head, hair or clothes.
      weight: [n, n] in [0, 1], how far that is known.
      limit: [n, n], the ray distance at which the backdrop begins, in units of the world.
    """

    matte: Array
    weight: Array
    limit: Array


def outline_loss(distance: Array, outline: Outline) -> Array:
    """Cross-entropy of the matte and of what is rendered before the backdrop.

    A ray that ends by d before the limit shows the head with the probability sigmoid(d / softness): far on the wrong
    side the pull is the same everywhere, on the right side there is none.

    Args:
      distance: [n, n], rendered ray distances in units of the world.
      outline: of the same view.

    Returns:
      A scalar >= 0, the mean over all pixels.
    """
    chex.assert_equal_shape([distance, *outline])
    logit = (outline.limit - distance) / _SOFTNESS
    return jnp.mean(outline.weight * (jax.nn.softplus(logit) - outline.matte * logit))
