"""Frames to files: H.264 in MP4, animated WebP or GIF, or a folder of PNGs. Whatever appears is complete."""

from __future__ import annotations

import errno
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from pmv_jax.whole_files import appearing

SUFFIXES = (".mp4", ".webp", ".gif", "")  # the last: a folder of PNGs
GIF_LARGEST_FPS = 50  # players slow down what is shown for less than 0.02 s


def write_video(path: str | Path, frames: Sequence[np.ndarray], fps: float) -> Path:
    """Writes frames in the format that the path's suffix asks for; what has that name is replaced.

    Without an ffmpeg for this platform, an animated WebP beside that name takes the place of an MP4, with a warning.

    Args:
      path: ends in one of SUFFIXES; without a suffix, a folder for 0000.png, 0001.png, ...
      frames: uint8 [H, W, 3], at least one; of even sides for MP4.
      fps: frames per second; folders know none.

    Returns:
      The path that was written.

    Raises:
      OSError: the video could not be written completely.
    """
    path = Path(path)
    ffmpeg = _ffmpeg() if path.suffix == ".mp4" else None
    if path.suffix == ".mp4" and ffmpeg is None:
        path = path.with_suffix(".webp")
        warnings.warn(f"no ffmpeg for this platform; writing {path.name} instead of an MP4", stacklevel=2)
    with appearing(path) as partial:
        if path.suffix == ".mp4":
            _write_mp4(partial, path, frames, fps, ffmpeg)
        elif path.suffix:
            _write_animation(partial, frames, fps)
        else:
            partial.mkdir(parents=True)
            for index, frame in enumerate(frames):
                Image.fromarray(frame).save(partial / f"{index:04}.png")
    return path


def _ffmpeg() -> str | None:
    """The ffmpeg that imageio-ffmpeg brings, or the system's."""
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        return None


def _write_mp4(partial: Path, path: Path, frames: Sequence[np.ndarray], fps: float, ffmpeg: str) -> None:
    height, width, _ = frames[0].shape
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-"]
    codec = ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    # Not imageio-ffmpeg's own writer: it neither looks at ffmpeg's exit status, nor starts it without forking JAX.
    done = subprocess.run(
        [ffmpeg, "-v", "error", "-y", *source, *codec, str(partial)],
        input=np.stack(frames).tobytes(),
        capture_output=True,
    )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise OSError(errno.EIO, f"ffmpeg failed ({''.join(reason)})", str(path))


def _write_animation(partial: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    unit = 10 if partial.suffix == ".gif" else 1  # milliseconds that the format counts in
    # Times are rounded, not durations: 24 frames last one second in either format.
    durations = unit * np.diff(np.rint(np.arange(len(frames) + 1) * 1000 / (fps * unit))).astype(int)
    first, *rest = map(Image.fromarray, frames)
    options = {"quality": 90} if partial.suffix == ".webp" else {}
    first.save(partial, save_all=True, append_images=rest, duration=durations.tolist(), loop=0, **options)
