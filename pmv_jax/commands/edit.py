"""Edits a finished inversion: moves it along directions of w, and paints a picture's changes into its 3D.

    python -m pmv_jax.edit --inversion DIR --direction NAME --strength X [--direction ...] [--layers A-B] [--keep NAMES]
                           [--texture-edit FILE [--view-camera FILE] [--mask FILE]] [--out DIR] [--force] [--quick]
    python -m pmv_jax.edit --inversion DIR --direction NAME --sweep FROM:TO:COUNT

A direction is a name in --directions (default: those of the demo generator), a .npy file, or FILE:NAME for one of a
.npz or .json file. Strength 1 is one standard deviation, for directions of tools.find_directions. The move keeps the
tuned weights, and with them what is this head's own. --keep takes out of the move what would change other attributes.

    python -m pmv_jax.edit --inversion out/portrait --direction smile --strength 1.5 --direction age --strength -1
    python -m pmv_jax.edit --inversion out/portrait --direction age --strength 2 --keep hair_colour,skin_tone
    python -m pmv_jax.edit --inversion out/portrait --direction smile --sweep -2:2:9
    python -m pmv_jax.edit --inversion out/portrait --texture-edit painted.png

--texture-edit takes the result's input.png after it was painted over in any editor, or, with --view-camera, any other
view, as `pmv_jax.render --path CAMERA.json --size <the generator's own>` writes it. What differs is carried into other
views by the inversion's depth, and the generator tuned to show it, holding all else. In one call the texture comes
first, then the moves; the result can be edited again, by painting over its input.png.

The result is that of pmv_jax.invert, with edit.png (before and after) and edit.json; --quick leaves out video and mesh.
A sweep gives strip.png and grid.png (strength across, yaw down).

Exit codes: 0 done, 2 bad input or usage.
"""

# JAX and everything that needs it are imported inside functions, so that --help and wrong flags answer at once.

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pmv_jax import images
from pmv_jax.cameras.files import load_camera
from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.commandline.flags import Flags, inversion_directory
from pmv_jax.commandline.progress import ProgressBars
from pmv_jax.commandline.run import command
from pmv_jax.edits import directions
from pmv_jax.edits.directions import Direction, DirectionFile
from pmv_jax.errors import InputError
from pmv_jax.results import workspace

if TYPE_CHECKING:
    from pmv_jax.edits.latent import Move
    from pmv_jax.inversion.result import Inversion

FLAGS = Flags()
_INVERSION = FLAGS.string("inversion", None, "Result of python -m pmv_jax.invert, or of this command. Required.")
_DIRECTION = FLAGS.strings("direction", "Name, FILE.npy, or FILE:NAME. Can be repeated.")
_STRENGTH = FLAGS.numbers("strength", "How far, one for each --direction. Default with --sweep: 1.")
_LAYER_RANGES = FLAGS.strings("layers", "Layers to move, such as 0-5: one for all, or one for each.")
_KEEP = FLAGS.items("keep", [], "Directions whose attributes are not to change, separated by commas.")
_FILE = FLAGS.string("directions", None, "File with named directions. Default: the demo generator's.")
_SWEEP = FLAGS.string("sweep", None, "FROM:TO:COUNT, multiples of the strengths: a strip and a grid.")
_TEXTURE = FLAGS.string("texture-edit", None, "input.png of the inversion, or another view, painted over.")
_VIEW_CAMERA = FLAGS.string("view-camera", None, "Camera of --texture-edit. Default: the input's.")
_MASK = FLAGS.string("mask", None, "Where --texture-edit counts, white on black. Default: where it differs.")
_QUICK = FLAGS.switch("quick", False, "No video, mesh and report: edit.png, the pictures and the inversion.")
_OUT = FLAGS.out(default="<inversion>_edit, and <inversion>_painted with --texture-edit")
_FORCE = FLAGS.force()

YAWS = (-0.6, -0.45, -0.3, -0.15, 0.0, 0.15, 0.3, 0.45, 0.6)  # radians, of edit.png
SWEEP_YAWS = (-0.5, -0.25, 0.0, 0.25, 0.5)  # of grid.png
_LARGEST_SWEEP = 25
_SHEET_WIDTH = 1600


