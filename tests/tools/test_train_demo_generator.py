"""The training of the demo generator from the command line, and the weights that ship."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.checkpoints import orbax as checkpoints
from tools.training import losses, network

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments, named", [([], "--data"), (["--data", "nothing"], "nothing: holds no shard")])
def test_without_heads_it_says_so_in_one_line(arguments, named, tmp_path):
    command = [sys.executable, "-m", "tools.train_demo_generator", "--out", "out", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and named in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def shipped():
    return checkpoints.load_generator(ROOT / "weights" / "demo")


@pytest.fixture(scope="module")
def held_out():
    """Twelve rendered heads of another seed than the training's: z [12, z_dim], camera [12, 25], image [12, 64, 64, 3]."""
    with np.load(ROOT / "tests" / "data" / "held_out_heads.npz") as data:
        return data["z"].astype(np.float32), data["camera"], data["image"] / np.float32(127.5) - 1


def test_shipped_generator_draws_heads_it_has_never_seen(shipped, held_out):
    """From their numbers: 18.7 dB at a quarter of its resolution, and 15.7 from those of another head."""
    z, camera, truth = held_out
    other = np.concatenate([np.roll(z[:, : network.HEAD_NUMBERS], 1, axis=0), z[:, network.HEAD_NUMBERS :]], axis=1)
    scores = []
    for numbers in (z, other):
        ws = shipped.mapping(numbers, None)
        images = [shipped.synthesis(ws[i : i + 1], camera[i : i + 1], noise_mode="none")["image"][0] for i in range(12)]
        small = jnp.clip(jnp.stack(images), -1, 1).reshape(12, 64, 4, 64, 4, 3).mean((2, 4))
        scores.append(np.mean([losses.psnr(a - b) for a, b in zip(small, truth, strict=True)]))
    assert scores[0] > 18.6 and scores[0] > scores[1] + 2.5


def test_empty_space_of_the_shipped_generator_can_be_filled(shipped, held_out):
    """By tuning: softplus(density - 1) has a slope there. Where density is below -100, float32 knows of none."""
    origins, directions = cameras.rays(cameras.look_at(0.3, 0.1), 22)
    points = origins + jnp.linspace(2.26, 2.32, len(origins))[:, None] * directions  # before the tips of noses
    ws = shipped.mapping(held_out[0][:1], None)
    density, _ = shipped.density(shipped.planes(ws[0]), points)
    assert jnp.mean(jax.nn.sigmoid(density - 1) > 1e-4) > 0.9
