"""An encoder: one glance at a photograph, and what it tells of camera, latent code, outline and depth, with its doubts.

A U-Net: from its narrow end two dense layers read off pose and code as Gaussians, and its wide end is a matte and the
depth of what it covers. It is where a fit begins, not where it ends.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.models import unet
from pmv_jax.models.completer import DEPTH_UNIT, LOG_WIDTHS, Completer
from pmv_jax.traces import kept

POSE_NUMBERS = 6
POSE_UNITS = (0.4, 0.2, 0.1, 0.1, 0.1, 0.2)
"""About the spread of each number of a pose in training: the network's own numbers are of order one."""
MIRRORED = (-1.0, 1.0, -1.0, -1.0, 1.0, 1.0)
"""What becomes of each number of a pose in the mirror image of a picture: it is multiplied by this."""


class Glance(NamedTuple):
    """What one picture tells. Widths are standard deviations.

    Pose, matte and relief are means of two looks, at the picture and at its mirror image, which err in part
    independently; how far these are apart is part of the width. The code is the first look's: nobody knows that of a
    mirrored head.

    Attributes:
      pose: [6], a pose of `cameras.poses` (yaw, pitch, roll, shift right, shift down), and the logarithm of how much
        larger the head is than in the crops that the generator was trained with.
      pose_width: [6].
      code: [code_dim], see `EncoderConfig.code_space`.
      code_width: [code_dim].
      matte: [n, n] in [0, 1] at the encoder's resolution: head, hair and clothes against what stands behind.
      relief: [n, n], how much farther than the pivot the surface of these lies, along the optical axis and in units of
        the world, if the head is as large in it as in the picture; it means nothing where there is no matte.
      relief_width: [n, n].
    """

    pose: Array
    pose_width: Array
    code: Array
    code_width: Array
    matte: Array
    relief: Array
    relief_width: Array


class Readings(NamedTuple):
    """A `Glance` of each of N pictures in the network's own numbers, as training sees them."""

    pose: Array  # [N, 6], in POSE_UNITS
    pose_log_width: Array  # [N, 6]
    code: Array  # [N, code_dim]
    code_log_width: Array  # [N, code_dim]
    matte_logits: Array  # [N, n, n]
    relief: Array  # [N, n, n], in DEPTH_UNIT
    relief_log_width: Array  # [N, n, n]


class EncoderNetwork(nn.Module):
    """Pictures [N, n, n, 3] in [-1, 1] at the encoder's resolution -> `Readings`."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, x: Array) -> Readings:
        widths = self.config.widths
        levels = unet.narrowed(x, widths, self.config.blocks)
        x = levels[-1]
        gist = nn.silu(nn.Dense(self.config.hidden_features)(x.reshape(len(x), -1)))
        count = POSE_NUMBERS + self.config.code_dim
        value = nn.Dense(count, kernel_init=nn.initializers.zeros, name="value")(gist)
        log_width = nn.Dense(count, kernel_init=nn.initializers.zeros, name="log_width")(gist)
        log_width = jnp.clip(log_width, *LOG_WIDTHS)
        x = unet.widened(levels, (*widths[-2::-1], 8))
        logits = nn.Conv(1, (3, 3), name="matte")(x)[..., 0]
        relief, relief_log_width = jnp.moveaxis(nn.Conv(2, (3, 3), name="relief")(x), -1, 0)
        relief_log_width = jnp.clip(relief_log_width, *LOG_WIDTHS)
        pose, code = (slice(None), slice(POSE_NUMBERS)), (slice(None), slice(POSE_NUMBERS, None))
        told = value[pose], log_width[pose], value[code], log_width[code]
        return Readings(*told, logits, relief, relief_log_width)


@flax.struct.dataclass
class Encoder:
    """Config and weights. A pytree: `params` are its leaves, the config is static.

    Attributes:
      completer: says what other views show of the surface that this one sees; None where nobody has trained one.
    """

    config: EncoderConfig = flax.struct.field(pytree_node=False)
    params: Any
    completer: Completer | None = None

    @kept(inline=True)
    def __call__(self, image: Array) -> Glance:
        """Looks at a picture [H, W, 3] in [-1, 1], of any size."""
        side = self.config.resolution
        image = jax.image.resize(image, (side, side, 3), "bilinear", antialias=True)
        looks = jnp.stack([image, image[:, ::-1]])
        told = EncoderNetwork(self.config).apply({"params": self.params}, looks)
        poses = jnp.stack([told.pose[0], jnp.asarray(MIRRORED) * told.pose[1]])
        pose, pose_width = _mean(poses, told.pose_log_width)
        units = jnp.asarray(POSE_UNITS)
        mattes, reliefs, relief_log_widths = map(
            _both_ways, (jax.nn.sigmoid(told.matte_logits), told.relief, told.relief_log_width)
        )
        relief, relief_width = _mean(reliefs, relief_log_widths)
        return Glance(
            pose=units * pose,
            pose_width=units * pose_width,
            code=told.code[0],
            code_width=jnp.exp(told.code_log_width[0]),
            matte=mattes.mean(0),
            relief=DEPTH_UNIT * relief,
            relief_width=DEPTH_UNIT * relief_width,
        )


def _mean(values: Array, log_widths: Array) -> tuple[Array, Array]:
    """Of two looks [2, ...]: their mean, and its width, of which their distance is a part."""
    return values.mean(0), jnp.sqrt(jnp.exp(2 * log_widths).mean(0) + values.var(0))


def _both_ways(maps: Array) -> Array:
    """Maps [2, n, n] of a picture and of its mirror image, both as of the picture."""
    return jnp.stack([maps[0], maps[1, :, ::-1]])


@kept(static_argnames=("config",))
def initialise(config: EncoderConfig, key: Array) -> Encoder:
    """An encoder with random weights, which sees every picture alike."""
    picture = jnp.zeros((1, config.resolution, config.resolution, 3))
    return Encoder(config, EncoderNetwork(config).init(key, picture)["params"])
