"""Writes the result directory of one inversion: pictures, video, depth, settings, figures and the tuned generator."""

from __future__ import annotations

import errno
import json
import math
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import jax
import numpy as np
from PIL import Image

from pmv_jax import cameras, images, metrics
from pmv_jax.config import to_dict
from pmv_jax.inversion.pipeline import Inversion

SWEEP_YAWS = (-0.6, -0.3, 0.0, 0.3, 0.6)  # radians
SWEEP_PITCHES = (-0.3, -0.15, 0.0, 0.15, 0.3)
ORBIT_FRAMES, ORBIT_FPS = 60, 24
ORBIT_YAW, ORBIT_PITCH = 0.5, 0.2  # amplitudes in radians
_SMALLEST_FRAME = 256  # video players and the eye want more pixels than a small generator gives
_BATCH = 4  # views rendered at once: one compiled program for all, and little memory
_SHEET_WIDTH = 1280

Progress = Callable[[int, int], None]  # views rendered, of all


def write_result(
    directory: Path, inversion: Inversion, image: np.ndarray, progress: Progress | None = None
) -> dict[str, Any]:
    """Renders an inversion and writes every file of its result.

    Args:
      directory: existing and empty.
      inversion: the inverted image.
      image: what was inverted [H, W, 3] in [-1, 1], at the generator's resolution.
      progress: called with the number of views rendered so far and of all.

    Returns:
      What `metrics.json` holds.

    Raises:
      OSError: a file cannot be written.
    """
    sweep, orbit = sweep_cameras(inversion), orbit_cameras(inversion)
    views = np.concatenate([inversion.camera[None], sweep, orbit])
    rendered = _render(inversion, views, progress)

    reconstruction, ray_distance = next(rendered)
    depth = np.asarray(cameras.ray_distance_to_z_depth(ray_distance, inversion.camera), np.float32)
    sweep_images = [view for view, _ in (next(rendered) for _ in sweep)]
    _write_video(directory / "orbit.mp4", [_video_frame(view) for view, _ in rendered])

    coloured_depth = images.colour_depth(depth)
    images.save_image(directory / "input.png", image)
    images.save_image(directory / "reconstruction.png", reconstruction)
    images.save_image(directory / "depth.png", images.resize(coloured_depth, image.shape[:2]))
    np.save(directory / "depth.npy", depth)
    images.save_image(directory / "views.png", _views_sheet(image, reconstruction, coloured_depth, sweep_images))
    _write_pseudo_views(directory / "pseudo_views", inversion)
    inversion.save(directory / "inversion")
    figures = measure(inversion, image, reconstruction)
    _write_json(directory / "config.json", to_dict(inversion.config))
    _write_json(directory / "metrics.json", figures)
    return figures


def measure(inversion: Inversion, image: np.ndarray, reconstruction: np.ndarray) -> dict[str, Any]:
    """The contents of `metrics.json`, as plain data. A figure that is not finite or not known is None.

    Args:
      inversion: for its camera, seed and stages.
      image, reconstruction: [H, W, 3] in [-1, 1].
    """
    figures = {name: float(jax.jit(function)(image, reconstruction)) for name, function in _METRICS.items()}
    return {
        **{name: _finite(value) for name, value in figures.items()},
        "lpips": None,
        "camera": [float(value) for value in inversion.camera],
        "seed": inversion.config.seed,
        "device": jax.devices()[0].device_kind,
        "peak_memory_bytes": peak_memory_bytes(),
        "stages": [
            {
                "name": stage.name,
                "steps": stage.steps,
                "seconds": round(stage.seconds, 3),
                "loss_first": _finite(stage.loss_first),
                "loss_last": _finite(stage.loss_last),
            }
            for stage in inversion.stages
        ],
    }


