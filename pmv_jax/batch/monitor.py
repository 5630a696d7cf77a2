"""How far a job is: reported to whoever asked for it, and scalars as JSON lines. Several threads may tell it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from etils import epath

from pmv_jax.inversion import pipeline

JobProgress = Callable[[float, int, int, float], None]
"""Called with the images done so far, running ones by their shares; all that are to be done; those of them that failed;
and how many are done in an hour."""


class Monitor:
    """Progress and log of a job."""

    def __init__(self, total: int, log_directory: str | None, progress: JobProgress | None = None) -> None:
        """
        Args:
          total: images to be done, of this process and from now on.
          log_directory: for the log; None keeps none.
          progress: called whenever more is done.
        """
        self._total, self._progress = total, progress
        self._shares: dict[str, float] = {}  # of the running images, how much of each is done
        self._done, self._failed = 0, 0
        self._begun, self._lock = time.monotonic(), threading.Lock()
        self._log = None
        if log_directory is not None:
            folder = epath.Path(log_directory)
            folder.mkdir(parents=True, exist_ok=True)
            self._log = (folder / f"scalars-{jax.process_index()}.jsonl").open("a")

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._report()
        if self._log is not None:
            self._log.close()

    def watch(self, name: str, steps: int) -> pipeline.Progress:
        """A callback for an image of so many steps."""
        before = {"": 0}

        def progress(stage: str, done: int, total: int, loss: float) -> None:
            before[stage] = done
            with self._lock:
                self._shares[name] = min(1.0, sum(before.values()) / max(steps, 1))
                if np.isfinite(loss):
                    self._write(image=name, stage=stage, step=done, loss=loss)
                self._report()

        return progress

    def finish(self, name: str, failed: bool = False) -> None:
        """An image is done, or has failed."""
        with self._lock:
            self._shares.pop(name, None)
            self._done += 1
            self._failed += failed
            rate = self._done / (time.monotonic() - self._begun)
            self._write(image=name, failed=failed, images_done=self._done, images_per_hour=3600 * rate)
            self._report()

    def _report(self) -> None:
        if self._progress is not None:
            at = self._done + sum(self._shares.values())
            rate = 3600 * at / max(time.monotonic() - self._begun, 1e-9)
            self._progress(at, self._total, self._failed, rate)

    def _write(self, **values: Any) -> None:
        if self._log is not None:
            self._log.write(json.dumps({"time": round(time.time(), 3), **values}) + "\n")
            self._log.flush()
