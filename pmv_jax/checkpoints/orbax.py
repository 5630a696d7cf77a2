"""Saving and loading of generators and of other trees of arrays, with Orbax.

A generator is a directory with `generator.json` (format version, config, where the weights come from) and an Orbax
checkpoint in `variables/`. Whatever is saved appears under its name by one rename, complete, or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import traverse_util

from pmv_jax import config as config_lib
from pmv_jax.checkpoints import hub
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError, disk_problem
from pmv_jax.models.generator import Generator, initialise

Tree = dict[str, Any]
StorageDtype = Literal["float32", "bfloat16", "float16"]

FORMAT_VERSION = 1
CONFIG_FILE = "generator.json"
VARIABLES_DIRECTORY = "variables"


# ---------------------------------------------------------------------------------------------------------------------
# Generators
# ---------------------------------------------------------------------------------------------------------------------


def save_generator(
    directory: str | Path,
    generator: Generator,
    provenance: Mapping[str, Any],
    dtype: StorageDtype = "float32",
    replace: bool = False,
) -> None:
    """Writes a generator.

    Args:
      directory: must not exist, unless `replace`.
      generator: its variables may be of any floating dtype.
      provenance: plain data about where the weights come from: source file, its SHA-256, licence.
      dtype: how weights are stored. Loading gives float32 again; the config's `compute_dtype` is another matter.
      replace: a generator in `directory` makes way, once the new one is complete.

    Raises:
      InputError: the directory exists, cannot be written, the disk is full, or a weight exceeds the range of `dtype`.
    """
    with np.errstate(over="ignore"):  # reported below
        variables = jax.tree.map(lambda x: np.asarray(x).astype(jnp.dtype(dtype)), generator.variables)
    overflown = [name for name, x in _flat(variables).items() if not np.isfinite(x.astype(np.float32)).all()]
    if overflown:
        raise InputError(f"{directory}: {', '.join(overflown[:3])} cannot be stored as {dtype}; choose another --dtype")
    description = {
        "format_version": FORMAT_VERSION,
        "storage_dtype": dtype,
        "provenance": dict(provenance),
        "config": config_lib.to_dict(generator.config),
    }
    with _appearing(directory, replace) as partial:
        (partial / CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n")
        _write(partial / VARIABLES_DIRECTORY, variables)


def load_generator(directory: str | Path | None = None) -> Generator:
    """Reads what `save_generator` wrote. Weights become float32 arrays on JAX's default device.

    Args:
      directory: of a generator, or `hf://user/name[@revision]`, see `hub`; None is the demo generator, which every
        installation has.

    Raises:
      InputError: there is no generator in `directory`, or it is damaged, of another format version, or its variables
        are not those of the model that its config describes.
    """
    directory = hub.local_directory(directory)
    config = load_config(directory)
    try:
        shapes = variable_shapes(config)
    except Exception as error:  # whatever the layers say to numbers that make no sense together
        raise InputError(f"{directory}: {CONFIG_FILE} describes no possible network; convert it again") from error
    variables = load_tree(directory / VARIABLES_DIRECTORY)
    _check_fit(variables, shapes, directory)
    return Generator(config, on_device(variables))


def load_config(directory: str | Path) -> GeneratorConfig:
    """Reads the config of a saved generator.

    Raises:
      InputError: see `load_generator`.
    """
    path = Path(directory) / CONFIG_FILE
    if not path.is_file():
        problem = "holds no generator.json" if path.parent.is_dir() else "no such directory"
        raise InputError(f"{directory}: {problem}; give a directory as pmv_jax.convert eg3d writes it")
    try:
        description = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); convert the generator again") from error
    version = description.get("format_version") if isinstance(description, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: has format version {version!r}, this program reads {FORMAT_VERSION}; convert the generator again"
        )
    try:
        return config_lib.from_dict(GeneratorConfig, description.get("config"))
    except InputError as error:
        raise InputError(f"{path}: {error}; convert the generator again") from error


def variable_shapes(config: GeneratorConfig) -> Tree:
    """The variables of the model as `jax.ShapeDtypeStruct`s: {"params": ..., "buffers": ...}."""
    return initialise.shapes(config, jax.random.key(0)).variables


def _check_fit(variables: Tree, shapes: Tree, directory: Path) -> None:
    found, wanted = leaf_shapes(variables), leaf_shapes(shapes)
    problems = [f"missing {name}" for name in wanted if name not in found]
    problems += [f"unknown {name}" for name in found if name not in wanted]
    problems += [f"{n} has shape {found[n]} instead of {s}" for n, s in wanted.items() if found.get(n, s) != s]
    if problems:
        raise InputError(
            f"{directory}: {len(problems)} variables do not fit the config in {CONFIG_FILE}: {'; '.join(problems)}; "
            "undo the changes to that file, or convert the generator again"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Trees of arrays
# ---------------------------------------------------------------------------------------------------------------------


def save_tree(directory: str | Path, tree: Tree, replace: bool = False) -> None:
    """Writes nested dicts of arrays as an Orbax checkpoint.

    Raises:
      InputError: the directory exists (and not `replace`), cannot be written, or the disk is full.
    """
    if "://" in str(directory):  # an object store: Orbax itself sees to it that it is there whole or not at all
        with _checkpointer() as checkpointer:
            checkpointer.save(directory, jax.tree.map(np.asarray, tree), force=replace)
        return
    with _appearing(directory, replace) as partial:
        _write(partial, tree)


def load_tree(directory: str | Path) -> Tree:
    """Reads what `save_tree` wrote, as NumPy arrays, whatever devices it was saved from.

    Raises:
      InputError: there is no checkpoint, or it is damaged.
    """
    directory = epath.Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory; a saved tree of arrays is missing or incomplete")
    try:
        with _checkpointer() as checkpointer:
            tree = checkpointer.restore(directory if "://" in str(directory) else Path(directory).absolute())
    except Exception as error:  # Orbax and TensorStore have no common type for "this is damaged"
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise InputError(f"{directory}: the checkpoint cannot be read ({reason}); restore or write it again") from error
    return jax.tree.map(np.asarray, tree)


def on_device(tree: Tree) -> Tree:
    """NumPy arrays of any floating dtype as float32 on JAX's default device. (`jnp.asarray` would compile a program for
    each of their shapes.)"""
    return jax.device_put(jax.tree.map(lambda x: np.asarray(x, np.float32), tree))


def leaf_shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays in nested dicts, or of their `jax.ShapeDtypeStruct`s, by the dotted name of each."""
    return {name: tuple(x.shape) for name, x in _flat(tree).items()}


