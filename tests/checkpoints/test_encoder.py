"""Encoders in a generator's directory."""

import dataclasses

import jax
import numpy as np
import pytest

from pmv_jax.checkpoints.encoder import load_encoder, save_completer, save_encoder
from pmv_jax.config.completer import CompleterConfig
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.errors import InputError
from pmv_jax.models import completer, encoder
from tests import shipped, small_inversion

GENERATOR = small_inversion.generator()

CONFIG = EncoderConfig(
    resolution=32, widths=(4, 4, 4, 4, 4), blocks=(0, 0, 0, 0, 0), hidden_features=4, code_dim=8, code_space="z"
)
COMPLETER = CompleterConfig(resolution=32, widths=(4, 4, 4, 4), blocks=(0, 0, 0, 0))


@pytest.fixture
def saved(tmp_path):
    new = encoder.initialise(CONFIG, jax.random.key(0))
    save_encoder(tmp_path / "encoder", new, GENERATOR, {"made_by": "a test"})
    return tmp_path, new


def test_an_encoder_comes_back_as_it_was_saved(saved):
    directory, new = saved
    loaded = load_encoder(directory, GENERATOR)
    assert loaded.config == CONFIG
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a, np.float16), b.astype(np.float16)),
        new.params,
        loaded.params,
    )


def test_a_generator_may_have_none(tmp_path):
    assert load_encoder(tmp_path, GENERATOR) is None


@pytest.mark.parametrize(
    ("change", "z_is_told", "w_is_told"),
    [
        ({}, True, True),
        ({"params": jax.tree.map(lambda x: x + 1, GENERATOR.params)}, True, False),
        ({"z_dim": 9}, False, False),
        ({"camera_focal": 2.0}, False, False),
    ],
)
def test_the_encoder_of_another_generator_is_refused(change, z_is_told, w_is_told, tmp_path):
    """Where it tells z, retrained weights make no other generator of it."""
    family = {name: value for name, value in change.items() if name != "params"}
    other = GENERATOR.with_params(change.get("params", GENERATOR.params))
    other = other.replace(config=dataclasses.replace(other.config, **family))
    for space, told in (("z", z_is_told), ("w", w_is_told)):
        new = encoder.initialise(dataclasses.replace(CONFIG, code_space=space), jax.random.key(0))
        save_encoder(tmp_path / space / "encoder", new, GENERATOR, {})
        if told:
            assert load_encoder(tmp_path / space, other).config == new.config
        else:
            with pytest.raises(InputError, match="encoder: is the encoder of another generator; remove it, or train"):
                load_encoder(tmp_path / space, other)


def test_a_completer_comes_with_its_encoder_and_by_itself_is_nothing(saved, tmp_path):
    directory, _ = saved
    assert load_encoder(directory, GENERATOR).completer is None
    new = completer.initialise(COMPLETER, jax.random.key(1))
    save_completer(directory / "completer", new, GENERATOR.config, {"made_by": "a test"})
    loaded = load_encoder(directory, GENERATOR).completer
    assert loaded.config == COMPLETER
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.float16(a), np.float16(b)), new.params, loaded.params)
    save_completer(tmp_path / "alone" / "completer", new, GENERATOR.config, {})
    assert load_encoder(tmp_path / "alone", GENERATOR) is None


def test_the_completer_of_other_cameras_is_refused(saved):
    """Weights and z make no difference to it."""
    directory, _ = saved
    new = completer.initialise(COMPLETER, jax.random.key(1))
    other = dataclasses.replace(GENERATOR.config, camera_radius=3.0, z_dim=9)
    save_completer(directory / "completer", new, other, {})
    with pytest.raises(InputError, match="completer: is the completer of another generator; remove it"):
        load_encoder(directory, GENERATOR)
    save_completer(directory / "completer", new, dataclasses.replace(other, camera_radius=2.7), {}, replace=True)
    assert load_encoder(directory, GENERATOR).completer is not None


def test_the_encoder_that_ships_is_the_shipped_generators():
    assert load_encoder(shipped.DIRECTORY, shipped.generator()).completer is not None


@pytest.mark.parametrize("text", ["", "{}", '{"config": {"widths": 3}}', '{"config": {"resolution": -1}}', "[1]"])
def test_a_damaged_description_is_one_line(saved, text):
    directory, _ = saved
    (directory / "encoder" / "encoder.json").write_text(text)
    with pytest.raises(InputError, match="encoder.json: cannot be read .*; restore it, or remove"):
        load_encoder(directory, GENERATOR)


def test_weights_that_do_not_fit_are_refused(saved):
    directory, _ = saved
    path = directory / "encoder" / "encoder.json"
    path.write_text(path.read_text().replace('"hidden_features": 4', '"hidden_features": 5'))
    with pytest.raises(InputError, match="weights do not fit encoder.json"):
        load_encoder(directory, GENERATOR)
