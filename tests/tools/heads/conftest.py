"""The studio with all assets, where PMV_HEADS_ASSETS says where they are."""

import os

import pytest


@pytest.fixture(scope="session")
def studio():
    """All heads; skips where the assets are not."""
    if not os.environ.get("PMV_HEADS_ASSETS"):
        pytest.skip("PMV_HEADS_ASSETS does not say where the assets are")
    from tools.heads.assets import assets_directory
    from tools.heads.head import Studio

    return Studio.load(assets_directory())
