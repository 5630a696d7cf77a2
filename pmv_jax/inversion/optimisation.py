"""The loop that every stage runs: Adam steps inside `lax.fori_loop`, with a frozen mask in place of a break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

Tree = Any
# variables, step, key -> (loss, what the early stop watches), gradient of the loss: `jax.value_and_grad(has_aux=True)`.
ValueAndGrad = Callable[[Tree, Array, Array], tuple[tuple[Array, Array], Tree]]

CHUNK = 20  # most steps of one call; between two calls the host looks at the loss


@flax.struct.dataclass
class State:
    """Where an optimisation stands. A pytree: it can be saved, vmapped over images, and continued.

    Attributes:
      variables: what is optimised, any tree.
      optimiser: the Optax state, of all variables as one vector: one update to compile and launch in place of hundreds.
      step: steps taken, int32 [].
      stopped: bool []; from then on nothing changes any more.
    """

    variables: Tree
    optimiser: Tree
    step: Array
    stopped: Array


def start(variables: Tree, optimiser: optax.GradientTransformation) -> State:
    return State(variables, optimiser.init(ravel_pytree(variables)[0]), jnp.zeros((), jnp.int32), jnp.zeros((), bool))


def run(
    value_and_grad: ValueAndGrad,
    optimiser: optax.GradientTransformation,
    state: State,
    key: Array,
    steps: int | Array,
    stop: float | Array = 0.0,
) -> tuple[State, Array]:
    """Takes `steps` steps, CHUNK at most; the number may be traced. Step i uses `fold_in(key, i)`, so that the cut into
    chunks changes nothing.

    An image whose watched value falls to `stop`, or whose loss is not finite, is frozen, parameters and optimiser state
    alike, before the step that this loss would have brought. Under `vmap` each image has its own mask.

    Returns:
      The new state and the loss before each step [CHUNK], zero past `steps`; that of a frozen image is still
      evaluated, where it froze.
    """
    vector, unravel = ravel_pytree(state.variables)

    def step(i: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
        state, losses = carry
        (value, watched), grads = value_and_grad(
            unravel(state.variables), state.step, jax.random.fold_in(key, state.step)
        )
        updates, optimiser_state = optimiser.update(ravel_pytree(grads)[0], state.optimiser, state.variables)
        stopped = state.stopped | ~(watched > stop) | ~jnp.isfinite(value)
        moved = State(state.variables + updates, optimiser_state, state.step + 1, stopped)
        kept = state.replace(step=state.step + 1, stopped=stopped)
        return jax.tree.map(lambda new, old: jnp.where(stopped, old, new), moved, kept), losses.at[i].set(value)

    flat, losses = jax.lax.fori_loop(0, steps, step, (state.replace(variables=vector), jnp.zeros(CHUNK)))
    return flat.replace(variables=unravel(flat.variables)), losses


def in_chunks(
    run: Callable[[State, int], tuple[State, Array]], state: State, losses: np.ndarray, steps: int, chunk: int = CHUNK
) -> Iterator[tuple[State, np.ndarray]]:
    """Takes an optimisation to `steps` steps; after each chunk gives the state and the losses of all steps so far.

    Args:
      run: takes a number of steps, `chunk` at most, and returns what `run` above does.
      state, losses: where it stands, and the losses [done] of the steps before.
    """
    while len(losses) < steps:
        length = min(chunk, steps - len(losses))
        state, latest = run(state, length)
        losses = np.concatenate([losses, np.asarray(latest)[:length]])
        yield state, losses
