"""Landmarks from files: five x, y points in pixels of the photograph."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from pmv_jax.errors import InputError
from pmv_jax.faces import alignment

_FORM = "five lines 'x y' in pixels: the eyes, the tip of the nose, the corners of the mouth, the left of a pair first"


def load_landmarks(path: str | Path) -> np.ndarray:
    """Reads and checks landmarks.

    Args:
      path: `.npy` or `.json` with [5, 2] numbers, or text with ten numbers.

    Returns:
      [5, 2] float64.

    Raises:
      InputError: unreadable, of the wrong count, or no landmarks of a face.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"landmarks {path}: no such file; give {_FORM}")
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif path.suffix == ".json":
            values = json.loads(path.read_text(encoding="utf-8-sig"))
        else:
            values = re.split(r"[\s,;]+", path.read_text(encoding="utf-8-sig").strip())
        values = np.asarray(values, np.float64)
    except (ValueError, TypeError, OSError, EOFError, RecursionError) as error:
        raise InputError(f"landmarks {path}: holds something else than numbers; give {_FORM}") from error
    if values.size != 10:
        raise InputError(f"landmarks {path}: has {values.size} numbers instead of 10; give {_FORM}")
    try:
        alignment.check(values.reshape(5, 2))
    except InputError as error:
        raise InputError(f"landmarks {path}: {error}") from error
    return values.reshape(5, 2)
