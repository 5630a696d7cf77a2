"""The training of the demo generator: its loss of geometry, where it may start from, and the weights that ship."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.checkpoints import orbax as checkpoints
from tests import small_inversion
from tools import train_demo_generator as training
from tools.signed_distance_heads import heads as procedural_heads

ROOT = Path(__file__).parents[2]
SURFACE = 2.7


def _loss(density_behind: float, shift: float, margin: float) -> float:
    """`geometry_loss` of an empty space that turns into `density_behind` at a distance `shift` behind the surface."""
    distances = jnp.linspace(2.6, 2.8, 401)[None, None]
    densities = jnp.where(distances < SURFACE + shift, -1e3, density_behind)
    return float(training.geometry_loss(densities, distances, jnp.full((1, 1), SURFACE), margin))


def test_geometry_loss_is_nothing_for_a_solid_behind_the_surface_and_one_for_none():
    assert _loss(1e4, 0.0, 0.002) == pytest.approx(0, abs=1e-6)
    assert _loss(-1e3, 0.0, 0.002) == pytest.approx(1, abs=1e-6)


def test_geometry_loss_of_a_half_transparent_solid():
    optical = 0.02 * np.log1p(np.exp(50.0 - 1))  # of a step 0.02 long, by softplus(density - 1)
    assert _loss(50.0, 0.0, 0.002) == pytest.approx(np.exp(-optical), rel=1e-4)


def test_geometry_is_free_within_the_margin_alone():
    for shift in (-0.004, 0.004):
        assert _loss(1e4, shift, 0.006) == pytest.approx(0, abs=1e-6)
        assert _loss(1e4, shift, 0.002) > 0.02


def test_a_ray_distance_in_the_loss_is_one_of_rendered_rays():
    assert all(stage.as_rendered for stage in training.RECIPE if stage.distance_weight)


def test_grown_network_keeps_its_weights_and_the_new_block_paints_little():
    random = np.random.default_rng(0)
    shapes = [checkpoints.variable_shapes(training.stage_config(stage))["params"] for stage in training.RECIPE[:2]]
    small, large = jax.tree.map(lambda leaf: random.standard_normal(leaf.shape, np.float32), shapes)
    grown = training.grow(small, large)["backbone"]["synthesis"]
    small, large = small["backbone"]["synthesis"], large["backbone"]["synthesis"]
    for name, block in small.items():
        assert all(map(np.array_equal, jax.tree.leaves(block), jax.tree.leaves(grown[name])))
    (fresh,) = set(grown) - set(small)
    np.testing.assert_allclose(grown[fresh]["torgb"]["weight"], 0.02 * large[fresh]["torgb"]["weight"], rtol=1e-6)


def test_init_with_another_network_is_one_line(tmp_path):
    checkpoints.save_generator(tmp_path / "other", small_inversion.make().generator, {})
    command = [sys.executable, "-m", "tools.train_demo_generator", "--out", "out", "--init", str(tmp_path / "other")]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert str(tmp_path / "other") in done.stderr and "--init" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def shipped():
    return checkpoints.load_generator(ROOT / "weights" / "demo")


def test_shipped_generator_draws_heads_it_has_never_seen(shipped):
    assert training.held_out(shipped, 4, one_head=False)["psnr"] > 27


def test_empty_space_of_the_shipped_generator_can_be_filled(shipped):
    """By tuning: softplus(density - 1) has a slope there. Where density is below -100, float32 knows of none."""
    camera = training.sample_cameras(jax.random.key(3), 1)
    origins, directions = training.rays_through(camera, jax.random.uniform(jax.random.key(4), (1, 500, 2)))
    points = origins + jnp.linspace(2.35, 2.42, 500)[:, None] * directions  # before the tips of noses
    ws = shipped.mapping(procedural_heads.sample_parameters(jax.random.key(5), 1), None)
    density, _ = shipped.density(shipped.planes(ws[0]), points[0])
    assert jnp.mean(jax.nn.sigmoid(density - 1) > 1e-4) > 0.9
