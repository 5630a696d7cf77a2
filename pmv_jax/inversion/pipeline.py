"""The whole method for one image: camera, latent code, tuning, pseudo-views, joint tuning (HFGI3D figure 2).

It is defined once, by `stages`. `invert` takes one image through them, `batch` many at a time.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator as Coroutine
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax.cameras import poses
from pmv_jax.checkpoints import lpips as lpips_weights
from pmv_jax.config import InversionConfig, LossConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion import camera as camera_search
from pmv_jax.inversion import latent, pseudo_views, tuning
from pmv_jax.inversion import tuned_weights as parameters
from pmv_jax.inversion import view_fitting as fitting
from pmv_jax.inversion.adam_loop import State
from pmv_jax.inversion.image_run import Fitted, ImageRun, Progress, Stage, StageRecord
from pmv_jax.inversion.result import Inversion
from pmv_jax.models.generator import Generator
from pmv_jax.models.lpips import Lpips


def invert(
    image: np.ndarray | Array,
    camera: np.ndarray | Array | None,
    generator: Generator,
    config: InversionConfig | None = None,
    progress: Progress | None = None,
    state_directory: str | Path | None = None,
    camera_guess: np.ndarray | Array | None = None,
) -> Inversion:
    """Inverts one image.

    Args:
      image: [H, W, 3] in [-1, 1] at the generator's image resolution.
      camera: [25]; None searches for it.
      generator: where to start from; it is left as it is.
      config: the recipe; None is the default one.
      progress: called at the start of a stage (with a loss of NaN) and after every chunk of steps.
      state_directory: where to keep state from which an interrupted run goes on; it is used if there is some. The
        caller sees to it that it belongs to the same image, generator and config.
      camera_guess: [25], near which the camera is, for example from landmarks (`faces.pose`); it takes the place of
        the search. No matter where `camera` is given.

    Raises:
      InputError: an image of the wrong size, or not finite.
      NumericalError: a loss became NaN or infinite.
    """
    config = InversionConfig() if config is None else config
    course = stages(image, camera, generator, config, camera_guess)
    inversion, records = _run(ImageRun(course, config.seed, progress, state_directory), generator)
    return dataclasses.replace(inversion, stages=records)


def search_camera(
    image: np.ndarray | Array,
    generator: Generator,
    config: InversionConfig | None = None,
    guess: np.ndarray | Array | None = None,
) -> np.ndarray:
    """Stage 0 alone: the camera [25] of one image [H, W, 3], see `invert`."""
    config = InversionConfig() if config is None else config
    course = _camera_stages(jnp.asarray(image, jnp.float32), generator, config, guess)
    found, _ = _run(ImageRun(course, config.seed), generator)
    return np.asarray(poses.to_camera(found.pose, generator.config))


def stages(
    image: np.ndarray | Array,
    camera: np.ndarray | Array | None,
    generator: Generator,
    config: InversionConfig,
    camera_guess: np.ndarray | Array | None = None,
) -> Coroutine[Stage, Fitted, Inversion]:
    """The method as a coroutine: yields each fit it asks for, is sent what came of it, and returns the Inversion.

    Whoever drives it decides where and with how many others the fits are run. Arguments and errors: see `invert`.
    """
    size = generator.config.image_resolution
    image = jnp.asarray(image, jnp.float32)
    if image.shape != (size, size, 3):
        raise InputError(f"image of shape {image.shape}; this generator takes [{size}, {size}, 3]")
    if not bool(jnp.isfinite(image).all()):
        raise InputError("image has values that are not finite")
    program = _FitViews(config.loss, fitting.views_at_once(config.joint.views_per_step))
    program.network()  # if its weights are not there, better now
    pose, plan = None, latent.plan(config.latent)
    if camera is None:
        found = yield from _camera_stages(image, generator, config, camera_guess)
        camera = poses.to_camera(found.pose, generator.config)
        if config.latent.camera_rate:
            pose = found.pose
            plan = plan.replace(pose=pose, pose_pull=jnp.float32(config.latent.camera_pull))
    camera = jnp.asarray(camera, jnp.float32)
    stats = latent.statistics(generator, camera)
    room = config.pseudo_views.count if config.joint.steps else 0
    alone = fitting.single_view(image, camera, room, generator.config.rendering.neural_resolution)

    def fit(
        name: str,
        plan: fitting.Plan,
        steps: int,
        code: Array,
        params: Any,
        views: fitting.Views,
        pose: Array | None = None,
    ) -> Stage:
        own_program = dataclasses.replace(program, fits_camera=pose is not None)
        return Stage(name, steps, own_program, fitting.start(*_copy((code, params, pose))), (views, plan, stats.std))

    code, untuned = latent.average(generator, stats, config.latent), parameters.start(generator.params, config.weights)
    pivot = (yield fit("latent", plan, config.latent.steps, code, untuned, alone, pose))[0]
    if pose is not None:
        camera = poses.to_camera(pivot["pose"], generator.config)
        alone = alone._replace(cameras=jnp.broadcast_to(camera, alone.cameras.shape))
    code, plan = pivot["code"], tuning.single_view_plan(config.tuning, config.loss)
    ws = fitting.w_plus(code, generator)
    params = (yield fit("tuning", plan, config.tuning.steps, code, pivot["params"], alone))[0]["params"]
    occluded = pivot["params"]
    if config.occluded.steps:
        mask = pseudo_views.familiar(generator, ws, image, camera, config.occluded.difference)
        known, plan = alone._replace(weights=mask * alone.weights), tuning.occluded_plan(config.occluded)
        occluded = (yield fit("occluded", plan, config.occluded.steps, code, occluded, known))[0]["params"]
    made = None
    if config.joint.steps:
        tuned, other = _merged(generator, params), _merged(generator, occluded)
        made = pseudo_views.make(tuned, other, ws, image, camera, config=config.pseudo_views)
        origin = pivot["params"] if config.joint.reset_generator else params
        plan = tuning.joint_plan(config.joint)
        params = (yield fit("joint", plan, config.joint.steps, code, origin, made.targets(alone)))[0]["params"]
    tuned = _merged(generator, params)
    return Inversion(tuned, np.asarray(ws), np.asarray(camera), config, pseudo_views=made, tuned=params)


def _camera_stages(
    image: Array, generator: Generator, config: InversionConfig, guess: np.ndarray | Array | None
) -> Coroutine[Stage, Fitted, camera_search.Estimate]:
    """Stage 0 as a coroutine: gives what is known of the camera."""
    search, codes = config.camera, camera_search.random_codes(generator)
    sizes = {"views": search.views, "resolution": search.resolution}
    if guess is None:
        start, program = camera_search.start(camera_search.unknown(codes, search)), _FindCamera(search.heads, **sizes)
        known = (yield Stage("camera", 1, program, start, (image,))).variables
    else:
        known = camera_search.around(jnp.asarray(guess, jnp.float32), codes, search)
    start, program = camera_search.start(known), _FindCamera(search.refine_heads, **sizes)
    return (yield Stage("camera_refinement", search.refine_steps, program, start, (image,))).variables


@dataclasses.dataclass(frozen=True)
class _FitViews:
    """`fitting.run` as a program."""

    loss: LossConfig
    views_at_once: int
    fits_camera: bool = False  # whether its variables have a pose

    def network(self) -> Lpips | None:
        return _lpips(self.loss) if self.loss.uses_lpips else None

    def __call__(
        self, state: State, generator: Generator, network: Lpips | None, own: Any, key: Array, steps: Array
    ) -> tuple[State, Array]:
        fixed = {"loss_config": self.loss, "views_at_once": self.views_at_once}
        return fitting.run(state, generator, *own, network, key, steps, **fixed)


@dataclasses.dataclass(frozen=True)
class _FindCamera:
    """`camera_search.run` as a program."""

    heads: int
    views: int
    resolution: int

    def network(self) -> None:
        return None

    def __call__(
        self, state: State, generator: Generator, network: None, own: Any, key: Array, steps: Array
    ) -> tuple[State, Array]:
        return camera_search.run(state, generator, *own, key, steps, **dataclasses.asdict(self))


def _run(run: ImageRun, generator: Generator) -> tuple[Any, tuple[StageRecord, ...]]:
    """Takes one image through its stages: the result, and what was run."""
    while (stage := run.stage) is not None:
        network = stage.program.network()
        run.advance(*stage.program(run.state, generator, network, stage.own, run.key, run.chunk))
    return run.result, tuple(run.records)


def _copy(tree: Any) -> Any:
    """Fresh buffers: the loops donate theirs."""
    return jax.tree.map(jnp.array, tree)


_lpips = functools.cache(lpips_weights.configured)  # one for all images
_merged = jax.jit(parameters.merged)
