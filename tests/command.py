"""Commands called in this process as a shell would call them in one of its own, which takes seconds to load JAX."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(main: Callable[..., int], folder: Path, *arguments: Any) -> Done:
    """Calls a command in a folder; what it prints, and its exit code."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main(arguments)
    return Done(code, stdout.getvalue(), stderr.getvalue())
