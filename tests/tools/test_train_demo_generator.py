"""The training of the demo generator from the command line, and the weights that ship."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from pmv_jax import cameras
from pmv_jax.checkpoints import orbax as checkpoints
from pmv_jax.meshes import extraction as meshing
from tools.signed_distance_heads import heads as signed_distance_heads
from tools.training import losses

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


def test_shipped_generator_draws_heads_it_has_never_seen(shipped):
    p = signed_distance_heads.sample_parameters(jax.random.key(2_000_003), 4)
    camera = cameras.look_at(jnp.array([-0.5, -0.1, 0.2, 0.6]), jnp.array([0.2, -0.2, 0.0, 0.1]))
    image = shipped.synthesis(shipped.mapping(p, None), camera, noise_mode="none")["image"]
    truth = jnp.stack([signed_distance_heads.render(p[i], camera[i], 128).image for i in range(4)])
    assert losses.psnr(jnp.clip(image, -1, 1) - truth) > 26


def test_empty_space_of_the_shipped_generator_can_be_filled(shipped):
    """By tuning: softplus(density - 1) has a slope there. Where density is below -100, float32 knows of none."""
    origins, directions = cameras.rays(cameras.look_at(0.3, 0.1), 22)
    points = origins + jnp.linspace(2.35, 2.42, len(origins))[:, None] * directions  # before the tips of noses
    ws = shipped.mapping(signed_distance_heads.sample_parameters(jax.random.key(5), 1), None)
    density, _ = meshing.field(shipped, ws[0])(points)
    assert jnp.mean(jax.nn.sigmoid(density - 1) > 1e-4) > 0.9
