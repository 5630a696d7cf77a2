"""The generator that ships, and rendered heads that it has never seen."""

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest

from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.models.generator import Generator
from tools.training.data import Heads
from tools.training.network import NETWORK, latents

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / "weights" / "demo"


@functools.cache
def _load() -> Generator:
    return load_generator(DIRECTORY)


def generator() -> Generator:
    """Skips the test where what ships is the generator of another kind of heads."""
    found = _load()
    if found.config.z_dim != NETWORK.z_dim:
        pytest.skip("the generator that ships has not learned rendered heads yet")
    return found


def held_out(folder: Path) -> Heads:
    """Eight heads, each from the front (view 0) and from a side; they are decoded into the folder."""
    shutil.copy(ROOT / "tests" / "data" / "held_out_heads.npz", folder / "shard_0000.npz")
    return Heads(folder)


def codes(heads: Heads) -> np.ndarray:
    """ws [N, num_ws, w_dim] of the generator for held-out heads."""
    return np.asarray(generator().mapping(latents(heads.p, seed=0), None))
