"""Measures saved inversions: against their input, and against other views of the same head where there are some.

    python -m pmv_jax.evaluate --result DIR [--result DIR]... [--views DIR] [--lpips DIR] [--identity FILE.onnx]
                               [--out DIR] [--force]

A result is a directory that `python -m pmv_jax.invert` wrote. Views are square pictures of one size in a folder, each
with its camera: `NAME.npy` or `NAME.json` beside `NAME.png`, or one EG3D `dataset.json` for all. True depth may lie
there too: `NAME.depth.npy`, z-depth in world units at the resolution of the result's `depth.npy`, NaN off the head.

Prints a table, and writes it (table.md) with all figures (metrics.json) to --out, by default `out/evaluation`.

    python -m pmv_jax.evaluate --result out/portrait --lpips weights/lpips-alex

Exit codes: 0 done, 2 bad input or usage.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pmv_jax.cameras.files import load_camera
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.config import LossConfig
from pmv_jax.errors import InputError
from pmv_jax.images import load_image, open_image, to_square
from pmv_jax.results import workspace

if TYPE_CHECKING:
    from pmv_jax.evaluation.comparison import Reference
    from pmv_jax.inversion.result import Inversion

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
DEPTH_SUFFIX = ".depth.npy"
_EG3D_CAMERAS = "dataset.json"

FLAGS = Flags()
_RESULT = FLAGS.strings("result", "Result directory of pmv_jax.invert. Required; can be repeated.")
_VIEWS = FLAGS.string("views", None, "Folder with other views of the same head and their cameras.")
_LPIPS = FLAGS.string("lpips", None, "LPIPS weights by pmv_jax.convert. Default: those of pmv_jax[lpips].")
_IDENTITY = FLAGS.string("identity", None, "Face-embedding network as ONNX, for the similarity of identity.")
_OUT = FLAGS.out(default="out/evaluation")
_FORCE = FLAGS.force()


@command(FLAGS)
def main() -> None:
    if not _RESULT.value:
        raise InputError("--result is missing; give a directory that python -m pmv_jax.invert wrote")
    out = Path(os.path.abspath(_OUT.value or Path("out", "evaluation")))
    workspace.check(out, force=_FORCE.value, resume=False)
    results = [Path(result) for result in _RESULT.value]
    for result in results:
        if not workspace.is_finished(result) or not (result / "input.png").is_file():
            raise InputError(f"--result {result}: is no finished result of python -m pmv_jax.invert")
    views = [] if _VIEWS.value is None else find_views(Path(_VIEWS.value))

    from pmv_jax.checkpoints import lpips as lpips_weights
    from pmv_jax.evaluation import comparison
    from pmv_jax.evaluation.identity import load_identity_model
    from pmv_jax.inversion.result import load_inversion

    lpips = lpips_weights.configured(LossConfig(lpips_weights=_LPIPS.value))
    identity = None if _IDENTITY.value is None else load_identity_model(_IDENTITY.value)

    figures = {}
    for result in results:
        inversion = load_inversion(result)
        reference = read_reference(inversion, result / "input.png", views)
        figures[str(result)] = comparison.compare(inversion, reference, lpips, identity)
    table = comparison.markdown(figures, first="result")
    request = {"results": list(figures), "views": _VIEWS.value}
    with workspace.open_workspace(out, request, force=_FORCE.value, resume=False) as space:
        (space.result / "table.md").write_text(table)
        (space.result / "metrics.json").write_text(
            json.dumps(comparison.plain(figures), indent=2, allow_nan=False) + "\n"
        )
    comparison.warn_of_missing(lpips, identity)
    print(table, end="")
    print(f"Written to {out}")


def find_views(folder: Path) -> list[tuple[Path, Path]]:
    """Pictures of a folder, sorted by name, each with the file of its camera. All are checked.

    Raises:
      InputError: no folder, no pictures, a picture that cannot be read, is not square or of another size than the
        first, or one without a valid camera.
    """
    if not folder.is_dir():
        raise InputError(f"--views {folder}: no such folder; give one with pictures and their cameras")
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise InputError(f"--views {folder}: holds no {', '.join(SUFFIXES)} pictures; give a folder with some")
    first = None
    views = []
    for picture in pictures:
        camera = _camera_file(picture)
        load_camera(camera, picture)
        size = open_image(picture).size
        first = first or size
        if size != first or size[0] != size[1]:
            shape, expected = ("x".join(map(str, sides)) for sides in (size, first))
            problem = f"but {pictures[0].name} is {expected}" if size != first else "not square"
            raise InputError(f"view {picture}: is {shape} pixels, {problem}; views must be square and of one size")
        views.append((picture, camera))
    return views


def _camera_file(picture: Path) -> Path:
    candidates = [picture.with_suffix(".npy"), picture.with_suffix(".json"), picture.with_name(_EG3D_CAMERAS)]
    for path in candidates:
        if path.is_file():
            return path
    names = ", ".join(path.name for path in candidates)
    raise InputError(f"view {picture}: has no camera; put one of {names} beside it (EG3D's 25 numbers)")


def read_reference(inversion: Inversion, input_image: Path, views: Sequence[tuple[Path, Path]]) -> Reference:
    """The input and the views, at the generator's resolution, with the depths that lie beside the views.

    Args:
      inversion: says the resolution, and the input's camera.
      input_image: file of the input.
      views: files of pictures and their cameras, as `find_views` finds them.

    Raises:
      InputError: some views have a depth and some have none, or one has another shape than the renderings' depth.
    """
    from pmv_jax.evaluation.comparison import Reference
    from pmv_jax.results.writing import read_weights

    config = inversion.generator.config
    pictures = [load_image(input_image, config.image_resolution)]
    pictures += [to_square(open_image(picture), config.image_resolution) for picture, _ in views]
    views_cameras = [load_camera(camera, picture) for picture, camera in views]
    side = config.rendering.neural_resolution
    depths = [_read_depth(picture.with_suffix(DEPTH_SUFFIX), side) for picture, _ in views]
    known = [depth is not None for depth in depths]
    if any(known) and not all(known):
        picture, _ = views[known.index(False)]
        raise InputError(f"view {picture}: has no {picture.stem}{DEPTH_SUFFIX} while others have; give all or none")
    z_depth = np.stack([np.full((side, side), np.nan, np.float32), *depths]) if any(known) else None
    weights = read_weights(input_image.parent, config.image_resolution)
    return Reference(np.stack([inversion.camera, *views_cameras]), np.stack(pictures), z_depth=z_depth, weights=weights)


def _read_depth(path: Path, side: int) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        depth = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"depth {path}: is not a .npy file of numbers; write it with numpy.save") from error
    if depth.shape != (side, side) or depth.dtype.kind != "f":
        raise InputError(
            f"depth {path}: has shape {list(depth.shape)} of {depth.dtype}; this generator renders [{side}, {side}], "
            "and off the head must be NaN"
        )
    return depth.astype(np.float32)
