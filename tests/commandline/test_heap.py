"""Memory given back after compiling: when, and that JAX still tells of it."""

import resource
import sys
from pathlib import Path

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
    asked = []
    monkeypatch.setattr(heap, "_malloc_trim", lambda: asked.append("trim"))  # and gives None
    heap._give_back(heap._COMPILED, 1.0)
    assert asked == ["trim"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_free_memory_goes_back_to_the_system():
    if heap._malloc_trim() is None:
        pytest.skip("another C library than glibc")
    blocks = [bytearray(100_000) for _ in range(2000)]  # too small for mmap, which would give each back by itself
    last = bytearray(100_000)  # holds the top of the heap
    del blocks
    before = resident()
    heap.give_back()
    assert before - resident() > 100e6 and len(last) == 100_000


def resident() -> float:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
