"""Directions in w that edits move along: what they are, their files, layer ranges, and what is to stay unchanged.

NumPy only, so that a wrong name is answered at once. `latent.py` applies them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pmv_jax.errors import InputError, suggestion
from pmv_jax.whole_files import appearing

FORMAT = 1
DEFAULT_FILE = "directions.json"  # beside a generator's weights
_DIGITS = 5  # significant ones in files: far below what a direction is known to
_SMALLEST_SHARE = 0.1  # of a direction that must be left after --keep


@dataclass(frozen=True)
class Direction:
    """A direction in w.

    Attributes:
      name: of the attribute.
      vector: [w_dim], or [num_ws, w_dim] with a row for each layer. Strength 1 adds it to w.
      normal: as vector; the attribute's score is normal . w, and normal . vector = 1. Moving along `vector` changes
        this score, moving within the hyperplane of `normal` does not. None: vector / |vector|^2.
      layers: first and past-the-last layer that it moves; None for all.
      unit: what strength 1 means.
      provenance: how it was found, and measured, as plain data.
    """

    name: str
    vector: np.ndarray
    normal: np.ndarray | None = None
    layers: tuple[int, int] | None = None
    unit: str = "as stored"
    provenance: Mapping[str, Any] = field(default_factory=dict)


def step(direction: Direction, num_ws: int) -> np.ndarray:
    """What strength 1 adds to w_plus [num_ws, w_dim]: zero outside of its layers."""
    rows = np.broadcast_to(direction.vector, (num_ws, direction.vector.shape[-1])).astype(np.float32)
    first, end = direction.layers or (0, num_ws)
    inside = (np.arange(num_ws) >= first) & (np.arange(num_ws) < end)
    return rows * inside[:, None]


def scorer(direction: Direction, num_ws: int) -> np.ndarray:
    """The normal [num_ws, w_dim] whose inner product with w_plus is the attribute's score, over the layers moved."""
    normal = _normal(direction)
    first, end = direction.layers or (0, num_ws)
    inside = ((np.arange(num_ws) >= first) & (np.arange(num_ws) < end))[:, None]
    # One row stands for all layers: the score is then that of their mean.
    return inside * (normal / (end - first) if normal.ndim == 1 else normal).astype(np.float32)


def keep(direction: Direction, kept: Sequence[Direction], num_ws: int) -> Direction:
    """The direction without what it would change in the scores of others (InterFaceGAN's conditional manipulation,
    arXiv 2005.09635 section 3.3, for any number of conditions and for normals that are no directions of motion).

    As much of the other directions is added as leaves their scores unchanged; then it is scaled so that strength 1
    means for its own score what it meant before.

    Args:
      direction: to be changed.
      kept: those whose scores are not to change.
      num_ws: rows of w_plus.

    Raises:
      InputError: nothing would be left of it.
    """
    if not kept:
        return direction
    full = lambda x: np.broadcast_to(x, (num_ws, x.shape[-1])).reshape(-1).astype(np.float64)  # noqa: E731
    share = lambda d: full(_normal(d)) / (num_ws if _normal(d).ndim == 1 else 1)  # noqa: E731
    vector, normal = full(direction.vector), share(direction)
    others, normals = np.stack([full(d.vector) for d in kept], axis=1), np.stack([share(d) for d in kept])
    coefficients = np.linalg.lstsq(normals @ others, normals @ vector, rcond=1e-6)[0]
    vector = vector - others @ coefficients
    left = float(normal @ vector)
    names = ", ".join(d.name for d in kept)
    if left < _SMALLEST_SHARE:
        raise InputError(f"--keep {names}: leaves {max(left, 0):.0%} of {direction.name}; keep fewer of them")
    rows = (vector / left).reshape(num_ws, -1)
    flat = all(d.vector.ndim == 1 for d in (direction, *kept))
    return Direction(
        direction.name,
        rows[0] if flat else rows,
        _normal(direction),
        direction.layers,
        direction.unit,
        {**direction.provenance, "keeps": [d.name for d in kept]},
    )


def on_layers(direction: Direction, layers: tuple[int, int] | None) -> Direction:
    """The direction on these layers only; None leaves it as it is."""
    return direction if layers is None else dataclasses.replace(direction, layers=layers)


