"""The tri-plane generator (EG3D `training/triplane.py`), split so that planes are made once and rendered many times."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from pmv_jax.config import DecoderConfig, GeneratorConfig, NoiseMode
from pmv_jax.models import ops
from pmv_jax.models.stylegan2 import FullyConnected, MappingNetwork, SynthesisNetwork
from pmv_jax.models.superresolution import Superresolution
from pmv_jax.rendering import triplanes, volume

# Samples of a group of rays. On an accelerator: the gradient of one needs about a kilobyte. On a processor, for each
# place of a plane: the gradient of a group goes over all places, and what more samples need has left the cache by then.
_SAMPLES_AT_ONCE, _SAMPLES_A_PLACE = 2**19, 4


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
        colours, densities = self._in_fields(lambda field, _, points: field(points), planes, points)
        return densities, colours

    def render_rays(
        self, planes: Array, origins: Array, directions: Array, key: Array | None = None, still: Array | None = None
    ) -> tuple[Array, Array]:
        """Volume rendering of rays.

        Args:
          planes: [B, 3, H, W, C].
          origins, directions: [B, R, 3], directions of unit length.
          key: PRNG key of the samples along rays; None takes the deterministic ones.
          still: bool [B], whether nobody asks for the gradient by rays: a processor saves its time, and it is zero.

        Returns:
          features [B, R, F] in [-1, 1], of which the first three are colour, and ray_distance [B, R].
        """
        keys = None if key is None else jax.random.split(key, planes.shape[0])

        def one(field: volume.Field, at_once: int, *rays: Array | None) -> tuple[Array, Array]:
            origins, directions, key = rays
            return volume.render_rays(field, origins, directions, self.config.rendering, key, at_once)

        return self._in_fields(one, planes, origins, directions, keys, still=still)

    def median_distance(self, planes: Array, origins: Array, directions: Array) -> Array:
        """Where rays meet the surface (`compositing.median_distance`): planes [B, 3, H, W, C], origins, unit directions
        [B, R, 3] -> [B, R]."""

        def one(field: volume.Field, at_once: int, *rays: Array) -> Array:
            return volume.median_distance(field, *rays, self.config.rendering, at_once)

        return self._in_fields(one, planes, origins, directions)

    def superresolve(self, features: Array, ws: Array) -> Array:
        """Raw features [B, n, n, F] -> image [B, H, W, 3], about [-1, 1], not clipped."""
        return self.superresolution(features, ws)[0]

    def __call__(self, z: Array, camera: Array) -> Array:
        """z [B, z_dim], camera [B, 25] -> image [B, H, W, 3]: every network once, for `init` to make its parameters."""
        ws = self.mapping(z, camera)
        planes, size = self.planes(ws), self.config.rendering.neural_resolution
        colours, _ = self.decoder(jnp.zeros((planes.shape[0], size, size, planes.shape[-1])))
        return self.superresolve(colours, ws)

    def _in_fields(self, work: Callable[..., Any], planes: Array, *args: Any, still: Array | None = None) -> Any:
        """`work(field, samples at once, *args)` for one image after the other, in the way that suits the device."""
        cfg = self.config.rendering
        size, dtype = planes.shape[2:4], jnp.dtype(self.config.compute_dtype)
        self.decoder(jnp.zeros((1, planes.shape[-1])))  # creates its parameters outside of JAX transformations
        decode = _pure(self.decoder)

        def on_processor(planes: Array, still: Array | None, *args: Any) -> Any:
            def field(points: Array) -> tuple[Array, Array]:
                # In one axis: of two, the gradient of the decoder's weights takes XLA twice the time.
                flat = points.reshape(-1, 3)
                colours, densities = decode(triplanes.sample(planes, flat, cfg.plane_axes, cfg.box_size, still))
                return colours.reshape(*points.shape[:-1], -1), densities.reshape(points.shape[:-1])

            return work(field, _SAMPLES_A_PLACE * math.prod(size), *args)

        def on_accelerator(planes: Array, still: Array | None, *args: Any) -> Any:
            table = triplanes.packed(planes)
            sample = functools.partial(triplanes.sample_packed, axes=cfg.plane_axes, box_size=cfg.box_size, dtype=dtype)
            features = lambda points: checkpoint_name(sample(table, size, points), volume.FEATURES)  # noqa: E731
            return work(lambda points: decode(features(points)), _SAMPLES_AT_ONCE, *args)

        def one(group: Any) -> Any:
            return lax.platform_dependent(*group, cpu=on_processor, default=on_accelerator)

        return lax.map(one, (planes, still, *args))


def _pure(module: nn.Module):
    """A bound module as a pure function of its input, for use under JAX transformations."""
    unbound, variables = module.unbind()
    return lambda x: unbound.apply(variables, x)
