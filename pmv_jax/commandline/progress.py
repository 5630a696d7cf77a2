"""Progress on the screen: one bar for each stage of a command, or one for a whole batch."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Self

from tqdm import tqdm


class _Bar:
    """A bar that begins when there is something to show, and ends with the context."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ProgressBars(_Bar):
    """One bar at a time, each staying on the screen when the next begins. A context manager."""

    def update(self, stage: str, done: int, total: int, loss: float = math.nan) -> None:
        """To be called when a stage starts or resumes, and whenever more of it is done: `done` steps of `total`, the
        last with this loss."""
        if self._bar is None:
            self._bar = tqdm(total=total, initial=done, desc=f"{stage:<12}", mininterval=_pause())
        if math.isfinite(loss):
            self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.__exit__()

    def stage(self, name: str) -> Callable[[int, int], None]:
        """`update` of one stage, as functions that know nothing of stages call it: with what is done, and the total."""
        return functools.partial(self.update, name)


class JobBar(_Bar):
    """One bar for a whole batch. A context manager."""

    def update(self, done: float, total: int, failed: int, rate: float) -> None:
        """To be called whenever more is done: images `done` so far of a `total`, running ones by their shares, how many
        `failed`, and the `rate`, images an hour."""
        if self._bar is None:
            form = "{desc}{percentage:3.0f}%|{bar}| {postfix} [{elapsed}<{remaining}]"
            self._bar = tqdm(total=total, bar_format=form, mininterval=_pause())
        text = f"{math.floor(done)} of {total} images, {rate:.1f} an hour{f', {failed} failed' if failed else ''}"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(done - self._bar.n)


def _pause() -> float:
    """Seconds between two drawings; a log file needs no animation."""
    return 0.1 if sys.stderr.isatty() else 10.0