def parse_layers(text: str, num_ws: int) -> tuple[int, int]:
    """ "2-6" (both ends included), "4-", "-3" or "5" -> first and past-the-last layer.

    Raises:
      InputError: no such form, or layers that there are not.
    """
    match = re.fullmatch(r"(\d*)(-?)(\d*)", text.strip())
    problem = f"--layers {text}: give a range such as 0-{num_ws // 2}; this generator has layers 0 to {num_ws - 1}"
    if not match or not (match[1] or match[3]):
        raise InputError(problem)
    first = int(match[1] or 0)
    last = int(match[3]) if match[3] else (num_ws - 1 if match[2] else first)
    if not first <= last < num_ws:
        raise InputError(problem)
    return first, last + 1


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def save_directions(
    path: str | Path, directions: Sequence[Direction], num_ws: int, fingerprint: str, provenance: Mapping[str, Any]
) -> None:
    """Writes a readable JSON file.

    Args:
      fingerprint: of the generator whose w they are in, see `latent.fingerprint`.
      provenance: plain data on how all of them were found.

    Raises:
      InputError: it cannot be written.
    """
    described = [
        {
            "name": d.name,
            "unit": d.unit,
            "layers": None if d.layers is None else list(d.layers),
            "provenance": dict(d.provenance),
            "vector": _short(d.vector),
            "normal": None if d.normal is None else _short(d.normal),
        }
        for d in directions
    ]
    head = {
        "format": FORMAT,
        "generator": fingerprint,
        "w_dim": int(directions[0].vector.shape[-1]),
        "num_ws": num_ws,
        "provenance": dict(provenance),
    }
    lines = ",\n".join("  " + json.dumps(d) for d in described)  # one line for each: diffs show which one changed
    text = json.dumps(head, indent=1)[:-2] + ',\n "directions": [\n' + lines + "\n ]\n}\n"
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with appearing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror}); choose another place") from error


@dataclass(frozen=True)
class DirectionFile:
    """Directions by name, and the fingerprint of their generator, where the file says it."""

    path: Path
    directions: dict[str, Direction]
    fingerprint: str | None = None

    def __getitem__(self, name: str) -> Direction:
        if name in self.directions:
            return self.directions[name]
        hint = suggestion(name, self.directions, "it has", 0.4)
        raise InputError(f"direction {name!r}: {self.path} has none of this name; {hint}")


def load_directions(path: str | Path, num_ws: int, w_dim: int) -> DirectionFile:
    """Reads directions for a generator of `num_ws` layers and width `w_dim`.

    Args:
      path: `.json` as `save_directions` writes it; `.npy`, one direction [w_dim], [1, w_dim] or [num_ws, w_dim], named
        after the file; `.npz`, one such array for each name.

    Raises:
      InputError: missing, damaged, of another form, of another width, not finite, or all zero.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"directions {path}: no such file; give a .json, .npy or .npz file")
    fingerprint = None
    try:
        if path.suffix == ".json":
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise InputError(f"directions {path}: format {data['format']}, this program reads {FORMAT}")
            found = [_from_json(entry) for entry in data["directions"]]
            fingerprint = data["generator"]
        elif path.suffix == ".npy":
            found = [Direction(path.stem, np.load(path, allow_pickle=False), provenance={"file": path.name})]
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found = [Direction(name, arrays[name], provenance={"file": path.name}) for name in arrays.files]
        else:
            raise InputError(f"directions {path}: unknown kind of file {path.suffix!r}; give .json, .npy or .npz")
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, zipfile.BadZipFile) as error:
        raise InputError(f"directions {path}: cannot be read ({error}); find or export them again") from error
    return DirectionFile(path, {d.name: _checked(d, path, num_ws, w_dim) for d in found}, fingerprint)


def _from_json(entry: Mapping[str, Any]) -> Direction:
    layers, normal = entry["layers"], entry["normal"]
    return Direction(
        str(entry["name"]),
        np.asarray(entry["vector"], np.float64),
        None if normal is None else np.asarray(normal, np.float64),
        None if layers is None else (int(layers[0]), int(layers[1])),
        str(entry["unit"]),
        dict(entry["provenance"]),
    )


def _checked(direction: Direction, path: Path, num_ws: int, w_dim: int) -> Direction:
    where = f"directions {path}: {direction.name}"
    arrays = []
    for array in (direction.vector, direction.normal):
        if array is None:
            arrays.append(None)
            continue
        if array.dtype.kind not in "fiu":
            raise InputError(f"{where} holds no numbers")
        array = array.reshape(array.shape[1:]) if array.ndim > 1 and array.shape[0] == 1 else array
        if array.shape not in ((w_dim,), (num_ws, w_dim)):
            raise InputError(
                f"{where} has shape {list(array.shape)}; this generator takes [{w_dim}] or [{num_ws}, {w_dim}], "
                "so it was found for another one"
            )
        if not np.isfinite(array).all() or not np.any(array):
            raise InputError(f"{where} is zero or not finite; find it again")
        arrays.append(array.astype(np.float64))
    first, end = direction.layers or (0, num_ws)
    if not 0 <= first < end <= num_ws:
        raise InputError(f"{where} is for layers {first} to {end - 1}; this generator has 0 to {num_ws - 1}")
    return Direction(direction.name, *arrays, direction.layers, direction.unit, direction.provenance)


def _normal(direction: Direction) -> np.ndarray:
    if direction.normal is not None:
        return direction.normal
    return direction.vector / np.sum(np.square(direction.vector))


def _short(array: np.ndarray) -> Any:
    return np.vectorize(lambda x: float(f"{x:.{_DIGITS}g}"))(array).tolist()
