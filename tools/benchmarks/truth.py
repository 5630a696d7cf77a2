"""What is known of a benchmark's head, and the files it is kept in: one `.npz` a head, written by `heads.py`."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError
from pmv_jax.evaluation.comparison import Reference
from tools.benchmarks.cases import Case
from tools.training import backdrop

FINER = 3
"""Samples of the input's depth, by which visibility is found, on a side of a pixel."""
OCCLUSION_TOLERANCE = 0.012
"""World units by which the input may see less far than to a point that it is said to see. What occludes a point at no
more distance than this is taken for the point's own surface: slanted ones, and strands of hair."""

_COLOURS = ("image", "plain", "painted")  # in [-1, 1]; bytes in files
_DEPTH_STEPS = 2**16  # a unit of length, in files: what is even compresses


class Rendered(NamedTuple):
    """A picture of a head over grey 0.5: `rgb` [N, N, 3] sRGB and coverage `mask` [N, N] in [0, 1], `z_depth` [N, N]
    at the pixels' centres, 0 where nothing is. As `tools.heads.rendering.View`."""

    rgb: np.ndarray
    mask: np.ndarray
    z_depth: np.ndarray


TakePicture = Callable[[np.ndarray, int, bool], Rendered]
"""Camera [25], pixels on a side, and whether pixels are means over their area -> the picture of one head."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """All that is known of a head from V = 13 views; view 0 is the input.

    Attributes:
      cameras: [V, 25].
      image: [V, H, W, 3] in [-1, 1].
      mask: [V, H, W] share of the pixel that the head covers.
      z_depth: [V, H, W] at pixel centres, of the head or of the backdrop.
      visible: [V, H, W] bool, whether the surface at the pixel's centre is seen in the input (view 0: everywhere).
      coarse_z_depth: [V, h, w] at the centres of coarser pixels, for comparison with a volume renderer's depth.
      coarse_head: [V, h, w] bool, head (True) or backdrop at the same places.
    """

    cameras: np.ndarray
    image: np.ndarray
    mask: np.ndarray
    z_depth: np.ndarray
    visible: np.ndarray
    coarse_z_depth: np.ndarray
    coarse_head: np.ndarray

    @property
    def reference(self) -> Reference:
        """As `pmv_jax.evaluation.comparison` takes it."""
        z_depth = np.where(self.coarse_head, self.coarse_z_depth, np.nan)
        return Reference(self.cameras, self.image, self.visible, self.mask > 0.5, z_depth)


@dataclasses.dataclass(frozen=True)
class Painted:
    """A bare head, and the same with something painted on it.

    Attributes:
      cameras: [3, 25], `Case.painted_cameras`.
      plain, painted: [3, H, W, 3] in [-1, 1].
    """

    cameras: np.ndarray
    plain: np.ndarray
    painted: np.ndarray


Known = TypeVar("Known", Truth, Painted)


def make(case: Case, take: TakePicture, size: int, coarse_size: int) -> Truth:
    """Takes the pictures of a case, `size` pixels on a side, before its backdrop."""
    views = case.cameras
    seen = jnp.asarray(_solid(take(views[0], FINER * size, False), views[0]))
    images, masks, depths, visible, coarse = [], [], [], [], []
    for camera in views:
        picture, centres = take(camera, size, True), take(camera, coarse_size, False)
        images.append(before_backdrop(case, picture, camera))
        masks.append(picture.mask)
        depths.append(_solid(picture, camera))
        visible.append(visibility(jnp.asarray(depths[-1]), camera, seen, views[0]))
        coarse.append((_solid(centres, camera), centres.z_depth > 0))
    visible[0] = np.ones_like(visible[0])
    image, mask, z_depth, visible = map(np.stack, (images, masks, depths, visible))
    return Truth(views, image, mask, z_depth, visible, *map(np.stack, zip(*coarse, strict=True)))


def make_painted(case: Case, take_plain: TakePicture, take_painted: TakePicture, size: int) -> Painted:
    """Takes the pictures of a case's bare head without and with its painting."""
    views = case.painted_cameras
    plain, painted = (
        np.stack([before_backdrop(case, take(camera, size, True), camera) for camera in views])
        for take in (take_plain, take_painted)
    )
    return Painted(views, plain, painted)


def before_backdrop(case: Case, picture: Rendered, camera: np.ndarray) -> np.ndarray:
    """The picture [N, N, 3] in [-1, 1] before the case's backdrop."""
    return backdrop.photographed(picture.rgb, picture.mask, case.backdrop, camera)


def _solid(picture: Rendered, camera: np.ndarray) -> np.ndarray:
    """z-depth [N, N] of the head or, where there is none, of the backdrop."""
    wall = _wall(jnp.asarray(camera), len(picture.z_depth))
    return np.where(picture.z_depth > 0, picture.z_depth, wall).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("size",))
