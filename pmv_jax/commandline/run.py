"""What makes a function a command: its flags are parsed, its errors are one line, its exit code is the project's.

Anything that goes wrong and is no fault of the input, the disk or the user is a defect, and shows its traceback.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import absl.flags

from pmv_jax.commandline import exit_codes
from pmv_jax.commandline.flags import Flags
from pmv_jax.errors import InputError, NumericalError, disk_problem


def command(flags: Flags) -> Callable[[Callable[[], int | None]], Callable[..., int]]:
    """Decorates the body of a command, which reads its flags and returns its exit code; None is 0.

    The command takes its arguments, by default those of the process, and returns the exit code: `sys.exit(main())`
    is what a program does with it. The docstring of its module and its flags are the text of `--help`.
    """

    def decorate(body: Callable[[], int | None]) -> Callable[..., int]:
        @functools.wraps(body)
        def main(arguments: Sequence[Any] | None = None) -> int:
            with _one_line_warnings(), _log_on_screen(), _sigterm_as_interrupt():
                _enable_compilation_cache()
                return _run(body, flags, sys.argv[1:] if arguments is None else arguments)

        return main

    return decorate


def _run(body: Callable[[], int | None], flags: Flags, arguments: Sequence[Any]) -> int:
    try:
        if flags.parse(arguments):
            print(flags.help_text(sys.modules[body.__module__].__doc__ or ""))
            return 0
        return body() or 0
    except (absl.flags.Error, InputError, NumericalError) as error:
        return _fail(str(error), exit_codes.BAD_INPUT)
    except KeyboardInterrupt:
        remedy = "; the same command with --resume continues" if flags.knows("resume") else ""
        return _fail(f"interrupted{remedy}", exit_codes.INTERRUPTED)
    except Exception as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        return _fail(f"{problem}; free some space, check permissions, or choose another --out", exit_codes.BAD_INPUT)


def _fail(message: str, code: int) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return code


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """One line, where Python prints two with a path."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print("warning:", " ".join(str(message).split()), file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


class _Lines(logging.Handler):
    """What a command does goes to stdout, what goes wrong to stderr, whatever these are at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stdout if record.levelno < logging.WARNING else sys.stderr, flush=True)


@contextlib.contextmanager
def _log_on_screen() -> Iterator[None]:
    """Shows what the package logs; a program that only imports it decides that for itself."""
    logger, handler = logging.getLogger("pmv_jax"), _Lines()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """A batch system's stop is a Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _enable_compilation_cache() -> None:
    """Lets JAX keep compiled programs between runs, and us what was traced. Must happen before JAX is imported."""
    # Small ones too: there are some fifty, and by default those of less than a second are compiled anew each time.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pmv_jax"
    for variable, folder in ("JAX_COMPILATION_CACHE_DIR", cache / "xla"), ("PMV_JAX_TRACES", cache / "traces"):
        if variable not in os.environ:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError:
                continue  # no home, or a read-only one: trace and compile every time
            os.environ[variable] = str(folder)
