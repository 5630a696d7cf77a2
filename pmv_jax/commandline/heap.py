"""The memory of the process: what compiling leaves in the C library's heap goes back to the system."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"  # also when a program came from the compilation cache
_LARGE = 0.5  # seconds of compiling, or of reading, from which a program has left enough


@functools.cache
def give_back_after_compiling() -> None:
    """From now on gives back to the system, after each large program, what compiling it has freed.

    glibc keeps that: 1.1 GB after the tuning step of the official FFHQ size was compiled, 0.2 GB after it was read from
    the cache. Other C libraries are left alone. This is for commands, to which the process belongs.
    """
    jax.monitoring.register_event_duration_secs_listener(_give_back)


def _give_back(event: str, seconds: float, **_: Any) -> None:
    if event == _COMPILED and seconds >= _LARGE:
        give_back()


def give_back() -> None:
    """Gives back to the system what the C library keeps of memory that is free."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


def _malloc_trim() -> Any:
    """glibc's function; None elsewhere."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