@command(FLAGS)
def main() -> None:
    start = time.monotonic()
    source = inversion_directory(_INVERSION.value)
    _check_flags()
    suffix = "_edit" if _TEXTURE.value is None else "_painted"
    out = Path(os.path.abspath(_OUT.value or source.with_name(source.name + suffix)))
    workspace.check(out, force=_FORCE.value, resume=False)
    sweep = None if _SWEEP.value is None else parse_sweep(_SWEEP.value)

    from pmv_jax.edits import latent, texture
    from pmv_jax.inversion.result import load_inversion

    inversion = load_inversion(source)
    moves = _moves(inversion)
    painting = _painting(inversion, source)
    request = {
        "inversion": str(source.resolve()),
        "moves": [{"direction": m.direction.name, "strength": m.strength, "layers": m.direction.layers} for m in moves],
        "keep": _KEEP.value,
        "sweep": _SWEEP.value,
        "texture": None if painting is None else _digest(painting),
    }
    before = inversion
    with workspace.open_workspace(out, request, force=_FORCE.value, resume=False) as space:
        begun = time.monotonic()
        shown = _input_picture(source, inversion)
        if painting is not None:
            with ProgressBars() as bars:
                inversion, shown = texture.apply_painting(inversion, painting, shown, progress=bars.stage("texture"))
        if sweep is not None:
            places = _write_sweep(space.result, inversion, moves, sweep)
        else:
            places = _warn_of_range(inversion, latent.move(inversion, moves), moves)
            inversion = latent.move(inversion, moves)
            if moves:  # the input does not show this; its rendering does, and can be painted over in turn
                shown = np.clip(inversion.render(inversion.camera[None])["image"][0], -1, 1)
        about = {**request, "positions": places}
        (space.result / "edit.json").write_text(json.dumps(about, indent=2) + "\n")
        if sweep is None:
            _write_result(space.result, before, inversion, shown, begun)
        else:
            (space.result / "metrics.json").write_text(json.dumps({"sweep": _SWEEP.value}) + "\n")
    print(f"edited in {time.monotonic() - start:.0f} s: {out}")


def parse_sweep(text: str) -> np.ndarray:
    """ "-2:2:9" -> nine numbers from -2 to 2, [9].

    Raises:
      InputError: of another form, or too many.
    """
    match = re.fullmatch(r"([^:]+):([^:]+):(\d+)", text)
    try:
        low, high, count = float(match[1]), float(match[2]), int(match[3])
        if not (np.isfinite([low, high]).all() and 2 <= count <= _LARGEST_SWEEP):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise InputError(f"--sweep {text}: give FROM:TO:COUNT, as -2:2:9; COUNT 2 to {_LARGEST_SWEEP}") from error
    return np.linspace(low, high, count)


# ---------------------------------------------------------------------------------------------------------------------
# What was asked for
# ---------------------------------------------------------------------------------------------------------------------


def _check_flags() -> None:
    names, strengths, layers = _DIRECTION.value, _STRENGTH.value, _LAYER_RANGES.value
    if not names and not _TEXTURE.value:
        raise InputError("nothing to edit; give --direction and --strength, or --texture-edit")
    if len(strengths) != len(names) and not (_SWEEP.value and not strengths):
        raise InputError(f"{len(names)} --direction and {len(strengths)} --strength; each direction takes one strength")
    if not np.isfinite(strengths).all():
        raise InputError("--strength must be a finite number")
    if len(layers) > 1 and len(layers) != len(names):
        raise InputError(f"{len(names)} --direction and {len(layers)} --layers; give one for all, or one for each")
    for name, flag in (("sweep", _SWEEP), ("keep", _KEEP), ("layers", _LAYER_RANGES)):
        if flag.value and not names:
            raise InputError(f"--{name} needs a --direction")
    for name, flag in (("view-camera", _VIEW_CAMERA), ("mask", _MASK)):
        if flag.value and not _TEXTURE.value:
            raise InputError(f"--{name} goes with --texture-edit")


