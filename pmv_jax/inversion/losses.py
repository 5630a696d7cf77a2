"""Image losses. Images are [H, W, 3] in [-1, 1]; every function is for one image and takes a weight per pixel."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from pmv_jax.config import LossConfig
from pmv_jax.models.lpips import Lpips, distance
from pmv_jax.models.ops import halve

_SCALES = 3
_DEPTH_SCALE = 0.02  # a head is about 0.45 wide

EARLY_STOP = {"lpips_alex": 0.06, "lpips_vgg": 0.12, "gradients": 0.012, "none": 0.004}
"""Values of the perceptual term (of L2, where there is none) at which a fit of the input has its shape and not yet its
finest texture, by `LossConfig.perceptual`. That of "lpips_alex" is HFGI3D's (`LPIPS_value_threshold` in its released
code), and LPIPS with VGG is about twice that with AlexNet. The two that need no weights are about half of what two of
the benchmark's heads have at the pivot (0.021 and 0.036; L2 0.009 and 0.027), where 40 to 90 tuning steps lead."""


class Terms(NamedTuple):
    """The terms of an image loss, scalars, not weighted yet."""

    l2: Array
    perceptual: Array

    def total(self, config: LossConfig) -> Array:
        """`l2_weight * L2 + perceptual_weight * perceptual` (HFGI3D eq. 1)."""
        return config.l2_weight * self.l2 + config.perceptual_weight * self.perceptual

    def watched(self, config: LossConfig) -> Array:
        """The term that an early stop looks at: the perceptual one, or L2 where there is no other."""
        return self.l2 if config.perceptual == "none" else self.perceptual


def image_loss(
    image: Array, target: Array, config: LossConfig, weight: Array | None = None, lpips: Lpips | None = None
) -> Array:
    """The sum of `terms`, which see: a scalar."""
    return terms(image, target, config, weight, lpips).total(config)


def terms(
    image: Array, target: Array, config: LossConfig, weight: Array | None = None, lpips: Lpips | None = None
) -> Terms:
    """L2 and the perceptual term, each a weighted mean over pixels.

    Args:
      image, target: [H, W, 3].
      config: which terms.
      weight: [H, W] >= 0; the mean is over all pixels, so that a view of which little is trusted counts little. Pixels
        of weight 0 have no part in any term.
      lpips: the network, for "lpips_vgg" and "lpips_alex" (`lpips_weights.configured`); others do not look at it.

    Raises:
      ValueError: the term is LPIPS, and its network is missing or the other one.
    """
    error = image - target
    squared = jnp.square(error) if weight is None else weight[..., None] * jnp.square(error)
    if config.perceptual == "gradients":
        perceptual = gradient_loss(error, jnp.ones(image.shape[:2]) if weight is None else weight)
    elif config.perceptual == "none":
        perceptual = jnp.zeros(())
    elif lpips is None or config.perceptual != f"lpips_{lpips.network}":
        raise ValueError(f"{config.perceptual} needs its network, not {lpips and lpips.network}")
    else:
        perceptual = distance(lpips, image, target, weight)
    return Terms(jnp.mean(squared), perceptual)


def gradient_loss(error: Array, weight: Array) -> Array:
    """Stand-in for LPIPS that needs no weights: mean absolute gradients of the error at three scales.

    Like LPIPS it asks for edges in their places more than for exact colours, and unlike L2 it does not let fine texture
    average out. Each scale halves the image by weighted 2x2 means; a gradient counts as much as its lesser pixel.

    Args:
      error: [H, W, 3], image minus target. H and W divisible by 4.
      weight: [H, W].
    """
    total = jnp.zeros(())
    for scale in range(_SCALES):
        for axis in (0, 1):
            trusted = jnp.minimum(*_neighbours(weight, axis))
            total += jnp.mean(trusted[..., None] * _smooth_abs(jnp.diff(error, axis=axis)))
        if scale < _SCALES - 1:
            error, weight = _coarsen(error, weight)
    return total / (2 * _SCALES)


def depth_loss(distance: Array, reference: Array) -> Array:
    """Mean of r^2 / (1 + r^2), r the difference of two depths [h, w] in units of a small part of a head (Geman and
    McClure): a pull where surfaces nearly agree, and none where one is the head and the other the backdrop."""
    squared = jnp.square((distance - reference) / _DEPTH_SCALE)
    return jnp.mean(squared / (1 + squared))


def _smooth_abs(x: Array) -> Array:
    """Absolute value with a rounded tip, whose gradient does not jump where the fit is already exact."""
    return jnp.sqrt(jnp.square(x) + 1e-4) - 1e-2


def _neighbours(x: Array, axis: int) -> tuple[Array, Array]:
    return (x[1:], x[:-1]) if axis == 0 else (x[:, 1:], x[:, :-1])


def _coarsen(error: Array, weight: Array) -> tuple[Array, Array]:
    """Means of 2x2 pixels, those of the error weighted: what does not count reaches no coarser scale either."""
    halved = halve(weight[..., None])
    return halve(weight[..., None] * error) / jnp.maximum(halved, 1e-6), halved[..., 0]
