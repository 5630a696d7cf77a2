"""StyleGAN2 mapping and synthesis networks, as EG3D uses them (`training/networks_stylegan2.py`).

Parameter names and gains are those of the official state dict, so that import is a table of transposes: weights are
stored at unit variance and scaled at run time (equalised learning rate).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax.config import BackboneConfig, MappingConfig, NoiseMode
from pmv_jax.models import ops


class FullyConnected(nn.Module):
    """`x @ weight * (lr_multiplier / sqrt(in)) + bias * lr_multiplier`, then optionally a leaky ReLU."""

    features: int
    lr_multiplier: float = 1.0
    bias_init: float = 0.0
    activate: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        fan_in = x.shape[-1]
        weight = self.param("weight", nn.initializers.normal(1.0 / self.lr_multiplier), (fan_in, self.features))
        bias = self.param("bias", nn.initializers.constant(self.bias_init), (self.features,))
        y = x @ (weight * (self.lr_multiplier / fan_in**0.5)).astype(x.dtype)
        bias = (bias * self.lr_multiplier).astype(x.dtype)
        return ops.bias_activation(y, bias, None) if self.activate else y + bias


class MappingNetwork(nn.Module):
    """z [B, z_dim] and camera [B, c_dim] to w [B, num_ws, w_dim]; all its `num_ws` rows are the same w."""

    config: MappingConfig
    c_dim: int
    w_dim: int
    num_ws: int

    @nn.compact
    def __call__(
        self, z: Array, camera: Array | None, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Array:
        w_avg = self.variable("buffers", "w_avg", jnp.zeros, (self.w_dim,)).value
        x = ops.normalise_second_moment(z)
        if self.c_dim:
            scale = 0.0 if self.config.zero_conditioning else self.config.conditioning_scale
            embedding = FullyConnected(self.w_dim, name="embed")(camera * scale)
            x = jnp.concatenate([x, ops.normalise_second_moment(embedding)], axis=-1)
        for i in range(self.config.num_layers):
            x = FullyConnected(self.w_dim, self.config.lr_multiplier, activate=True, name=f"fc{i}")(x)
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        psi = jnp.where(jnp.arange(self.num_ws)[:, None] < cutoff, truncation_psi, 1.0)
        return w_avg + psi * (x[:, None, :] - w_avg)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias and leaky ReLU: [B, H, W, in] -> [B, res, res, features], same dtype.

    Without noise and `spatial_map` it takes a band of rows as well. `inside` [rows], bool, then tells which rows of the
    result are in the image: the others are zero, as the next layer's padding would be.
    """

    features: int
    resolution: int
    up: bool = False
    clamp: float | None = 256.0
    spatial_map: bool = False

    @nn.compact
    def __call__(self, x: Array, w: Array, noise_mode: NoiseMode = "const", inside: Array | None = None) -> Array:
        fan_in = x.shape[-1]
        style = FullyConnected(fan_in, bias_init=1.0, name="affine")(w)
        weight = self.param("weight", nn.initializers.normal(1.0), (3, 3, fan_in, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        strength = self.param("noise_strength", nn.initializers.zeros, ())
        noise_const = self.variable("buffers", "noise_const", self._noise, (self.resolution, self.resolution)).value
        y = ops.modulated_conv(x, weight, style, up=self.up)
        if noise_mode == "const":
            y = y + (noise_const * strength)[..., None]
        if self.spatial_map:
            shape = (self.resolution, self.resolution, self.features)
            y = y + self.param("spatial_map", nn.initializers.normal(0.3), shape)
        if inside is not None:
            y = jnp.where(inside[:, None, None], y, -bias)
        return ops.bias_activation(y, bias, self.clamp, self.name).astype(x.dtype)

    def _noise(self, shape: tuple[int, int]) -> Array:
        return jax.random.normal(self.make_rng("params"), shape)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation: [B, H, W, in] -> [B, H, W, features] in float32."""

    features: int
    clamp: float | None = 256.0

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        fan_in = x.shape[-1]
        style = FullyConnected(fan_in, bias_init=1.0, name="affine")(w) / fan_in**0.5
        weight = self.param("weight", nn.initializers.normal(1.0), (1, 1, fan_in, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = ops.modulated_conv(x, weight, style, demodulate=False)
        return ops.clip(y + bias, self.clamp)


class SynthesisBlock(nn.Module):
    """One resolution of the 'skip' architecture: features are convolved, an image is up-sampled and added to.

    Without `x` it starts from a learned constant. `up=False` keeps the resolution (`SynthesisBlockNoUp`).
    """

    features: int
    resolution: int
    image_channels: int
    up: bool = True
    clamp: float | None = 256.0
    spatial_maps: bool = False

    @nn.compact
    def __call__(
        self,
        x: Array | None,
        image: Array | None,
        ws: list[Array],
        noise_mode: NoiseMode,
        dtype: jnp.dtype,
        inside: Array | None = None,
    ) -> tuple[Array, Array]:
        """Takes one w [B, w_dim] for each layer in `ws`; gives features in `dtype` and the image in float32.

        `inside`: for a band of rows, see `SynthesisLayer`. Of what a band gives, two rows at its upper and lower edge,
        four where the resolution doubles, are not those of the whole image.
        """
        layer = {"resolution": self.resolution, "clamp": self.clamp, "spatial_map": self.spatial_maps}
        if x is None:
            shape = (self.resolution, self.resolution, self.features)
            const = self.param("const", nn.initializers.normal(1.0), shape)
            x = jnp.broadcast_to(const, (ws[0].shape[0], *shape)).astype(dtype)
        else:
            first = SynthesisLayer(self.features, up=self.up, name="conv0", **layer)
            x = first(x.astype(dtype), ws[0], noise_mode, inside)
            ws = ws[1:]
        x = SynthesisLayer(self.features, name="conv1", **layer)(x, ws[0], noise_mode)
        rgb = ToRGB(self.image_channels, self.clamp, name="torgb")(x, ws[1])
        if image is not None:
            rgb = rgb + (ops.upsample(image) if self.up else image)
        return x, rgb


class SynthesisNetwork(nn.Module):
    """w_plus [B, num_ws, w_dim] to an image [B, res, res, image_channels] (here: all tri-planes side by side)."""

    config: BackboneConfig
    image_channels: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, ws: Array, noise_mode: NoiseMode = "const") -> Array:
        cfg = self.config
        x = image = None
        row, resolution = 0, 4
        while resolution <= cfg.plane_resolution:
            convolutions = 1 if x is None else 2
            block = SynthesisBlock(
                features=min(cfg.channel_base // resolution, cfg.channel_max),
                resolution=resolution,
                image_channels=self.image_channels,
                clamp=cfg.conv_clamp,
                spatial_maps=cfg.spatial_maps,
                name=f"b{resolution}",
            )
            # A block's toRGB shares its w with the first convolution of the next block.
            rows = [ws[:, row + i] for i in range(convolutions + 1)]
            x, image = block(x, image, rows, noise_mode, self.dtype)
            row, resolution = row + convolutions, 2 * resolution
        if cfg.plane_map:
            image = image + self.param("plane_map", nn.initializers.zeros, image.shape[1:])
        return image
