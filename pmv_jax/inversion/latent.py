"""Stage 1: the latent code. w_plus is optimised from the average w (HFGI3D section 3.1, the StyleGAN2 projector).

Against the released code: noise inputs are not optimised (they carry texture that no other view shares), and a pull of
the rows towards each other keeps w_plus near the codes that the generator was trained with.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax.cameras import poses
from pmv_jax.config import InversionConfig
from pmv_jax.inversion import view_fitting
from pmv_jax.inversion.stage import Draft, Photograph
from pmv_jax.models import frames
from pmv_jax.models.encoder import Glance
from pmv_jax.models.generator import Generator
from pmv_jax.traces import kept

_STATISTICS_SAMPLES = 4096
_GUESSES = 256  # of z, over which the w of a glance is averaged
# The schedules of the StyleGAN2 projector, in shares of the steps: the learning rate ramps up, and the noise is gone.
_RAMP_UP = 0.05
_NOISE_RAMP = 0.75


class LatentStatistics(NamedTuple):
    """Mean [w_dim] and standard deviation [] (root mean square over all entries) of w."""

    mean: Array
    std: Array


@kept
def statistics(generator: Generator, camera: Array) -> LatentStatistics:
    """Statistics of w over random z, for a camera [25] that conditions the mapping (StyleGAN2 projector)."""
    w = random_codes(generator, camera)
    return LatentStatistics(w.mean(0), jnp.sqrt(jnp.mean(jnp.square(w - w.mean(0)))))


def random_codes(generator: Generator, camera: Array) -> Array:
    """The w [N, w_dim] of random z, always the same, for a camera [25] that conditions the mapping."""
    z = jax.random.normal(jax.random.key(0), (_STATISTICS_SAMPLES, generator.config.z_dim))
    return generator.mapping(z, jnp.broadcast_to(camera, (_STATISTICS_SAMPLES, 25)))[:, 0]


def average_head(generator: Generator, views: Array) -> dict[str, np.ndarray]:
    """The generator's average head from cameras [V, 25], as `frames.render` gives it: by the program of all frames."""
    ws = _rows(statistics(generator, views[0]).mean, generator.config.num_ws)
    return frames.render(generator, generator.planes(ws), ws, views)


def begin(draft: Draft) -> Draft:
    """Places a head before the cameras, which are known, where stage 1 begins: the one that the encoder saw, in the
    mean over the photographs, or else the generator's average head."""
    camera = draft.photographs[0].camera
    stats = statistics(draft.generator, camera)
    rows = draft.generator.config.num_ws if draft.config.latent.space == "w_plus" else 1
    w = stats.mean
    if draft.encoder is not None:
        first, *others = (seen(draft, photograph, camera, stats) for photograph in draft.photographs)
        w = jnp.mean(jnp.stack([first, *others]), axis=0) if others else first
    return draft.replace(statistics=stats, code=_rows(w, rows))


def seen(draft: Draft, photograph: Photograph, camera: Array, stats: LatentStatistics) -> Array:
    """The w [w_dim] that the encoder saw.

    Args:
      draft: has the encoder.
      photograph: has its glance.
      camera: [25] that conditions the mapping.
      stats: of w for that camera.
    """
    if draft.encoder.config.code_space == "z":
        return _mean_of(photograph.glance, draft.generator, camera)
    return stats.mean + stats.std * photograph.glance.code


@jax.jit
def _mean_of(glance: Glance, generator: Generator, camera: Array) -> Array:
    """The mean w over what a glance leaves possible of z.

    The mapping network normalises z: one that is short out of caution would come out as bold as any other.
    """
    z = glance.code + glance.code_width * jax.random.normal(jax.random.key(0), (_GUESSES, *glance.code.shape))
    return generator.mapping(z, jnp.broadcast_to(camera, (_GUESSES, 25)))[:, 0].mean(0)


@functools.partial(jax.jit, static_argnums=1)
def _rows(w: Array, count: int) -> Array:
    """w [w_dim] for so many layers, [count, w_dim]."""
    return jnp.tile(w, (count, 1))


def plan(recipe: InversionConfig) -> view_fitting.Plan:
    """Stage 1 as data: the learning rate ramps up linearly and down along a cosine, the noise fades (StyleGAN2)."""
    config = recipe.latent
    t = np.arange(config.steps) / max(config.steps, 1)
    down = np.minimum(1.0, (1.0 - t) / max(config.ramp_down, 1e-8))
    up = np.minimum(1.0, t / _RAMP_UP)
    ramp = (0.5 - 0.5 * np.cos(np.pi * down)) * up
    return view_fitting.plan(
        config.steps,
        code_rate=config.learning_rate * ramp,
        camera_rate=config.camera_rate * ramp,
        noise=config.noise * np.square(np.maximum(0.0, 1.0 - t / _NOISE_RAMP)),
        regularisation=config.regularisation,
    )


def hand_on(draft: Draft, fitted: dict[str, Any]) -> Draft:
    """The pivot, and the cameras as they were refined with it, from the variables of `view_fitting`."""
    refined = []
    for photograph, pose in zip(draft.photographs, fitted["poses"], strict=True):
        if photograph.pose is not None:
            photograph = photograph.replace(camera=poses.to_camera(pose, draft.generator.config), pose=pose)
        refined.append(photograph)
    return draft.replace(photographs=tuple(refined), code=fitted["code"])
