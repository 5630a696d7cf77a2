"""Renders a finished inversion along a camera path: colour, depth and normals, as video or pictures.

    python -m pmv_jax.render --inversion DIR [--path orbit|figure8|dolly|FILE.json] [--out FILE] [--channels LIST]
                             [--frames N] [--fps N] [--size N] [--yaw X] [--pitch X] [--samples N] [--force]

The suffix of --out chooses the format: .mp4 (H.264), .webp or .gif (animated), none (a folder of PNGs). Further
channels get a name of their own beside it: orbit.mp4, orbit_depth.mp4, orbit_normals.mp4.

    python -m pmv_jax.render --inversion out/portrait
    python -m pmv_jax.render --inversion out/portrait --path figure8 --channels colour,depth,normals --samples 2
    python -m pmv_jax.render --inversion out/portrait --path cameras.json --out frames

orbit and figure8 swing by --yaw and --pitch (radians) around the frontal view; dolly looks from there, comes nearer and
goes back. All three are closed: played in a loop they have no seam. A file holds any list of cameras, a frame each, as
EG3D's 25 numbers. More --samples per ray cure flicker, and take that much longer.

Exit codes: 0 done, 2 bad input or usage.
"""

# JAX and everything that needs it are imported inside functions, so that --help and wrong flags answer at once.

from __future__ import annotations

import functools
import math
import os
import time
from pathlib import Path

import numpy as np

from pmv_jax.commandline.flags import Flags, check_out, inversion_directory
from pmv_jax.commandline.progress import ProgressBars
from pmv_jax.commandline.run import command
from pmv_jax.errors import InputError
from pmv_jax.images import video

FLAGS = Flags()
_INVERSION = FLAGS.inversion()
_PATH = FLAGS.string("path", "orbit", "orbit, figure8, dolly, or a .json file with a list of cameras.")
_FILE = FLAGS.string("out", None, "File to write; see above for formats. Default: <inversion>/render_<path>.mp4.")
_CHANNELS_WANTED = FLAGS.items("channels", ["colour"], "Which of colour, depth, normals, separated by commas.")
_FRAMES = FLAGS.integer("frames", None, "Number of frames. Default: 120, or one a camera of a file.")
_FPS = FLAGS.number("fps", 24, "Frames per second.", least=1, most=120)
_SIZE = FLAGS.integer("size", None, "Side of the frames in pixels. Default: the generator's own, at least 256.")
_YAW = FLAGS.number("yaw", None, "Swing or direction in yaw, radians. Default: 0.5, for dolly 0.")
_PITCH = FLAGS.number("pitch", None, "Swing or direction in pitch, radians. Default: 0.2, for dolly 0.")
_SAMPLES = FLAGS.integer("samples", 1, "Factor on the generator's number of samples along a ray.", least=1, most=16)
_FORCE = FLAGS.force()

_CHANNELS = ("colour", "depth", "normals")
_FRAME_COUNT = 120
_LARGEST_ENLARGEMENT = 4  # of the generator's own pixels; beyond it a frame is nothing but blur
_STEEPEST = {"yaw": math.pi / 2, "pitch": 1.2}  # radians; further round there is no face


@command(FLAGS)
def main() -> None:
    start = time.monotonic()
    directory = inversion_directory(_INVERSION.value)
    name = Path(_PATH.value).stem
    out = Path(os.path.abspath(_FILE.value or directory / f"render_{name}.mp4"))
    _check_flags(out)

    files = {channel: _file(out, channel) for channel in dict.fromkeys(_CHANNELS_WANTED.value)}
    for file in files.values():
        _check_out(file)

    from pmv_jax.inversion.result import load_inversion
    from pmv_jax.models import frames

    inversion = load_inversion(directory)
    config = inversion.generator.config
    _check_size(config.image_resolution)
    views = _views(config, float(inversion.camera[16]))

    out.parent.mkdir(parents=True, exist_ok=True)
    render = functools.partial(inversion.render, samples=_SAMPLES.value)
    with ProgressBars() as bars:
        rendered = list(frames.render_views(render, views, bars.stage("rendering")))
    written = [
        video.write_video(file, _pictures(channel, rendered, views), _FPS.value) for channel, file in files.items()
    ]
    print(f"{len(views)} frames in {time.monotonic() - start:.0f} s: {', '.join(map(str, written))}")


