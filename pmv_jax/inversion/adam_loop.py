"""The loop that every stage runs: Adam steps inside `lax.while_loop`; under `vmap` it ends for each image by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

Tree = Any
# variables, step, key -> (loss, what the early stop watches), gradient of the loss: `jax.value_and_grad(has_aux=True)`.
ValueAndGrad = Callable[[Tree, Array, Array], tuple[tuple[Array, Array], Tree]]

CHUNK = 20  # most steps of one call; between two calls the host looks at the loss


@flax.struct.dataclass
class FitState:
    """Where a fit stands. A pytree: it can be saved, vmapped over images, and continued.

    Attributes:
      variables: what is optimised, any tree.
      optimiser: the Optax state.
      step: steps taken, int32 [].
      stopped: bool []; from then on nothing changes any more.
    """

    variables: Tree
    optimiser: Tree
    step: Array
    stopped: Array


def start(variables: Tree, optimiser: optax.GradientTransformation) -> FitState:
    """The state before the first step.

    Args:
      variables: any tree of arrays.
      optimiser: the one that `run` will be given.
    """
    return FitState(variables, optimiser.init(variables), jnp.zeros((), jnp.int32), jnp.zeros((), bool))


def run(
    value_and_grad: ValueAndGrad,
    optimiser: optax.GradientTransformation,
    state: FitState,
    key: Array,
    steps: int | Array,
    stop: float | Array = 0.0,
) -> tuple[FitState, Array]:
    """Takes steps, until an image is done.

    An image whose watched value falls to `stop`, or whose loss is not finite, is frozen, parameters and optimiser state
    alike, before the step that this loss would have brought. Under `vmap` each image has its own mask, and its own
    number of steps.

    Args:
      value_and_grad: of variables, step and key, see `ValueAndGrad`.
      optimiser: what turns gradients into updates.
      state: where to begin.
      key: of the whole fit. Step i uses `fold_in(key, i)`, so that the cut into chunks changes nothing.
      steps: how many, CHUNK at most; the number may be traced.
      stop: [], value of what is watched at which an image is done.

    Returns:
      The new state and the loss before each step [CHUNK], zero past the last that was evaluated.
    """

    def step(carry: tuple[Array, FitState, Array]) -> tuple[Array, FitState, Array]:
        i, state, losses = carry
        key_of_step = jax.random.fold_in(key, state.step)
        (value, watched), grads = value_and_grad(state.variables, state.step, key_of_step)
        stopped = ~(watched > stop) | ~jnp.isfinite(value)

        def move(pending: tuple[Array, FitState]) -> tuple[Array, FitState]:
            _, state = pending
            updates, optimiser_state = optimiser.update(grads, state.optimiser, state.variables)
            variables = optax.apply_updates(state.variables, updates)
            return jnp.zeros((), bool), FitState(variables, optimiser_state, state.step + 1, state.stopped)

        # A loop of one turn or none: unlike `cond` and `where` it changes its arrays in place.
        _, state = jax.lax.while_loop(lambda pending: pending[0], move, (~stopped, state.replace(stopped=stopped)))
        return i + 1, state, losses.at[i].set(value)

    def goes_on(carry: tuple[Array, FitState, Array]) -> Array:
        i, state, _ = carry
        return (i < steps) & ~state.stopped

    _, state, losses = jax.lax.while_loop(goes_on, step, (jnp.zeros((), jnp.int32), state, jnp.zeros(CHUNK)))
    return state, losses


def extended(losses: np.ndarray, latest: Array, steps: int, state: FitState) -> np.ndarray:
    """The losses of all steps so far.

    Args:
      losses: [done] of the steps before.
      latest: [CHUNK], what a call of `run` gave.
      steps: how many that call was to take.
      state: that it led to.

    Returns:
      [done + taken]; the last of them is the one that stopped the image, if it was stopped.
    """
    length = int(state.step) + 1 - len(losses) if state.stopped else steps
    return np.concatenate([losses, np.asarray(latest)[:length]])


def in_chunks(
    run: Callable[[FitState, int], tuple[FitState, Array]], state: FitState, losses: np.ndarray, steps: int
) -> Iterator[tuple[FitState, np.ndarray]]:
    """Takes a fit to its end, chunk by chunk.

    Args:
      run: takes a state and a number of steps, CHUNK at most, and returns what `run` above does.
      state: where the fit stands.
      losses: [done] of the steps before.
      steps: how many there are to be in all.

    Yields:
      After each chunk the state, and the losses of all steps so far.
    """
    while len(losses) < steps and not state.stopped:
        length = min(CHUNK, steps - len(losses))
        state, latest = run(state, length)
        losses = extended(losses, latest, length, state)
        yield state, losses
