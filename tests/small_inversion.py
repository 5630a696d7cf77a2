"""An inversion with random weights, small enough for seconds: for tests of the commands and of the stages."""

import functools

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
from pmv_jax.inversion.view_fitting import Views
from pmv_jax.models import frames
from pmv_jax.models.generator import Generator

SIZE = 32
CAMERA = look_at(0.2, 0.1)
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
SMALL_SEARCH = ("camera.heads=4", "camera.refine_heads=4", "camera.resolution=16")  # settings


def make() -> Inversion:
    """The same on every call."""
    random = np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(random.standard_normal(leaf.shape, np.float32))  # noqa: E731
    generator = Generator(CONFIG, jax.tree.map(draw, variable_shapes(CONFIG)))
    ws = np.asarray(random.standard_normal((CONFIG.num_ws, CONFIG.w_dim)), np.float32)
    stages = (StageRecord("latent", 1.5, np.geomspace(1, 0.1, 7)), StageRecord("joint", 2.5, np.ones(5)))
    return Inversion(generator, ws, np.asarray(look_at(0.2, 0.1)), InversionConfig(seed=7), stages)


@functools.cache
def generator() -> Generator:
    """That of `make`."""
    return make().generator


def picture(index: int = 0) -> np.ndarray:
    """A smooth picture [SIZE, SIZE, 3] for each index."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    return np.float32(0.8 * np.sin(np.stack([(6 + index) * x, (5 - index) * y, 4 * x * y], -1)))


def a_code(seed: int = 0) -> jax.Array:
    """A random code [num_ws, w_dim]."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal((CONFIG.num_ws, CONFIG.w_dim)), jnp.float32)


def four_views(seed: int = 0) -> Views:
    """Four cameras with random pictures and weights, and distances of zero: of the shapes that RECIPE's stages fit."""
    random = np.random.default_rng(seed)
    cameras = look_at(jnp.array([0.0, 0.3, -0.2, 0.1]), jnp.array([0.0, 0.1, -0.1, 0.2]))
    images = random.uniform(-1, 1, (4, SIZE, SIZE, 3)).astype(np.float32)
    weights = random.uniform(0, 1, (4, SIZE, SIZE)).astype(np.float32)
    raw = CONFIG.rendering.neural_resolution
    return Views(cameras, jnp.asarray(images), jnp.asarray(weights), jnp.zeros((4, raw, raw)))


def views_of(network: Generator, code: jax.Array, cameras: jax.Array) -> dict[str, np.ndarray]:
    """What cameras [V, 25] see of a code [num_ws, w_dim]: as `Inversion.render`."""
    return frames.render(network, network.planes(code), code, cameras)
