"""Examples that a generator draws itself, and the training of an encoder from these alone."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.cameras import poses
from pmv_jax.checkpoints.encoder import load_encoder
from pmv_jax.checkpoints.orbax import save_generator
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion import latent
from tests import command, small_inversion
from tools import train_encoder
from tools.encoding import samples
from tools.encoding.examples import Placement

SIDE = 32


@pytest.fixture
def plain(monkeypatch):
    """As the generator draws them: neither moved nor toned nor covered."""
    monkeypatch.setattr(samples, "random_placement", lambda random: Placement())
    monkeypatch.setattr(samples, "covered", lambda image, random: image)
    monkeypatch.setattr(samples, "as_photographed", lambda image, random: image)
    return samples.Samples(small_inversion.generator(), SIDE)


def test_an_example_is_the_head_of_its_code_seen_by_its_pose(plain):
    generator = small_inversion.generator()
    example = plain.draw(np.random.default_rng(0))
    camera = poses.to_camera(jnp.asarray(example.pose[:5]), generator.config)
    mean, std = latent.statistics(generator, camera)
    ws = jnp.tile(mean + std * example.code, (generator.config.num_ws, 1))
    again = np.clip(generator.render(generator.planes(ws), ws, camera)["image"], -1, 1)
    assert example.image.shape == (SIDE, SIDE, 3) and example.known.all() and example.pose[5] == 0
    apart = np.abs(example.image - again)[2:-2, 2:-2]  # it was made larger, and smaller again
    assert np.median(apart) < 0.3 * np.std(again)
    assert example.matte.min() >= 0 and example.matte.max() <= 1
    z_depth = cameras.ray_distance_to_z_depth(
        generator.render(generator.planes(ws), ws, camera)["ray_distance"], camera
    )
    known = np.isfinite(example.relief)
    assert known.any() and (example.matte[known] > 0.98).all()
    coarse = np.asarray(z_depth) - samples.distance_to_pivot(np.asarray(camera), generator.config)
    assert coarse.min() - 0.01 <= example.relief[known].min() and example.relief[known].max() <= coarse.max() + 0.01


def test_no_two_examples_are_the_same(plain):
    random = np.random.default_rng(0)
    first, second = plain.draw(random), plain.draw(random)
    assert np.abs(first.code - second.code).max() > 0.1 and np.abs(first.pose - second.pose).max() > 0.01
    assert plain.refresh() == 2


@pytest.mark.slow  # the loop is tested on its own, the samples above, flags and fingerprints with the commands
def test_an_encoder_of_any_generator_is_trained_from_its_own_heads(tmp_path, monkeypatch):
    tiny = {"resolution": SIDE, "widths": (4,) * 5, "blocks": (0,) * 5, "hidden_features": 8}
    monkeypatch.setattr(train_encoder, "EncoderConfig", functools.partial(EncoderConfig, **tiny))
    monkeypatch.setattr(train_encoder, "TESTS", 4)
    monkeypatch.setattr(train_encoder, "FROM_GENERATOR", 1)
    monkeypatch.setattr(train_encoder, "POOL", 40)
    generator = small_inversion.generator()
    save_generator(tmp_path / "generator", generator, provenance={})
    given = ("--generator", "generator", "--out", "out", "--steps", "2")
    assert command.run(train_encoder.main, tmp_path, *given).returncode == 0
    (tmp_path / "out" / "encoder").rename(tmp_path / "generator" / "encoder")
    found = load_encoder(tmp_path / "generator", generator)
    assert found.config.code_space == "w" and found.config.code_dim == generator.config.w_dim
    other = generator.with_params({**generator.params, "decoder": generator.params["superresolution"]})
    with pytest.raises(InputError, match="encoder of another generator"):
        load_encoder(tmp_path / "generator", other)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (("--generator", "generator", "--data", "shards"), "--data and --generator exclude each other"),
        ((), "give --generator DIR"),
    ],
)
def test_it_takes_heads_or_a_generator_that_paints_them(given, problem, tmp_path):
    done = command.run(train_encoder.main, tmp_path, *given, "--out", "out")
    assert done.returncode == 2 and problem in done.stderr and not list(tmp_path.iterdir())
