"""A small network that tells a head, with hair and clothes, from the backdrop of its aligned crop.

A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with residual blocks, of a quarter of a million weights. It was
trained on rendered heads over other backdrops (`tools/train_matte.py`), so it knows hats and hands from nowhere.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

RESOLUTION = 128  # of the pictures that it takes
WIDTHS = (12, 24, 40, 64)  # channels at half, a quarter, an eighth and a sixteenth of it


class MatteNetwork(nn.Module):
    """Pictures [N, 128, 128, 3] in [-1, 1] -> logits [N, 128, 128]: positive on the head."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        levels = [x]
        for level, width in enumerate(WIDTHS):
            x = _conv(x, width, stride=2)
            for _ in range(min(level, 2)):
                x = _residual(x)
            levels.append(x)
        for width, skip in zip((*WIDTHS[-2::-1], 8), levels[-2::-1], strict=True):
            x = jax.image.resize(x, (*skip.shape[:3], x.shape[-1]), "bilinear")
            x = _conv(jnp.concatenate([x, skip], axis=-1), width)
        return nn.Conv(1, (3, 3))(x)[..., 0]


def _residual(x: Array) -> Array:
    return x + _conv(_conv(x, x.shape[-1]), x.shape[-1])


def _conv(x: Array, width: int, stride: int = 1) -> Array:
    x = nn.Conv(width, (3, 3), (stride, stride))(x)
    return nn.silu(nn.GroupNorm(num_groups=4)(x))
