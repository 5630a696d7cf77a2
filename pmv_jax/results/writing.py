"""Writes the result directory of one inversion: pictures, video, depth, settings, figures and the tuned generator."""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from pmv_jax import cameras, images
from pmv_jax.cameras import paths as camera_paths
from pmv_jax.checkpoints import lpips as lpips_weights
from pmv_jax.config import InversionConfig, LossConfig, to_dict
from pmv_jax.errors import InputError
from pmv_jax.evaluation import dlib_identity, metrics
from pmv_jax.images import video
from pmv_jax.inputs import person
from pmv_jax.inversion.result import Inversion
from pmv_jax.inversion.stage import Photograph
from pmv_jax.meshes import extraction
from pmv_jax.meshes import files as mesh_files
from pmv_jax.meshes.colouring import RenderedView
from pmv_jax.meshes.mesh import Mesh, decimate
from pmv_jax.models import frames
from pmv_jax.models import lpips as perceptual
from pmv_jax.results import doubts, report
from pmv_jax.whole_files import appearing

# Directions of the views that the report turns through, radians; views.png shows the middle row and column.
YAWS = (-0.6, -0.45, -0.3, -0.15, 0.0, 0.15, 0.3, 0.45, 0.6)
PITCHES = (-0.3, -0.15, 0.0, 0.15, 0.3)
SWEEP_YAWS = YAWS[::2]
SHEET = (*((yaw, 0.0) for yaw in SWEEP_YAWS), *((0.0, pitch) for pitch in PITCHES if pitch))
GRID = tuple((yaw, pitch) for pitch in PITCHES for yaw in YAWS)
ORBIT_FRAMES, ORBIT_FPS = 60, 24
MESH_RESOLUTION = 128  # points of the grid along a side: a second's work
REPORT_FACES = 20_000
_SHEET_WIDTH = 1280
Turned = dict[tuple[float, float], RenderedView]  # the head from other sides, by yaw and pitch
# How far each pixel of input.png is photograph, where some of it was made up; and head, where a mask was given.
WEIGHTS, MATTE = "weights.png", "matte.png"


@dataclasses.dataclass(frozen=True)
class InputView:
    """A photograph and what the head looks like from its camera.

    Attributes:
      photograph: with its image, and weights and matte where there are any.
      reconstruction: [H, W, 3] in [-1, 1].
      depth: z-depth [h, w].
      camera: [25].
    """

    photograph: Photograph
    reconstruction: np.ndarray
    depth: np.ndarray
    camera: np.ndarray

    @property
    def image(self) -> np.ndarray:
        """[H, W, 3] in [-1, 1]."""
        return self.photograph.image

    @property
    def coloured_depth(self) -> np.ndarray:
        """uint8 [H, W, 3], near is bright."""
        return images.resize(images.colour_depth(self.depth), self.image.shape[:2])


def write_result(
    directory: Path,
    inversion: Inversion,
    photographs: Sequence[Photograph],
    progress: frames.Progress | None = None,
    title: str = "Inversion",
    peak_memory: int | None = None,
) -> dict[str, Any]:
    """Renders an inversion and writes every file of its result that its recipe asks for, pictures first.

    Args:
      directory: existing, and empty but for what `write_first_look` left there.
      inversion: the inverted photographs.
      photographs: what was inverted: images, and weights and mattes where there are any. The files of the first are
        in the directory itself, those of further ones in folders of their own.
      progress: called with the number of views rendered so far and of all.
      title: of the report.
      peak_memory: bytes that the inversion took; None is the most that this process ever used.

    Returns:
      What `metrics.json` holds.

    Raises:
      OSError: a file cannot be written.
    """
    outputs, own = inversion.config.outputs, inversion.cameras[: len(photographs)]
    directions = (*SHEET, *(other for other in GRID if outputs.turntable and other not in SHEET))
    around = _cameras(inversion, directions)
    orbit = orbit_cameras(inversion) if outputs.video else np.zeros((0, 25), np.float32)
    rendered = frames.render_views(inversion.render, np.concatenate([own, around, orbit]), progress)
    inputs, turned = _write_look(directory, photographs, own, around, rendered)
    others = zip(directions[len(SHEET) :], around[len(SHEET) :], strict=True)
    turned |= {side: RenderedView(*next(rendered), camera) for side, camera in others}
    shown = [frames.scale(view, frames.shown_size(len(view))) for view, _ in rendered]
    if outputs.video:
        video.write_video(directory / "orbit.mp4", shown, ORBIT_FPS)
    _write_pseudo_views(directory / "pseudo_views", pseudo_views := _pseudo_views(inversion))
    mesh = _write_mesh(directory / "mesh.glb", inversion, turned) if outputs.mesh else None
    inversion.save(directory / "inversion")
    figures = measure(inversion, inputs, peak_memory, turned)
    mesh = None if mesh is None else decimate(mesh, REPORT_FACES)
    page = _page(title, inversion, inputs, turned, pseudo_views, mesh, figures)
    report.write_report(directory / "report.html", page)
    _write_json(directory / "config.json", page.config)
    _write_json(directory / "metrics.json", figures)
    return figures


