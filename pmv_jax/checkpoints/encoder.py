"""Saving and loading of encoders: `encoder/` in a generator's directory, `encoder.json` and an Orbax checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pmv_jax import config as config_lib
from pmv_jax.checkpoints.orbax import leaf_shapes, load_tree, save_tree
from pmv_jax.config import GeneratorConfig
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.errors import InputError
from pmv_jax.models.encoder import Encoder, initialise

DIRECTORY = "encoder"
CONFIG_FILE = "encoder.json"
_VARIABLES = "variables"


def save_encoder(directory: str | Path, encoder: Encoder, provenance: Mapping[str, Any], replace: bool = False) -> None:
    """Writes an encoder, in 16 bits.

    Args:
      directory: must not exist, unless `replace`.
      encoder: its weights may be of any floating dtype.
      provenance: plain data about where the weights come from.
      replace: an encoder in `directory` makes way.

    Raises:
      InputError: the directory exists, cannot be written, or the disk is full.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_tree(directory / _VARIABLES, jax.tree.map(lambda x: np.asarray(x, np.float16), encoder.params), replace)
    description = {"provenance": dict(provenance), "config": config_lib.to_dict(encoder.config)}
    (directory / CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n")


def load_encoder(generator_directory: str | Path, generator: GeneratorConfig) -> Encoder | None:
    """The encoder of a generator; None where it has none.

    Args:
      generator_directory: of the generator, where its encoder stands in `encoder/`.
      generator: its config, which the encoder has to fit.

    Raises:
      InputError: the encoder is damaged, or of another generator.
    """
    directory = Path(generator_directory) / DIRECTORY
    path = directory / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        config = config_lib.from_dict(EncoderConfig, json.loads(path.read_text())["config"])
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it, or remove {directory}") from error
    dim = generator.z_dim if config.code_space == "z" else generator.w_dim
    if config.code_dim != dim:
        raise InputError(
            f"{directory}: tells codes of {config.code_dim} numbers, this generator's have {dim}: it is the encoder of "
            "another one; remove it, or put its own there"
        )
    params = load_tree(directory / _VARIABLES)
    wanted = jax.eval_shape(lambda key: initialise(config, key).params, jax.random.key(0))
    if leaf_shapes(params) != leaf_shapes(wanted):
        raise InputError(f"{directory}: its weights do not fit {CONFIG_FILE}; restore it, or remove {directory}")
    return Encoder(config, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params))
