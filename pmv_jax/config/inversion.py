"""What is *done* with a generator: the settings of an inversion, which are saved with every result."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from pmv_jax.config.registry import PERCEPTUAL_TERMS
from pmv_jax.config.settings import MOST_STEPS, Settings, setting
from pmv_jax.errors import InputError


@dataclass(frozen=True)
class LossConfig(Settings, group="loss"):
    """Image loss: `L2 + perceptual_weight * perceptual` (HFGI3D eq. 1 and 6)."""

    perceptual_weight: float = setting(1.0, low=0)
    # "gradients" of the error at several scales stand in for LPIPS, whose weights are not shipped.
    perceptual: str = setting("gradients", names=PERCEPTUAL_TERMS)
    # Of holding the head to the outline of a mask, where there is one; 0 holds it to none. With 0.1 three photographs
    # kept to it a little better, and looked less like their person from the side.
    outline_weight: float = setting(0.02, low=0)
    # Of holding its surface to the depth that the encoder sees in the photograph, per unit of the world; 0 for not.
    surface_weight: float = setting(3.0, low=0)
    # A directory that pmv_jax.convert wrote; None takes what pmv_jax[lpips] installs. With any loss, LPIPS is in
    # metrics.json then.
    lpips_weights: str | None = setting(None)


@dataclass(frozen=True)
class CameraSearchConfig(Settings, group="camera"):
    """Camera estimation, when none is given: random heads and cameras are rendered, and pose and code regressed on what
    they look like; then again around the estimate, or first around the camera that landmarks tell."""

    yaw_range: float = setting(0.6, low=0, high=math.pi)  # radians, either side of frontal
    pitch_range: float = setting(0.4, low=0, high=math.pi / 2)
    heads: int = setting(128, low=2, high=4096)  # drawn for the search
    refine_heads: int = setting(48, low=2, high=4096)  # and for each round of refinement
    refine_steps: int = setting(1, low=0, high=100)  # rounds around the estimate; without them there is no refinement
    resolution: int = setting(32, low=8, high=1024)  # of the pictures compared


@dataclass(frozen=True)
class LatentConfig(Settings, group="latent"):
    """Stage 1: latent optimisation from the average w (StyleGAN2 projector; HFGI3D section 3.1)."""

    steps: int = setting(30, low=0, high=MOST_STEPS)
    learning_rate: float = setting(0.08, low=0)
    ramp_down: float = setting(0.5, low=0, high=1)  # share of the steps
    noise: float = setting(0.05, low=0)  # w noise at the start, in standard deviations of w
    # Pull of all rows of w_plus towards each other, in (standard deviations of w)^2.
    regularisation: float = setting(0.01, low=0)
    space: Literal["w", "w_plus"] = setting("w_plus")
    # Of an estimated camera, which is refined together with the code: learning rate of its yaw and pitch, radians, with
    # the schedule of the code's. A camera that was given stays.
    camera_rate: float = setting(0.006, low=0)


@dataclass(frozen=True)
class WeightsConfig(Settings, group="weights"):
    """What of the generator both tunings change: gradients and Adam's moments exist for that alone."""

    # None: all weights. Otherwise a change of this rank of every array but the mapping's (LoRA, arXiv 2106.09685).
    rank: int | None = setting(None, low=1, high=4096)


@dataclass(frozen=True)
class TuningConfig(Settings, group="tuning"):
    """Stage 2: generator tuning on the input alone, until its perceptual term is small enough (HFGI3D section 3.1)."""

    steps: int = setting(20, low=0, high=MOST_STEPS)
    learning_rate: float = setting(4e-3, low=0)
    # Share of the steps; Adam's first steps move every weight by the full rate.
    warm_up: float = setting(0.1, low=0, high=1)
    final_rate: float = setting(0.2, low=0, high=1)  # share of the learning rate that is left at the end
    # Perceptual term (L2, where the loss has no other) at which the stage ends. None: the loss's own; 0: never.
    early_stop: float | None = setting(0.0, low=0)