def _moves(inversion: Inversion) -> list[Move]:
    from pmv_jax.edits.latent import Move

    names, num_ws = _DIRECTION.value, inversion.generator.config.num_ws
    kept = [_direction(name, inversion) for name in _KEEP.value]
    ranges = [directions.parse_layers(text, num_ws) for text in _LAYER_RANGES.value]
    ranges = ranges * len(names) if len(ranges) == 1 else ranges or [None] * len(names)
    strengths = _STRENGTH.value or [1.0] * len(names)
    moves = []
    for name, strength, layers in zip(names, strengths, ranges, strict=True):
        direction = _direction(name, inversion)
        direction = directions.keep(direction, [d for d in kept if d.name != direction.name], num_ws)
        moves.append(Move(directions.on_layers(direction, layers), strength))
    return moves


def _direction(text: str, inversion: Inversion) -> Direction:
    """A direction by name, FILE or FILE:NAME."""
    match = re.fullmatch(r"(.+\.(?:npy|npz|json))(?::(.+))?", text)
    if not match:
        path = Path(_FILE.value) if _FILE.value else default_generator_directory() / directions.DEFAULT_FILE
        return _load(path, inversion)[text]
    found = _load(Path(match[1]), inversion)
    if match[2] is None and len(found.directions) > 1:
        some = ", ".join(list(found.directions)[:8])
        raise InputError(f"--direction {text}: has {len(found.directions)} directions; give {text}:NAME, of {some}")
    return found[match[2] or next(iter(found.directions))]


def _load(path: Path, inversion: Inversion) -> DirectionFile:
    from pmv_jax.edits import latent

    config = inversion.generator.config
    found = directions.load_directions(path, config.num_ws, config.w_dim)
    if found.fingerprint not in (None, latent.fingerprint(inversion.generator)):
        warnings.warn(f"{path} was found for another generator; its directions may mean nothing here", stacklevel=2)
    return found


def _painting(inversion: Inversion, source: Path) -> Any:
    """What --texture-edit asks for; None without it."""
    if not _TEXTURE.value:
        return None
    from pmv_jax.edits import texture

    size = inversion.generator.config.image_resolution
    path = Path(_TEXTURE.value)
    camera = inversion.camera if _VIEW_CAMERA.value is None else load_camera(_VIEW_CAMERA.value, path)
    edited = _read_square(path, size, "--texture-edit")
    if _VIEW_CAMERA.value is None:
        before = _input_picture(source, inversion)
    else:
        before = np.clip(inversion.render(camera[None])["image"][0], -1, 1)
    mask = None if _MASK.value is None else _read_square(Path(_MASK.value), size, "--mask")[..., 0] > 0
    return texture.Painting(edited, texture.changed_region(before, edited, mask, str(path)), camera)


def _read_square(path: Path, size: int, flag: str) -> np.ndarray:
    """A picture [size, size, 3] in [-1, 1], exactly that large: resampling would be taken for an edit."""
    picture = images.open_image(path)
    if picture.size != (size, size):
        raise InputError(
            f"{flag} {path}: is {picture.size[0]}x{picture.size[1]} pixels, the inversion's pictures are "
            f"{size}x{size}; paint over the result's input.png, or over a view rendered with --size {size}"
        )
    return images.to_square(picture, size)


def _input_picture(source: Path, inversion: Inversion) -> np.ndarray:
    """The picture that the inversion stands for [H, W, 3]; its rendering where only the inversion was kept."""
    path = source / "input.png"
    if path.is_file():
        return images.load_image(path, inversion.generator.config.image_resolution)
    return np.clip(inversion.render(inversion.camera[None])["image"][0], -1, 1)


def _digest(painting: Any) -> dict[str, Any]:
    return {
        "file": Path(_TEXTURE.value).name,
        "sha256": hashlib.sha256(np.ascontiguousarray(painting.image).tobytes()).hexdigest(),
        "pixels": int((painting.mask > 0.5).sum()),
        "camera": [float(value) for value in painting.camera],
    }


# ---------------------------------------------------------------------------------------------------------------------
# What comes out
# ---------------------------------------------------------------------------------------------------------------------


