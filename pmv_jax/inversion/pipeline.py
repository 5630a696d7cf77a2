"""The whole method for one image: camera, latent code, tuning, pseudo-views, joint tuning (HFGI3D figure 2).

It is defined once, by `METHOD`. `invert` takes one image through it, `batch` many at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from collections.abc import Generator as Coroutine
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
from jax import Array

from pmv_jax.config import InversionConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion import camera as camera_search
from pmv_jax.inversion import latent, losses, outline, pseudo_views, tuned_weights, tuning, view_fitting
from pmv_jax.inversion.fit_stage import ViewFit
from pmv_jax.inversion.image_run import ImageRun, Progress, StageRecord
from pmv_jax.inversion.result import Inversion
from pmv_jax.inversion.stage import Draft, Stage, StageRequest
from pmv_jax.models.encoder import Encoder
from pmv_jax.models.generator import Generator

Tree = Any
Look = Callable[[Inversion], None]

METHOD: tuple[Stage, ...] = (
    camera_search.Search("camera"),
    camera_search.Refinement("camera_refinement"),
    outline.FindBackdrop("backdrop"),
    ViewFit(
        "latent",
        settings=lambda recipe: recipe.latent,
        plan=latent.plan,
        fits_pose=True,
        hand_on=latent.hand_on,
    ),
    ViewFit(
        "tuning",
        settings=lambda recipe: recipe.tuning,
        plan=tuning.single_view_plan,
        hand_on=tuning.hand_on,
    ),
    ViewFit(
        "joint",
        settings=lambda recipe: recipe.joint,
        plan=tuning.joint_plan,
        prepare=pseudo_views.added,
        params=tuning.joint_start,
        views=pseudo_views.targets,
        hand_on=tuning.hand_on,
    ),
)
"""The stages in their order. A stage's random key follows from the seed and its name, whatever stands beside it."""

_CAMERA_STAGES = METHOD[:2]


def invert(
    image: np.ndarray | Array,
    camera: np.ndarray | Array | None,
    generator: Generator,
    config: InversionConfig | None = None,
    progress: Progress | None = None,
    state_directory: str | Path | None = None,
    camera_guess: np.ndarray | Array | None = None,
    method: Sequence[Stage] = METHOD,
    weights: np.ndarray | Array | None = None,
    matte: np.ndarray | Array | None = None,
    encoder: Encoder | None = None,
    look: Look | None = None,
) -> Inversion:
    """Inverts one image.

    Args:
      image: [H, W, 3] in [-1, 1] at the generator's image resolution.
      camera: [25]; None searches for it.
      generator: where to start from; it is left as it is.
      config: the recipe; None is the default one.
      progress: called at the start of a stage (with a loss of NaN) and after every chunk of steps.
      state_directory: where to keep state from which an interrupted run goes on; it is used if there is some. The
        caller sees to it that it belongs to the same image, generator, config and method.
      camera_guess: [25], near which the camera is, for example from landmarks (`faces.pose`); it takes the place of
        the search. No matter where `camera` is given.
      method: the stages.
      weights: [H, W] in [0, 1], how far each pixel of the image is to be believed: those of weight 0 are neither fitted
        nor warped into pseudo-views, and say nothing of the camera. None is 1 everywhere.
      matte: [H, W] in [0, 1], the share of each pixel that is head, hair or clothes: the head's geometry is held to its
        outline, and no pseudo-view shows what lies on the wrong side of that. None where nobody says.
      encoder: of the generator: fitting begins with what it sees in the image. None begins with the average head, and
        searches for the camera by rendering random ones.
      look: called with the inversion as it stands, whenever a stage has changed its head and others follow.

    Raises:
      InputError: an image or camera of the wrong size, or not finite; or the loss's network is not there.
      NumericalError: a loss became NaN or infinite.
    """
    config = InversionConfig() if config is None else config
    course = stages(image, camera, generator, config, camera_guess, method, weights, matte, encoder, look)
    inversion, records = _run(ImageRun(course, config.seed, progress, state_directory), generator)
    return dataclasses.replace(inversion, stages=records)


