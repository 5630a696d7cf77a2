"""A stage that fits views as a row of the method, and its program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Generator as Coroutine
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax.config import InversionConfig, LossConfig, Settings
from pmv_jax.inversion import losses, outline, surface, view_fitting
from pmv_jax.inversion.adam_loop import FitState
from pmv_jax.inversion.stage import Draft, Stage, StageRequest
from pmv_jax.models.generator import Generator

Tree = Any

# The pull of an estimated camera towards where it was estimated, in shares of the loss for half a squared radian: a
# photograph that is fitted badly says little of the camera, one that is fitted well moves it all the same.
_POSE_PULL = 10.0


@dataclasses.dataclass(frozen=True)
class ViewFitProgram:
    """`view_fitting.run` as a `StageProgram`.

    Attributes:
      loss, inputs: see there.
      outlined, surfaced: whether the views have an outline, and a surface.
    """

    loss: LossConfig
    inputs: int
    outlined: bool = False
    surfaced: bool = False

    def network(self) -> Tree | None:
        """See `stage.StageProgram`."""
        return losses.load_network(self.loss)

    def __call__(
        self, state: FitState, generator: Generator, network: Tree | None, own: Tree, key: Array, steps: Array
    ) -> tuple[FitState, Array]:
        return view_fitting.run(state, generator, *own, network, key, steps, loss_config=self.loss, inputs=self.inputs)


def inputs_alone(draft: Draft) -> view_fitting.Views:
    """The photographs, as far as they are to be believed, with room for pseudo-views, so that recipes with and without
    them share a program."""
    room = draft.config.pseudo_views.count
    side = draft.generator.config.rendering.neural_resolution
    images, weights = (jnp.stack(x) for x in zip(*((p.image, p.weights) for p in draft.photographs), strict=True))
    views = view_fitting.of_inputs(images, draft.cameras, weights, room, side)
    return views._replace(outline=outline.of_inputs(draft, room), surface=surface.of_inputs(draft, room))


@dataclasses.dataclass(frozen=True)
class ViewFit(Stage):
    """A stage that fits code, weights or both to views: a row of the method.

    Attributes:
      name: of the stage.
      settings: picks the stage's settings from the recipe; they have `steps`, and without steps it is left out.
      plan: how far what moves at each step.
      hand_on: what is known then, from what was known and the variables: "code", "params", and "poses" where they are
        fitted.
      prepare: what is computed before, in no steps.
      params: where the weights start.
      views: what is fitted.
      fits_poses: whether estimated poses are fitted too.
    """

    name: str
    settings: Callable[[InversionConfig], Settings]
    plan: Callable[[InversionConfig], view_fitting.Plan]
    hand_on: Callable[[Draft, Tree], Draft]
    prepare: Callable[[Draft], Draft] = lambda draft: draft
    params: Callable[[Draft], Tree] = lambda draft: draft.params
    views: Callable[[Draft], view_fitting.Views] = inputs_alone
    fits_poses: bool = False

    def left_out(self, recipe: InversionConfig) -> bool:
        """Whether a recipe gives it no steps, see `stage.Stage.left_out`."""
        return not self.settings(recipe).steps

    def run(self, draft: Draft) -> Coroutine[StageRequest, Tree, Draft]:
        """See `stage.Stage.run`."""
        draft = self.prepare(draft)
        return self.hand_on(draft, (yield self._request(draft)))

    def _request(self, draft: Draft) -> StageRequest:
        settings = self.settings(draft.config)
        known = [photograph.pose for photograph in draft.photographs]
        poses = np.stack([np.zeros(5, np.float32) if pose is None else np.asarray(pose) for pose in known])
        fitted = np.array([self.fits_poses and pose is not None for pose in known])
        pull = np.float32(_POSE_PULL if fitted.any() else 0)
        plan = self.plan(draft.config).replace(fitted=fitted, poses=poses, pose_pull=pull)
        views = self.views(draft)
        held = views.outline is not None, views.surface is not None
        program = ViewFitProgram(draft.config.loss, len(known), *held)
        start = view_fitting.start(draft.code, self.params(draft), poses)
        own = views, plan, draft.statistics.std
        flag = f" (--set {settings.group}.learning_rate=...)" if hasattr(draft.config, settings.group) else ""
        remedy = f"try a lower learning rate{flag}"
        return StageRequest(self.name, settings.steps, program, start, own, remedy)
