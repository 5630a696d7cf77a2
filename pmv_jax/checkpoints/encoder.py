"""Saving and loading of encoders: `encoder/` in a generator's directory, `encoder.json` and an Orbax checkpoint.

An encoder belongs to one generator, and encoder.json says to which (`owner`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pmv_jax import config as config_lib
from pmv_jax.checkpoints.orbax import leaf_shapes, load_tree, on_device, save_tree
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.errors import InputError
from pmv_jax.models.encoder import Encoder, initialise
from pmv_jax.models.generator import Generator

DIRECTORY = "encoder"
CONFIG_FILE = "encoder.json"
_VARIABLES = "variables"


def owner(config: EncoderConfig, generator: Generator) -> str:
    """What an encoder's words mean nothing without, as SHA-256 in hexadecimal: for codes w the generator itself, for z,
    which describe a head whatever weights paint it, their number and the cameras."""
    if config.code_space == "w":
        return generator.fingerprint()
    family = generator.config
    cameras = family.camera_pivot, family.camera_radius, family.camera_focal
    return hashlib.sha256(repr((family.z_dim, cameras)).encode()).hexdigest()


def save_encoder(
    directory: str | Path,
    encoder: Encoder,
    generator: Generator,
    provenance: Mapping[str, Any],
    replace: bool = False,
) -> None:
    """Writes an encoder, in 16 bits.

    Args:
      directory: must not exist, unless `replace`.
      encoder: its weights may be of any floating dtype.
      generator: the one that it belongs to; for codes z its config is enough.
      provenance: plain data about where the weights come from.
      replace: an encoder in `directory` makes way.

    Raises:
      InputError: the directory exists, cannot be written, or the disk is full.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_tree(directory / _VARIABLES, jax.tree.map(lambda x: np.asarray(x, np.float16), encoder.params), replace)
    description = {
        "generator": owner(encoder.config, generator),
        "provenance": dict(provenance),
        "config": config_lib.to_dict(encoder.config),
    }
    (directory / CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n")


def load_encoder(generator_directory: str | Path, generator: Generator) -> Encoder | None:
    """The encoder of a generator; None where it has none.

    Args:
      generator_directory: of the generator, where its encoder stands in `encoder/`.
      generator: the one in that directory.

    Raises:
      InputError: the encoder is damaged, or of another generator.
    """
    directory = Path(generator_directory) / DIRECTORY
    path = directory / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        description = json.loads(path.read_text())
        config = config_lib.from_dict(EncoderConfig, description["config"])
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it, or remove {directory}") from error
    if description.get("generator") != owner(config, generator):
        raise InputError(
            f"{directory}: is the encoder of another generator; remove it, or train this one's own by "
            f"python -m tools.train_encoder --generator {generator_directory}"
        )
    params = load_tree(directory / _VARIABLES)
    wanted = jax.eval_shape(lambda key: initialise(config, key).params, jax.random.key(0))
    if leaf_shapes(params) != leaf_shapes(wanted):
        raise InputError(f"{directory}: its weights do not fit {CONFIG_FILE}; restore it, or remove {directory}")
    return Encoder(config, on_device(params))