def _views(config, focal: float) -> np.ndarray:
    """Cameras [V, 25] that --path, --frames, --yaw and --pitch ask for."""
    from pmv_jax.cameras import paths as camera_paths

    if _PATH.value in camera_paths.PATHS:
        angles = {"yaw": _YAW.value, "pitch": _PITCH.value}
        given = {name: value for name, value in angles.items() if value is not None}
        return camera_paths.PATHS[_PATH.value](config, _FRAMES.value or _FRAME_COUNT, focal=focal, **given)
    views = camera_paths.load_cameras(_PATH.value)
    for name, flag in (("frames", _FRAMES), ("yaw", _YAW), ("pitch", _PITCH)):
        if flag.value is not None:
            raise InputError(f"--{name} does not go with --path {_PATH.value}, whose {len(views)} cameras say it all")
    return views


def _pictures(channel: str, rendered: list[tuple[np.ndarray, np.ndarray]], views: np.ndarray) -> list[np.ndarray]:
    """Frames uint8 [H, W, 3] of one channel from image and z-depth of cameras [V, 25]."""
    from pmv_jax.models import frames

    if channel == "depth":
        pictures = list(frames.depth_frames(np.stack([depth for _, depth in rendered])))
    elif channel == "normals":
        pictures = [frames.normals(depth, camera) for (_, depth), camera in zip(rendered, views, strict=True)]
    else:
        pictures = [image for image, _ in rendered]
    size = _SIZE.value or frames.shown_size(rendered[0][0].shape[0])
    return [frames.scale(picture, size) for picture in pictures]


def _check_flags(out: Path) -> None:
    unknown = [channel for channel in _CHANNELS_WANTED.value if channel not in _CHANNELS]
    if unknown or not _CHANNELS_WANTED.value:
        raise InputError(f"--channels {','.join(_CHANNELS_WANTED.value)}: choose some of {', '.join(_CHANNELS)}")
    if out.suffix not in video.SUFFIXES:
        raise InputError(f"--out {out}: unknown format {out.suffix!r}; end it in .mp4, .webp or .gif, or in nothing")
    if out.suffix == ".gif" and _FPS.value > video.GIF_LARGEST_FPS:
        raise InputError(f"--fps {_FPS.value:g}: a GIF plays {video.GIF_LARGEST_FPS} at most; choose .webp or .mp4")
    if _FRAMES.value is not None and not 1 <= _FRAMES.value <= 10_000:
        raise InputError(f"--frames {_FRAMES.value}: must be from 1 to 10000")
    for name, flag in (("yaw", _YAW), ("pitch", _PITCH)):
        if flag.value is not None and not abs(flag.value) <= _STEEPEST[name]:
            raise InputError(f"--{name} {flag.value:g}: is in radians, {_STEEPEST[name]:.2f} at most")


def _check_size(resolution: int) -> None:
    size, largest = _SIZE.value, _LARGEST_ENLARGEMENT * resolution
    if size is not None and (size % 2 or not 16 <= size <= largest):
        raise InputError(
            f"--size {size}: does not fit; this generator renders {resolution} pixels, so give an even number "
            f"from 16 to {largest}"
        )


def _check_out(file: Path) -> None:
    check_out(file, _FORCE.value)
    if file.is_dir() and any(path.suffix != ".png" for path in file.iterdir()):
        raise InputError(f"--out {file}: is a folder with other things in it; choose another name")


def _file(out: Path, channel: str) -> Path:
    return out if channel == "colour" else out.with_name(f"{out.stem}_{channel}{out.suffix}")
