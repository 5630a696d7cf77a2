"""Memory given back after compiling: when, and that JAX still tells of it."""

import jax
import jax.numpy as jnp
import pytest

from pmv_jax.commandline import heap


@pytest.fixture
def given_back(monkeypatch):
    """Calls of what gives back."""
    calls = []
    monkeypatch.setattr(heap, "_malloc_trim", lambda: calls.append)
    heap.give_back_after_compiling()
    heap.give_back_after_compiling()  # once is enough
    return calls


def test_large_programs_are_followed_by_it_once(given_back):
    jax.monitoring.record_event_duration_secs(heap._COMPILED, 0.49)
    jax.monitoring.record_event_duration_secs("/jax/core/compile/jaxpr_trace_duration", 2.0)
    assert given_back == []
    jax.monitoring.record_event_duration_secs(heap._COMPILED, 0.5)
    assert given_back == [0]


def test_jax_tells_of_compiling(given_back, monkeypatch):
    monkeypatch.setattr(heap, "_LARGE", 0.0)
    jax.block_until_ready(jax.jit(lambda x: jnp.sin(x) * 3)(jnp.ones(7)))
    assert given_back


def test_a_c_library_without_it_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap, "_malloc_trim", lambda: None)
    heap._give_back(heap._COMPILED, 1.0)