def _wall(camera: Array, size: int) -> Array:
    """z-depth [size, size] of the backdrop."""
    directions = cameras.unproject(camera, cameras.pixel_centres(size).reshape(-1, 2))
    origins = jnp.broadcast_to(cameras.split(camera)[0][:3, 3], directions.shape)
    return backdrop.distance(origins, directions).reshape(size, size)  # along directions of unit z-depth


@jax.jit
def visibility(z_depth: Array, camera: Array, input_z_depth: Array, input_camera: Array) -> Array:
    """[H, W] bool: the surface point of each pixel lies in the input's picture, and the input sees as far as to it.

    Args:
      z_depth: [H, W] of the view.
      camera, input_camera: [25] of the view and of the input.
      input_z_depth: [N, N] of the input, in any resolution; the nearest sample counts.
    """
    height, width = z_depth.shape
    directions = cameras.unproject(camera, cameras.pixel_centres(height).reshape(-1, 2))
    points = cameras.split(camera)[0][:3, 3] + z_depth.reshape(-1, 1) * directions
    where, depth = cameras.project(input_camera, points)
    inside = jnp.all((where > 0) & (where < 1), axis=-1)
    column, row = jnp.clip((where * len(input_z_depth)).astype(jnp.int32), 0, len(input_z_depth) - 1).T
    reached = input_z_depth[row, column] > depth - OCCLUSION_TOLERANCE
    return (inside & reached).reshape(height, width)


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def path_of(directory: Path, case: Case, kind: type[Known]) -> Path:
    """Where what is known of a case is kept."""
    return directory / f"{case.name}{'' if kind is Truth else '_painted'}.npz"


def save(directory: Path, case: Case, known: Known) -> None:
    """Writes what is known of a case, whole or not at all."""
    path = path_of(directory, case, type(known))
    unfinished = path.with_suffix(".partial")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, case=_described(case), **{k: _packed(k, x) for k, x in vars(known).items()})
    os.replace(unfinished, path)


def load(directory: Path, case: Case, kind: type[Known]) -> Known:
    """Reads what is known of a case.

    Raises:
      InputError: it is not there, cannot be read, or was made for another case; the command that makes it is named.
    """
    path, split = path_of(directory, case, kind), case.name.partition("-")[0]
    remedy = f"make it: python -m tools.benchmarks heads --assets DIR --out {directory} --split {split}"
    if not path.is_file():
        raise InputError(f"--heads_dir: {path} is not there; {remedy}")
    try:
        with np.load(path) as file:
            if str(file["case"]) != _described(case):
                raise InputError(f"--heads_dir: {path} is of another benchmark's head; remove it, and {remedy}")
            return kind(**{field.name: _unpacked(field.name, file[field.name]) for field in dataclasses.fields(kind)})
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"--heads_dir: {path} cannot be read ({error}); remove it, and {remedy}") from error


def check(directory: str | None, chosen: Sequence[Case], kind: type[Known], config: GeneratorConfig) -> Path:
    """The directory, if it has all chosen cases, in the sizes of a generator.

    Raises:
      InputError: it has not.
    """
    if directory is None:
        raise InputError(
            "--heads_dir: give the directory of the heads; python -m tools.benchmarks heads --assets DIR --out DIR"
            " makes it"
        )
    for case in chosen:
        if not path_of(Path(directory), case, kind).is_file():
            load(Path(directory), case, kind)  # says what is missing
    known = load(Path(directory), chosen[0], kind)
    if isinstance(known, Truth):
        pairs = (known.image, config.image_resolution), (known.coarse_z_depth, config.rendering.neural_resolution)
    else:
        pairs = ((known.plain, config.image_resolution),)
    for values, expected in pairs:
        if values.shape[1] != expected:
            raise InputError(
                f"--heads_dir {directory}: was made for another generator, {values.shape[1]} pixels where this one has"
                f" {expected}; give another --out to python -m tools.benchmarks heads, and it this --generator"
            )
    return Path(directory)


def digest(directory: Path, case: Case) -> str:
    """16 hexadecimal digits that identify the file of a case's truth."""
    return hashlib.sha256(path_of(directory, case, Truth).read_bytes()).hexdigest()[:16]


def _described(case: Case) -> str:
    return json.dumps(dataclasses.asdict(case))


def _packed(name: str, values: np.ndarray) -> np.ndarray:
    if name in _COLOURS:
        return np.rint((values + 1) * 127.5).astype(np.uint8)
    if name == "mask":
        return np.rint(255 * values).astype(np.uint8)
    return np.rint(values * _DEPTH_STEPS) / np.float32(_DEPTH_STEPS) if name.endswith("z_depth") else values


def _unpacked(name: str, values: np.ndarray) -> np.ndarray:
    if name in _COLOURS:
        return values.astype(np.float32) / np.float32(127.5) - 1
    return values.astype(np.float32) / 255 if name == "mask" else values
