"""The two halves of a U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with residual blocks, for use in a module."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from pmv_jax.models import ops


def narrowed(x: Array, widths: Sequence[int], blocks: Sequence[int]) -> list[Array]:
    """Pictures, and what becomes of them at a half, a quarter, ... of their resolution.

    Args:
      x: [N, n, n, C].
      widths: channels at each.
      blocks: residual ones at each.

    Returns:
      `x` first, the narrowest [N, m, m, widths[-1]] last.
    """
    levels = [x]
    for width, count in zip(widths, blocks, strict=True):
        x = _convolution(x, width, stride=2)
        for _ in range(count):
            x = x + _convolution(_convolution(x, width), width)
        levels.append(x)
    return levels


def widened(levels: Sequence[Array], widths: Sequence[int]) -> Array:
    """From the narrowest of `levels` back to the resolution of the first; `widths` are the channels on the way.

    Returns:
      [N, n, n, widths[-1]].
    """
    *skips, x = levels
    for width, skip in zip(widths, reversed(skips), strict=True):
        x = _doubled(x)[:, : skip.shape[1], : skip.shape[2]]
        x = _convolution(jnp.concatenate([x, skip], axis=-1), width)
    return x


def _doubled(x: Array) -> Array:
    """Bilinear, with half-pixel centres: what `jax.image.resize` gives, whose matrix products XLA's compiler for GPUs
    refuses here."""
    return ops.upsample(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"))[:, 2:-2, 2:-2]


def _convolution(x: Array, width: int, stride: int = 1) -> Array:
    return nn.silu(nn.GroupNorm(num_groups=4)(nn.Conv(width, (3, 3), (stride, stride))(x)))
