"""Saving and loading of encoders, and of the completers that go with them.

They stand in a generator's directory, as `encoder/` and `completer/`: a description (`encoder.json`, `completer.json`)
and an Orbax checkpoint. Each belongs to one generator, and its description says to which (`owner`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pmv_jax import config as config_lib
from pmv_jax.checkpoints.orbax import leaf_shapes, load_tree, on_device, save_tree
from pmv_jax.config import GeneratorConfig, Settings
from pmv_jax.config.completer import CompleterConfig
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.errors import InputError
from pmv_jax.models import completer, encoder
from pmv_jax.models.completer import Completer
from pmv_jax.models.encoder import Encoder
from pmv_jax.models.generator import Generator
from pmv_jax.traces import Kept

ENCODER, COMPLETER = "encoder", "completer"
"""Their directories in a generator's, and the names of their descriptions."""
_VARIABLES = "variables"


def owner(config: EncoderConfig, generator: Generator) -> str:
    """What an encoder's words mean nothing without, as SHA-256 in hexadecimal: for codes w the generator itself, for z,
    which describe a head whatever weights paint it, their number and the cameras."""
    if config.code_space == "w":
        return generator.fingerprint()
    return _digest(generator.config.z_dim, _cameras(generator.config))


def save_encoder(
    directory: str | Path,
    encoder: Encoder,
    generator: Generator,
    provenance: Mapping[str, Any],
    replace: bool = False,
) -> None:
    """Writes an encoder, in 16 bits, without its completer.

    Args:
      directory: must not exist, unless `replace`.
      encoder: its weights may be of any floating dtype.
      generator: the one that it belongs to; for codes z its config is enough.
      provenance: plain data about where the weights come from.
      replace: an encoder in `directory` makes way.

    Raises:
      InputError: the directory exists, cannot be written, or the disk is full.
    """
    whose = owner(encoder.config, generator)
    _save(Path(directory), ENCODER, encoder.config, encoder.params, whose, provenance, replace)


def save_completer(
    directory: str | Path,
    completer: Completer,
    family: GeneratorConfig,
    provenance: Mapping[str, Any],
    replace: bool = False,
) -> None:
    """Writes a completer, in 16 bits; it belongs to all generators that are seen by the cameras of `family`. The other
    arguments and errors are those of `save_encoder`."""
    whose = _digest(_cameras(family))
    _save(Path(directory), COMPLETER, completer.config, completer.params, whose, provenance, replace)


def load_encoder(generator_directory: str | Path, generator: Generator) -> Encoder | None:
    """The encoder of a generator, with its completer, if that has one too; None where there is no encoder.

    Args:
      generator_directory: of the generator, where they stand in `encoder/` and `completer/`.
      generator: the one in that directory.

    Raises:
      InputError: one of them is damaged, or of another generator.
    """
    found = _load(
        Path(generator_directory, ENCODER),
        EncoderConfig,
        lambda config: owner(config, generator),
        encoder.initialise,
        f"remove it, or train this one's own by python -m tools.train_encoder --generator {generator_directory}",
    )
    if found is None:
        return None
    beside = _load(
        Path(generator_directory, COMPLETER),
        CompleterConfig,
        lambda config: _digest(_cameras(generator.config)),
        completer.initialise,
        "remove it",
    )
    return Encoder(*found, None if beside is None else Completer(*beside))


def _cameras(family: GeneratorConfig) -> tuple[Any, ...]:
    return family.camera_pivot, family.camera_radius, family.camera_focal


def _digest(*what: Any) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()


def _save(
    directory: Path,
    kind: str,
    config: Settings,
    params: Any,
    whose: str,
    provenance: Mapping[str, Any],
    replace: bool,
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    save_tree(directory / _VARIABLES, jax.tree.map(lambda x: np.asarray(x, np.float16), params), replace)
    description = {"generator": whose, "provenance": dict(provenance), "config": config_lib.to_dict(config)}
    (directory / f"{kind}.json").write_text(json.dumps(description, indent=2) + "\n")


def _load(
    directory: Path,
    kind: type[Settings],
    whose: Callable[[Any], str],
    initialise: Kept,
    remedy: str,
) -> tuple[Any, Any] | None:
    """Config and weights of what stands in a directory, None for nothing; raises as `load_encoder` does."""
    path = directory / f"{directory.name}.json"
    if not path.is_file():
        return None
    try:
        description = json.loads(path.read_text())
        config = config_lib.from_dict(kind, description["config"])
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it, or remove {directory}") from error
    if description.get("generator") != whose(config):
        raise InputError(f"{directory}: is the {directory.name} of another generator; {remedy}")
    params = load_tree(directory / _VARIABLES)
    wanted = initialise.shapes(config, jax.random.key(0)).params
    if leaf_shapes(params) != leaf_shapes(wanted):
        raise InputError(f"{directory}: its weights do not fit {path.name}; restore it, or remove {directory}")
    return config, on_device(params)
