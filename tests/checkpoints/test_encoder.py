"""Encoders in a generator's directory."""

import jax
import numpy as np
import pytest

from pmv_jax.checkpoints.encoder import load_encoder, save_encoder
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.errors import InputError
from pmv_jax.models import encoder
from tests.small_inversion import CONFIG as GENERATOR

CONFIG = EncoderConfig(
    resolution=32, widths=(4, 4, 4, 4, 4), blocks=(0, 0, 0, 0, 0), hidden_features=4, code_dim=8, code_space="z"
)


@pytest.fixture
def saved(tmp_path):
    new = encoder.initialise(CONFIG, jax.random.key(0))
    save_encoder(tmp_path / "encoder", new, {"made_by": "a test"})
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


def test_the_encoder_of_another_generator_is_refused(tmp_path):
    other = EncoderConfig(resolution=32, widths=(4, 4, 4, 4, 4), blocks=(0, 0, 0, 0, 0), hidden_features=4, code_dim=9)
    save_encoder(tmp_path / "encoder", encoder.initialise(other, jax.random.key(0)), {})
    with pytest.raises(InputError, match="codes of 9 numbers, this generator's have 8: .* another one"):
        load_encoder(tmp_path, GENERATOR)


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