@dataclass(frozen=True)
class PseudoViewConfig(Settings, group="pseudo_views"):
    """Stage 3: pseudo-views by warping and inpainting (HFGI3D sections 3.2 and 3.3)."""

    count: int = setting(16, low=1, high=1024)
    # All over an ellipse of angles around the frontal view, or on its rim as in the paper.
    pattern: Literal["disc", "ellipse"] = setting("disc")
    yaw_range: float = setting(0.65, low=0, high=math.pi)  # radians
    pitch_range: float = setting(0.3, low=0, high=math.pi / 2)
    pitch_offset: float = setting(0.0, low=-math.pi / 2, high=math.pi / 2)
    # Of the depth by which the input is warped: so many rays a side for each pixel of the raw picture, at the median of
    # their light. 0: the expected depth that comes with the raw picture.
    depth_detail: int = setting(2, low=0, high=16)
    # Share of the depth by which a point may miss the surface that the input shows.
    depth_tolerance: float = setting(0.01, low=1e-6, high=1)
    # Tangent of the angle to the line of sight past which the input's surface is not copied.
    steepest: float = setting(2.5, low=1e-3)
    erode: float = setting(0.01, low=0, high=0.5)  # width taken off the mask, in units of the image size
    blur: float = setting(0.02, low=0, high=0.5)  # width of the Gaussian (six sigma) that softens its edge
    # Who fills in what the input does not show: the tuned generator; both, the untuned one where nothing was observed
    # and they have the same surface; or before them the input: its mirror image, since faces have two like halves, and
    # its backdrop, continued behind the head; or before these what the encoder's completer tells, where there is one,
    # which also holds the pseudo-views' outline and surface (`loss.outline_weight`, `loss.surface_weight`).
    fill: Literal["tuned", "both", "mirror", "completed"] = setting("completed")
    # Of what the input does not show, in the joint loss: as far as its mirror image does, and of what was made up.
    mirror_weight: float = setting(0.6, low=0)
    hidden_weight: float = setting(0.2, low=0)


@dataclass(frozen=True)
class JointConfig(Settings, group="joint"):
    """Stage 4: tuning on the input and the pseudo-views together (HFGI3D eq. 6)."""

    steps: int = setting(100, low=0, high=MOST_STEPS)
    learning_rate: float = setting(2e-2, low=0)
    warm_up: float = setting(0.1, low=0, high=1)
    final_rate: float = setting(0.1, low=0, high=1)
    views_per_step: int = setting(1, low=1, high=1024)  # no more than there are pseudo-views
    view_weight: float = setting(1.2, low=0)  # of the pseudo-views' mean loss, against the input's
    # Of the pull towards the geometry that the pseudo-views were made with.
    depth_weight: float = setting(0.02, low=0)
    reset_generator: bool = setting(False)  # True: start again from the untuned weights, as the paper does


@dataclass(frozen=True)
class OutputConfig(Settings, group="outputs"):
    """What of a result takes longest, and can be left out; `pmv_jax.render` and `pmv_jax.mesh` make it later."""

    video: bool = setting(True)  # orbit.mp4
    mesh: bool = setting(True)  # mesh.glb
    turntable: bool = setting(True)  # in report.html: the head from 45 sides; otherwise from five


@dataclass(frozen=True)
class InversionConfig(Settings):
    """The whole recipe. Every field can be overridden with `--set stage.field=value`."""

    seed: int = setting(0, low=0, high=2**31 - 1)
    loss: LossConfig = field(default_factory=LossConfig)
    camera: CameraSearchConfig = field(default_factory=CameraSearchConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    pseudo_views: PseudoViewConfig = field(default_factory=PseudoViewConfig)
    joint: JointConfig = field(default_factory=JointConfig)
    outputs: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen, count = self.joint.views_per_step, self.pseudo_views.count
        if chosen > count:
            raise InputError(
                f"setting joint.views_per_step: {chosen} is not a whole number from 1 to {count}, which is "
                "pseudo_views.count"
            )
