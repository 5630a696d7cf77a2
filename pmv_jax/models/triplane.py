"""The tri-plane generator (EG3D `training/triplane.py`), split so that planes are made once and rendered many times."""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import DecoderConfig, GeneratorConfig, NoiseMode
from pmv_jax.models import ops
from pmv_jax.models.stylegan2 import FullyConnected, MappingNetwork, SynthesisNetwork
from pmv_jax.models.superresolution import Superresolution
from pmv_jax.rendering import triplanes, volume


class Decoder(nn.Module):
    """Plane features [..., C] to colour features [..., F] in [-0.001, 1.001] and raw density [...] (`OSGDecoder`)."""

    config: DecoderConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        cfg = self.config
        hidden = FullyConnected(cfg.hidden_features, cfg.lr_multiplier, name="net_0")(x.astype(self.dtype))
        y = FullyConnected(1 + cfg.output_features, cfg.lr_multiplier, name="net_2")(ops.softplus(hidden))
        y = y.astype(jnp.float32)
        return jax.nn.sigmoid(y[..., 1:]) * (1 + 2 * 0.001) - 0.001, y[..., 0]  # slightly widened as in Mip-NeRF


class Backbone(nn.Module):
    """Mapping and synthesis network under the official names `backbone.mapping` and `backbone.synthesis`."""

    config: GeneratorConfig

    def setup(self) -> None:
        cfg = self.config
        self.mapping = MappingNetwork(cfg.mapping, cfg.c_dim, cfg.w_dim, cfg.num_ws)
        self.synthesis = SynthesisNetwork(cfg.backbone, 3 * cfg.backbone.plane_channels, jnp.dtype(cfg.compute_dtype))


class TriPlaneGenerator(nn.Module):
    """All methods take a leading batch axis; `model.apply(variables, ..., method="planes")` and so on."""

    config: GeneratorConfig

    def setup(self) -> None:
        cfg = self.config
        dtype = jnp.dtype(cfg.compute_dtype)
        self.backbone = Backbone(cfg)
        self.decoder = Decoder(cfg.decoder, dtype)
        self.superresolution = Superresolution(cfg.superresolution, cfg.image_resolution, dtype)

    def mapping(
        self, z: Array, camera: Array | None, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Array:
        """z [B, z_dim], camera [B, 25] -> ws [B, num_ws, w_dim].

        `truncation_psi` scales the distance from the average w in the first `truncation_cutoff` rows (all, if None).
        """
        return self.backbone.mapping(z, camera, truncation_psi, truncation_cutoff)

    def planes(self, ws: Array, noise_mode: NoiseMode = "const") -> Array:
        """ws [B, num_ws, w_dim] -> tri-planes [B, 3, H, W, C]."""
        image = self.backbone.synthesis(ws, noise_mode)
        batch, height, width, _ = image.shape
        return image.reshape(batch, height, width, 3, -1).transpose(0, 3, 1, 2, 4)

    def density(self, planes: Array, points: Array) -> tuple[Array, Array]:
        """Raw density [B, N] (before softplus) and colour features [B, N, F] at world points [B, N, 3]."""
        cfg = self.config.rendering
        features = jax.vmap(lambda p, x: triplanes.sample(p, x, cfg.plane_axes, cfg.box_size))(planes, points)
        colours, densities = self.decoder(features)
        return densities, colours

    def render(self, planes: Array, camera: Array, key: Array | None = None) -> tuple[Array, Array]:
        """Volume rendering at the neural rendering resolution n.

        Args:
          planes: [B, 3, H, W, C].
          camera: [B, 25].
          key: PRNG key for the samples along rays; None takes the deterministic ones.

        Returns:
          features [B, n, n, F] in [-1, 1] (the first three are colour) and ray_distance [B, n, n].
        """
        size = self.config.rendering.neural_resolution
        origins, directions = cameras.rays(camera, size)
        features, distance = self.render_rays(planes, origins, directions, key)
        return features.reshape(-1, size, size, features.shape[-1]), distance.reshape(-1, size, size)

    def render_rays(
        self, planes: Array, origins: Array, directions: Array, key: Array | None = None
    ) -> tuple[Array, Array]:
        """Volume rendering of rays: origins, unit directions [B, R, 3] -> features [B, R, F], ray_distance [B, R]."""
        keys = None if key is None else jax.random.split(key, planes.shape[0])
        field = self._field(planes)

        def one(plane: Array, origin: Array, direction: Array, key: Array | None) -> tuple[Array, Array]:
            return volume.render_rays(functools.partial(field, plane), origin, direction, self.config.rendering, key)

        return jax.vmap(one)(planes, origins, directions, keys)

    def median_distance(self, planes: Array, origins: Array, directions: Array) -> Array:
        """Where rays meet the surface (`compositing.median_distance`): origins, unit directions [B, R, 3] -> [B, R]."""
        field = self._field(planes)

        def one(plane: Array, origin: Array, direction: Array) -> Array:
            return volume.median_distance(functools.partial(field, plane), origin, direction, self.config.rendering)

        return jax.vmap(one)(planes, origins, directions)

    def superresolve(self, features: Array, ws: Array) -> Array:
        """Raw features [B, n, n, F] -> image [B, H, W, 3], about [-1, 1], not clipped."""
        return self.superresolution(features, ws)[0]

    def synthesis(
        self, ws: Array, camera: Array, key: Array | None = None, noise_mode: NoiseMode = "const"
    ) -> dict[str, Array]:
        """ws [B, num_ws, w_dim], camera [B, 25] -> image [B, H, W, 3], image_raw [B, n, n, 3], ray_distance [B, n, n].

        image_raw is for looking at, and for parity: see `SuperresolutionConfig.adds_to_raw`.
        """
        features, distance = self.render(self.planes(ws, noise_mode), camera, key)
        image, raw = self.superresolution(features, ws)
        return {"image": image, "image_raw": raw, "ray_distance": distance}

    def __call__(self, z: Array, camera: Array) -> dict[str, Array]:
        return self.synthesis(self.mapping(z, camera), camera)

    def _field(self, planes: Array) -> Callable[[Array, Array], tuple[Array, Array]]:
        """Colour features and raw densities of points in a plane [3, H, W, C], for use under JAX transformations."""
        cfg = self.config.rendering
        self.decoder(jnp.zeros((1, planes.shape[-1])))  # creates its parameters outside of them
        decode = _pure(self.decoder)
        return lambda plane, points: decode(triplanes.sample(plane, points, cfg.plane_axes, cfg.box_size))


def _pure(module: nn.Module):
    """A bound module as a pure function of its input, for use under JAX transformations."""
    unbound, variables = module.unbind()
    return lambda x: unbound.apply(variables, x)