def _page(
    title: str,
    inversion: Inversion,
    inputs: Sequence[InputView],
    turned: Turned,
    pseudo_views: list[dict[str, np.ndarray]],
    mesh: Mesh | None,
    figures: dict[str, Any],
) -> report.Report:
    """What report.html shows; the arguments are those of `write_result` and what it made of them."""
    yaws, pitches = (YAWS, PITCHES) if inversion.config.outputs.turntable else (SWEEP_YAWS, (0.0,))
    first, *others = inputs
    return report.Report(
        title=title,
        image=first.image,
        reconstruction=first.reconstruction,
        depth=first.coloured_depth,
        normals=images.resize(frames.normals(first.depth, first.camera), first.image.shape[:2]),
        turntable=report.Turntable(yaws, pitches, [turned[yaw, pitch].image for pitch in pitches for yaw in yaws]),
        pseudo_views=pseudo_views,
        mesh=mesh,
        losses={stage.name: stage.losses for stage in inversion.stages},
        figures=figures,
        config=to_dict(inversion.config),
        others=[{"input": view.image, "reconstruction": view.reconstruction} for view in others],
    )


def write_first_look(directory: Path, inversion: Inversion, photographs: Sequence[Photograph]) -> None:
    """Writes the pictures of an inversion that is still going on; those of an earlier moment make way, each at once.

    Args:
      directory: existing.
      inversion: as far as it has come.
      photographs: see `write_result`.

    Raises:
      OSError: a file cannot be written.
    """
    own, around = inversion.cameras[: len(photographs)], _cameras(inversion, SHEET)
    rendered = frames.render_views(inversion.render, np.concatenate([own, around]))
    _write_look(directory, photographs, own, around, rendered)


def _write_look(
    directory: Path,
    photographs: Sequence[Photograph],
    own: np.ndarray,
    around: np.ndarray,
    rendered: Iterator[tuple[np.ndarray, np.ndarray]],
) -> tuple[list[InputView], Turned]:
    """Takes from what is rendered the photographs' views, by their own cameras, and those of SHEET, by the first of the
    cameras around the head; and writes their pictures, each at once."""
    inputs = [
        InputView(photograph, *next(rendered), camera) for photograph, camera in zip(photographs, own, strict=True)
    ]
    turned = {side: RenderedView(*next(rendered), camera) for side, camera in zip(SHEET, around, strict=False)}
    for number, view in enumerate(inputs, 1):
        folder = person.folder(directory, number)
        pictures = {"input": view.image, "reconstruction": view.reconstruction, "depth": view.coloured_depth}
        for name, picture in pictures.items():
            _replace_image(folder / f"{name}.png", picture)
        np.save(folder / "depth.npy", view.depth)
        _write_masks(folder, view.photograph.weights, view.photograph.matte)
    _replace_image(directory / "views.png", _views_sheet(inputs, turned))
    return inputs, turned


def _replace_image(path: Path, picture: np.ndarray) -> None:
    with appearing(path) as partial:
        images.save_image(partial, picture)


