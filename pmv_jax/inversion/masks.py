"""Masks that grow, shrink and soften. Widths are in units of the image's size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def soften(mask: Array, erode: float, blur: float) -> Array:
    """Erodes a mask and blurs its edge.

    Erosion keeps clear of depth edges, where the warp is least certain; outside of the image counts as visible. The
    blur lies inside: nothing hidden becomes visible by it.

    Args:
      mask: [H, W] in [0, 1].
      erode, blur: widths, zero for none; six standard deviations of the blur.

    Returns:
      [H, W], nowhere larger than `mask`.
    """
    mask = -dilate(-mask, erode)
    return jnp.minimum(mask, blurred(mask, blur))


def dilate(mask: Array, width: float) -> Array:
    """Largest value of [H, W] in a square window of the given width."""
    radius = round(width * mask.shape[0] / 2)
    return jax.lax.reduce_window(mask, -jnp.inf, jax.lax.max, (2 * radius + 1,) * 2, (1, 1), "SAME")


def blurred(image: Array, width: float) -> Array:
    """[H, W] under a Gaussian of six standard deviations' width, beyond its edges as on them; itself where that is less
    than a pixel or so."""
    sigma = width * image.shape[0] / 6
    if sigma <= 0.2:
        return image
    reach = max(1, round(3 * sigma))
    kernel = jnp.exp(-0.5 * jnp.square(jnp.arange(-reach, reach + 1) / sigma))
    kernel = kernel / kernel.sum()
    image = jnp.pad(image, reach, mode="edge")
    for axis in (0, 1):
        image = jax.vmap(lambda row: jnp.convolve(row, kernel, "valid"), axis, axis)(image)
    return image
