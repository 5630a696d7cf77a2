"""A stage that fits views as a row of the method, and its program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Generator as Coroutine
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax.config import InversionConfig, LossConfig, Settings
from pmv_jax.inversion import losses, outline, view_fitting
from pmv_jax.inversion.adam_loop import FitState
from pmv_jax.inversion.stage import Draft, StageRequest
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
      fits_poses: whether the variables have poses.
      outlined: whether the views have an outline.
    """

    loss: LossConfig
    inputs: int
    fits_poses: bool = False
    outlined: bool = False

    def network(self) -> Tree | None:
        """See `stage.StageProgram`."""
        return losses.load_network(self.loss)

    def __call__(
        self, state: FitState, generator: Generator, network: Tree | None, own: Tree, key: Array, steps: Array
    ) -> tuple[FitState, Array]:
        return view_fitting.run(state, generator, *own, network, key, steps, loss_config=self.loss, inputs=self.inputs)


def inputs_alone(draft: Draft) -> view_fitting.Views:
    """The photographs, as far as they are to be believed, with room for the pseudo-views that a later stage adds."""
    config = draft.config
    room = config.pseudo_views.count if config.joint.steps else 0
    side = draft.generator.config.rendering.neural_resolution
    images, weights = (jnp.stack(x) for x in zip(*((p.image, p.weights) for p in draft.photographs), strict=True))
    views = view_fitting.of_inputs(images, draft.cameras, weights, room, side)
    return views._replace(outline=outline.of_inputs(draft, room))


@dataclasses.dataclass(frozen=True)
class ViewFit:
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

    def run(self, draft: Draft) -> Coroutine[StageRequest, Tree, Draft]:
        """See `stage.Stage.run`."""
        settings = self.settings(draft.config)
        if not settings.steps:
            return draft
        draft = self.prepare(draft)
        return self.hand_on(draft, (yield self._request(draft, settings)))

    def _request(self, draft: Draft, settings: Settings) -> StageRequest:
        plan, poses, views = self.plan(draft.config), None, self.views(draft)
        if self.fits_poses and any(photograph.pose is not None for photograph in draft.photographs):
            poses, is_estimate = _poses(draft)
            plan = plan.replace(poses=poses, is_estimate=is_estimate, pose_pull=jnp.float32(_POSE_PULL))
        outlined, inputs = views.outline is not None, len(draft.photographs)
        program = ViewFitProgram(draft.config.loss, inputs, poses is not None, outlined)
        fresh = jax.tree.map(jnp.array, (draft.code, self.params(draft), poses))  # copies: the loop donates its state
        own = views, plan, draft.statistics.std
        flag = f" (--set {settings.group}.learning_rate=...)" if hasattr(draft.config, settings.group) else ""
        remedy = f"try a lower learning rate{flag}"
        return StageRequest(self.name, settings.steps, program, view_fitting.start(*fresh), own, remedy)


def _poses(draft: Draft) -> tuple[Array, Array]:
    """Poses [N, 5] of the photographs, zeros where a camera was given, and which of them are estimates, bool [N]."""
    known = [photograph.pose for photograph in draft.photographs]
    poses = jnp.stack([jnp.zeros(5) if pose is None else pose for pose in known])
    return poses, jnp.array([pose is not None for pose in known])
