"""Stages 2 and 4: tuning the generator's weights around the pivot, on the input alone or with the pseudo-views."""

from __future__ import annotations

import numpy as np
import optax

from pmv_jax.config import JointConfig, TuningConfig
from pmv_jax.inversion import fitting


def single_view_plan(config: TuningConfig) -> fitting.Plan:
    """Stage 2: the input alone, until its loss falls to `stop_loss`."""
    return fitting.plan(config.steps, weights_rate=_rates(config), stop_loss=config.stop_loss)


def joint_plan(config: JointConfig) -> fitting.Plan:
    """Stage 4: the input and `views_per_step` random pseudo-views each step (HFGI3D eq. 6)."""
    return fitting.plan(
        config.steps, weights_rate=_rates(config), extra_views=config.views_per_step, view_weight=config.view_weight
    )


def _rates(config: TuningConfig | JointConfig) -> np.ndarray:
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
