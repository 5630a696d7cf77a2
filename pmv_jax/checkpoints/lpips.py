"""LPIPS weights: from the files of torchvision and lpips, to a directory of ours, and back.

A directory is an Orbax checkpoint of `Lpips.variables`; which network it is follows from the shapes. Beside it
`lpips.json` says where the weights come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from pmv_jax.checkpoints import lpips_package, tensor_files, torch_files
from pmv_jax.checkpoints import orbax as checkpoints
from pmv_jax.checkpoints.tensor_files import Tensors
from pmv_jax.checkpoints.torch_files import FormatError, Pickled
from pmv_jax.config import LossConfig
from pmv_jax.errors import InputError
from pmv_jax.models.lpips import Lpips, Network, variable_shapes

PROVENANCE_FILE = "lpips.json"
_MAX_LISTED = 5
SOURCES = {
    "vgg": "torchvision's vgg16-397923af.pth and lpips's weights/v0.1/vgg.pth",
    "alex": "torchvision's alexnet-owt-7be5be79.pth and lpips's weights/v0.1/alex.pth",
}


def configured(config: LossConfig) -> Lpips | None:
    """The network whose weights `loss.lpips_weights` names.

    If it names none, the network of the loss (AlexNet, if that is no LPIPS) from the package that the extra `lpips`
    installs; None where that is not installed either.

    Raises:
      InputError: there are no weights in that directory, or the package's are not what they should be.
    """
    if config.lpips_weights is not None:
        return load(config.lpips_weights)
    network = config.perceptual.removeprefix("lpips_")
    return lpips_package.load(network if network in get_args(Network) else "alex")


def load(directory: str | Path) -> Lpips:
    """Reads what `save` wrote, as float32 arrays on JAX's default device.

    Raises:
      InputError: there are no LPIPS weights in `directory`, or they are damaged.
    """
    try:
        tree = checkpoints.load_tree(directory)
    except InputError as error:
        raise InputError(f"{error}; LPIPS weights are written by python -m pmv_jax.convert lpips") from error
    found = checkpoints.leaf_shapes(tree)
    for network in get_args(Network):
        if found == checkpoints.leaf_shapes(variable_shapes(network)):
            return Lpips(network, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree))
    raise InputError(f"{directory}: holds no LPIPS weights; give what python -m pmv_jax.convert lpips wrote")


def save(directory: str | Path, lpips: Lpips, provenance: Mapping[str, Any], replace: bool = False) -> None:
    """Writes weights as a directory.

    Args:
      directory: must not exist, unless `replace`.
      lpips: what to write.
      provenance: plain data about where the weights come from.
      replace: weights in `directory` make way, once the new ones are complete.

    Raises:
      InputError: the directory exists or cannot be written, or the disk is full.
    """
    checkpoints.save_tree(directory, lpips.variables, replace)
    description = {"network": lpips.network, "provenance": dict(provenance)}
    (Path(directory) / PROVENANCE_FILE).write_text(json.dumps(description, indent=2) + "\n")


def read_state_dict(path: str | Path) -> Tensors:
    """The tensors of a state dict by name: torch `.pth` (nothing in it is executed), `.npz` or `.safetensors`.

    Raises:
      InputError: the file is missing, damaged, or holds something else.
    """
    content = tensor_files.read(path)
    if not isinstance(content, Pickled):
        return content
    table = torch_files.mapping(content.root)
    if table is None:
        raise InputError(f"{path}: holds no state dict, a table of tensors by name; give the file as it was published")
    try:
        return {name: content.tensor(x) for name, x in table.items() if isinstance(name, str) and content.is_tensor(x)}
    except FormatError as error:
        raise InputError(f"{path}: {error}; download it again") from error


def from_state_dicts(backbone: Tensors, heads: Tensors, backbone_source: str, heads_source: str) -> Lpips:
    """LPIPS from torchvision's state dict of the network and lpips's of the heads.

    The network is the one that the shape of the first convolution tells. Its `classifier` has no part in LPIPS, and
    neither has a copy of the network that a whole `lpips.LPIPS` brings beside its heads; everything else must be used.

    Args:
      backbone: `features.N.weight` [out, in, k, k], `features.N.bias` [out].
      heads: `lin0.model.1.weight` [1, C, 1, 1] to `lin4.model.1.weight`.
      backbone_source, heads_source: the files, for messages.

    Raises:
      InputError: names the file, and the tensors that are missing, unknown, of the wrong shape or not finite.
    """
    first = backbone.get("features.0.weight")
    sizes = {variable_shapes(name)["features"]["0"]["weight"].shape[:2]: name for name in get_args(Network)}
    network = sizes.get(first.shape[2:]) if first is not None else None
    if network is None:
        has = "is missing" if first is None else f"has shape {list(first.shape)}"
        raise InputError(
            f"{backbone_source}: features.0.weight {has}, so it is no VGG16 and no AlexNet of torchvision; "
            "give --backbone vgg16-397923af.pth or alexnet-owt-7be5be79.pth"
        )
    shapes = variable_shapes(network)
    wanted = {f"features.{layer}.{leaf}": x for layer, y in shapes["features"].items() for leaf, x in y.items()}
    wanted_heads = {f"{lin}.model.1.weight": x for lin, x in shapes["heads"].items()}
    layers = _take(backbone, wanted, network, backbone_source, ("classifier.",))
    lins = _take(heads, wanted_heads, network, heads_source, ("net.", "scaling_layer.", "lins."))
    features = traverse_util.unflatten_dict({tuple(name.split(".")[1:]): x for name, x in layers.items()})
    return Lpips(network, {"features": features, "heads": {name.partition(".")[0]: x for name, x in lins.items()}})


def _take(
    tensors: Tensors, wanted: Mapping[str, Any], network: Network, source: str, ignored: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """The wanted tensors, in our layout; refuses a file that has not exactly these and names with ignored starts."""
    taken, problems = {}, []
    for name, ours in wanted.items():
        if name not in tensors:
            problems.append(f"missing {name}")
            continue
        tensor = tensors[name]
        # A head is a convolution with one output and a kernel of one pixel.
        array = tensor.reshape(-1) if tensor.shape == (1, *ours.shape, 1, 1) else tensor
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        if array.shape != ours.shape:
            problems.append(f"{name} has shape {list(tensor.shape)}")
        elif not np.isfinite(array := np.array(array, np.float32, order="C")).all():
            problems.append(f"{name} has values that are not finite")
        taken[name] = array
    problems += [f"unknown {name[:80]}" for name in tensors if name not in wanted and not name.startswith(ignored)]
    if problems:
        more = f" and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise InputError(
            f"{source}: does not fit LPIPS with {network}: {', '.join(problems[:_MAX_LISTED])}{more}; "
            f"it takes {SOURCES[network]}"
        )
    return taken
