"""Fixtures for all tests."""

import contextlib

import pytest


@pytest.fixture
def quick_compilation(request):
    """Unless the test is slow, compiles with few optimisations: small programs that run once are done sooner so."""
    from tests import compilation

    with contextlib.nullcontext() if request.node.get_closest_marker("slow") else compilation.quick():
        yield
