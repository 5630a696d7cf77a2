"""The network that is trained, and how it grows from stage to stage."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax.config import (
    BackboneConfig,
    DecoderConfig,
    GeneratorConfig,
    MappingConfig,
    RenderingConfig,
    SuperresolutionConfig,
)
from pmv_jax.models.generator import Generator, initialise
from tools.training import backdrop

Params = dict[str, Any]

HEAD_NUMBERS = 128  # of a rendered head; z is these and those of the backdrop

NETWORK = GeneratorConfig(
    z_dim=HEAD_NUMBERS + backdrop.NUMBERS,
    c_dim=0,
    w_dim=128,
    image_resolution=256,
    mapping=MappingConfig(num_layers=3, lr_multiplier=1.0),
    backbone=BackboneConfig(
        plane_resolution=128, plane_channels=24, channel_base=3072, channel_max=192, spatial_maps=True
    ),
    decoder=DecoderConfig(hidden_features=64, output_features=32),
    rendering=RenderingConfig(
        neural_resolution=64,
        coarse_samples=16,
        fine_samples=16,
        ray_start=2.25,  # raised shoulders begin at 2.2, faces at 2.32; the backdrop ends at 3.3
        ray_end=3.3,
        plane_axes="xy_xz_zy",
    ),
    superresolution=SuperresolutionConfig(input_resolution=64, block_channels=(32, 16), block_upsamples=(True, True)),
)


def at_resolution(network: GeneratorConfig, plane_resolution: int) -> GeneratorConfig:
    """The network with tri-planes of another resolution."""
    return dataclasses.replace(
        network, backbone=dataclasses.replace(network.backbone, plane_resolution=plane_resolution)
    )


def for_crops(network: GeneratorConfig, side: int) -> GeneratorConfig:
    """The network as its super-resolution sees crops of `side` raw pixels."""
    scale = network.image_resolution // network.rendering.neural_resolution
    crop = dataclasses.replace(network.superresolution, input_resolution=side)
    return dataclasses.replace(network, image_resolution=scale * side, superresolution=crop)


def fresh(network: GeneratorConfig, seed: int) -> Generator:
    """Random weights; super-resolution adds next to nothing to the raw image at first."""
    generator = initialise(network, jax.random.key(seed))
    for block in generator.params["superresolution"].values():
        block["torgb"]["weight"] *= 0.05
    return generator


def grow(old: Params, new: Params) -> Params:
    """Copies `old` into the larger network `new`; a new block of the backbone paints next to nothing yet."""
    merged = jax.tree_util.tree_map_with_path(lambda path, x: _lookup(old, path, x), new)
    for block in set(new["backbone"]["synthesis"]) - set(old["backbone"]["synthesis"]):
        torgb = merged["backbone"]["synthesis"][block]["torgb"]
        torgb["weight"] = torgb["weight"] * 0.02
    return merged


def _lookup(tree: Params, path: tuple, default: Array) -> Array:
    for key in path:
        if key.key not in tree:
            return default
        tree = tree[key.key]
    return tree


def latents(p: np.ndarray, seed: int) -> np.ndarray:
    """z [H, z_dim] of heads p [H, D] before random backdrops."""
    numbers = np.random.default_rng(seed).standard_normal((len(p), backdrop.NUMBERS)).astype(np.float32)
    return np.concatenate([p, numbers], axis=-1)


def with_average(network: GeneratorConfig, params: Params, buffers: Params) -> Generator:
    """A generator with the average w of 16384 heads in its buffers."""
    generator = Generator(network, {"params": params, "buffers": buffers})
    z = jax.random.normal(jax.random.key(1), (16384, network.z_dim))
    average = jnp.mean(generator.mapping(z, None)[:, 0], axis=0)
    buffers = {**buffers, "backbone": {**buffers["backbone"], "mapping": {"w_avg": average}}}
    return Generator(network, {"params": params, "buffers": buffers})
