"""The whole method for one image: camera, latent code, tuning, pseudo-views, joint tuning (HFGI3D figure 2)."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import checkpoints, lpips_weights
from pmv_jax.config import GeneratorConfig, InversionConfig, from_dict, to_dict
from pmv_jax.errors import InputError, NumericalError
from pmv_jax.generator import Generator
from pmv_jax.inversion import camera_search, fitting, latent, optimisation, pseudo_views, tuning
from pmv_jax.inversion.optimisation import CHUNK
from pmv_jax.inversion.pseudo_views import PseudoViews

Variables = dict[str, Any]  # code and params
Progress = Callable[[str, int, int, float], None]  # stage, steps done, steps in all, loss

SAVE_SECONDS = 20.0  # time between two saves of resumable state
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """What a stage did. `losses` [steps] are those before each step."""

    name: str
    seconds: float
    losses: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def loss_first(self) -> float:
        return float(self.losses[0]) if self.steps else float("nan")

    @property
    def loss_last(self) -> float:
        return float(self.losses[-1]) if self.steps else float("nan")


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
    """

    generator: Generator
    ws: np.ndarray
    camera: np.ndarray
    config: InversionConfig
    stages: tuple[StageRecord, ...] = ()
    pseudo_views: PseudoViews | None = None

    def render(self, cameras: np.ndarray | Array) -> dict[str, np.ndarray]:
        """cameras [V, 25] -> image [V, H, W, 3] in about [-1, 1], image_raw [V, n, n, 3], ray_distance [V, n, n]."""
        return jax.tree.map(np.asarray, _render(self.generator, jnp.asarray(self.ws), jnp.asarray(cameras)))

    def save(self, path: str | Path) -> None:
        """Writes the inversion as a directory; it must not exist.

        Raises:
          InputError: it exists, or cannot be written.
        """
        tree = {
            "variables": self.generator.variables,
            "ws": self.ws,
            "camera": self.camera,
            "losses": {stage.name: stage.losses for stage in self.stages if stage.steps},
        }
        checkpoints.save_tree(path, tree)
        meta = {
            "format": _FORMAT,
            "generator": to_dict(self.generator.config),
            "config": to_dict(self.config),
            "stages": [{"name": stage.name, "seconds": stage.seconds} for stage in self.stages],
        }
        (Path(path) / "inversion.json").write_text(json.dumps(meta, indent=2) + "\n")


