"""The loss of an image, and what a perceptual term of it has to offer.

Images are [H, W, 3] in [-1, 1]; every function is for one image and takes a weight per pixel.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, Protocol

import chex
import jax.numpy as jnp
from jax import Array

from pmv_jax.config import PERCEPTUAL_TERMS, LossConfig, resolve
from pmv_jax.errors import InputError, suggestion

Tree = Any

_DEPTH_SCALE = 0.02  # a head is about 0.45 wide


class PerceptualTerm(Protocol):
    """What compares two images beside L2. One object serves all images, inside and outside of compiled functions.

    Attributes:
      early_stop: value of the term (of L2, where there is none) at which a fit of the input has its shape and not yet
        its finest texture: `tuning.early_stop=none`.
    """

    early_stop: float

    def load_network(self, config: LossConfig) -> Tree | None:
        """Reads the arrays that `distance` needs, once for all images.

        Args:
          config: says where they are.

        Returns:
          A pytree of arrays, or None where the term needs none.

        Raises:
          InputError: they are not there, or not those of this term.
        """

    def distance(self, network: Tree | None, image: Array, target: Array, weight: Array) -> Array | None:
        """How far two images are apart.

        Args:
          network: what `load_network` returned.
          image, target: [H, W, 3] in [-1, 1].
          weight: [H, W] >= 0; pixels of weight 0 have no part in the result.

        Returns:
          A scalar >= 0, a mean over all pixels; None from a term that compares nothing.
        """


class _NoTerm:
    """L2 alone."""

    early_stop = 0.004  # half of what the lesser of two benchmark heads has at the pivot (0.009 and 0.027)

    def load_network(self, config: LossConfig) -> None:
        return None

    def distance(self, network: None, image: Array, target: Array, weight: Array) -> None:
        return None


NONE = _NoTerm()


class Terms(NamedTuple):
    """The terms of an image loss, scalars, not weighted yet; `perceptual` is None where there is none."""

    l2: Array
    perceptual: Array | None

    def total(self, config: LossConfig) -> Array:
        """`L2 + perceptual_weight * perceptual` (HFGI3D eq. 1), a scalar."""
        return self.l2 if self.perceptual is None else self.l2 + config.perceptual_weight * self.perceptual

    def watched(self) -> Array:
        """The term that an early stop looks at, a scalar: the perceptual one, or L2 where there is no other."""
        return self.l2 if self.perceptual is None else self.perceptual


def perceptual_term(config: LossConfig) -> PerceptualTerm:
    """The object that `loss.perceptual` names.

    Raises:
      InputError: there is no such name any more.
    """
    if config.perceptual not in PERCEPTUAL_TERMS:
        raise InputError(f"loss.perceptual: {config.perceptual!r}; {suggestion(config.perceptual, PERCEPTUAL_TERMS)}")
    return resolve(PERCEPTUAL_TERMS[config.perceptual])


@functools.cache  # one for all images
def load_network(config: LossConfig) -> Tree | None:
    """The arrays of the loss's network, see `PerceptualTerm.load_network`."""
    return perceptual_term(config).load_network(config)


def early_stop(config: LossConfig) -> float:
    """The loss's own threshold, see `PerceptualTerm.early_stop`."""
    return perceptual_term(config).early_stop


def image_loss(
    image: Array, target: Array, config: LossConfig, weight: Array | None = None, network: Tree | None = None
) -> Array:
    """The weighted sum of `terms`, with the same arguments: a scalar."""
    return terms(image, target, config, weight, network).total(config)


def terms(
    image: Array, target: Array, config: LossConfig, weight: Array | None = None, network: Tree | None = None
) -> Terms:
    """L2 and the perceptual term, each a weighted mean over pixels.

    Args:
      image, target: [H, W, 3] in [-1, 1].
      config: which terms.
      weight: [H, W] >= 0, None for 1; the mean is over all pixels, so that a view of which little is trusted counts
        little. Pixels of weight 0 have no part in any term.
      network: what `load_network` gave.

    Raises:
      ValueError: the network is not the one that the perceptual term needs.
      AssertionError: shapes do not agree.
    """
    chex.assert_rank(image, 3)
    chex.assert_equal_shape([image, target])
    if weight is not None:
        chex.assert_shape(weight, image.shape[:2])
    squared = jnp.square(image - target)
    squared = squared if weight is None else weight[..., None] * squared
    weight = jnp.ones(image.shape[:2]) if weight is None else weight
    return Terms(jnp.mean(squared), perceptual_term(config).distance(network, image, target, weight))


def depth_loss(distance: Array, reference: Array) -> Array:
    """A pull towards a geometry where surfaces nearly agree, and none where one is the head and the other the backdrop:
    the mean of r^2 / (1 + r^2), r the difference of two depths in units of a small part of a head (Geman and McClure).

    Args:
      distance, reference: [h, w], ray distances in units of the world.

    Returns:
      A scalar in [0, 1).
    """
    chex.assert_equal_shape([distance, reference])
    squared = jnp.square((distance - reference) / _DEPTH_SCALE)
    return jnp.mean(squared / (1 + squared))
