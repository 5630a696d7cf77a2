"""Stage 0, when no camera is given: yaw and pitch by search through the generator, then by gradient together with w.

Where landmarks have said what the camera is, their camera takes the place of the search, and holds the gradient.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import CameraSearchConfig, GeneratorConfig, LossConfig
from pmv_jax.generator import Generator
from pmv_jax.inversion import optimisation
from pmv_jax.inversion.latent import LatentStatistics
from pmv_jax.inversion.latent import statistics as latent_statistics
from pmv_jax.losses import image_loss

ANGLE_UNIT = 0.2  # radians; makes one learning rate right for angles and w


def grid(config: CameraSearchConfig) -> Array:
    """Yaw and pitch [N, 2] of all cameras tried, in radians."""
    yaw = jnp.linspace(-config.yaw_range, config.yaw_range, config.yaw_steps)
    pitch = jnp.linspace(-config.pitch_range, config.pitch_range, config.pitch_steps)
    return jnp.stack(jnp.meshgrid(yaw, pitch), axis=-1).reshape(-1, 2)


class Prior(NamedTuple):
    """What is known of the camera before the generator is asked: yaw and pitch [2], how far they may be off [2], and
    the roll [], which is not searched."""

    angles: Array
    width: Array
    roll: Array


def frontal(config: CameraSearchConfig) -> Prior:
    """Nothing is known; but the generator can explain a frontal face by a turned, tilted one all too well."""
    return Prior(jnp.zeros(2), jnp.array([config.yaw_range, config.pitch_range]) / 2, jnp.zeros(()))


def around(guess: Array, config: CameraSearchConfig) -> Prior:
    """A guess [25], for example from landmarks."""
    return Prior(jnp.stack(cameras.yaw_pitch(guess)), jnp.full(2, config.guess_width), cameras.roll_of(guess))


def to_camera(angles: Array, config: GeneratorConfig, roll: Array | float = 0.0) -> Array:
    """Yaw and pitch [..., 2] -> the camera [..., 25] there, of those that the generator was trained with, rolled."""
    camera = cameras.look_at(
        angles[..., 0],
        angles[..., 1],
        pivot=config.camera_pivot,
        radius=config.camera_radius,
        focal=config.camera_focal,
    )
    return cameras.rolled(camera, roll)


@functools.partial(jax.jit, static_argnames=("config", "loss_config"))
def candidates(
    generator: Generator, stats: LatentStatistics, image: Array, *, config: CameraSearchConfig, loss_config: LossConfig
) -> Array:
    """The grid's most promising yaws and pitches [candidates, 2]: where the average head looks most like the image.

    Pictures are compared after removing each channel's mean and scale, so that complexion and light say little.
    """
    small, target = _coarse(generator, config), _standardise(_shrink(image, config.resolution))
    angles, prior = grid(config), frontal(config)
    ws = jnp.tile(stats.mean, (generator.config.num_ws, 1))
    planes = small.model.apply(small.variables, ws[None], method="planes")

    def score(angle: Array) -> Array:
        features, _ = small.model.apply(
            small.variables, planes, to_camera(angle, generator.config)[None], method="render"
        )
        return image_loss(_standardise(features[0, ..., :3]), target, loss_config) + _penalty(angle, prior, config)

    scores = jax.lax.map(score, angles)
    return angles[jax.lax.top_k(-scores, config.candidates)[1]]


@jax.jit
def average_head(generator: Generator, camera: Array) -> Array:
    """The generator's average head from a camera [25] -> [H, W, 3], to be compared with a photograph."""
    mean = latent_statistics(generator, camera).mean
    return generator.synthesis(jnp.tile(mean, (1, generator.config.num_ws, 1)), camera[None])["image"][0]


def optimiser(config: CameraSearchConfig) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, max(config.refine_steps, 1), 0.1))


def start(angles: Array, stats: LatentStatistics, config: CameraSearchConfig) -> optimisation.State:
    """State for one candidate [2]: its angles, in units of `ANGLE_UNIT`, and the average w."""
    return optimisation.start({"angles": angles / ANGLE_UNIT, "w": stats.mean}, optimiser(config))


@functools.partial(jax.jit, static_argnames=("config", "loss_config"))
def run(
    state: optimisation.State,
    generator: Generator,
    image: Array,
    prior: Prior,
    key: Array,
    steps: int | Array,
    *,
    config: CameraSearchConfig,
    loss_config: LossConfig,
) -> tuple[optimisation.State, Array]:
    """`steps` steps on angles and w together, against the raw image at low resolution."""
    small, target = _coarse(generator, config), _shrink(image, config.resolution)

    def loss(variables: dict[str, Array], step: Array, key: Array) -> tuple[Array, Array]:
        ws = jnp.tile(variables["w"], (1, generator.config.num_ws, 1))
        planes = small.model.apply(small.variables, ws, method="planes")
        angles = ANGLE_UNIT * variables["angles"]
        camera = to_camera(angles, generator.config, prior.roll)
        features, _ = small.model.apply(small.variables, planes, camera[None], method="render")
        value = image_loss(features[0, ..., :3], target, loss_config) + _penalty(angles, prior, config)
        return value, value

    return optimisation.run(jax.value_and_grad(loss, has_aux=True), optimiser(config), state, key, steps)


def _penalty(angles: Array, prior: Prior, config: CameraSearchConfig) -> Array:
    return config.prior * jnp.sum(jnp.square((angles - prior.angles) / prior.width))


def _coarse(generator: Generator, config: CameraSearchConfig) -> Generator:
    rendering = dataclasses.replace(generator.config.rendering, neural_resolution=config.resolution)
    return generator.replace(config=dataclasses.replace(generator.config, rendering=rendering))


def _shrink(image: Array, resolution: int) -> Array:
    return jax.image.resize(image, (resolution, resolution, 3), "bilinear")


def _standardise(image: Array) -> Array:
    return 0.5 * (image - image.mean((0, 1))) / (image.std((0, 1)) + 1e-3)