def _write(directory: Path, tree: Tree) -> None:
    # As NumPy arrays: device arrays would bring the sharding of this machine into the file.
    tree = jax.tree.map(np.asarray, tree)
    _reserve(directory.with_name("space"), sum(x.nbytes for x in jax.tree.leaves(tree)) + (1 << 20))
    with _checkpointer() as checkpointer:
        checkpointer.save(directory.absolute(), tree, force=True)


def _reserve(path: Path, size: int) -> None:
    """Raises OSError if the disk has no room. TensorStore would find out in threads that print pages of tracebacks."""
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, size)
    finally:
        path.unlink(missing_ok=True)


def _checkpointer() -> ocp.Checkpointer:
    # Each process saves what is its own, and waits for no other.
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(process, {process}, f"process{process}")
    # OCDBT packs all arrays into a few files; without it every array is a directory.
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=True, multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


@contextlib.contextmanager
def _appearing(directory: str | Path, replace: bool) -> Iterator[Path]:
    """A temporary directory next to `directory` that takes its name at the end, or vanishes if anything goes wrong."""
    target = Path(directory).absolute()
    check_target(target, replace)
    partial = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        new, old = partial / "new", partial / "old"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    except InputError:
        raise
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else disk_problem(error)
        if reason is None:
            raise
        raise InputError(f"{target}: cannot be written: {reason}; free some space or choose another place") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def check_target(directory: str | Path, replace: bool) -> None:
    """Refuses a directory that exists; with `replace`, only one that is not empty and no checkpoint of ours.

    Raises:
      InputError: as said.
    """
    directory = Path(directory)
    if not directory.exists() and not directory.is_symlink():
        return
    if not replace:
        raise InputError(f"{directory}: exists; give --force to replace it, or choose another directory")
    ours = any((directory / name).is_file() for name in (CONFIG_FILE, "_METADATA"))
    if not directory.is_dir() or directory.is_symlink() or not (ours or not any(directory.iterdir())):
        raise InputError(f"{directory}: exists and is not a saved generator; choose another directory")


def _flat(tree: Tree) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep=".")
