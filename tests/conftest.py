"""Fixtures for all tests."""

import pytest


@pytest.fixture
def quick_compilation(request):
    """Unless the test is slow, compiles with few optimisations: small programs that run once are done sooner so."""
    import jax

    jax.config.update("jax_disable_most_optimizations", request.node.get_closest_marker("slow") is None)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
