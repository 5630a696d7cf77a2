"""Stages 2 and 4: tuning the generator's weights around the pivot, on the input alone or with the pseudo-views; and the
separate tuning for occluded parts."""

from __future__ import annotations

import numpy as np
import optax

from pmv_jax.config import JointConfig, LossConfig, OccludedConfig, TuningConfig
from pmv_jax.inversion import losses
from pmv_jax.inversion import view_fitting as fitting


def single_view_plan(config: TuningConfig, loss: LossConfig) -> fitting.Plan:
    """Stage 2: the input alone, until its perceptual term falls to `early_stop`."""
    stop = losses.EARLY_STOP[loss.perceptual] if config.early_stop is None else config.early_stop
    return fitting.plan(config.steps, weights_rate=_rates(config), stop=stop)


def occluded_plan(config: OccludedConfig) -> fitting.Plan:
    """For the occluded parts: the input alone, as far as `fitting.Views.weights` lets it count."""
    return fitting.plan(config.steps, weights_rate=_rates(config))


def joint_plan(config: JointConfig) -> fitting.Plan:
    """Stage 4: the input and `views_per_step` random pseudo-views each step (HFGI3D eq. 6), and, with a weight, the
    geometry that they were made with."""
    return fitting.plan(
        config.steps,
        weights_rate=_rates(config),
        extra_views=config.views_per_step,
        view_weight=config.view_weight,
        depth_weight=config.depth_weight,
    )


def _rates(config: TuningConfig | OccludedConfig | JointConfig) -> np.ndarray:
    """Learning rates [steps]: after a linear warm-up a cosine down to `final_rate` times the peak."""
    peak = config.learning_rate
    schedule = optax.warmup_cosine_decay_schedule(
        0.0 if config.warm_up else peak,
        peak,
        round(config.warm_up * config.steps),
        max(config.steps, 1),
        config.final_rate * peak,
    )
    return np.asarray(schedule(np.arange(config.steps)))
