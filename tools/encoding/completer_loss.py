"""What a completer is trained by: likelihoods of what it says of another view."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from pmv_jax.config.completer import CompleterConfig
from pmv_jax.models import completer
from pmv_jax.models.completer import DEPTH_UNIT, CompleterNetwork, CompletionReadings
from tools.encoding.loop import Network, likelihood, masked_mean, outline_loss
from tools.encoding.pairs import Pair

_WEIGHT = 4.0  # of each part; as of the encoder's maps


def network(config: CompleterConfig) -> Network:
    """The training of a completer."""
    return Network("completer", config, completer.initialise, loss, errors)


def loss(params: Any, batch: Pair, config: CompleterConfig) -> tuple[Array, dict[str, Array]]:
    """Cross entropy and overlap of mattes, likelihood of reliefs, and of colours where all is head.

    Args:
      params: of the network.
      batch: pairs with a leading axis [N].
      config: of the network.

    Returns:
      The loss, and what `told_errors` says.
    """
    out = _read(params, batch, config)
    there, solid = jnp.isfinite(batch.relief), _solid(batch)
    relief = likelihood(out.relief, out.relief_log_width, jnp.where(there, batch.relief, 0) / DEPTH_UNIT)
    colour = likelihood(out.colour, out.colour_log_width[..., None], batch.colour).mean(-1)
    matte = outline_loss(out.matte_logits, batch.matte)
    total = _WEIGHT * (matte + masked_mean(relief, there) + masked_mean(colour, solid))
    return total, {"loss": total, **told_errors(out, batch)}


def errors(params: Any, batch: Pair, config: CompleterConfig) -> dict[str, Array]:
    """`told_errors` of a network's readings of a batch."""
    return told_errors(_read(params, batch, config), batch)


def told_errors(out: CompletionReadings, batch: Pair) -> dict[str, Array]:
    """Over a batch: the share of pixels on the wrong side of the outline; by how much the relief is off, in units of
    the world, and mean square errors of colours in [0, 1], everywhere and where the photograph's own surface was not
    seen."""
    there, solid, hidden = jnp.isfinite(batch.relief), _solid(batch), batch.seen[..., 0] < 0.5
    off = jnp.abs(DEPTH_UNIT * out.relief - jnp.where(there, batch.relief, 0))
    colour = jnp.square(out.colour - batch.colour).mean(-1) / 4
    return {
        "matte": jnp.mean((out.matte_logits > 0) != (batch.matte > 0.5)),
        "relief": masked_mean(off, there),
        "hidden_relief": masked_mean(off, there & hidden),
        "colour": masked_mean(colour, solid),
        "hidden_colour": masked_mean(colour, solid & hidden),
    }


def _read(params: Any, batch: Pair, config: CompleterConfig) -> CompletionReadings:
    return CompleterNetwork(config).apply({"params": params}, batch.seen.astype(jnp.float32))


def _solid(batch: Pair) -> Array:
    return batch.matte > 0.9
