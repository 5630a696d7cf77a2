"""The generator that ships, and rendered heads that it has never seen."""

import functools
import shutil
from pathlib import Path

import numpy as np

from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.models.generator import Generator
from tools.training.data import Heads
from tools.training.network import latents

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / "weights" / "demo"


@functools.cache
def generator() -> Generator:
    """Of weights/demo."""
    return load_generator(DIRECTORY)


def held_out(folder: Path) -> Heads:
    """Eight heads, each from the front (view 0) and from a side; they are decoded into the folder."""
    shutil.copy(ROOT / "tests" / "data" / "held_out_heads.npz", folder / "shard_0000.npz")
    return Heads(folder)


def codes(heads: Heads) -> np.ndarray:
    """ws [N, num_ws, w_dim] of the generator for held-out heads."""
    return np.asarray(generator().mapping(latents(heads.p, seed=0), None))
