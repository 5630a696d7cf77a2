"""One image on its way through the stages of a method: where it stands, what it has done, and its resumable state.

A method is a coroutine that yields each `StageRequest` and is sent the variables that were fitted. Whoever drives an
`ImageRun` computes the chunks of steps, for one image or for many at a time, and hands them to `advance`.
"""

from __future__ import annotations

import dataclasses
import math
import time
import zlib
from collections.abc import Callable
from collections.abc import Generator as Coroutine
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import Array

from pmv_jax.checkpoints import orbax as checkpoints
from pmv_jax.errors import NumericalError
from pmv_jax.inversion.adam_loop import CHUNK, FitState, extended
from pmv_jax.inversion.stage import StageRequest

Tree = Any
Progress = Callable[[str, int, int, float], None]  # stage, steps done, steps in all, loss

SAVE_SHARE = 0.05  # of the time may go into saving state; below that every chunk is saved


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """What a stage did.

    Attributes:
      name: of the stage.
      seconds: what it took, compilation included.
      losses: [steps], those before each step.
    """

    name: str
    seconds: float
    losses: np.ndarray

    @property
    def steps(self) -> int:
        """How many it took."""
        return len(self.losses)

    @property
    def loss_first(self) -> float:
        """The loss before the first step; NaN without steps."""
        return float(self.losses[0]) if self.steps else float("nan")

    @property
    def loss_last(self) -> float:
        """The loss before the last step; NaN without steps."""
        return float(self.losses[-1]) if self.steps else float("nan")


def stage_key(seed: int, name: str) -> Array:
    """The PRNG key of a stage: of the seed and a checksum of its name, the same whatever stages stand beside it."""
    return jax.random.fold_in(jax.random.key(seed), np.uint32(zlib.crc32(name.encode())))


class ImageRun:
    """One image on its way.

    Attributes:
      stage: what is to be run now; None at the end.
      state: where that stands.
      key: of the stage.
      records: of the stages that are over.
      result: what the method returned, at the end.
    """

    def __init__(
        self,
        stages: Coroutine[StageRequest, Tree, Any],
        seed: int,
        progress: Progress | None = None,
        directory: str | Path | None = None,
    ) -> None:
        """Goes to the first stage that is not over yet.

        Args:
          stages: the method.
          seed: of everything random.
          progress: called at the start of a stage, with a loss of NaN, and after every chunk.
          directory: for resumable state, which is used if there is some.
        """
        self._stages, self._seed, self._progress = stages, seed, progress
        self._directory = None if directory is None else epath.Path(directory)
        self._save_seconds, self._saved = 0.0, time.monotonic()
        self.stage: StageRequest | None = None
        self.records: list[StageRecord] = []
        self.result: Any = None
        self._continue(None)

    @property
    def chunk(self) -> int:
        """How many steps come next."""
        return min(CHUNK, self.stage.steps - len(self._losses))

    def advance(self, state: FitState, latest: Array) -> None:
        """Takes what the program made of `state`, `key` and `chunk`: the new state and the losses [CHUNK]. Saves the
        state, and begins the next stage if this one is over.

        Raises:
          NumericalError: a loss is NaN or infinite.
        """
        name = self.stage.name
        losses = extended(self._losses, latest, self.chunk, state)
        if not np.isfinite(losses).all():
            step = int(np.argmin(np.isfinite(losses)))
            raise NumericalError(f"stage {name}: the loss is {losses[step]} at step {step}; {self.stage.remedy}")
        self.state, self._losses = state, losses
        if self._progress:
            self._progress(name, len(losses), self.stage.steps, float(losses[-1]))
        if self._is_over() or self._save_seconds <= SAVE_SHARE * (time.monotonic() - self._saved):
            self.save()
        if self._is_over():
            self._finish()

    def _continue(self, fitted: Tree | None) -> None:
        try:
            self.stage = self._stages.send(fitted)
        except StopIteration as end:
            self.stage, self.result = None, end.value
            return
        self.key = stage_key(self._seed, self.stage.name)
        self.state, self._losses, seconds = self._load()
        self.stage = self.stage._replace(start=None)  # the first chunk takes its memory
        self._begun = time.monotonic() - seconds
        if self._progress:
            self._progress(self.stage.name, len(self._losses), self.stage.steps, math.nan)
        if self._is_over():
            self._finish()

    def _is_over(self) -> bool:
        return len(self._losses) >= self.stage.steps or bool(self.state.stopped)

    def _finish(self) -> None:
        self.records.append(StageRecord(self.stage.name, time.monotonic() - self._begun, self._losses))
        self._continue(self.state.variables)

    def save(self) -> None:
        """Saves the state under a name that is new, so that at every moment there is a whole one. Of a stage that is
        over, only what others build on is kept."""
        if self._directory is None or not len(self._losses):
            return
        begun = time.monotonic()
        kept = self.state.variables if self._is_over() else self.state
        leaves = {f"{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(kept))}
        tree = {"state": leaves, "losses": self._losses, "seconds": np.float64(begun - self._begun)}
        folder = self._directory / self.stage.name
        current = folder / str(len(self._losses))
        if not current.exists():
            checkpoints.save_tree(current, tree)
        for directory in folder.glob("[0-9]*"):
            if directory.name != current.name:
                directory.rmtree()
        self._saved = time.monotonic()
        self._save_seconds = self._saved - begun

    def _load(self) -> tuple[FitState, np.ndarray, float]:
        state, losses, seconds = self.stage.start, np.zeros(0, np.float32), 0.0
        saved = [] if self._directory is None else list((self._directory / self.stage.name).glob("[0-9]*"))
        if saved:
            tree = checkpoints.load_tree(max(saved, key=lambda path: int(path.name)))
            losses, seconds = tree["losses"], float(tree["seconds"])
            leaves = [jnp.asarray(tree["state"][key]) for key in sorted(tree["state"])]
            if len(leaves) == len(jax.tree.leaves(state)):
                state = jax.tree.unflatten(jax.tree.structure(state), leaves)
            else:
                variables = jax.tree.unflatten(jax.tree.structure(state.variables), leaves)
                state = state.replace(variables=variables, stopped=jnp.ones((), bool))
        return state, losses, seconds
