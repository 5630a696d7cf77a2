"""A completer: the whole of a view of which a photograph shows a part.

What an encoder sees in a photograph, and its mirror image, are carried into another view (`inversion.completion`). That
has holes, where the head hides itself, and a U-Net that has seen many heads from two sides fills them in: it says
outline, depth and colour. It is as blurred as it is in doubt, and no picture of a head.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax.config.completer import CompleterConfig
from pmv_jax.models import unet
from pmv_jax.traces import kept

SEEN_CHANNELS = 14
DEPTH_UNIT = 0.1
"""About the spread of a relief, in units of the world: networks' own numbers are of order one."""
LOG_WIDTHS = -5.0, 1.0
"""The narrowest and the widest standard deviation, as logarithms, in the networks' own units."""
_LAST_WIDTH = 16


class Completion(NamedTuple):
    """What V views show of a head. Widths are standard deviations.

    Attributes:
      matte: [V, n, n] in [0, 1], how likely a pixel shows head, hair or clothes.
      relief: [V, n, n], how much farther than the pivot their surface lies, along the optical axis, in units of the
        world; it means nothing where there is no matte.
      relief_width: [V, n, n].
      colour: [V, n, n, 3], about [-1, 1], of the head alone.
      colour_width: [V, n, n].
    """

    matte: Array
    relief: Array
    relief_width: Array
    colour: Array
    colour_width: Array


class CompletionReadings(NamedTuple):
    """A `Completion` in the network's own numbers, as training sees them."""

    matte_logits: Array  # [V, n, n]
    relief: Array  # [V, n, n], in DEPTH_UNIT
    relief_log_width: Array  # [V, n, n]
    colour: Array  # [V, n, n, 3]
    colour_log_width: Array  # [V, n, n]


class CompleterNetwork(nn.Module):
    """Views as `inversion.completion.seen_from` gives them, [V, n, n, SEEN_CHANNELS] -> `CompletionReadings`."""

    config: CompleterConfig

    @nn.compact
    def __call__(self, x: Array) -> CompletionReadings:
        widths = self.config.widths
        x = unet.widened(unet.narrowed(x, widths, self.config.blocks), (*widths[-2::-1], _LAST_WIDTH))
        told = nn.Conv(7, (3, 3), name="told")(x)
        relief_log_width, colour_log_width = jnp.moveaxis(jnp.clip(told[..., 5:], *LOG_WIDTHS), -1, 0)
        return CompletionReadings(told[..., 0], told[..., 1], relief_log_width, told[..., 2:5], colour_log_width)


@flax.struct.dataclass
class Completer:
    """Config and weights. A pytree: `params` are its leaves, the config is static."""

    config: CompleterConfig = flax.struct.field(pytree_node=False)
    params: Any

    @kept(inline=True)
    def __call__(self, seen: Array) -> Completion:
        """Completes views [V, n, n, SEEN_CHANNELS] at its own resolution n."""
        told = CompleterNetwork(self.config).apply({"params": self.params}, seen)
        return Completion(
            matte=jax.nn.sigmoid(told.matte_logits),
            relief=DEPTH_UNIT * told.relief,
            relief_width=DEPTH_UNIT * jnp.exp(told.relief_log_width),
            colour=told.colour,
            colour_width=jnp.exp(told.colour_log_width),
        )


@kept(static_argnames=("config",))
def initialise(config: CompleterConfig, key: Array) -> Completer:
    """A completer with random weights."""
    views = jnp.zeros((1, config.resolution, config.resolution, SEEN_CHANNELS))
    return Completer(config, CompleterNetwork(config).init(key, views)["params"])
