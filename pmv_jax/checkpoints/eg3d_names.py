"""EG3D's state dicts as Flax variables: a rename, a transposition, and a strict check in both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from pmv_jax.errors import InputError

_MAX_LISTED = 500


def to_variables(
    shapes: Mapping[str, Any], tensors: Mapping[str, np.ndarray], source: str = "checkpoint"
) -> dict[str, Any]:
    """Renames and transposes a state dict into Flax variables, all float32.

    Convolution weights go from OIHW to HWIO, fully connected ones from [out, in] to [in, out], the learned constant
    from CHW to HWC. Every tensor must be used, or be a `resample_filter` with the values of EG3D's only filter; every
    variable must be filled.

    Args:
      shapes: the model's variables as a nested dict of anything with a `shape` (`checkpoints.variable_shapes`).
      tensors: the state dict in torch's names and layouts.
      source: the file, for messages.

    Raises:
      InputError: lists all tensors that are missing, unknown, of the wrong shape, or not finite.
    """
    problems, unused = [], dict(tensors)

    def fill(node: Any, path: tuple[str, ...]) -> Any:
        if isinstance(node, Mapping):
            return {key: fill(child, (*path, key)) for key, child in node.items()}
        # The first name is Flax's collection; torch numbers the layers of a Sequential.
        name = re.sub(r"\.net_(\d+)\.", r".net.\1.", ".".join(path[1:]))
        order = torch_order(path[-1], len(node.shape))
        wanted = tuple(node.shape[order.index(i)] for i in range(len(order)))
        if name not in unused:
            problems.append(f"missing {name} {list(wanted)}")
            return None
        tensor = unused.pop(name)
        if tensor.shape != wanted:
            problems.append(f"{name} has shape {list(tensor.shape)} instead of {list(wanted)}")
            return None
        if not _is_floating(tensor):
            problems.append(f"{name} has dtype {tensor.dtype}")
            return None
        array = np.array(tensor.transpose(order), np.float32, order="C")
        if not np.isfinite(array).all():
            problems.append(f"{name} has values that are not finite")
        return array

    variables = fill(shapes, ())
    for name, tensor in unused.items():
        if name.rpartition(".")[2] != "resample_filter":
            problems.append(f"unknown {name[:120]} {list(tensor.shape)}")
        elif not _is_resample_filter(tensor):
            problems.append(f"{name[:120]} is not the [1, 3, 3, 1] filter, which alone is supported")
    if problems:
        more = f" and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise InputError(
            f"{source}: {len(problems)} tensors do not fit the network that its settings describe: "
            f"{'; '.join(problems[:_MAX_LISTED])}{more}; check the settings (--spec) or download the file again"
        )
    return variables


def torch_order(leaf: str, ndim: int) -> tuple[int, ...]:
    """The axes of torch's layout in the order in which ours has them."""
    orders = {("weight", 4): (2, 3, 1, 0), ("weight", 2): (1, 0), ("const", 3): (1, 2, 0)}
    return orders.get((leaf, ndim), tuple(range(ndim)))


def _is_floating(tensor: np.ndarray) -> bool:
    return tensor.dtype.kind == "f" or tensor.dtype.name == "bfloat16"  # ml_dtypes are of kind 'V'


def _is_resample_filter(tensor: np.ndarray) -> bool:
    taps = np.array([1, 3, 3, 1]) / 8
    good = tensor.shape == (4, 4) and _is_floating(tensor)
    return good and np.allclose(tensor.astype(np.float64), np.outer(taps, taps), atol=1e-3)
