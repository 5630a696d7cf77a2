"""Super-resolution: raw features to final image, in two style-modulated blocks (EG3D `training/superresolution.py`).

The official modules (8XDC, 8X, 4X, 2X, Deepfp32) are one class here; they differ in sizes, which are config.

Large images go through a block band by band, and the gradient computes all of a band anew but the result of
its last convolution: the gradient of a tuning step at the official FFHQ size needs 0.2 GB less, in the same time.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from pmv_jax.config import SuperresolutionConfig
from pmv_jax.models import ops
from pmv_jax.models.stylegan2 import SynthesisBlock


class Superresolution(nn.Module):
    """Raw features to the final picture, `output_resolution` pixels a side, computed in `dtype`."""

    config: SuperresolutionConfig
    output_resolution: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: Array, ws: Array) -> tuple[Array, Array]:
        """Takes features [B, h, w, C] (the first three in [-1, 1] are colour) and ws [B, num_ws, w_dim].

        Only the last w is used, for all layers.

        Returns:
          image [B, H, W, 3], and image_raw [B, h, w, 3] as EG3D returns it: the colour that came in, or what the first
          block makes of it (`SuperresolutionConfig.adds_to_raw`).
        """
        cfg = self.config
        size = features.shape[1]
        raw = features[..., :3]
        if size < cfg.input_resolution or (cfg.resize_larger and size > cfg.input_resolution):
            features = ops.resize(features, cfg.input_resolution, antialias=cfg.antialias)
        x, image = features, features[..., :3]
        rows = [ws[:, -1]] * 3
        resolutions = (self.output_resolution // (2 if cfg.block_upsamples[1] else 1), self.output_resolution)
        for i, (channels, up, resolution) in enumerate(
            zip(cfg.block_channels, cfg.block_upsamples, resolutions, strict=True)
        ):
            block = SynthesisBlock(channels, resolution, 3, up=up, clamp=cfg.conv_clamp, name=f"block{i}")
            bands = 1 if self.is_initializing() or cfg.noise_mode != "none" else _bands(resolution, channels)
            if bands == 1:
                x, image = block(x, image, rows, cfg.noise_mode, self.dtype)
            else:
                x, image = _in_bands(block, x, image, rows, self.dtype, bands)
            if i == 0 and cfg.adds_to_raw and image.shape == raw.shape:
                raw = image
        return image, raw


_HALO = 2  # rows beside a band that it sees: one for each convolution


def _bands(resolution: int, channels: int) -> int:
    """Bands to cut an image into: 32 MB of features at a time suit a processor, and are enough for an accelerator.

    They divide half of the resolution, which is what a block that doubles it is given.
    """
    height = resolution // 2
    return height // ops.rows_of_band(height, 2**22 // (resolution * channels))


def _in_bands(
    block: SynthesisBlock, x: Array, image: Array, ws: list[Array], dtype: jnp.dtype, count: int
) -> tuple[Array, Array]:
    """The result of a block for x [B, h, w, C] and image [B, h, w, 3], `count` bands of rows one after the other.

    `count` divides h; the block is without noise.
    """
    unbound, variables = block.unbind()
    height = x.shape[1]
    rows, scale = height // count, block.resolution // height
    x, image = (jnp.pad(y, ((0, 0), (_HALO, _HALO), (0, 0), (0, 0))) for y in (x, image))

    def band(first: Array) -> tuple[Array, Array]:
        own = (lax.dynamic_slice_in_dim(y, first, rows + 2 * _HALO, axis=1) for y in (x, image))
        row = scale * (first - _HALO) + jnp.arange(scale * (rows + 2 * _HALO))
        inside = (row >= 0) & (row < block.resolution)
        made = unbound.apply(variables, *own, ws, "none", dtype, inside)
        return jax.tree.map(lambda y: y[:, scale * _HALO : -scale * _HALO], made)

    # What "conv1" gives is what the block gives: it is there anyway, where the next block follows.
    policy = jax.checkpoint_policies.save_only_these_names("conv1")
    made = lax.map(jax.checkpoint(band, prevent_cse=False, policy=policy), rows * jnp.arange(count))
    return jax.tree.map(lambda y: y.swapaxes(0, 1).reshape(y.shape[1], block.resolution, *y.shape[3:]), made)
