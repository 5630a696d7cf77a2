"""The training of an encoder: loss, steps, state, resuming."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.models import encoder
from pmv_jax.models.encoder import DEPTH_UNIT, POSE_UNITS, Encoder, EncoderNetwork
from tools.encoding.examples import Example
from tools.training import state_files

STATE_FILE = "encoder_state.npz"
RATE, WARM_UP, AVERAGING = 2e-3, 100, 0.995
# Against the pose's; of means, and codes are twenty times as many numbers.
_CODE_WEIGHT, _MATTE_WEIGHT, _RELIEF_WEIGHT = 10.0, 4.0, 4.0
# A Gaussian's likelihood lets go of what it finds hard; weighted by the width to this power, once in two, it does not
# (Seitzer et al. 2022, arXiv 2203.09168, equation 9).
_BETA = 0.5

_optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.add_decayed_weights(1e-4))


@dataclasses.dataclass(frozen=True)
class State:
    """A training between two steps: weights, their moving average, the optimiser's state, and steps done."""

    params: Any
    average: Any
    optimiser: Any
    step: int


def begin(config: EncoderConfig, seed: int) -> State:
    """State before the first step."""
    params = encoder.initialise(config, jax.random.key(seed)).params
    return State(params, params, _optimiser.init(params), 0)


def rate(step: int, steps: int) -> float:
    """The learning rate of one of `steps` steps: it warms up, and falls along a cosine."""
    return RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + float(np.cos(np.pi * step / steps)))


def advance(state: State, batch: Example, rate: float, config: EncoderConfig) -> tuple[State, dict[str, Array]]:
    """One step; the new state, and figures to log."""
    ema = min(AVERAGING, (1 + state.step) / (10 + state.step))
    (params, average, optimiser), figures = _step(_trees(state), batch, jnp.float32(rate), jnp.float32(ema), config)
    return State(params, average, optimiser, state.step + 1), figures


@functools.partial(jax.jit, static_argnames=("config",))
def _step(
    weights: tuple[Any, Any, Any], batch: Example, rate: Array, ema: Array, config: EncoderConfig
) -> tuple[tuple[Any, Any, Any], dict[str, Array]]:
    params, average, optimiser = weights
    grads, figures = jax.grad(loss, has_aux=True)(params, batch, config)
    updates, optimiser = _optimiser.update(grads, optimiser, params)
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    average = jax.tree.map(lambda a, p: ema * a + (1 - ema) * p, average, params)
    return (params, average, optimiser), figures


def loss(params: Any, batch: Example, config: EncoderConfig) -> tuple[Array, dict[str, Array]]:
    """Likelihood of poses, of reliefs, and of what is known of codes; cross entropy and overlap of mattes.

    Args:
      params: of the network.
      batch: examples with a leading axis [N].
      config: of the network.

    Returns:
      The loss, and what `errors` says.
    """
    out = EncoderNetwork(config).apply({"params": params}, batch.image)
    pose = _likelihood(out.pose, out.pose_log_width, batch.pose / jnp.asarray(POSE_UNITS)).mean()
    known = batch.known.astype(jnp.float32)
    code = _likelihood(out.code, out.code_log_width, batch.code)
    code = jnp.sum(code * known) / jnp.maximum(known.sum(), 1)
    entropy = optax.sigmoid_binary_cross_entropy(out.matte_logits, batch.matte).mean()
    chance = jax.nn.sigmoid(out.matte_logits)
    overlap = 2 * jnp.sum(chance * batch.matte, (1, 2)) / (jnp.sum(chance + batch.matte, (1, 2)) + 1)
    there = jnp.isfinite(batch.relief)
    relief = _likelihood(out.relief, out.relief_log_width, jnp.where(there, batch.relief, 0) / DEPTH_UNIT)
    relief = jnp.sum(relief * there) / jnp.maximum(there.sum(), 1)
    total = pose + _CODE_WEIGHT * code + _MATTE_WEIGHT * (entropy + 0.5 * jnp.mean(1 - overlap))
    total = total + _RELIEF_WEIGHT * relief
    return total, {"loss": total, **errors(out, batch)}


def errors(out: encoder.Readings, batch: Example) -> dict[str, Array]:
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


@functools.partial(jax.jit, static_argnames=("config",))
def test(params: Any, batch: Example, config: EncoderConfig) -> dict[str, Array]:
    """`errors` on examples [N]."""
    return errors(EncoderNetwork(config).apply({"params": params}, batch.image), batch)


def save(state: State, out: Path) -> None:
    """Writes `state` to `out`, complete or not at all."""
    state_files.write(out / STATE_FILE, {"step": state.step, **state_files.named(_trees(state))})


def load(out: Path, config: EncoderConfig) -> State:
    """Reads what `save` wrote to `out`.

    Raises:
      InputError: the state is of another network.
    """
    path = out / STATE_FILE
    with np.load(path) as data:
        shapes = jax.eval_shape(lambda: _trees(begin(config, 0)))
        return State(*state_files.filled(shapes, data, path), int(data["step"]))


def _trees(state: State) -> tuple[Any, Any, Any]:
    return state.params, state.average, state.optimiser


def finished(state: State, config: EncoderConfig) -> Encoder:
    """The encoder with averaged weights."""
    return Encoder(config, state.average)


def _likelihood(value: Array, log_width: Array, truth: Array) -> Array:
    """Negative logarithm of a Gaussian's, see `_BETA`."""
    nll = 0.5 * jnp.square((value - truth) * jnp.exp(-log_width)) + log_width
    return jax.lax.stop_gradient(jnp.exp(2 * _BETA * log_width)) * nll
