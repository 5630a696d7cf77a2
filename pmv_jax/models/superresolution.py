"""Super-resolution: raw features to final image, in two style-modulated blocks (EG3D `training/superresolution.py`).

The official modules (8XDC, 8X, 4X, 2X, Deepfp32) are one class here; they differ in sizes, which are config.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from pmv_jax.config import SuperresolutionConfig
from pmv_jax.models import ops
from pmv_jax.models.stylegan2 import SynthesisBlock


class Superresolution(nn.Module):
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
            x, image = block(x, image, rows, cfg.noise_mode, self.dtype)
            if i == 0 and cfg.adds_to_raw and image.shape == raw.shape:
                raw = image
        return image, raw
