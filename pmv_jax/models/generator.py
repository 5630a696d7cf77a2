"""A tri-plane generator with its weights: what `load_generator` returns, what inversion tunes, and all rendering.

The planes of a head are generated once, `planes = generator.planes(ws)`, and seen from any number of cameras: `render`
gives the finished picture, `march` the raw one at any size, `z_depth` the surface. These take one head and one camera;
`jax.vmap` and `jax.lax.map` take many. `synthesis` is `planes` and `render` for a batch of heads, each with a camera of
its own.

EG3D samples each ray between two fixed distances, which are right for cameras at the distance of training only. Here
these bounds move with the camera (`_rays`); at the distance of training nothing changes.

Every method is compiled. The compiled program is shared by all generators of one config; within another compiled
function a method is a part of that.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import ARCHITECTURES, GeneratorConfig, NoiseMode, resolve
from pmv_jax.traces import kept

if TYPE_CHECKING:
    from pmv_jax.models.triplane import TriPlaneGenerator

Tree = dict[str, Any]

_BOUNDS_STEP = 2.0**-10  # world units, by which bounds along rays move: far less than what lies between two samples


def _compiled(*static: str) -> Callable[..., Any]:
    """`jax.jit` of a method with these static arguments."""
    return kept(static_argnames=static, inline=True)


@flax.struct.dataclass
class Generator:
    """Config and weights. A pytree: `variables` are its leaves, the config is static.

    Attributes:
      config: the architecture, and the cameras of training.
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
        """What tuning changes, by module."""
        return self.variables["params"]

    def with_params(self, params: Tree) -> Generator:
        """The same generator with other parameters, a tree like `params`."""
        return self.replace(variables={**self.variables, "params": params})

    def fingerprint(self) -> str:
        """SHA-256 of the config and all weights, in hexadecimal: equal where generators are."""
        digest = hashlib.sha256(repr(self.config).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.variables):
            digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
        return digest.hexdigest()

    @_compiled("truncation_cutoff")
    def mapping(
        self, z: Array, camera: Array | None, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Array:
        """Random numbers to latent codes.

        Args:
          z: [B, z_dim], standard normal.
          camera: [B, 25] that the codes are conditioned on; None for a generator that is not conditioned.
          truncation_psi: scales the distance from the average w: 1 leaves it, 0 gives the average.
          truncation_cutoff: scales that many rows of w_plus, the first ones; None scales all.

        Returns:
          w_plus [B, num_ws, w_dim].
        """
        chex.assert_shape(z, (None, self.config.z_dim))
        if camera is not None:
            chex.assert_shape(camera, (len(z), 25))
        return self._apply("mapping", z, camera, truncation_psi, truncation_cutoff)

    @_compiled("noise_mode")
    def synthesis(
        self, ws: Array, camera: Array, key: Array | None = None, noise_mode: NoiseMode = "const"
    ) -> dict[str, Array]:
        """Pictures of a batch of heads, each from one camera.

        Args:
          ws: w_plus [B, num_ws, w_dim].
          camera: [B, 25], at any distance.
          key: PRNG key of the samples along rays, and of the noise in mode "random"; None takes the deterministic
            samples.
          noise_mode: of the backbone: "const", "none", or "random", which needs a key.

        Returns:
          As `render`, with a leading axis B.
        """
        chex.assert_shape(ws, (None, self.config.num_ws, self.config.w_dim))
        chex.assert_shape(camera, (len(ws), 25))
        render_key, noise_key = (None, None) if key is None else jax.random.split(key)
        rngs = None if noise_key is None else {"noise": noise_key}
        planes = self._apply("planes", ws, noise_mode, rngs=rngs)
        return self._render(planes, ws, camera, self.config.rendering.neural_resolution, render_key)

    @_compiled()
    def planes(self, ws: Array) -> Array:
        """The tri-planes of one head, which `march`, `render`, `z_depth` and `density` look at.

        Args:
          ws: w_plus [num_ws, w_dim].

        Returns:
          [3, H, W, C].
        """
        chex.assert_shape(ws, (self.config.num_ws, self.config.w_dim))
        return self._apply("planes", ws[None])[0]

    @_compiled("resolution", "samples")
    def render(
        self,
        planes: Array,
        ws: Array,
        camera: Array,
        key: Array | None = None,
        *,
        resolution: int | None = None,
        samples: int = 1,
        still: Array | None = None,
    ) -> dict[str, Array]:
        """The finished picture of one head from one camera.

        Args:
          planes: [3, H, W, C], of `planes`.
          ws: w_plus [num_ws, w_dim] of the same head.
          camera: [25], at any distance.
          key: PRNG key of the samples along rays; None takes the deterministic ones.
          resolution: rays along each side, n below; None for the neural resolution that the generator was trained
            with. Super-resolution scales another one to what it was trained with.
          samples: factor on the numbers of samples along each ray. Fine structure that falls between two samples in
            one frame and not in the next flickers; twice the samples is the known cure.
          still: bool [], whether nobody asks for the gradient by the camera; a processor saves a quarter of a gradient
            then, and that part is zero.

        Returns:
          image [H, W, 3] in about [-1, 1], not clipped; image_raw [n, n, 3] before super-resolution, for looking at and
          for parity (see `SuperresolutionConfig.adds_to_raw`); ray_distance [n, n] in world units from the camera.

        Raises:
          ValueError: more rays than this generator's super-resolution takes.
        """
        chex.assert_shape(ws, (self.config.num_ws, self.config.w_dim))
        chex.assert_shape(camera, (25,))
        chex.assert_rank(planes, 4)
        size = resolution or self.config.rendering.neural_resolution
        sampled = self._with_samples(samples)
        still = None if still is None else still[None]
        return jax.tree.map(lambda x: x[0], sampled._render(planes[None], ws[None], camera[None], size, key, still))

    @_compiled("size")
    def march(self, planes: Array, camera: Array, size: int) -> tuple[Array, Array]:
        """Volume rendering alone, which no network follows: of as many pixels as are asked for.

        Args:
          planes: [3, H, W, C], of `planes`.
          camera: [25], at any distance.
          size: rays along each side.

        Returns:
          features [size, size, F] in [-1, 1], of which the first three are colour, and ray_distance [size, size] in
          world units from the camera.
        """
        chex.assert_shape(camera, (25,))
        chex.assert_rank(planes, 4)
        features, distance = self._march(planes[None], camera[None], size, None)
        return features[0], distance[0]

    @_compiled("size")
    def z_depth(self, planes: Array, camera: Array, size: int) -> Array:
        """Where the surface is: where half of a ray's light has been collected (`compositing.median_distance`).

        Args:
          planes: [3, H, W, C], of `planes`.
          camera: [25], at any distance.
          size: rays along each side.

        Returns:
          Depth along the optical axis [size, size] in world units.
        """
        chex.assert_shape(camera, (25,))
        chex.assert_rank(planes, 4)
        origins, directions, start = self._rays(camera[None], size)
        distance = self._apply("median_distance", planes[None], origins, directions)
        return cameras.ray_distance_to_z_depth(distance.reshape(size, size) + start, camera)

    @_compiled()
    def density(self, planes: Array, points: Array) -> tuple[Array, Array]:
        """The field at points of the world.

        Args:
          planes: [3, H, W, C], of `planes`.
          points: [N, 3].

        Returns:
          Raw density [N] (before softplus), and colour [N, 3] in about [-1, 1], as before super-resolution.
        """
        chex.assert_shape(points, (None, 3))
        chex.assert_rank(planes, 4)
        density, features = self._apply("density", planes[None], points[None])
        return density[0], 2 * features[0, :, :3] - 1

    def _apply(self, method: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.model.apply(self.variables, *args, method=method, **kwargs)

    def _with_samples(self, factor: int) -> Generator:
        rendering = self.config.rendering
        coarse, fine = factor * rendering.coarse_samples, factor * rendering.fine_samples
        rendering = dataclasses.replace(rendering, coarse_samples=coarse, fine_samples=fine)
        return self.replace(config=dataclasses.replace(self.config, rendering=rendering))

    def _render(
        self, planes: Array, ws: Array, camera: Array, size: int, key: Array | None, still: Array | None = None
    ) -> dict[str, Array]:
        """`render` of a batch: planes [B, 3, H, W, C], ws [B, num_ws, w_dim], camera [B, 25]."""
        superresolution = self.config.superresolution
        if size > superresolution.input_resolution and not superresolution.resize_larger:
            raise ValueError(f"super-resolution takes {superresolution.input_resolution} rays a side, not {size}")
        features, distance = self._march(planes, camera, size, key, still)
        image, raw = self._apply(lambda model, *args: model.superresolution(*args), features, ws)
        return {"image": image, "image_raw": raw, "ray_distance": distance}

    def _march(
        self, planes: Array, camera: Array, size: int, key: Array | None, still: Array | None = None
    ) -> tuple[Array, Array]:
        """`march` of a batch: planes [B, 3, H, W, C], camera [B, 25]."""
        origins, directions, start = self._rays(camera, size)
        features, distance = self._apply("render_rays", planes, origins, directions, key, still)
        batch = planes.shape[0]
        return features.reshape(batch, size, size, -1), distance.reshape(batch, size, size) + start[..., None, None]

    def _rays(self, camera: Array, size: int) -> tuple[Array, Array, Array]:
        """Rays that begin where the generator's bounds along them hold, for a camera [..., 25] at any distance.

        Instead of the bounds the origins move, along their rays, by what the camera is farther away than those of
        training, and never behind the camera. They move in steps, so that a camera at the distance of training, as
        exactly as float32 says it, is rendered as in training to the last bit. Bounds that are found from the box
        ("auto" in EG3D) move with the camera anyway.

        Returns:
          Origins and unit directions [..., size * size, 3], and how far from the camera the origins lie [...].
        """
        origins, directions = cameras.rays(camera, size)
        bounds = self.config.rendering
        if bounds.ray_start is None or bounds.ray_end is None:
            return origins, directions, jnp.zeros(camera.shape[:-1])
        position = jax.lax.stop_gradient(origins[..., 0, :])  # where samples lie has no gradient, as in `sampling`
        excess = jnp.linalg.norm(position, axis=-1) - self.config.camera_radius
        start = jnp.maximum(_BOUNDS_STEP * jnp.round(excess / _BOUNDS_STEP), -bounds.ray_start)
        return origins + start[..., None, None] * directions, directions, start


def network(config: GeneratorConfig) -> TriPlaneGenerator:
    """The Flax module of the class that the config names (`config.registry.ARCHITECTURES`)."""
    return resolve(ARCHITECTURES[config.architecture])(config)


@kept(static_argnames=("config",))
def initialise(config: GeneratorConfig, key: Array) -> Generator:
    """A generator with random weights."""
    z, camera = jnp.zeros((1, config.z_dim)), jnp.zeros((1, 25)).at[:, [0, 5, 10, 15, 16, 20, 24]].set(1.0)
    return Generator(config, dict(network(config).init(key, z, camera)))
