"""An inversion with random weights, small enough to load and render in seconds: for tests of the commands."""

import jax
import jax.numpy as jnp
import numpy as np

from pmv_jax.cameras import look_at
from pmv_jax.checkpoints.orbax import variable_shapes
from pmv_jax.config import (
    BackboneConfig,
    DecoderConfig,
    GeneratorConfig,
    InversionConfig,
    JointConfig,
    LatentConfig,
    LossConfig,
    MappingConfig,
    PseudoViewConfig,
    RenderingConfig,
    SuperresolutionConfig,
    TuningConfig,
)
from pmv_jax.inversion.image_run import StageRecord
from pmv_jax.inversion.result import Inversion
from pmv_jax.models.generator import Generator

SIZE = 32
CONFIG = GeneratorConfig(
    z_dim=8,
    w_dim=8,
    image_resolution=SIZE,
    mapping=MappingConfig(num_layers=1),
    backbone=BackboneConfig(plane_resolution=8, plane_channels=4, channel_base=64, channel_max=8),
    decoder=DecoderConfig(hidden_features=8, output_features=8),
    rendering=RenderingConfig(neural_resolution=16, coarse_samples=4, fine_samples=4),
    superresolution=SuperresolutionConfig(input_resolution=16, block_channels=(4, 4), block_upsamples=(False, True)),
)
RECIPE = InversionConfig(
    loss=LossConfig(perceptual="none"),  # compiles sooner
    latent=LatentConfig(steps=4),
    tuning=TuningConfig(steps=2),
    pseudo_views=PseudoViewConfig(count=3),
    joint=JointConfig(steps=4),
)


def make() -> Inversion:
    """The same on every call."""
    random = np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(random.standard_normal(leaf.shape, np.float32))  # noqa: E731
    generator = Generator(CONFIG, jax.tree.map(draw, variable_shapes(CONFIG)))
    ws = np.asarray(random.standard_normal((CONFIG.num_ws, CONFIG.w_dim)), np.float32)
    stages = (StageRecord("latent", 1.5, np.geomspace(1, 0.1, 7)), StageRecord("joint", 2.5, np.ones(5)))
    return Inversion(generator, ws, np.asarray(look_at(0.2, 0.1)), InversionConfig(seed=7), stages)
