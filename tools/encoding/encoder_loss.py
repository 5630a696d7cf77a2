"""What an encoder is trained by: likelihoods of what it says of a photograph."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.models import encoder
from pmv_jax.models.encoder import DEPTH_UNIT, POSE_UNITS, EncoderNetwork
from tools.encoding.examples import Example
from tools.encoding.loop import Network, likelihood, masked_mean, outline_loss

# Against the pose's; of means, and codes are twenty times as many numbers.
_CODE_WEIGHT, _MATTE_WEIGHT, _RELIEF_WEIGHT = 10.0, 4.0, 4.0


def network(config: EncoderConfig) -> Network:
    """The training of an encoder."""
    return Network("encoder", config, encoder.initialise, loss, errors)


def loss(params: Any, batch: Example, config: EncoderConfig) -> tuple[Array, dict[str, Array]]:
    """Likelihood of poses, of reliefs, and of what is known of codes; cross entropy and overlap of mattes.

    Args:
      params: of the network.
      batch: examples with a leading axis [N].
      config: of the network.

    Returns:
      The loss, and what `told_errors` says.
    """
    out = EncoderNetwork(config).apply({"params": params}, batch.image)
    pose = likelihood(out.pose, out.pose_log_width, batch.pose / jnp.asarray(POSE_UNITS)).mean()
    code = masked_mean(likelihood(out.code, out.code_log_width, batch.code), batch.known.astype(jnp.float32))
    there = jnp.isfinite(batch.relief)
    relief = likelihood(out.relief, out.relief_log_width, jnp.where(there, batch.relief, 0) / DEPTH_UNIT)
    total = pose + _CODE_WEIGHT * code + _MATTE_WEIGHT * outline_loss(out.matte_logits, batch.matte)
    total = total + _RELIEF_WEIGHT * masked_mean(relief, there)
    return total, {"loss": total, **told_errors(out, batch)}


def errors(params: Any, batch: Example, config: EncoderConfig) -> dict[str, Array]:
    """`told_errors` of a network's readings of a batch."""
    return told_errors(EncoderNetwork(config).apply({"params": params}, batch.image), batch)


def told_errors(out: encoder.Readings, batch: Example) -> dict[str, Array]:
    """Means over a batch: yaw, pitch and roll in degrees, shift in picture sizes, logarithm of scale, how much of the
    code's variance is told (1 is all), the share of pixels on the wrong side of the outline, and by how much the relief
    is off, in units of the world."""
    off = jnp.abs(out.pose * jnp.asarray(POSE_UNITS) - batch.pose).mean(0)
    known = batch.known.astype(jnp.float32)
    missed = jnp.sum(known * jnp.square(out.code - batch.code)) / jnp.maximum(jnp.sum(known * batch.code**2), 1e-6)
    degrees = dict(zip(("yaw", "pitch", "roll"), jnp.degrees(off[:3]), strict=True))
    wrong = jnp.mean((out.matte_logits > 0) != (batch.matte > 0.5))
    relief = jnp.nanmean(jnp.abs(DEPTH_UNIT * out.relief - batch.relief))
    told = {"code": 1 - missed, "matte": wrong, "relief": relief}
    return {**degrees, "shift": off[3:5].mean(), "scale": off[5], **told}
