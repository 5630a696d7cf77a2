"""Where a batch keeps the results of its images and what they are made from, on a local disk or in an object store.

A local result is a `workspace`: it appears by one rename. Where there is no renaming of folders it is copied file by
file, metrics.json last, which is what makes it a result.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from etils import epath

from pmv_jax.errors import InputError
from pmv_jax.results import workspace

_REQUEST = "job.json"


class Space:
    """The working place of one image.

    Attributes:
      state: directory for resumable state.
      result: local directory for the files of the result.
    """

    def __init__(self, state: epath.Path, result: Path, stack: contextlib.ExitStack) -> None:
        self.state, self.result, self._stack = state, result, stack

    def publish(self) -> None:
        """Makes the result appear, and forgets the state."""
        self._stack.close()

    def discard(self) -> None:
        """Forgets everything."""
        error = InputError("discarded")
        self._stack.__exit__(type(error), error, None)


def open_space(out: epath.Path, request: Mapping[str, Any], force: bool) -> Space:
    """For an image whose result is to be `out`.

    Args:
      out: directory, or an address that `etils.epath` knows.
      request: what was asked for, as plain data. State of the same request is continued from; other is dropped.
      force: drop it in any case, and replace a result.
    """
    stack = contextlib.ExitStack()
    if not _is_remote(out):
        try:
            space = stack.enter_context(workspace.open_workspace(Path(out), request, force=force, resume=not force))
        except InputError:  # it was asked for something else
            space = stack.enter_context(workspace.open_workspace(Path(out), request, force=True, resume=False))
        return Space(epath.Path(space.state), space.result, stack)
    partial = out.parent / f"{out.name}.partial"
    wanted = json.dumps(dict(request), indent=2)
    asked = partial / "request.json"
    if partial.exists() and (force or not asked.exists() or asked.read_text() != wanted):
        partial.rmtree()
    (partial / "state").mkdir(parents=True, exist_ok=True)
    asked.write_text(wanted)
    result = Path(tempfile.mkdtemp(prefix="pmv_jax."))
    stack.push(lambda kind, error, trace: _end_remote(out, partial, result, publish=error is None))
    return Space(partial / "state", result, stack)


def _end_remote(out: epath.Path, partial: epath.Path, result: Path, publish: bool) -> bool:
    files = sorted(path.relative_to(result) for path in result.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path.name == workspace.FINISHED) if publish else []:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes((result / path).read_bytes())
    shutil.rmtree(result, ignore_errors=True)
    partial.rmtree()
    return False


def check_outputs(out: epath.Path, request: Mapping[str, Any], force: bool) -> None:
    """Claims a directory for a job.

    Args:
      out: directory, or an address that `etils.epath` knows.
      request: what all its images have in common, as plain data. A job is continued only with the same.
      force: claim it whatever is in it.

    Raises:
      InputError: it has results of another request (and not `force`), or is something else than such a directory.
    """
    path = out / _REQUEST
    if not _is_remote(out):
        if Path(out).exists() and not path.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--out {out}: exists and is no result of --images; choose another directory")
        workspace.check_parent(Path(out))
    if path.exists() and not force:
        earlier = json.loads(path.read_text())
        changed = [key for key, value in json.loads(json.dumps(request)).items() if earlier.get(key) != value]
        if changed:
            raise InputError(
                f"--out {out}: its results had another {' and '.join(changed)}; "
                "give --force to do all of them again, or choose another directory"
            )
    out.mkdir(parents=True, exist_ok=True)
    if jax.process_index() == 0:
        for stale in [] if _is_remote(out) else [*out.glob("*.partial"), *out.glob("failures/*.partial")]:
            if stale.is_file():
                stale.unlink(missing_ok=True)
        replace_text(path, json.dumps(dict(request), indent=2) + "\n")


def _is_remote(path: epath.Path) -> bool:
    return "://" in str(path)


def replace_text(path: epath.Path, text: str) -> None:
    """Writes a file such that a reader sees the old one or the new one, whole. Object stores do so by themselves."""
    if "://" in str(path):
        path.write_text(text)
        return
    partial = path.with_name(f"{path.name}.{jax.process_index()}.partial")
    partial.write_text(text)
    partial.replace(path)
