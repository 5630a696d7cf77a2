"""What viewers ask for, in order: only the newest request of each counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from typing import Generic, TypeVar

SETTLE = 0.15  # seconds of rest after which a picture is rendered in full

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LatestRequests(Generic[Key, Value]):
    """Requests of several viewers, of each only the newest: what came before and was not begun is dropped.

    Each request is handed out twice: at once, for a quick picture, and after a rest without a newer one, for a still.
    """

    def __init__(self, settle: float = SETTLE) -> None:
        self._settle = settle
        self._quick: dict[Key, tuple[float, Value]] = {}
        self._still: dict[Key, tuple[float, Value]] = {}
        self._changed = threading.Condition()

    def put(self, key: Key, value: Value) -> None:
        """A new request of one viewer, from any thread."""
        with self._changed:
            self._quick[key] = (time.monotonic(), value)
            self._still.pop(key, None)
            self._changed.notify()

    def drop(self, key: Key) -> None:
        """Forgets a viewer who has left."""
        with self._changed:
            self._quick.pop(key, None)
            self._still.pop(key, None)

    def take(self, timeout: float) -> tuple[Key, Value, bool] | None:
        """What to render next, and whether as a still; None if nothing is due within `timeout` seconds."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                now = time.monotonic()
                if self._quick:
                    key = next(iter(self._quick))  # whoever has waited longest
                    asked, value = self._quick.pop(key)
                    self._still[key] = (asked + self._settle, value)
                    return key, value, False
                due = min(self._still, key=lambda key: self._still[key][0], default=None)
                if due is not None and self._still[due][0] <= now:
                    return due, self._still.pop(due)[1], True
                if now >= end:
                    return None
                self._changed.wait(min(end, end if due is None else self._still[due][0]) - now)
