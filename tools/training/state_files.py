"""The state of a training as a file: leaves of trees under the names of their places, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pmv_jax.errors import InputError
from pmv_jax.whole_files import appearing


def named(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a tree under the names of their places."""
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def filled(tree: Any, leaves: Mapping[str, np.ndarray], path: Path) -> Any:
    """The tree with `leaves`, of the file `path`, in place of its own, which need only have shapes.

    Raises:
      InputError: one is missing, or has another shape.
    """

    def own(place: tuple[Any, ...], shaped: Any) -> jax.Array:
        name = jax.tree_util.keystr(place)
        if name not in leaves or leaves[name].shape != shaped.shape:
            raise InputError(f"{path}: is of another network; train anew elsewhere")
        return jnp.asarray(leaves[name])

    return jax.tree_util.tree_map_with_path(own, tree)


def write(path: Path, arrays: dict[str, Any]) -> None:
    """Writes arrays under their names to an `.npz` file."""
    with appearing(path) as partial:
        np.savez(partial, **arrays)