def _write_masks(directory: Path, weights: np.ndarray | None, matte: np.ndarray | None) -> None:
    """Of the input [H, W], in [0, 1]: what is photograph, unless all is, and what is head, if that is known."""
    if weights is not None and weights.min() < 1:
        images.save_image(directory / WEIGHTS, 2 * weights - 1)
    if matte is not None:
        images.save_image(directory / MATTE, 2 * matte - 1)


def read_weights(directory: Path, resolution: int) -> np.ndarray | None:
    """What `write_result` was given as `weights`, [resolution, resolution]; None where all of input.png is photograph.

    Raises:
      InputError: the file is no picture.
    """
    path = directory / WEIGHTS
    return (images.load_image(path, resolution)[..., 0] + 1) / 2 if path.is_file() else None


def measure(
    inversion: Inversion,
    inputs: Sequence[InputView],
    peak_memory: int | None = None,
    turned: Turned | None = None,
) -> dict[str, Any]:
    """The contents of `metrics.json`, as plain data. A figure that is not finite or not known is None.

    Figures and camera are the first input's; where there are several, `photographs` has those of each.

    Args:
      inversion: for its recipe, stages and head limits.
      inputs: its input views.
      peak_memory: see `write_result`.
      turned: views to look for the person in; None does not look.
    """
    sides = {yaw: turned[yaw, 0.0].image for yaw in SWEEP_YAWS} if turned else {}
    limits = inversion.head_limits or (None,) * len(inputs)
    each = [_figures(view, limit, inversion.config, sides) for view, limit in zip(inputs, limits, strict=False)]
    several = {}
    if len(each) > 1:
        several["photographs"] = each
        several["doubts"] = [
            f"photograph {i}: {doubt}" for i, figures in enumerate(each, 1) for doubt in figures["doubts"]
        ]
    return {
        **each[0],
        **several,
        "seed": inversion.config.seed,
        "device": jax.devices()[0].device_kind,
        "peak_memory_bytes": peak_memory_bytes() if peak_memory is None else peak_memory,
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


def _figures(
    view: InputView, head_limit: np.ndarray | None, config: InversionConfig, sides: dict[float, np.ndarray]
) -> dict[str, Any]:
    """How well an input is met, the doubts about it, and its camera."""
    image, weights, believed = view.image, view.photograph.weights, 1.0
    if weights is not None:
        image, believed = metrics.believed(image, view.reconstruction, weights)
    figures = {name: float(jax.jit(function)(image, view.reconstruction)) for name, function in _METRICS.items()}
    figures["psnr"] += 10 * math.log10(believed)
    identity_distances = _identity_distances(view.image, sides)
    found = doubts.find(
        believed=believed,
        psnr=_finite(figures["psnr"]),
        yaw=float(cameras.yaw_pitch(view.camera)[0]),
        yaw_range=config.camera.yaw_range,
        wrong_side=_wrong_side(head_limit, view.depth, view.photograph.matte, weights),
        identity_distances=identity_distances,
    )
    return {
        **{name: _finite(value) for name, value in figures.items()},
        "lpips": _lpips(config.loss, image, view.reconstruction),
        "identity_distances": {str(yaw): distance for yaw, distance in identity_distances.items()} or None,
        "doubts": found,
        "camera": [float(value) for value in view.camera],
    }


def _wrong_side(
    limit: np.ndarray | None, depth: np.ndarray, matte: np.ndarray | None, weights: np.ndarray | None
) -> float | None:
    """Share of the photograph's pixels [H, W] on whose rays a z-depth [n, n] has the head where the matte has none, or
    none where it has: by whether it is below the limit [n, n]. None without a limit, or a matte."""
    if matte is None or limit is None:
        return None
    known = np.ones_like(matte) if weights is None else weights
    matte, known = (
        np.asarray(Image.fromarray(np.float32(x)).resize(depth.shape, Image.Resampling.BOX)) for x in (matte, known)
    )
    apart = np.abs(matte - (depth < np.asarray(limit)))
    return float(np.sum(known * apart) / max(np.sum(known), 1e-6))


def _identity_distances(image: np.ndarray, sides: dict[float, np.ndarray]) -> dict[float, float]:
    """How far the face [H, W, 3] is from its sides by yaw; none without the extra that tells."""
    network = dlib_identity.installed() if sides else None
    if network is None:
        return {}
    distances = network.distances(image, np.stack(list(sides.values())))
    return {yaw: round(float(distance), 3) for yaw, distance in zip(sides, distances, strict=True)}


def _lpips(config: LossConfig, image: np.ndarray, reconstruction: np.ndarray) -> float | None:
    """LPIPS of two images, whatever the loss was, by the network whose weights are configured; None if none are."""
    lpips = lpips_weights.configured(config)
    if lpips is None:
        return None
    with jax.default_matmul_precision("highest"):  # accelerators would round operands to ten bits
        return _finite(float(jax.jit(perceptual.distance)(lpips, reconstruction, image)))


def peak_memory_bytes() -> int:
    """Most memory in use so far: of the accelerator where there is one, of this process otherwise."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return statistics["peak_bytes_in_use"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes there, KiB elsewhere


def _cameras(inversion: Inversion, directions: Sequence[tuple[float, float]]) -> np.ndarray:
    """Cameras [V, 25] of so many pairs of yaw and pitch."""
    yaws, pitches = np.array(directions).T
    return camera_paths.around_head(inversion.generator.config, yaws, pitches, focal=float(inversion.camera[16]))


def orbit_cameras(inversion: Inversion) -> np.ndarray:
    """The path of orbit.mp4, [ORBIT_FRAMES, 25]."""
    return camera_paths.orbit(inversion.generator.config, ORBIT_FRAMES, focal=float(inversion.camera[16]))


def _views_sheet(inputs: Sequence[InputView], turned: Turned) -> np.ndarray:
    yaws = [(f"yaw {yaw:+.2f}", turned[yaw, 0.0].image) for yaw in SWEEP_YAWS]
    pitches = [(f"pitch {pitch:+.2f}", turned[0.0, pitch].image) for pitch in PITCHES]
    names = ("input", "reconstruction", "depth (near is bright)")
    pictures = [(view.image, view.reconstruction, view.coloured_depth) for view in inputs]
    if len(inputs) == 1:
        top = [list(zip(names, pictures[0], strict=True))]
    else:  # a column for each
        top = [[(f"{name} {i}", row) for i, row in enumerate(rows, 1)]
               for name, rows in zip(names, zip(*pictures, strict=True), strict=True)]  # fmt: skip
    return images.contact_sheet([*top, yaws, pitches], _SHEET_WIDTH)


def _write_mesh(path: Path, inversion: Inversion, turned: Turned) -> Mesh | None:
    """The head's mesh, coloured by the views at the grid's middle and ends; None, with a warning, without a surface."""
    sides = (0.0, 0.0), *((yaw, 0.0) for yaw in SWEEP_YAWS), (0.0, PITCHES[0]), (0.0, PITCHES[-1])
    views = [turned[side] for side in sides]
    look_up = extraction.field(inversion.generator, inversion.planes)
    try:
        box_size = inversion.generator.config.rendering.box_size
        mesh = extraction.head_mesh(look_up, views, resolution=MESH_RESOLUTION, box_size=box_size)
    except InputError as error:
        warnings.warn(f"no mesh.glb: {error}", stacklevel=2)
        return None
    mesh_files.write_mesh(path, mesh)
    return mesh


def _pseudo_views(inversion: Inversion) -> list[dict[str, np.ndarray]]:
    """What the joint tuning was shown: for each view its pictures by name."""
    if inversion.pseudo_views is None:
        return []
    views = inversion.pseudo_views
    return [
        {"warp": warp, "visibility": np.repeat(2 * visibility[..., None] - 1, 3, axis=-1), "blend": blend}
        for warp, visibility, blend in zip(*map(np.asarray, (views.warp, views.visibility, views.blend)), strict=True)
    ]


def _write_pseudo_views(directory: Path, views: list[dict[str, np.ndarray]]) -> None:
    if views:
        directory.mkdir()
    for index, pictures in enumerate(views):
        for name, picture in pictures.items():
            images.save_image(directory / f"{index:02}_{name}.png", picture)


_METRICS = {"psnr": metrics.psnr, "ssim": metrics.ssim, "ms_ssim": metrics.ms_ssim}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")
