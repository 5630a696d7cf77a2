"""One HTML file that shows a whole inversion: opens from disk, needs no network, and holds its pictures and its mesh.

The page is `templates/report.html`, filled in by Jinja.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.metadata
import io
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from pmv_jax import images
from pmv_jax.meshes.mesh import Mesh
from pmv_jax.results.curves import curve

LARGEST_FRAME = 512  # pixels of a side in the page; what is larger is scaled down
_LARGEST_THUMBNAIL = 256
_EDIT_MARK = "<!-- edit -->"  # where `add_edit` puts its section
_PACKAGES = ("jax", "flax", "numpy", "optax", "orbax-checkpoint")
_FIGURES = {  # of metrics.json: what it is called, its form, and what is good
    "psnr": ("PSNR at the input view", "{:.2f} dB", "higher is better"),
    "ssim": ("SSIM", "{:.4f}", "1 is best"),
    "ms_ssim": ("MS-SSIM", "{:.4f}", "1 is best"),
    "lpips": ("LPIPS", "{:.4f}", "0 is best"),
}


@dataclasses.dataclass(frozen=True)
class Turntable:
    """Frames of a head over a grid of directions.

    Attributes:
      yaws, pitches: radians, increasing.
      frames: [len(pitches) * len(yaws), H, W, 3] in [-1, 1], row by row.
    """

    yaws: Sequence[float]
    pitches: Sequence[float]
    frames: Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Report:
    """What a report shows. Pictures are [H, W, 3] in [-1, 1] or uint8.

    Attributes:
      title: name of the inversion.
      image, reconstruction, depth, normals: pictures of the input view.
      turntable: the head from other sides.
      pseudo_views: what the joint tuning was shown, a dict of labelled pictures each; may be empty.
      mesh: some 20,000 triangles at most keep the page light; None leaves that part out.
      losses: of each stage, one per step.
      figures: the contents of metrics.json.
      config: the contents of config.json.
      others: further inputs, likewise dicts of labelled pictures.
    """

    title: str
    image: np.ndarray
    reconstruction: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    turntable: Turntable
    pseudo_views: Sequence[dict[str, np.ndarray]]
    mesh: Mesh | None
    losses: dict[str, np.ndarray]
    figures: dict[str, Any]
    config: dict[str, Any]
    others: Sequence[dict[str, np.ndarray]] = ()


@dataclasses.dataclass(frozen=True)
class Edit:
    """One view of a head before and after an edit, [H, W, 3] in [-1, 1] or uint8."""

    before: np.ndarray
    after: np.ndarray


def write_report(path: str | Path, report: Report) -> None:
    """Writes the page.

    Raises:
      OSError: it cannot be written.
    """
    Path(path).write_text(render_html(report), encoding="utf-8")


def add_edit(path: str | Path, edit: Edit) -> None:
    """Shows an edit at the top of a written page.

    Raises:
      OSError: it cannot be read or written.
      ValueError: it is no page without an edit, as `write_report` leaves it.
    """
    page = Path(path).read_text(encoding="utf-8")
    if page.count(_EDIT_MARK) != 1:
        raise ValueError(f"{path} is no report that an edit can be added to")
    section = environment().get_template("edit.html").render(before=_picture(edit.before), after=_picture(edit.after))
    Path(path).write_text(page.replace(_EDIT_MARK, section), encoding="utf-8")


def environment() -> jinja2.Environment:
    """Of all templates."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("pmv_jax.results"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )


def render_html(report: Report) -> str:
    """The whole page as text."""
    figures = report.figures
    turntable = report.turntable
    return (
        environment()
        .get_template("report.html")
        .render(
            title=report.title,
            pictures={
                "input": _picture(report.image),
                "reconstruction": _picture(report.reconstruction),
                "depth": _picture(report.depth),
                "normals": _picture(report.normals),
            },
            turntable={
                "yaws": list(map(float, turntable.yaws)),
                "pitches": list(map(float, turntable.pitches)),
                "size": _shown(turntable.frames[0], LARGEST_FRAME).shape[0],
                "sheet": _sheet(turntable),
            },
            others=_thumbnails(report.others),
            pseudo_views=_thumbnails(report.pseudo_views),
            mesh=None if report.mesh is None else _mesh_data(report.mesh),
            curves=[  # of a stage of one step there is none to draw
                curve(name.replace("_", " "), values) for name, values in report.losses.items() if len(values) > 1
            ],
            figures=[
                (name, form.format(figures[key]), good)
                for key, (name, form, good) in _FIGURES.items()
                if figures.get(key) is not None
            ],
            stages=[
                {**stage, "loss_first": _short(stage["loss_first"]), "loss_last": _short(stage["loss_last"])}
                for stage in figures["stages"]
            ],
            doubts=figures.get("doubts", []),
            total_seconds=sum(stage["seconds"] for stage in figures["stages"]),
            facts={
                "Seed": figures["seed"],
                "Device": figures["device"],
                "Peak memory": f"{figures['peak_memory_bytes'] / 2**30:.2f} GiB",
                **_versions(),
            },
            camera=figures["camera"],
            config=json.dumps(report.config, indent=2),
        )
    )


def _versions() -> dict[str, str]:
    versions = {"Python": platform.python_version()}
    for name in ("pmv_jax", *_PACKAGES):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout
            versions[name] = "not installed"
    return versions


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _shown(image: np.ndarray, largest: int) -> np.ndarray:
    """uint8, scaled down to `largest` pixels."""
    image = images.to_uint8(image)
    side = max(image.shape[:2])
    if side <= largest:
        return image
    return images.resize(image, (image.shape[0] * largest // side, image.shape[1] * largest // side))


def _thumbnails(views: Sequence[dict[str, np.ndarray]]) -> list[dict[str, str]]:
    return [{name: _picture(picture, _LARGEST_THUMBNAIL) for name, picture in view.items()} for view in views]


def _picture(image: np.ndarray, largest: int = LARGEST_FRAME) -> str:
    return _data_url(_shown(image, largest), lossless=largest == LARGEST_FRAME)


def _data_url(image: np.ndarray, lossless: bool) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).convert("RGB").save(buffer, "WEBP", lossless=lossless, quality=50 if lossless else 88)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _sheet(turntable: Turntable) -> str:
    """All frames in one picture: one decoder's work, and one string in the page."""
    columns = len(turntable.yaws)
    frames = [_shown(frame, LARGEST_FRAME) for frame in turntable.frames]
    rows = [np.concatenate(frames[i : i + columns], axis=1) for i in range(0, len(frames), columns)]
    return _data_url(np.concatenate(rows, axis=0), lossless=False)


def _mesh_data(mesh: Mesh) -> dict[str, Any]:
    """Little-endian arrays in base64: places as 16-bit steps of the bounding cube, normals and colours in 8 bits."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    extent = float((high - low).max())
    middle = (low + high) / 2
    places = np.rint((mesh.vertices - middle) / extent * 65534).astype("<i2")
    wide = len(mesh.vertices) > 65536
    # Rows of four: WebGL wants attributes aligned to four bytes.
    pad = lambda x: np.pad(x, ((0, 0), (0, 1)))  # noqa: E731
    arrays = {
        "places": pad(places),
        "normals": pad(np.rint(127 * mesh.normals).astype("i1")),
        "colours": pad(images.to_uint8(mesh.colours)),
        "indices": mesh.faces.astype("<u4" if wide else "<u2"),
    }
    encoded = {name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()}
    return {**encoded, "wide": wide, "faces": len(mesh.faces), "vertices": len(mesh.vertices)}
