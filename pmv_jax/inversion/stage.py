"""What a method is made of: its stages, what they know of a head, and what they ask to have computed.

A stage is a row of `pipeline.METHOD`. It is given a `Draft`, yields `StageRequest`s for what takes steps, is sent the
variables that came of each, and returns the next draft. docs/extending.md adds one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator as Coroutine
from typing import Any, NamedTuple, Protocol

from jax import Array

from pmv_jax.config import InversionConfig
from pmv_jax.inversion.adam_loop import FitState
from pmv_jax.models.encoder import Encoder, Glance
from pmv_jax.models.generator import Generator

Tree = Any


@dataclasses.dataclass(frozen=True)
class Draft:
    """What is known of an image's head between two stages. What no stage has found yet is None.

    Attributes:
      image: [H, W, 3] in [-1, 1], the input.
      generator: the untuned one.
      config: the recipe.
      untuned: what is to be tuned of the generator, as it is at first (`tuned_weights.start`).
      params: the same, as tuned so far.
      weights: [H, W] in [0, 1], how far each pixel of it is to be believed; None is 1.
      matte: [H, W] in [0, 1], the share of each pixel that is head, hair or clothes; None where nobody says.
      camera_guess: [25], near which the camera is.
      encoder: the generator's, if it has one.
      glance: `models.encoder.Glance`, what the encoder saw in the image.
      camera_estimate: `camera.Estimate`, what the search knows of the camera.
      camera: [25] of the input.
      pose: [5] of that camera (`cameras.poses`), if it is an estimate that the latent stage may refine.
      statistics: `latent.LatentStatistics` for this camera.
      head_limit: [n, n], z-depths up to which the input's head may reach; found where there is a matte.
      code: [rows, w_dim], one row for all layers or one for each.
      pseudo_views: `pseudo_views.PseudoViews`.
    """

    image: Array
    generator: Generator
    config: InversionConfig
    untuned: Tree
    params: Tree
    weights: Array | None = None
    matte: Array | None = None
    camera_guess: Array | None = None
    encoder: Encoder | None = None
    glance: Glance | None = None
    camera_estimate: Any = None
    camera: Array | None = None
    pose: Array | None = None
    statistics: Any = None
    head_limit: Array | None = None
    code: Array | None = None
    pseudo_views: Any = None

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
      name: of the stage: of its record, its saved state and its random key.
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


class Stage(Protocol):
    """A row of a method.

    Attributes:
      name: unique within the method.
    """

    name: str

    def run(self, draft: Draft) -> Coroutine[StageRequest, Tree, Draft]:
        """Yields what is to be fitted, is sent the fitted variables, and returns what is known then; the draft as it
        was, if the recipe leaves the stage out."""
