"""Stages 2 and 4: tuning the generator's weights around the pivot, on the input alone or with the pseudo-views."""

from __future__ import annotations

from typing import Any

import numpy as np

from pmv_jax.config import InversionConfig, JointConfig, TuningConfig
from pmv_jax.inversion import losses, view_fitting
from pmv_jax.inversion.stage import Draft


def single_view_plan(recipe: InversionConfig) -> view_fitting.Plan:
    """Stage 2: the input alone, until its perceptual term falls to `early_stop`."""
    config = recipe.tuning
    stop = losses.early_stop(recipe.loss) if config.early_stop is None else config.early_stop
    return view_fitting.plan(config.steps, weights_rate=learning_rates(config), stop=stop)


def joint_plan(recipe: InversionConfig) -> view_fitting.Plan:
    """Stage 4: the input and `views_per_step` random pseudo-views each step (HFGI3D eq. 6), and, with a weight, the
    geometry that they were made with."""
    config = recipe.joint
    return view_fitting.plan(
        config.steps,
        weights_rate=learning_rates(config),
        extra_views=config.views_per_step,
        view_weight=config.view_weight,
        depth_weight=config.depth_weight,
    )


def joint_start(draft: Draft) -> Any:
    """The weights that stage 4 starts from: those of stage 2, or the untuned ones, as in the paper."""
    return draft.untuned if draft.config.joint.reset_generator else draft.params


def hand_on(draft: Draft, fitted: dict[str, Any]) -> Draft:
    """The tuned weights, from the variables of `view_fitting`."""
    return draft.replace(params=fitted["params"])


def learning_rates(config: TuningConfig | JointConfig) -> np.ndarray:
    """Learning rates [steps]: after a linear warm-up a cosine down to `final_rate` times the peak."""
    t, warm = np.arange(config.steps), round(config.warm_up * config.steps)
    rise = t / max(warm, 1)
    fall = 0.5 + 0.5 * np.cos(np.pi * (t - warm) / max(config.steps - warm, 1))
    shares = np.where(t < warm, rise, config.final_rate + (1 - config.final_rate) * fall)
    return np.float32(config.learning_rate * shares)