def search_camera(
    image: np.ndarray | Array,
    generator: Generator,
    config: InversionConfig | None = None,
    guess: np.ndarray | Array | None = None,
    weights: np.ndarray | Array | None = None,
    encoder: Encoder | None = None,
) -> np.ndarray:
    """Stage 0 alone: the camera [25] of one image [H, W, 3]. Arguments and errors: see `invert`."""
    config = InversionConfig() if config is None else config
    course = _course(_first_draft(image, None, generator, config, guess, weights, encoder=encoder), _CAMERA_STAGES)
    draft, _ = _run(ImageRun(course, config.seed), generator)
    return np.asarray(draft.camera)


def stages(
    image: np.ndarray | Array,
    camera: np.ndarray | Array | None,
    generator: Generator,
    config: InversionConfig,
    camera_guess: np.ndarray | Array | None = None,
    method: Sequence[Stage] = METHOD,
    weights: np.ndarray | Array | None = None,
    matte: np.ndarray | Array | None = None,
    encoder: Encoder | None = None,
    look: Look | None = None,
) -> Coroutine[StageRequest, Tree, Inversion]:
    """The method as a coroutine: yields each fit it asks for, is sent the fitted variables, and returns the Inversion.

    Whoever drives it decides where and with how many others the fits are run. Arguments and errors: see `invert`.
    """
    draft = _first_draft(image, camera, generator, config, camera_guess, weights, matte, encoder)
    losses.load_network(config.loss)  # if its weights are not there, better now
    draft = yield from _course(draft, method, look)
    return _inversion(draft)


def _inversion(draft: Draft) -> Inversion:
    ws = view_fitting.w_plus(draft.code, draft.generator)
    tuned = _merged(draft.generator, draft.params)
    kept = {"pseudo_views": draft.pseudo_views, "head_limit": draft.head_limit, "tuned": draft.params}
    return Inversion(tuned, np.asarray(ws), np.asarray(draft.camera), draft.config, **kept)


def _course(draft: Draft, method: Sequence[Stage], look: Look | None = None) -> Coroutine[StageRequest, Tree, Draft]:
    for stage in method:
        before, draft = draft, (yield from stage.run(draft))
        changed = draft.code is not before.code or draft.params is not before.params
        if look is not None and changed and stage is not method[-1]:
            look(_inversion(draft))
    return draft


def _first_draft(
    image: np.ndarray | Array,
    camera: np.ndarray | Array | None,
    generator: Generator,
    config: InversionConfig,
    camera_guess: np.ndarray | Array | None,
    weights: np.ndarray | Array | None = None,
    matte: np.ndarray | Array | None = None,
    encoder: Encoder | None = None,
) -> Draft:
    """What is known before the first stage. Raises InputError for images and cameras that cannot be used."""
    size = generator.config.image_resolution
    image = _checked("image", image, (size, size, 3))
    guess = None if camera_guess is None else _checked("camera_guess", camera_guess, (25,))
    believed = None if weights is None else _checked("weights", weights, (size, size))
    head = None if matte is None else _checked("matte", matte, (size, size))
    untuned = tuned_weights.start(generator.params, config.weights)
    known = {"weights": believed, "matte": head, "camera_guess": guess}
    draft = Draft(image, generator, config, untuned, params=untuned, **known)
    if encoder is not None:
        draft = draft.replace(encoder=encoder, glance=encoder(image))
    return draft if camera is None else latent.begin(draft, _checked("camera", camera, (25,)))


def _checked(name: str, values: np.ndarray | Array, shape: tuple[int, ...]) -> Array:
    """Values as float32; raises InputError unless they are finite and of this shape."""
    array = jax.device_put(np.asarray(values, np.float32))
    try:
        chex.assert_shape(array, shape)
    except AssertionError as error:
        raise InputError(f"{name} of shape {array.shape}; this generator takes {list(shape)}") from error
    try:
        chex.assert_tree_all_finite(array)
    except AssertionError as error:
        raise InputError(f"{name} has values that are not finite") from error
    return array


def _run(run: ImageRun, generator: Generator) -> tuple[Any, tuple[StageRecord, ...]]:
    """Takes one image through its stages: the result, and what was run."""
    while (stage := run.stage) is not None:
        network = stage.program.network()
        run.advance(*stage.program(run.state, generator, network, stage.own, run.key, run.chunk))
    return run.result, tuple(run.records)


_merged = jax.jit(tuned_weights.merged)
