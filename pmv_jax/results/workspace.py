"""Where a command leaves its result, such that nothing half written is ever taken for one.

A run for `out` works in `out.partial` beside it: resumable state, and the result as it is being written. One rename
makes the finished result appear as `out`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmv_jax.errors import InputError, NumericalError, disk_problem

FINISHED = "metrics.json"  # every command's result has one


@dataclass(frozen=True)
class Workspace:
    """The working directory of one run.

    Attributes:
      state: for resumable state.
      result: for the files of the result; becomes `out` at the end.
    """

    state: Path
    result: Path


def is_finished(out: Path) -> bool:
    """Whether `out` holds a finished result."""
    return (out / FINISHED).is_file()


def check(out: Path, *, force: bool, resume: bool) -> None:
    """Refuses an output directory that a run may not use. Creates nothing.

    Raises:
      InputError: `out`, or an unfinished run for it, exists and neither `force` nor `resume` is given; `out` is
        something that no command of ours has written; or no directory can be made there.
    """
    if force and resume:
        raise InputError("--force and --resume exclude each other; --force starts over, --resume continues")
    if out.exists() or out.is_symlink():
        if not is_finished(out) and (not out.is_dir() or force and any(out.iterdir()) or resume):
            raise InputError(f"--out {out}: exists and is no result of this program; choose another directory")
        if not force and not resume:
            raise InputError(f"--out {out}: exists; give --force to replace it, or another directory")
    elif _partial(out).exists() and not force and not resume:
        raise InputError(f"--out {out}: has an unfinished run; give --resume to continue or --force to start over")
    check_parent(out)


def check_parent(out: Path) -> None:
    """Refuses a place where no directory can be made. Creates nothing.

    Raises:
      InputError: as said.
    """
    parent = next(path for path in out.absolute().parents if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: {parent} is no directory that can be written to; choose another place")


def check_space(out: Path, needed: int) -> None:
    """Refuses to start a run that cannot end.

    Args:
      out: the output directory, which need not exist.
      needed: bytes.

    Raises:
      InputError: less is free.
    """
    parent = next(path for path in out.absolute().parents if path.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise InputError(
            f"--out {out}: needs about {needed / 1e6:.0f} MB, but the disk has {free / 1e6:.0f} MB left; "
            "free some space or choose another place"
        )


@contextlib.contextmanager
def open_workspace(out: Path, request: Mapping[str, Any], *, force: bool, resume: bool) -> Iterator[Workspace]:
    """Working directory for a run whose `check` has passed; on leaving without an exception its result becomes `out`.

    An interrupted or crashed run keeps its state, if it has saved any, for `resume`. A run that ended because its input
    is unusable leaves nothing.

    Args:
      out: the output directory.
      request: what the run was asked for, as plain data. A run is only resumed with the same.
      force: replace `out`, if it exists, and forget an unfinished run.
      resume: continue an unfinished run, if there is one.

    Raises:
      InputError: the unfinished run was asked for something else.
    """
    partial = _partial(out)
    workspace = Workspace(state=partial / "state", result=partial / "result")
    if force:
        shutil.rmtree(partial, ignore_errors=True)
    elif resume:
        _check_same_request(partial, request, out)
    partial.mkdir(parents=True, exist_ok=resume)  # without resume, another run's directory is never shared
    try:
        (partial / "request.json").write_text(json.dumps(request, indent=2))
        workspace.state.mkdir(exist_ok=True)
        shutil.rmtree(workspace.result, ignore_errors=True)
        workspace.result.mkdir()
        yield workspace
        if out.exists():
            out.rename(partial / "replaced")
        workspace.result.rename(out)
    except BaseException as error:
        unusable = isinstance(error, (InputError, NumericalError)) and disk_problem(error) is None
        if unusable or not workspace.state.is_dir() or not any(workspace.state.iterdir()):
            shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(partial, ignore_errors=True)


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _check_same_request(partial: Path, request: Mapping[str, Any], out: Path) -> None:
    try:
        earlier = json.loads((partial / "request.json").read_text())
    except (OSError, ValueError):
        return  # nothing to resume, or stopped before it began
    changed = [key for key, value in json.loads(json.dumps(request)).items() if earlier.get(key) != value]
    if changed:
        raise InputError(
            f"--out {out}: its unfinished run had another {' and '.join(changed)}; "
            "give --force to start over, or the same input to continue"
        )
