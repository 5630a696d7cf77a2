"""The stages of the training, and the schedule of the learning rate.

The rate warms up and stays: `images` goes on for as long as there are heads to learn from. `--finish` takes a copy of
the state through the last stage, twice as dear a step, at a rate that falls to zero; what comes out is what ships.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a step of training looks at, and what it minimises."""

    # Without these three, stages are equal if they compile to the same step.
    name: str = dataclasses.field(compare=False)
    steps: int | None = dataclasses.field(compare=False)  # None: open end
    learning_rate: float = dataclasses.field(compare=False)
    plane_resolution: int
    heads: int  # a step
    views: int  # of each head
    rays: int  # of each view; in the image stages the side of the crop, in raw pixels, squared
    images: bool = False  # crops of the final image in place of single pixels
    as_rendered: bool = False  # colours from the samples that rendering takes, not from those around the surface
    guided: int = 20  # samples along a ray, half of them around the true surface
    margin: float = 0.006  # density is free this far before and behind the surface
    geometry_weight: float = 0.1
    distance_weight: float = 0.0  # of the error of the rendered ray distance; it takes `as_rendered`
    # Raw density that empty space is kept from falling below. Where it is far below zero, softplus has no gradient, and
    # an inversion cannot bring a surface there.
    density_floor: float = -4.0

    @property
    def side(self) -> int:
        """Side of a crop in raw pixels."""
        return int(self.rays**0.5)


RECIPE = (
    Stage("rays", 1300, 8e-3, 64, heads=8, views=2, rays=128),
    Stage("images", None, 2e-3, 128, heads=4, views=2, rays=32 * 32, images=True, guided=16),
    Stage(
        "surface",
        None,  # as many as `--finish` says
        1.5e-3,
        128,
        heads=4,
        views=2,
        rays=32 * 32,
        images=True,
        as_rendered=True,
        guided=12,
        margin=0.003,
        geometry_weight=0.2,
        distance_weight=4.0,
    ),
)
WARM_UP = 100  # steps
EMA = 0.999


def warm(stage: Stage, step: int) -> float:
    """Learning rate of step `step` of a stage."""
    return stage.learning_rate * min(1.0, (step + 1) / WARM_UP)


def cooling(stage: Stage, step: int, steps: int) -> float:
    """Learning rate of step `step` out of the last `steps`: after a tenth of them to warm up, it falls as one minus a
    square root (Hägele et al., "Scaling laws and compute-optimal training beyond fixed training durations",
    arXiv 2405.18392)."""
    warm_up = max(1, steps // 10)
    return stage.learning_rate * float(1 - np.sqrt(step / steps)) * min(1.0, (step + 1) / warm_up)
