"""Stages 2 and 4: tuning the generator's weights around the pivot, on the input alone or on the input and pseudo-views.

Each joint step paints the tri-planes once and renders all its views from them; the released code runs the whole network
for the input and again for one pseudo-view.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from pmv_jax.config import JointConfig, LossConfig, TuningConfig
from pmv_jax.generator import Generator
from pmv_jax.inversion import optimisation
from pmv_jax.inversion.pseudo_views import PseudoViews
from pmv_jax.losses import image_loss

Params = Any


def optimiser(config: TuningConfig | JointConfig) -> optax.GradientTransformation:
    """Adam; after a linear warm-up the rate falls along a cosine to `final_rate` times its peak."""
    peak = config.learning_rate
    schedule = optax.warmup_cosine_decay_schedule(
        0.0 if config.warm_up else peak,
        peak,
        round(config.warm_up * config.steps),
        config.steps,
        config.final_rate * peak,
    )
    return optax.adam(schedule, 0.9, 0.999)


def start(params: Params, config: TuningConfig | JointConfig) -> optimisation.State:
    return optimisation.start(params, optimiser(config))


@functools.partial(jax.jit, static_argnames=("config", "loss_config", "steps"), donate_argnames=("state",))
def run_single(
    state: optimisation.State,
    generator: Generator,
    ws: Array,
    image: Array,
    camera: Array,
    key: Array,
    *,
    config: TuningConfig,
    loss_config: LossConfig,
    steps: int,
) -> tuple[optimisation.State, Array]:
    """Stage 2: `steps` steps on the input alone, until its loss falls to `stop_loss`.

    Args:
      state: its variables are the parameters.
      generator: gives config and buffers; its own parameters are not used.
      ws: the pivot [num_ws, w_dim].
      image, camera: [H, W, 3], [25].
    """

    def loss(params: Params, step: Array, key: Array) -> Array:
        out = generator.with_params(params).synthesis(ws[None], camera[None])
        return image_loss(out["image"][0], image, loss_config)

    return optimisation.run(loss, optimiser(config), state, key, steps, config.stop_loss)


@functools.partial(jax.jit, static_argnames=("config", "loss_config", "steps"), donate_argnames=("state",))
def run_joint(
    state: optimisation.State,
    generator: Generator,
    ws: Array,
    image: Array,
    camera: Array,
    views: PseudoViews,
    key: Array,
    *,
    config: JointConfig,
    loss_config: LossConfig,
    steps: int,
) -> tuple[optimisation.State, Array]:
    """Stage 4: `steps` steps on the input and `views_per_step` random pseudo-views each (HFGI3D eq. 6)."""

    def loss(params: Params, step: Array, key: Array) -> Array:
        chosen = jax.random.choice(key, views.cameras.shape[0], (config.views_per_step,), replace=False)
        cameras = jnp.concatenate([camera[None], views.cameras[chosen]])
        tuned = generator.with_params(params)
        planes = tuned.planes(ws)
        rendered = jax.vmap(lambda c: tuned.render_view(planes, ws, c))(cameras)
        losses = jax.vmap(lambda *view: image_loss(*view[:2], loss_config, view[2]))(
            rendered["image"][1:], views.blend[chosen], views.weight[chosen]
        )
        return image_loss(rendered["image"][0], image, loss_config) + config.view_weight * losses.mean()

    return optimisation.run(loss, optimiser(config), state, key, steps)
