"""What is no defect of the program: wrong input, losses that diverge, and a disk that fails."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import types
from collections.abc import Iterable

# What a full or read-only disk raises (EFBIG: the limit that `ulimit -f` sets), and a failing or forbidden one.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_DISK_ERRORS = (*_DISK_FULL, errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG)


class InputError(ValueError):
    """Bad input or usage. The message is one line: what is wrong with which file or option, and what to do about it.

    Entry points print it on stderr and exit with code 2; library callers can catch it as a `ValueError`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


class NumericalError(ArithmeticError):
    """A loss became NaN or infinite. The message names the stage and the step."""


def require(package: str, extra: str, purpose: str) -> types.ModuleType:
    """Imports a package that only an extra of pmv_jax installs.

    Args:
      package: name to import.
      extra: which of pyproject.toml installs it.
      purpose: what needs it, as the message begins.

    Raises:
      InputError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(f"{purpose} needs {package}; pip install 'pmv_jax[{extra}]'") from error


def suggestion(name: str, known: Iterable[str], otherwise: str = "known:", cutoff: float = 0.5) -> str:
    """For messages about an unknown name: the nearest known one; all of them, after `otherwise`, if none is as similar
    as `cutoff` (in [0, 1], see `difflib`)."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1, cutoff)
    return f"did you mean {near[0]!r}?" if near else f"{otherwise} {', '.join(known)}"


def disk_problem(error: BaseException | None) -> str | None:
    """What the system said of the disk, if that is the cause of an error, at any depth: libraries wrap its errors."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        for text in map(os.strerror, (*_DISK_FULL, errno.EACCES)):  # TensorStore's errors are text only
            if text in str(error):
                return text
        error = error.__cause__ or error.__context__
    return None
