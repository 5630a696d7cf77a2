"""The whole method for one image: camera, latent code, tuning, pseudo-views, joint tuning (HFGI3D figure 2).

It is defined once, by `stages`. `invert` takes one image through them, `batch` many at a time.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Generator as Coroutine
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax.cameras import poses
from pmv_jax.checkpoints import lpips as lpips_weights
from pmv_jax.checkpoints import orbax as checkpoints
from pmv_jax.config import GeneratorConfig, InversionConfig, LossConfig, from_dict, to_dict
from pmv_jax.errors import InputError
from pmv_jax.inversion import camera as camera_search
from pmv_jax.inversion import latent, pseudo_views, tuning
from pmv_jax.inversion import tuned_weights as parameters
from pmv_jax.inversion import view_fitting as fitting
from pmv_jax.inversion.adam_loop import State
from pmv_jax.inversion.image_run import Fitted, ImageRun, Progress, Stage, StageRecord
from pmv_jax.inversion.pseudo_views import PseudoViews
from pmv_jax.models.generator import Generator
from pmv_jax.models.lpips import Lpips

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Inversion:
    """A photograph as a head that can be rendered from anywhere.

    Attributes:
      generator: with the tuned parameters.
      ws: pivot [num_ws, w_dim].
      camera: [25] of the input.
      config: the recipe.
      stages: what was run.
      pseudo_views: what the joint tuning was shown; None if it was not run, or after loading.
      tuned: what was tuned of the generator, see `parameters`; None after loading all of it.
    """

    generator: Generator
    ws: np.ndarray
    camera: np.ndarray
    config: InversionConfig
    stages: tuple[StageRecord, ...] = ()
    pseudo_views: PseudoViews | None = None
    tuned: Any = None

    def render(self, cameras: np.ndarray | Array) -> dict[str, np.ndarray]:
        """cameras [V, 25] -> image [V, H, W, 3] in about [-1, 1], image_raw [V, n, n, 3], ray_distance [V, n, n]."""
        return jax.tree.map(np.asarray, _render(self.generator, jnp.asarray(self.ws), jnp.asarray(cameras)))

    def save(self, path: str | Path, base: Generator | None = None) -> None:
        """Writes the inversion as a directory; it must not exist.

        Args:
          base: the generator that was tuned. Then what was tuned is all that is written of it, and `load_inversion`
            needs the same generator again. By default the directory holds all that it takes.

        Raises:
          InputError: it exists, or cannot be written.
          ValueError: `base` with what was tuned is not this generator, because it is another, or was edited since.
        """
        if base is not None and not _same(self.generator, base, self.tuned):
            raise ValueError("base: is not the generator that was tuned, or its parameters were edited since")
        tree = {
            **({"variables": self.generator.variables} if base is None else {"tuned": self.tuned}),
            "ws": self.ws,
            "camera": self.camera,
            "losses": {stage.name: stage.losses for stage in self.stages if stage.steps},
        }
        checkpoints.save_tree(path, tree)
        meta = {
            "format": _FORMAT,
            "base": base and base.fingerprint(),
            "generator": to_dict(self.generator.config),
            "config": to_dict(self.config),
            "stages": [{"name": stage.name, "seconds": stage.seconds} for stage in self.stages],
        }
        (Path(path) / "inversion.json").write_text(json.dumps(meta, indent=2) + "\n")


def load_inversion(path: str | Path, base: Generator | None = None) -> Inversion:
    """Reads what `Inversion.save` wrote; also takes a result directory of `python -m pmv_jax.invert`.

    Args:
      base: the generator that was tuned, for an inversion that was saved without it.

    Raises:
      InputError: there is no inversion, or it is damaged or of another format, or `base` is missing or another.
    """
    path = Path(path)
    path = path / "inversion" if (path / "inversion").is_dir() else path
    try:
        meta = json.loads((path / "inversion.json").read_text())
        version = meta["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no inversion here ({error}); give a result of python -m pmv_jax.invert") from error
    if version != _FORMAT:
        raise InputError(f"{path}: inversion format {version}, this program reads {_FORMAT}; invert the image again")
    try:
        family, config = from_dict(GeneratorConfig, meta["generator"]), from_dict(InversionConfig, meta["config"])
    except InputError as error:
        raise InputError(f"{path}: written by another version of pmv_jax ({error}); invert the image again") from error
    needed = meta.get("base")
    if needed and (base is None or base.fingerprint() != needed):
        problem = "holds only what was tuned" if base is None else "was tuned from another generator than the one given"
        raise InputError(f"{path}: {problem}; give load_inversion the one whose fingerprint is {needed[:12]}...")
    tree = checkpoints.load_tree(path)
    losses = tree.get("losses", {})
    stages = tuple(
        StageRecord(stage["name"], stage["seconds"], np.asarray(losses.get(stage["name"], np.zeros(0))))
        for stage in meta["stages"]
    )
    if needed:
        tuned = jax.tree.map(jnp.asarray, tree["tuned"])
        return Inversion(_merged(base, tuned), tree["ws"], tree["camera"], config, stages, tuned=tuned)
    generator = Generator(family, jax.tree.map(jnp.asarray, tree["variables"]))
    return Inversion(generator, tree["ws"], tree["camera"], config, stages)


def _same(generator: Generator, base: Generator, tuned: Any) -> bool:
    """Whether `base` with what was tuned is this generator, to the last bit."""
    if tuned is None or generator.config != base.config:
        return False
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, generator.variables, _merged(base, tuned).variables)))


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
_render = jax.jit(pseudo_views.render)
_merged = jax.jit(parameters.merged)
