"""The training of a network that is told the truth about examples: batches, steps, state, resuming."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from tools.encoding.examples import Random, stack
from tools.training import state_files
from tools.training.loop import Log

Figures = dict[str, Array]

BATCH = 16
_POOL = 3000  # examples that batches are drawn from
_SAVE_SECONDS, _LOG_EVERY = 60, 50
TEST_SEED = 1 << 40  # of the examples to test with; beyond those of --seed

RATE, WARM_UP, AVERAGING = 2e-3, 100, 0.995
# A Gaussian's likelihood lets go of what it finds hard; weighted by the width to this power, once in two, it does not
# (Seitzer et al. 2022, arXiv 2203.09168, equation 9).
_BETA = 0.5

_optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.add_decayed_weights(1e-4))


@dataclasses.dataclass(frozen=True)
class Network:
    """What is trained; hashable.

    Attributes:
      name: of its state's file.
      config: of the network.
      initialise: it with random weights, `params`, from config and key.
      loss: a scalar and figures to log, from weights, a batch and the config.
      errors: figures of a test, from the same.
    """

    name: str
    config: Any
    initialise: Callable[[Any, Array], Any]
    loss: Callable[[Any, Any, Any], tuple[Array, Figures]]
    errors: Callable[[Any, Any, Any], Figures]


@dataclasses.dataclass(frozen=True)
class State:
    """A training between two steps: weights, their moving average, the optimiser's state, and steps done."""

    params: Any
    average: Any
    optimiser: Any
    step: int


class Pool:
    """Examples to draw batches from: new ones push out the oldest.

    Args:
      draw: makes so many of them.
      fresh: new ones for each batch.
      heads: how many heads they are of, by now.
    """

    def __init__(self, draw: Callable[[Random, int], list[Any]], fresh: int, heads: Callable[[], int]) -> None:
        self._draw, self._fresh, self.heads = draw, fresh, heads
        self._examples: deque[Any] = deque(maxlen=_POOL)

    def batch(self, random: Random) -> Any:
        """`BATCH` examples, stacked."""
        if not self._examples:
            self._examples.extend(self._draw(random, _POOL // 10))
        self._examples.extend(self._draw(random, self._fresh))
        return stack([self._examples[i] for i in random.integers(len(self._examples), size=BATCH)])


def run(
    network: Network, pool: Pool, tests: Any, out: Path, steps: int, seed: int, ship: Callable[[State], None]
) -> None:
    """Trains from the state in `out`, or from the first step, until there are so many steps, in which the learning rate
    falls to zero. Writes the state once a minute, and calls `ship` with it; figures go into log.jsonl."""
    out.mkdir(parents=True, exist_ok=True)
    state = load(out, network) if state_file(out, network).exists() else begin(network, seed)
    random = np.random.default_rng((seed, state.step))
    figures, saved, log = [], time.monotonic(), Log(out / "log.jsonl")

    def keep() -> None:
        save(state, out, network)
        ship(state)

    while state.step < steps:
        state, figure = advance(state, pool.batch(random), rate(state.step, steps), network)
        figures.append(figure)
        if state.step % _LOG_EVERY == 0:
            means = jax.tree.map(lambda *x: np.mean(x), *figures)
            tested = test(state.average, tests, network)
            rounded = [{name: round(float(x), 4) for name, x in part.items()} for part in (means, tested)]
            log.write({"step": state.step, "heads": pool.heads(), **rounded[0], "held_out": rounded[1]})
            figures = []
        if time.monotonic() - saved > _SAVE_SECONDS:
            keep()
            saved = time.monotonic()
    keep()


def begin(network: Network, seed: int) -> State:
    """State before the first step."""
    params = network.initialise(network.config, jax.random.key(seed)).params
    return State(params, params, _optimiser.init(params), 0)


def rate(step: int, steps: int) -> float:
    """The learning rate of one of `steps` steps: it warms up, and falls along a cosine."""
    return RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + float(np.cos(np.pi * step / steps)))


def advance(state: State, batch: Any, rate: float, network: Network) -> tuple[State, Figures]:
    """One step; the new state, and figures to log."""
    ema = min(AVERAGING, (1 + state.step) / (10 + state.step))
    (params, average, optimiser), figures = _step(_trees(state), batch, jnp.float32(rate), jnp.float32(ema), network)
    return State(params, average, optimiser, state.step + 1), figures


@functools.partial(jax.jit, static_argnames=("network",))
def _step(
    weights: tuple[Any, Any, Any], batch: Any, rate: Array, ema: Array, network: Network
) -> tuple[tuple[Any, Any, Any], Figures]:
    params, average, optimiser = weights
    grads, figures = jax.grad(network.loss, has_aux=True)(params, batch, network.config)
    updates, optimiser = _optimiser.update(grads, optimiser, params)
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    average = jax.tree.map(lambda a, p: ema * a + (1 - ema) * p, average, params)
    return (params, average, optimiser), figures


@functools.partial(jax.jit, static_argnames=("network",))
def test(params: Any, batch: Any, network: Network) -> Figures:
    """`errors` on a batch."""
    return network.errors(params, batch, network.config)


def state_file(out: Path, network: Network) -> Path:
    """Where the state stands in a directory."""
    return out / f"{network.name}_state.npz"


def save(state: State, out: Path, network: Network) -> None:
    """Writes `state` to `out`, complete or not at all."""
    state_files.write(state_file(out, network), {"step": state.step, **state_files.named(_trees(state))})


def load(out: Path, network: Network) -> State:
    """Reads what `save` wrote to `out`.

    Raises:
      InputError: the state is of another network.
    """
    path = state_file(out, network)
    with np.load(path) as data:
        shapes = jax.eval_shape(lambda: _trees(begin(network, 0)))
        return State(*state_files.filled(shapes, data, path), int(data["step"]))


def _trees(state: State) -> tuple[Any, Any, Any]:
    return state.params, state.average, state.optimiser


def likelihood(value: Array, log_width: Array, truth: Array) -> Array:
    """Negative logarithm of a Gaussian's, see `_BETA`."""
    nll = 0.5 * jnp.square((value - truth) * jnp.exp(-log_width)) + log_width
    return jax.lax.stop_gradient(jnp.exp(2 * _BETA * log_width)) * nll


def masked_mean(values: Array, mask: Array) -> Array:
    """Mean of `values` where `mask`, of the same shape, is 1; 0 where it nowhere is."""
    return jnp.sum(values * mask) / jnp.maximum(mask.sum(), 1)


def outline_loss(logits: Array, matte: Array) -> Array:
    """Cross entropy and overlap (Dice) of mattes [N, n, n]."""
    entropy = optax.sigmoid_binary_cross_entropy(logits, matte).mean()
    chance = jax.nn.sigmoid(logits)
    overlap = 2 * jnp.sum(chance * matte, (1, 2)) / (jnp.sum(chance + matte, (1, 2)) + 1)
    return entropy + 0.5 * jnp.mean(1 - overlap)