def _warn_of_range(before: Inversion, after: Inversion, moves: list[Move]) -> list[dict[str, Any]]:
    """Places along the directions, in standard deviations; warns where the generator has hardly been trained."""
    from pmv_jax.edits import latent

    places = latent.positions(before.generator, before.ws, after.ws, [m.direction for m in moves])
    for m, place in zip(moves, places, strict=True):
        if place.leaves_range:
            warnings.warn(
                f"{m.direction.name} at strength {m.strength:g} is {place.after:+.1f} standard deviations from the "
                f"average head (before: {place.before:+.1f}); beyond {latent.TRAINED_RANGE:g} it is hardly trained",
                stacklevel=2,
            )
    return [{"direction": m.direction.name, **p._asdict()} for m, p in zip(moves, places, strict=True)]


def _write_result(directory: Path, before: Inversion, after: Inversion, shown: np.ndarray, begun: float) -> None:
    from pmv_jax.inversion.stage import Photograph
    from pmv_jax.models import frames
    from pmv_jax.results import report
    from pmv_jax.results import writing as result

    views = _yaw_cameras(before, YAWS)
    sheets = [[view for view, _ in frames.render_views(inversion.render, views)] for inversion in (before, after)]
    labels = [f"yaw {yaw:+.2f}" for yaw in YAWS]
    rows = [
        [(f"{name}, {label}", view) for label, view in zip(labels, sheet, strict=True)]
        for name, sheet in zip(("before", "after"), sheets, strict=True)
    ]
    images.save_image(directory / "edit.png", images.contact_sheet(rows, _SHEET_WIDTH))
    print(f"edit and {len(YAWS)} views of before and after in {time.monotonic() - begun:.1f} s")
    if _QUICK.value:
        ((reconstruction, depth),) = frames.render_views(after.render, after.camera[None])
        images.save_image(directory / "input.png", shown)
        images.save_image(directory / "reconstruction.png", reconstruction)
        after.save(directory / "inversion")
        view = result.InputView(Photograph(shown), reconstruction, np.asarray(depth), after.camera)
        figures = result.measure(after, [view])
        (directory / "metrics.json").write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        return
    with ProgressBars() as bars:
        result.write_result(directory, after, [Photograph(shown)], bars.stage("rendering"), title="Edit")
    middle = len(YAWS) // 2
    report.add_edit(directory / "report.html", report.Edit(sheets[0][middle], sheets[1][middle]))


def _write_sweep(directory: Path, inversion: Inversion, moves: list[Move], factors: np.ndarray) -> list[dict[str, Any]]:
    from pmv_jax.edits import latent

    views = np.concatenate([inversion.camera[None], _yaw_cameras(inversion, SWEEP_YAWS)])
    columns, places = [], []
    with ProgressBars() as bars:
        for index, factor in enumerate(factors):
            scaled = [m._replace(strength=m.strength * float(factor)) for m in moves]
            moved = latent.move(inversion, scaled)
            columns.append(np.clip(moved.render(views)["image"], -1, 1))
            found = latent.positions(inversion.generator, inversion.ws, moved.ws, [m.direction for m in moves])
            places += [{"factor": float(factor), "direction": m.direction.name, **p._asdict()}
                       for m, p in zip(moves, found, strict=True)]  # fmt: skip
            bars.update("sweep", index + 1, len(factors))
    _warn_of_range(inversion, moved, scaled)
    labels = [f"{factor:+.2f}" for factor in factors]
    strip = [[(label, column[0]) for label, column in zip(labels, columns, strict=True)]]
    grid = [
        [(f"{label}, yaw {yaw:+.2f}", column[1 + row]) for label, column in zip(labels, columns, strict=True)]
        for row, yaw in enumerate(SWEEP_YAWS)
    ]
    images.save_image(directory / "strip.png", images.contact_sheet(strip, _SHEET_WIDTH))
    images.save_image(directory / "grid.png", images.contact_sheet(grid, _SHEET_WIDTH))
    return places


def _yaw_cameras(inversion: Inversion, yaws: tuple[float, ...]) -> np.ndarray:
    from pmv_jax.cameras import paths as camera_paths

    focal = float(inversion.camera[16])
    return camera_paths.around_head(inversion.generator.config, np.array(yaws), np.zeros(len(yaws)), focal=focal)
