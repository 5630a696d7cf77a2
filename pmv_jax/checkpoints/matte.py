"""The weights of the matte's network: `network.npz`, float16, a name for each array."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pmv_jax.errors import InputError
from pmv_jax.models.matte import RESOLUTION, MatteNetwork

Tree = dict[str, Any]

_FILE = "network.npz"


def save_matte(directory: Path, variables: Tree) -> None:
    """Writes `network.npz` into a directory, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {
        _name(path): np.asarray(leaf, np.float16) for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }
    with (directory / _FILE).open("wb") as file:
        np.savez_compressed(file, **arrays)


@functools.cache
def load_matte(directory: Path) -> Tree:
    """The network's variables, float32.

    Raises:
      InputError: the file is missing or damaged, or holds other arrays than the network has.
    """
    path = directory / _FILE
    shapes = jax.eval_shape(MatteNetwork().init, jax.random.key(0), jnp.zeros((1, RESOLUTION, RESOLUTION, 3)))
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name].astype(np.float32) for name in file}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); install the package again") from error
    expected = {_name(key): leaf.shape for key, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    if {name: array.shape for name, array in arrays.items()} != expected:
        raise InputError(f"{path}: holds another network than this version's; install the package again")
    return jax.tree_util.tree_map_with_path(lambda key, _: jnp.asarray(arrays[_name(key)]), shapes)


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(entry.key for entry in path)
