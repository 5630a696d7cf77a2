"""A tri-plane generator with its weights: what `load_generator` returns and what inversion tunes."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import numpy as np
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import ARCHITECTURES, GeneratorConfig, NoiseMode, resolve

if TYPE_CHECKING:
    from pmv_jax.models.triplane import TriPlaneGenerator

Tree = dict[str, Any]


@flax.struct.dataclass
class Generator:
    """Config and weights. A pytree: `variables` are its leaves, the config is static.

    Attributes:
      variables: {"params": what tuning changes, "buffers": noise constants and the average w}.
    """

    config: GeneratorConfig = flax.struct.field(pytree_node=False)
    variables: Tree

    @property
    def model(self) -> TriPlaneGenerator:
        """The Flax module; `model.apply(variables, ..., method=...)` is what is differentiated and vmapped."""
        return network(self.config)

    @property
    def w_avg(self) -> Array:
        """The average w [w_dim]."""
        return self.variables["buffers"]["backbone"]["mapping"]["w_avg"]

    @property
    def params(self) -> Tree:
        return self.variables["params"]

    def with_params(self, params: Tree) -> Generator:
        """The same generator with other parameters."""
        return self.replace(variables={**self.variables, "params": params})

    def fingerprint(self) -> str:
        """SHA-256 of the config and all weights, in hexadecimal: equal where generators are."""
        digest = hashlib.sha256(repr(self.config).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.variables):
            digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
        return digest.hexdigest()

    def mapping(
        self, z: Array, camera: Array | None, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Array:
        """z [B, z_dim], camera [B, 25] -> w_plus [B, num_ws, w_dim]. See `TriPlaneGenerator.mapping`."""
        return _mapping(self, z, camera, truncation_psi, truncation_cutoff)

    def synthesis(
        self, ws: Array, camera: Array, key: Array | None = None, noise_mode: NoiseMode = "const"
    ) -> dict[str, Array]:
        """w_plus [B, num_ws, w_dim], camera [B, 25] -> image, image_raw, ray_distance.

        See `TriPlaneGenerator.synthesis`.
        """
        return _synthesis(self, ws, camera, key, noise_mode)

    def planes(self, ws: Array) -> Array:
        """The tri-planes [3, H, W, C] of one head ws [num_ws, w_dim], from which `render_view` renders any view."""
        return self.model.apply(self.variables, ws[None], method="planes")[0]

    def z_depth(self, planes: Array, camera: Array, resolution: int) -> Array:
        """Median z-depth [resolution, resolution] of planes [3, H, W, C] from a camera [25]; see
        `TriPlaneGenerator.median_distance`."""
        apply = functools.partial(self.model.apply, self.variables, method="median_distance")
        return cameras.ray_distance_to_z_depth(apply(planes[None], camera[None], resolution)[0], camera)

    def render_view(self, planes: Array, ws: Array, camera: Array) -> dict[str, Array]:
        """One view from planes [3, H, W, C], ws [num_ws, w_dim], camera [25] -> as `synthesis`, without batch axes."""
        apply = functools.partial(self.model.apply, self.variables)
        features, distance = apply(planes[None], camera[None], method="render")
        image = apply(features, ws[None], method="superresolve")
        return {"image": image[0], "image_raw": features[0, ..., :3], "ray_distance": distance[0]}


def network(config: GeneratorConfig) -> TriPlaneGenerator:
    """The Flax module of the class that the config names (`config.registry.ARCHITECTURES`)."""
    return resolve(ARCHITECTURES[config.architecture])(config)


def initialise(config: GeneratorConfig, key: Array) -> Generator:
    """A generator with random weights."""
    model = network(config)
    z, camera = jax.numpy.zeros((1, config.z_dim)), jax.numpy.zeros((1, 25)).at[:, [0, 5, 10, 15, 16, 20, 24]].set(1.0)
    return Generator(config, dict(jax.jit(model.init)(key, z, camera)))  # under jit nothing but the weights is computed


@functools.partial(jax.jit, static_argnames=("truncation_cutoff",))
def _mapping(generator, z, camera, truncation_psi, truncation_cutoff):
    return generator.model.apply(generator.variables, z, camera, truncation_psi, truncation_cutoff, method="mapping")


@functools.partial(jax.jit, static_argnames=("noise_mode",))
def _synthesis(generator, ws, camera, key, noise_mode):
    render_key, noise_key = (None, None) if key is None else jax.random.split(key)
    rngs = None if noise_key is None else {"noise": noise_key}
    return generator.model.apply(generator.variables, ws, camera, render_key, noise_mode, rngs=rngs, method="synthesis")