def peak_memory_bytes() -> int:
    """Most memory in use so far: of the accelerator where there is one, of this process otherwise."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return statistics["peak_bytes_in_use"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes there, KiB elsewhere


def sweep_cameras(inversion: Inversion) -> np.ndarray:
    """Frontal cameras turned by SWEEP_YAWS, then by SWEEP_PITCHES [10, 25]."""
    yaws = np.array([*SWEEP_YAWS, *np.zeros(len(SWEEP_PITCHES))])
    pitches = np.array([*np.zeros(len(SWEEP_YAWS)), *SWEEP_PITCHES])
    return _around_head(inversion, yaws, pitches)


def orbit_cameras(inversion: Inversion) -> np.ndarray:
    """A closed ellipse over yaw and pitch at even steps [ORBIT_FRAMES, 25]: played in a loop it has no seam."""
    phase = 2 * np.pi * np.arange(ORBIT_FRAMES) / ORBIT_FRAMES
    return _around_head(inversion, ORBIT_YAW * np.sin(phase), ORBIT_PITCH * np.cos(phase))


def _around_head(inversion: Inversion, yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Cameras [V, 25] on the sphere that the generator was trained with, and with the input's focal length."""
    config = inversion.generator.config
    focal = float(inversion.camera[16])
    return np.asarray(cameras.look_at(yaw, pitch, pivot=config.camera_pivot, radius=config.camera_radius, focal=focal))


def _render(
    inversion: Inversion, views: np.ndarray, progress: Progress | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Image [H, W, 3] in [-1, 1] and ray distance [h, w] of each camera [V, 25], in batches of one size."""
    padded = np.concatenate([views, np.repeat(views[-1:], -len(views) % _BATCH, axis=0)])
    for start in range(0, len(views), _BATCH):
        if progress:
            progress(start, len(views))
        batch = inversion.render(padded[start : start + _BATCH])
        for view in range(min(_BATCH, len(views) - start)):
            yield np.clip(batch["image"][view], -1, 1), batch["ray_distance"][view]
    if progress:
        progress(len(views), len(views))


def _views_sheet(
    image: np.ndarray, reconstruction: np.ndarray, depth: np.ndarray, sweep: list[np.ndarray]
) -> np.ndarray:
    yaws = [(f"yaw {yaw:+.2f}", view) for yaw, view in zip(SWEEP_YAWS, sweep, strict=False)]
    pitches = [(f"pitch {pitch:+.2f}", view) for pitch, view in zip(SWEEP_PITCHES, sweep[len(yaws) :], strict=True)]
    top = [("input", image), ("reconstruction", reconstruction), ("depth (near is bright)", depth)]
    return images.contact_sheet([top, yaws, pitches], _SHEET_WIDTH)


def _write_pseudo_views(directory: Path, inversion: Inversion) -> None:
    if inversion.pseudo_views is None:
        return
    directory.mkdir()
    views = inversion.pseudo_views
    triples = zip(*map(np.asarray, (views.warp, views.visibility, views.blend)), strict=True)
    for index, (warp, visibility, blend) in enumerate(triples):
        images.save_image(directory / f"{index:02}_warp.png", warp)
        images.save_image(directory / f"{index:02}_visibility.png", 2 * visibility - 1)
        images.save_image(directory / f"{index:02}_blend.png", blend)


def _write_video(path: Path, frames: list[np.ndarray]) -> None:
    """H.264 in MP4, through the ffmpeg that imageio-ffmpeg brings; without one, an animated WebP beside that name.

    Args:
      path: ends in .mp4.
      frames: uint8 [H, W, 3] of even sides.

    Raises:
      OSError: the video could not be written completely.
    """
    try:
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        path = path.with_suffix(".webp")
        warnings.warn(f"no ffmpeg for this platform; writing {path.name} instead of an MP4", stacklevel=2)
        first, *rest = map(Image.fromarray, frames)
        first.save(path, save_all=True, append_images=rest, duration=1000 // ORBIT_FPS, loop=0, quality=90)
        return
    height, width, _ = frames[0].shape
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(ORBIT_FPS), "-i", "-"]
    codec = ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    # Not imageio-ffmpeg's own writer: it neither looks at ffmpeg's exit status, nor starts it without forking JAX.
    done = subprocess.run(
        [ffmpeg, "-v", "error", "-y", *source, *codec, str(path)], input=np.stack(frames).tobytes(), capture_output=True
    )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise OSError(errno.EIO, f"ffmpeg failed ({''.join(reason)})", str(path))


def _video_frame(image: np.ndarray) -> np.ndarray:
    """uint8 frame of at least _SMALLEST_FRAME pixels, with the even sides that 4:2:0 video needs."""
    scale = math.ceil(_SMALLEST_FRAME / min(image.shape[:2]))
    height, width = (2 * math.ceil(scale * side / 2) for side in image.shape[:2])
    return images.resize(image, (height, width))


_METRICS = {"psnr": metrics.psnr, "ssim": metrics.ssim, "ms_ssim": metrics.ms_ssim}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")
