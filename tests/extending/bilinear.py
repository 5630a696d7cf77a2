"""A generator without a network for super-resolution: the raw picture is enlarged as it is."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from pmv_jax.models.triplane import Backbone, Decoder, TriPlaneGenerator


class Enlargement(nn.Module):
    size: int

    def __call__(self, features, ws):
        raw = features[..., :3]
        return jax.image.resize(raw, (len(raw), self.size, self.size, 3), "bilinear"), raw


class BilinearGenerator(TriPlaneGenerator):
    def setup(self):
        self.backbone = Backbone(self.config)
        self.decoder = Decoder(self.config.decoder, jnp.dtype(self.config.compute_dtype))
        self.superresolution = Enlargement(self.config.image_resolution)
