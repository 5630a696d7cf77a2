"""Stage 1: the latent code. w_plus is optimised from the average w (HFGI3D section 3.1, the StyleGAN2 projector).

Against the released code: noise inputs are not optimised (they carry texture that no other view shares), and a pull of
the rows towards each other keeps w_plus near the codes that the generator was trained with.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax.config import LatentConfig
from pmv_jax.inversion import view_fitting as fitting
from pmv_jax.models.generator import Generator

_STATISTICS_SAMPLES = 4096


class LatentStatistics(NamedTuple):
    """Mean [w_dim] and standard deviation [] (root mean square over all entries) of w."""

    mean: Array
    std: Array


@jax.jit
def statistics(generator: Generator, camera: Array) -> LatentStatistics:
    """Statistics of w over random z, for a camera [25] that conditions the mapping (StyleGAN2 projector)."""
    w = random_codes(generator, camera)
    return LatentStatistics(w.mean(0), jnp.sqrt(jnp.mean(jnp.square(w - w.mean(0)))))


def random_codes(generator: Generator, camera: Array) -> Array:
    """The w [N, w_dim] of random z, always the same, for a camera [25] that conditions the mapping."""
    z = jax.random.normal(jax.random.key(0), (_STATISTICS_SAMPLES, generator.config.z_dim))
    return generator.mapping(z, jnp.broadcast_to(camera, (_STATISTICS_SAMPLES, 25)))[:, 0]


def plan(config: LatentConfig) -> fitting.Plan:
    """Stage 1 as data: the learning rate ramps up linearly and down along a cosine, the noise fades (StyleGAN2)."""
    t = np.arange(config.steps) / max(config.steps, 1)
    down = np.minimum(1.0, (1.0 - t) / max(config.ramp_down, 1e-8))
    up = np.minimum(1.0, t / max(config.ramp_up, 1e-8))
    ramp = (0.5 - 0.5 * np.cos(np.pi * down)) * up
    return fitting.plan(
        config.steps,
        code_rate=config.learning_rate * ramp,
        camera_rate=config.camera_rate * ramp,
        noise=config.noise * np.square(np.maximum(0.0, 1.0 - t / config.noise_ramp)),
        regularisation=config.regularisation,
    )


def average(generator: Generator, stats: LatentStatistics, config: LatentConfig) -> Array:
    """The code [rows, w_dim] to start from. `space` "w" has one row, "w_plus" one for each layer."""
    return jnp.tile(stats.mean, (generator.config.num_ws if config.space == "w_plus" else 1, 1))
