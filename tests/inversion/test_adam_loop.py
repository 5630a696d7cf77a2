"""The loop that every stage runs: frozen images, chunks, and batches that equal their images one by one."""

import functools
import operator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pmv_jax.inversion import adam_loop

ADAM = optax.adam(0.1)
STEPS = 18  # no more than adam_loop.CHUNK


def bowl(target):
    """Distance to a target, with a little noise, which shows what the key does."""

    def loss(variables, step, key):
        noise = 1e-3 * jax.random.normal(key, variables["x"].shape)
        value = jnp.sum(jnp.square(variables["x"] + noise - target)) + jnp.square(variables["y"])
        return value, value

    return loss


@functools.partial(jax.jit, static_argnames="steps")
def descend(state, target, key, stop, steps=STEPS):
    state, losses = adam_loop.run(jax.value_and_grad(bowl(target), has_aux=True), ADAM, state, key, steps, stop)
    return state, losses[:steps]


def fresh_state():
    return adam_loop.start({"x": jnp.zeros(3), "y": jnp.ones(())}, ADAM)


def test_loop_under_vmap_equals_one_by_one_with_different_stops():
    targets, keys = jnp.array([0.2, 0.8, 9.0])[:, None] * jnp.ones(3), jax.random.split(jax.random.key(0), 3)
    states, losses = jax.vmap(lambda target, key: descend(fresh_state(), target, key, 0.3))(targets, keys)
    for index, (target, key) in enumerate(zip(targets, keys, strict=True)):
        one = descend(fresh_state(), target, key, 0.3)
        in_batch = jax.tree.map(operator.itemgetter(index), (states, losses))
        chex.assert_trees_all_close(in_batch, one, rtol=1e-5)
    assert states.stopped.tolist() == [True, True, False]
    first = np.argmax(losses <= 0.3, axis=1)
    assert 0 < first[0] < first[1]


def test_a_stopped_loop_changes_nothing_any_more():
    target, key = jnp.full(3, 0.2), jax.random.key(1)
    stopped, losses = descend(fresh_state(), target, key, 0.3)
    stop = int(np.argmax(np.asarray(losses) <= 0.3))
    before, _ = descend(fresh_state(), target, key, 0.0, steps=stop)
    assert 0 < stop < STEPS - 1 and int(stopped.step) == stop
    # The loss that stops it brings no step.
    chex.assert_trees_all_close((stopped.variables, stopped.optimiser), (before.variables, before.optimiser), rtol=1e-6)


def test_loop_in_chunks_equals_one_run():
    target, key = jnp.arange(3.0), jax.random.key(2)
    whole, losses = descend(fresh_state(), target, key, 0.0)
    state, pieces = fresh_state(), []
    for _ in range(3):
        state, piece = descend(state, target, key, 0.0, steps=STEPS // 3)
        pieces.append(piece)
    chex.assert_trees_all_equal(state, whole)
    np.testing.assert_array_equal(np.concatenate(pieces), losses)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_loss_that_is_not_finite_freezes_the_loop(bad):
    def loss(variables, step, key):
        return jnp.where(step == 5, bad, jnp.sum(jnp.square(variables["x"] - 1))), jnp.ones(())

    def run(steps):
        start = adam_loop.start({"x": jnp.zeros(3)}, ADAM)
        return adam_loop.run(jax.value_and_grad(loss, has_aux=True), ADAM, start, jax.random.key(0), steps)

    state, losses = run(8)
    assert bool(state.stopped) and np.isfinite(losses[:5]).all() and not np.isfinite(losses[5])
    np.testing.assert_array_equal(state.variables["x"], run(5)[0].variables["x"])
    chex.assert_tree_all_finite(state)
