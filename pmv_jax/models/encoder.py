"""An encoder: one glance at a photograph, and what it tells of camera, latent code and outline, each with a doubt.

A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with residual blocks: from its narrow end two dense layers read off
pose and code as Gaussians, and its wide end is a matte. It is where a fit begins, not where it ends.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax.config.encoder import EncoderConfig

POSE_NUMBERS = 6
POSE_UNITS = (0.4, 0.2, 0.1, 0.1, 0.1, 0.2)
"""About the spread of each number of a pose in training: the network's own numbers are of order one."""
MIRRORED = (-1.0, 1.0, -1.0, -1.0, 1.0, 1.0)
"""What becomes of each number of a pose in the mirror image of a picture: it is multiplied by this."""
_NARROWEST, _WIDEST = -5.0, 1.0  # logarithms of standard deviations, in those units


class Glance(NamedTuple):
    """What one picture tells. Widths are standard deviations.

    Pose and matte are means of two looks, at the picture and at its mirror image, which err in part independently; how
    far these are apart is part of the width. The code is the first look's: nobody knows that of a mirrored head.

    Attributes:
      pose: [6], a pose of `cameras.poses` (yaw, pitch, roll, shift right, shift down), and the logarithm of how much
        larger the head is than in the crops that the generator was trained with.
      pose_width: [6].
      code: [code_dim], see `EncoderConfig.code_space`.
      code_width: [code_dim].
      matte: [n, n] in [0, 1] at the encoder's resolution: head, hair and clothes against what stands behind.
    """

    pose: Array
    pose_width: Array
    code: Array
    code_width: Array
    matte: Array


class Readings(NamedTuple):
    """A `Glance` of each of N pictures in the network's own numbers, as training sees them."""

    pose: Array  # [N, 6], in POSE_UNITS
    pose_log_width: Array  # [N, 6]
    code: Array  # [N, code_dim]
    code_log_width: Array  # [N, code_dim]
    matte_logits: Array  # [N, n, n]


class EncoderNetwork(nn.Module):
    """Pictures [N, n, n, 3] in [-1, 1] at the encoder's resolution -> `Readings`."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, x: Array) -> Readings:
        widths = self.config.widths
        levels = [x]
        for width, blocks in zip(widths, self.config.blocks, strict=True):
            x = _convolution(x, width, stride=2)
            for _ in range(blocks):
                x = x + _convolution(_convolution(x, width), width)
            levels.append(x)
        told = nn.silu(nn.Dense(self.config.hidden_features)(x.reshape(len(x), -1)))
        count = POSE_NUMBERS + self.config.code_dim
        value = nn.Dense(count, kernel_init=nn.initializers.zeros, name="value")(told)
        log_width = nn.Dense(count, kernel_init=nn.initializers.zeros, name="log_width")(told)
        log_width = jnp.clip(log_width, _NARROWEST, _WIDEST)
        for width, skip in zip((*widths[-2::-1], 8), levels[-2::-1], strict=True):
            x = jax.image.resize(x, (*skip.shape[:3], x.shape[-1]), "bilinear")
            x = _convolution(jnp.concatenate([x, skip], axis=-1), width)
        logits = nn.Conv(1, (3, 3), name="matte")(x)[..., 0]
        pose, code = (slice(None), slice(POSE_NUMBERS)), (slice(None), slice(POSE_NUMBERS, None))
        return Readings(value[pose], log_width[pose], value[code], log_width[code], logits)


@flax.struct.dataclass
class Encoder:
    """Config and weights. A pytree: `params` are its leaves, the config is static."""

    config: EncoderConfig = flax.struct.field(pytree_node=False)
    params: Any

    @functools.partial(jax.jit, inline=True)
    def __call__(self, image: Array) -> Glance:
        """Looks at a picture [H, W, 3] in [-1, 1], of any size."""
        side = self.config.resolution
        image = jax.image.resize(image, (side, side, 3), "bilinear", antialias=True)
        looks = jnp.stack([image, image[:, ::-1]])
        poses, pose_log_widths, codes, code_log_widths, logits = EncoderNetwork(self.config).apply(
            {"params": self.params}, looks
        )
        mattes = jax.nn.sigmoid(logits)
        poses = jnp.stack([poses[0], jnp.asarray(MIRRORED) * poses[1]])
        units = jnp.asarray(POSE_UNITS)
        return Glance(
            pose=units * poses.mean(0),
            pose_width=units * jnp.sqrt(jnp.exp(2 * pose_log_widths).mean(0) + poses.var(0)),
            code=codes[0],
            code_width=jnp.exp(code_log_widths[0]),
            matte=(mattes[0] + mattes[1, :, ::-1]) / 2,
        )


def initialise(config: EncoderConfig, key: Array) -> Encoder:
    """An encoder with random weights, which sees every picture alike."""
    return Encoder(config, _random_params(config, key))


@functools.partial(jax.jit, static_argnames="config")
def _random_params(config: EncoderConfig, key: Array) -> dict[str, Any]:
    picture = jnp.zeros((1, config.resolution, config.resolution, 3))
    return EncoderNetwork(config).init(key, picture)["params"]


def _convolution(x: Array, width: int, stride: int = 1) -> Array:
    return nn.silu(nn.GroupNorm(num_groups=4)(nn.Conv(width, (3, 3), (stride, stride))(x)))
