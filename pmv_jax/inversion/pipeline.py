"""The whole method for one person: camera, latent code, tuning, pseudo-views, joint tuning (HFGI3D figure 2).

It is defined once, by `METHOD`. `invert` takes one image through it, `invert_photographs` several of one person, and
`batch` many persons at a time.
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
from pmv_jax.inversion import latent, losses, outline, pseudo_views, symmetry, tuned_weights, tuning, view_fitting
from pmv_jax.inversion.fit_stage import ViewFit
from pmv_jax.inversion.image_run import ImageRun, Progress, StageRecord
from pmv_jax.inversion.result import Inversion
from pmv_jax.inversion.stage import Draft, Photograph, Stage, StageRequest
from pmv_jax.models.encoder import Encoder
from pmv_jax.models.generator import Generator

Tree = Any
Look = Callable[[Inversion], None]

_CAMERA_STAGES = camera_search.Search("camera"), camera_search.Refinement("camera_refinement")
_SYMMETRY = symmetry.Symmetry("symmetry")

METHOD: tuple[Stage, ...] = (
    *_CAMERA_STAGES,
    outline.FindBackdrop("backdrop"),
    ViewFit(
        "latent",
        settings=lambda recipe: recipe.latent,
        plan=latent.plan,
        fits_poses=True,
        hand_on=latent.hand_on,
    ),
    _SYMMETRY,
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
    """Inverts one image: `invert_photographs` with the one `Photograph(image, camera, camera_guess, weights, matte)`.
    These, [H, W, 3], [25], [25], [H, W] and [H, W], are described there; the other arguments, the return and the errors
    are those of `invert_photographs`."""
    photograph = Photograph(image, camera, camera_guess, weights, matte)
    return invert_photographs([photograph], generator, config, progress, state_directory, method, encoder, look)


def invert_photographs(
    photographs: Sequence[Photograph],
    generator: Generator,
    config: InversionConfig | None = None,
    progress: Progress | None = None,
    state_directory: str | Path | None = None,
    method: Sequence[Stage] = METHOD,
    encoder: Encoder | None = None,
    look: Look | None = None,
) -> Inversion:
    """Inverts one or several photographs of one person, as one head.

    Every step sees all of them, so that a step takes the longer the more there are, and each number of them is a
    program of its own to compile. They should have the same expression and light: one head is to explain them all.

    Args:
      photographs: N of them, at least one. Random keys and the pseudo-views' focal length are the first one's.
      generator: where to start from; it is left as it is.
      config: the recipe; None is the default one.
      progress: called at the start of a stage (with a loss of NaN) and after every chunk of steps.
      state_directory: where to keep state from which an interrupted run goes on; it is used if there is some. The
        caller sees to it that it belongs to the same photographs, generator, config and method.
      method: the stages.
      encoder: of the generator: fitting begins with what it sees in the photographs. None begins with the average head,
        and searches for cameras by rendering random ones.
      look: called with the inversion as it stands, whenever a stage has changed its head and others follow.

    Raises:
      InputError: no photograph; one of the wrong size, or not finite; or the loss's network is not there.
      NumericalError: a loss became NaN or infinite.
    """
    config = InversionConfig() if config is None else config
    course = stages(photographs, generator, config, method, encoder, look)
    inversion, records = _run(ImageRun(course, config.seed, progress, state_directory), generator)
    return dataclasses.replace(inversion, stages=records)


def search_camera(
    image: np.ndarray | Array,
    generator: Generator,
    config: InversionConfig | None = None,
    guess: np.ndarray | Array | None = None,
    weights: np.ndarray | Array | None = None,
    matte: np.ndarray | Array | None = None,
    encoder: Encoder | None = None,
) -> np.ndarray:
    """The camera [25] of one image [H, W, 3], without fitting a head. Arguments and errors: see `invert`."""
    config = InversionConfig() if config is None else config
    photograph = Photograph(image, guess=guess, weights=weights, matte=matte)
    course = _course(_first_draft([photograph], generator, config, encoder), (*_CAMERA_STAGES, _SYMMETRY))
    draft, _ = _run(ImageRun(course, config.seed), generator)
    return np.asarray(draft.photographs[0].camera)


def stages(
    photographs: Sequence[Photograph],
    generator: Generator,
    config: InversionConfig,
    method: Sequence[Stage] = METHOD,
    encoder: Encoder | None = None,
    look: Look | None = None,
) -> Coroutine[StageRequest, Tree, Inversion]:
    """The method as a coroutine: yields each fit it asks for, is sent the fitted variables, and returns the Inversion.

    Whoever drives it decides where and with how many others the fits are run. Arguments and errors: see
    `invert_photographs`.
    """
    draft = _first_draft(photographs, generator, config, encoder)
    losses.load_network(config.loss)  # if its weights are not there, better now
    draft = yield from _course(draft, method, look)
    return _inversion(draft)


def _inversion(draft: Draft) -> Inversion:
    ws = view_fitting.w_plus(draft.code, draft.generator)
    tuned = _merged(draft.generator, draft.params)
    first, *others = (np.asarray(photograph.camera) for photograph in draft.photographs)
    kept = {
        "pseudo_views": draft.pseudo_views,
        "head_limits": tuple(photograph.head_limit for photograph in draft.photographs),
        "tuned": draft.params,
        "other_cameras": np.reshape(others, (-1, 25)),
    }
    return Inversion(tuned, np.asarray(ws), first, draft.config, **kept)


def _course(draft: Draft, method: Sequence[Stage], look: Look | None = None) -> Coroutine[StageRequest, Tree, Draft]:
    method = [stage for stage in method if not stage.left_out(draft.config)]
    for stage in method:
        before, draft = draft, (yield from stage.run(draft))
        changed = draft.code is not before.code or draft.params is not before.params
        if look is not None and changed and stage is not method[-1]:
            look(_inversion(draft))
    return draft


def _first_draft(
    photographs: Sequence[Photograph], generator: Generator, config: InversionConfig, encoder: Encoder | None = None
) -> Draft:
    """What is known before the first stage. Raises InputError for photographs that cannot be used."""
    if not photographs:
        raise InputError("photographs: there is none; give at least one")
    seen = tuple(_seen(photograph, generator.config.image_resolution, encoder) for photograph in photographs)
    untuned = tuned_weights.start(generator.params, config.weights)
    draft = Draft(seen, generator, config, untuned, params=untuned, encoder=encoder)
    unknown = any(photograph.camera is None for photograph in seen)
    return draft if unknown else latent.begin(draft)


def _seen(photograph: Photograph, size: int, encoder: Encoder | None) -> Photograph:
    """What is given of a photograph, as checked arrays, with weights, and the encoder's glance at it."""

    def given(name: str, values: np.ndarray | Array | None, *shape: int) -> Array | None:
        return None if values is None else _checked(name, values, shape)

    image = _checked("image", photograph.image, (size, size, 3))
    weights = given("weights", photograph.weights, size, size)
    return Photograph(
        image,
        given("camera", photograph.camera, 25),
        given("camera_guess", photograph.guess, 25),
        np.ones((size, size), np.float32) if weights is None else weights,
        given("matte", photograph.matte, size, size),
        glance=None if encoder is None else encoder(image),
    )


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
