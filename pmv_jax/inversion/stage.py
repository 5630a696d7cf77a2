"""What a method is made of: its stages, what they know of a head, and what they ask to have computed.

A stage is a row of `pipeline.METHOD`. It is given a `Draft`, yields `StageRequest`s for what takes steps, is sent the
variables that came of each, and returns the next draft. docs/extending.md adds one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator as Coroutine
from typing import Any, NamedTuple, Protocol

import flax.struct
import jax.numpy as jnp
from jax import Array

from pmv_jax.config import InversionConfig
from pmv_jax.inversion.adam_loop import FitState
from pmv_jax.models.encoder import Encoder, Glance
from pmv_jax.models.generator import Generator

Tree = Any


@flax.struct.dataclass
class Photograph:
    """One picture of a person: what is given of it, and from `glance` on what the stages find; None is not known.

    Attributes:
      image: [H, W, 3] in [-1, 1] at the generator's image resolution.
      camera: [25]; None searches for it.
      guess: [25], near which the camera is, for example from landmarks (`faces.pose`); it takes the place of the first
        search. No matter where `camera` is given.
      weights: [H, W] in [0, 1], how far each pixel of the image is to be believed: those of weight 0 are neither fitted
        nor warped into pseudo-views, and say nothing of the camera. None is 1 everywhere.
      matte: [H, W] in [0, 1], the share of each pixel that is head, hair or clothes: the head's geometry is held to its
        outline, and no pseudo-view shows what lies on the wrong side of that. None where nobody says.
      glance: `models.encoder.Glance`, what the encoder saw in the image.
      estimate: `camera.Estimate`, what the search knows of the camera.
      pose: [5] of the camera (`cameras.poses`), if it is an estimate that the latent stage may refine.
      head_limit: [n, n], z-depths up to which the head may reach; None where the generator has no backdrop.
    """

    image: Array
    camera: Array | None = None
    guess: Array | None = None
    weights: Array | None = None
    matte: Array | None = None
    glance: Glance | None = None
    estimate: Any = None
    pose: Array | None = None
    head_limit: Array | None = None

    @property
    def has_surface(self) -> bool:
        """Whether an encoder tells its surface: without a matte it is not sure that it sees a head."""
        return self.glance is not None and self.matte is not None


@dataclasses.dataclass(frozen=True)
class Draft:
    """What is known of a head between two stages. What no stage has found yet is None.

    Attributes:
      photographs: N of them, at least one, with weights; one camera each.
      generator: the untuned one.
      config: the recipe.
      untuned: what is to be tuned of the generator, as it is at first (`tuned_weights.start`).
      params: the same, as tuned so far.
      encoder: the generator's, if it has one.
      statistics: `latent.LatentStatistics` for the first photograph's camera.
      code: [rows, w_dim], one row for all layers or one for each.
      pseudo_views: `pseudo_views.PseudoViews`.
    """

    photographs: tuple[Photograph, ...]
    generator: Generator
    config: InversionConfig
    untuned: Tree
    params: Tree
    encoder: Encoder | None = None
    statistics: Any = None
    code: Array | None = None
    pseudo_views: Any = None

    @property
    def cameras(self) -> Array:
        """[N, 25], once all are known."""
        return jnp.stack([photograph.camera for photograph in self.photographs])

    def replace(self, **changes: Any) -> Draft:
        """The same with other values."""
        return dataclasses.replace(self, **changes)


class StageProgram(Protocol):
    """What computes a chunk of steps for one image: hashable, and equal where the compiled program is the same."""

    def network(self) -> Tree | None:
        """The arrays of the loss's network, which all images share; None if there are none."""

    def __call__(
        self, state: FitState, generator: Generator, network: Tree | None, own: Tree, key: Array, steps: Array
    ) -> tuple[FitState, Array]:
        """Takes steps.

        Args:
          state: where the fit stands; it may be donated.
          generator: the untuned one.
          network: what `network()` gave.
          own: `StageRequest.own`.
          key: PRNG key of the stage.
          steps: int32 [], how many, `adam_loop.CHUNK` at most.

        Returns:
          The new state, and the loss before each step [CHUNK].
        """


class StageRequest(NamedTuple):
    """A fit to be run.

    Attributes:
      name: unique within the method: of the fit's record, its saved state and its random key.
      steps: how many, at most.
      program: what runs it.
      start: where it begins; the program may donate it.
      own: the program's input that belongs to this image alone, arrays of the same shapes for all images.
      remedy: what to try if the loss is not finite.
    """

    name: str
    steps: int
    program: StageProgram
    start: FitState
    own: Tree
    remedy: str


class Stage:
    """A row of a method.

    Attributes:
      name: unique within the method.
    """

    name: str

    def left_out(self, recipe: InversionConfig) -> bool:
        """Whether a recipe goes without it: then it is not run."""
        return False

    def run(self, draft: Draft) -> Coroutine[StageRequest, Tree, Draft]:
        """Yields what is to be fitted, is sent the fitted variables, and returns what is known then."""
        raise NotImplementedError


class EachPhotograph(Stage):
    """A row of a method that looks at one photograph after the other. Those after the first have their numbers in the
    names of their requests: camera, camera_2, ...
    """

    def run(self, draft: Draft) -> Coroutine[StageRequest, Tree, Draft]:
        """See `Stage.run`."""
        known = []
        for number, photograph in enumerate(draft.photographs, 1):
            name = self.name if number == 1 else f"{self.name}_{number}"
            known.append((yield from self.look(name, draft, photograph)))
        return draft.replace(photographs=tuple(known))

    def look(self, name: str, draft: Draft, photograph: Photograph) -> Coroutine[StageRequest, Tree, Photograph]:
        """Yields what is to be fitted, by that name, and returns what is known of the photograph then."""
        raise NotImplementedError
