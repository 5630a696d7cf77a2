"""Stage 1: the latent code. w_plus is optimised from the average w (HFGI3D section 3.1, the StyleGAN2 projector).

Against the released code: noise inputs are not optimised (they carry texture that no other view shares), and a pull of
the rows towards each other keeps w_plus near the codes that the generator was trained with.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from pmv_jax.config import LatentConfig, LossConfig
from pmv_jax.generator import Generator
from pmv_jax.inversion import optimisation
from pmv_jax.losses import image_loss

_STATISTICS_SAMPLES = 4096


class LatentStatistics(NamedTuple):
    """Mean [w_dim] and standard deviation [] (root mean square over all entries) of w."""

    mean: Array
    std: Array


@jax.jit
def statistics(generator: Generator, camera: Array) -> LatentStatistics:
    """Statistics of w over random z, for a camera [25] that conditions the mapping (StyleGAN2 projector)."""
    z = jax.random.normal(jax.random.key(0), (_STATISTICS_SAMPLES, generator.config.z_dim))
    condition = jnp.broadcast_to(camera, (_STATISTICS_SAMPLES, 25))
    w = generator.mapping(z, condition)[:, 0]
    return LatentStatistics(w.mean(0), jnp.sqrt(jnp.mean(jnp.square(w - w.mean(0)))))


def schedule(config: LatentConfig) -> optax.Schedule:
    """Linear ramp up and cosine ramp down of the learning rate over given shares of the steps (StyleGAN2 projector)."""

    def rate(step: Array) -> Array:
        t = step / config.steps
        down = jnp.minimum(1.0, (1.0 - t) / max(config.ramp_down, 1e-8))
        up = jnp.minimum(1.0, t / max(config.ramp_up, 1e-8))
        return config.learning_rate * (0.5 - 0.5 * jnp.cos(jnp.pi * down)) * up

    return rate


def optimiser(config: LatentConfig) -> optax.GradientTransformation:
    return optax.adam(schedule(config), 0.9, 0.999)


def start(generator: Generator, stats: LatentStatistics, config: LatentConfig) -> optimisation.State:
    """State at the average w. `space` "w" has one row, "w_plus" one for each layer."""
    rows = generator.config.num_ws if config.space == "w_plus" else 1
    return optimisation.start(jnp.tile(stats.mean, (rows, 1)), optimiser(config))


@functools.partial(jax.jit, static_argnames=("config", "loss_config", "steps"))
def run(
    state: optimisation.State,
    generator: Generator,
    stats: LatentStatistics,
    image: Array,
    camera: Array,
    key: Array,
    *,
    config: LatentConfig,
    loss_config: LossConfig,
    steps: int,
) -> tuple[optimisation.State, Array]:
    """`steps` steps on one image [H, W, 3] and camera [25]; the state's variables are the code [rows, w_dim]."""

    def loss(code: Array, step: Array, key: Array) -> Array:
        left = jnp.maximum(0.0, 1.0 - step / (config.steps * config.noise_ramp))
        noisy = code + config.noise * stats.std * jnp.square(left) * jax.random.normal(key, code.shape)
        out = generator.synthesis(w_plus(noisy, generator)[None], camera[None])
        spread = jnp.mean(jnp.square((code - code.mean(0)) / stats.std))
        return image_loss(out["image"][0], image, loss_config) + config.regularisation * spread

    return optimisation.run(loss, optimiser(config), state, key, steps)


def w_plus(code: Array, generator: Generator) -> Array:
    """Code [rows, w_dim] with one row or all -> [num_ws, w_dim]."""
    return jnp.broadcast_to(code, (generator.config.num_ws, code.shape[-1]))
