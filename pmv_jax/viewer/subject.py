"""What the viewer shows: finished results read from their directories."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np

from pmv_jax import images
from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.edits import directions, latent
from pmv_jax.edits.directions import Direction
from pmv_jax.errors import InputError
from pmv_jax.inversion.result import Inversion, load_inversion
from pmv_jax.viewer.head import PICTURES, Head


@dataclasses.dataclass(frozen=True)
class Subject:
    """An inversion with what belongs to it.

    Attributes:
      name: of its directory.
      head: ready to be rendered.
      camera: [25] of the input.
      photograph: the input [H, W, 3] in [-1, 1]; None where only an inversion was kept.
      reconstruction: its view rendered when it was inverted, to look at until more can be; None likewise.
      mesh: a GLB file's bytes; None likewise.
      before: what `python -m pmv_jax.edit` made this head from, where it is still there.
    """

    name: str
    head: Head
    camera: np.ndarray
    photograph: np.ndarray | None
    reconstruction: np.ndarray | None
    mesh: bytes | None
    before: Head | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of pictures that can be shown of it."""
        return (
            *PICTURES[:1],
            *(["input"] if self.photograph is not None else []),
            *PICTURES[1:],
            *(["mesh"] if self.mesh is not None else []),
        )


def load_subject(directory: Path, directions_file: str | None = None) -> Subject:
    """Reads a result directory, or an inversion alone.

    Args:
      directory: what `python -m pmv_jax.invert` wrote.
      directions_file: of edits; None takes the demo generator's where the inversion is of that generator.

    Raises:
      InputError: there is no inversion, or it cannot be read.
    """
    inversion = load_inversion(directory)
    mesh = directory / "mesh.glb"

    def picture(name: str) -> np.ndarray | None:
        path = directory / name
        return images.load_image(path, inversion.generator.config.image_resolution) if path.is_file() else None

    return Subject(
        name=directory.resolve().name,
        head=Head(inversion.generator, inversion.ws, _edits(inversion, directions_file)),
        camera=np.asarray(inversion.camera),
        photograph=picture("input.png"),
        reconstruction=picture("reconstruction.png"),
        mesh=mesh.read_bytes() if mesh.is_file() else None,
        before=_before(directory, inversion),
    )


def _before(directory: Path, edited: Inversion) -> Head | None:
    """The head that an edit's result was made from; None if this is not an edit, or the head is missing or replaced."""
    try:
        source = Path(json.loads((directory / "edit.json").read_text(encoding="utf-8"))["inversion"])
        inversion = load_inversion(source)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None
    generators = (inversion.generator, edited.generator)
    same = np.array_equal(inversion.camera, edited.camera) and len({*map(latent.fingerprint, generators)}) == 1
    return Head(inversion.generator, inversion.ws, {}) if same else None


def _edits(inversion: Inversion, file: str | None) -> dict[str, Direction]:
    config = inversion.generator.config
    own = latent.fingerprint(inversion.generator)
    if file:
        found = directions.load_directions(file, config.num_ws, config.w_dim)
        if found.fingerprint not in (None, own):
            warnings.warn(f"{found.path} was found for another generator; its sliders may mean nothing", stacklevel=2)
        return found.directions
    path = default_generator_directory() / directions.DEFAULT_FILE
    if not path.is_file() or json.loads(path.read_text(encoding="utf-8"))["generator"] != own:
        return {}
    return directions.load_directions(path, config.num_ws, config.w_dim).directions