def load_inversion(path: str | Path) -> Inversion:
    """Reads what `Inversion.save` wrote; also takes a result directory of `python -m pmv_jax.invert`.

    Raises:
      InputError: there is no inversion, or it is damaged or of another format.
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
    tree = checkpoints.load_tree(path)
    losses = tree.get("losses", {})
    stages = tuple(
        StageRecord(stage["name"], stage["seconds"], np.asarray(losses.get(stage["name"], np.zeros(0))))
        for stage in meta["stages"]
    )
    generator = Generator(family, jax.tree.map(jnp.asarray, tree["variables"]))
    return Inversion(generator, tree["ws"], tree["camera"], config, stages)


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
    size = generator.config.image_resolution
    image = jnp.asarray(image, jnp.float32)
    if image.shape != (size, size, 3):
        raise InputError(f"image of shape {image.shape}; this generator takes [{size}, {size}, 3]")
    if not bool(jnp.isfinite(image).all()):
        raise InputError("image has values that are not finite")
    lpips = lpips_weights.configured(config.loss) if config.loss.uses_lpips else None
    runner = _Runner(jax.random.key(config.seed), progress, None if state_directory is None else Path(state_directory))

    if camera is None:
        camera = _search_camera(runner, generator, image, config, camera_guess)
    camera = jnp.asarray(camera, jnp.float32)
    stats = latent.statistics(generator, camera)
    room = config.pseudo_views.count if config.joint.steps else 0
    alone = fitting.single_view(image, camera, room)
    side_by_side = fitting.views_at_once(config.joint.views_per_step)

    def fit(name: str, plan: fitting.Plan, steps: int, start: Variables, views: fitting.Views) -> Variables:
        fixed = {"loss_config": config.loss, "views_at_once": side_by_side}
        return runner.stage(
            name,
            steps,
            lambda: fitting.start(*_copy((start["code"], start["params"]))),
            lambda state, key, n: fitting.run(state, generator, views, plan, stats.std, lpips, key, n, **fixed),
        )

    start = {"code": latent.average(generator, stats, config.latent), "params": generator.params}
    pivot = fit("latent", latent.plan(config.latent), config.latent.steps, start, alone)
    ws = fitting.w_plus(pivot["code"], generator)
    tuned = fit("tuning", tuning.single_view_plan(config.tuning), config.tuning.steps, pivot, alone)
    made = None
    if config.joint.steps:
        made = pseudo_views.make(
            generator.with_params(tuned["params"]), generator, ws, image, camera, config=config.pseudo_views
        )
        views = jax.tree.map(lambda a, b: jnp.concatenate([a[:1], b]), alone, made.targets())
        origin = pivot if config.joint.reset_generator else tuned
        tuned = fit("joint", tuning.joint_plan(config.joint), config.joint.steps, origin, views)
    return Inversion(
        generator.with_params(tuned["params"]), np.asarray(ws), np.asarray(camera), config, tuple(runner.records), made
    )


def search_camera(
    image: np.ndarray | Array,
    generator: Generator,
    config: InversionConfig | None = None,
    guess: np.ndarray | Array | None = None,
) -> np.ndarray:
    """Stage 0 alone: the camera [25] of one image [H, W, 3], see `invert`."""
    config = InversionConfig() if config is None else config
    runner = _Runner(jax.random.key(config.seed), None, None)
    return np.asarray(_search_camera(runner, generator, jnp.asarray(image, jnp.float32), config, guess))


def _search_camera(
    runner: _Runner, generator: Generator, image: Array, config: InversionConfig, guess: np.ndarray | Array | None
) -> Array:
    search = config.camera
    codes = latent.random_codes(generator, camera_search.to_camera(jnp.zeros(2), generator.config))
    if guess is None:
        known = camera_search.unknown(codes, search)
    else:
        known = camera_search.around(jnp.asarray(guess, jnp.float32), codes, search)
    fixed = {"config": search, "searching": guess is None}
    found = runner.stage(
        "camera",
        search.refine_steps + (guess is None),
        lambda: camera_search.start(known),
        lambda state, key, n: camera_search.run(state, codes, generator, image, key, steps=n, **fixed),
    )
    return camera_search.to_camera(found.pose, generator.config)


class _Runner:
    """Runs stages chunk by chunk on the host's side: progress, records, resumable state, the check for NaN."""

    def __init__(self, key: Array, progress: Progress | None, directory: Path | None) -> None:
        self.key, self.progress, self.directory = key, progress, directory
        self.records: list[StageRecord] = []

    def stage(
        self,
        name: str,
        steps: int,
        start: Callable[[], optimisation.State],
        run: Callable[[optimisation.State, Array, int], tuple[optimisation.State, Array]],
    ) -> Any:
        """Runs a stage to its end, from its saved state if there is one, and returns its variables."""
        key = jax.random.fold_in(self.key, len(self.records))
        state, losses, seconds = self._load(name, start())
        begun = saved = time.monotonic()
        if self.progress:
            self.progress(name, len(losses), steps, math.nan)
        chunks = optimisation.in_chunks(lambda state, n: run(state, key, n), state, losses, steps, CHUNK)
        for state, losses in chunks:
            if not np.isfinite(losses).all():
                step = int(np.argmin(np.isfinite(losses)))
                raise NumericalError(
                    f"stage {name}: the loss is {losses[step]} at step {step}; "
                    f"try a lower learning rate (--set {name.split('_')[0]}.learning_rate=...)"
                )
            if self.progress:
                self.progress(name, len(losses), steps, float(losses[-1]))
            now = time.monotonic()
            if len(losses) >= steps or now - saved > SAVE_SECONDS:
                self._save(name, state, losses, seconds + now - begun)
                saved = now
        self.records.append(StageRecord(name, seconds + time.monotonic() - begun, losses))
        return state.variables

    def _save(self, name: str, state: optimisation.State, losses: np.ndarray, seconds: float) -> None:
        if self.directory is not None:
            leaves = {f"{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(state))}
            tree = {"state": leaves, "losses": losses, "seconds": np.float64(seconds)}
            checkpoints.save_tree(self.directory / name, tree, replace=True)

    def _load(self, name: str, state: optimisation.State) -> tuple[optimisation.State, np.ndarray, float]:
        if self.directory is None or not (self.directory / name).is_dir():
            return state, np.zeros(0, np.float32), 0.0
        tree = checkpoints.load_tree(self.directory / name)
        leaves = [jnp.asarray(tree["state"][key]) for key in sorted(tree["state"])]
        return jax.tree.unflatten(jax.tree.structure(state), leaves), tree["losses"], float(tree["seconds"])


def _copy(tree: Any) -> Any:
    """Fresh buffers: the loops donate theirs."""
    return jax.tree.map(jnp.array, tree)


_render = jax.jit(pseudo_views.render)
