"""Pictures that show what was found in a photograph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pmv_jax import cameras, images
from pmv_jax.faces import alignment, pose
from pmv_jax.faces.detection import Face
from pmv_jax.faces.portrait import Portrait

_PANEL = 512  # pixels, height of all panels
_WIDEST = 1280  # of the photograph's panel
_AXIS = 0.12  # world units, some 4 cm
_AXIS_COLOURS = ("#ff4040", "#40d040", "#5080ff")  # x, y, z


def write_alignment(
    directory: Path,
    picture: Image.Image,
    portrait: Portrait,
    crop: np.ndarray,
    rendering: np.ndarray,
    refined: np.ndarray | None = None,
) -> None:
    """Writes `alignment.png` and `alignment.json`, and `faces.png` where several faces could be meant.

    Args:
      picture, portrait, crop, rendering: see `alignment_sheet`.
      refined: the camera [25] that the generator made of the landmarks' one.

    Raises:
      OSError: a file cannot be written.
    """
    images.save_image(directory / "alignment.png", alignment_sheet(picture, portrait, crop, rendering))
    facts = portrait.facts() if refined is None else {**portrait.facts(), "refined": _refinement(portrait, refined)}
    (directory / "alignment.json").write_text(json.dumps(facts, indent=2) + "\n")
    if portrait.is_ambiguous:
        draw_faces(picture, portrait.faces, portrait.chosen).save(directory / "faces.png")


def _refinement(portrait: Portrait, refined: np.ndarray) -> dict[str, Any]:
    """For a JSON file: the refined camera, its angles, and how far its viewing direction is from the landmarks' one."""
    yaw, pitch = cameras.yaw_pitch(refined)
    forward = [camera[:16].reshape(4, 4)[:3, 2] for camera in (portrait.pose.camera, refined)]
    moved = np.arctan2(np.linalg.norm(np.cross(*forward)), forward[0] @ forward[1])
    return {
        "camera": refined.tolist(),
        "yaw": float(yaw),
        "pitch": float(pitch),
        "roll": float(cameras.roll_of(refined)),
        "moved_by": float(moved),
    }


def draw_faces(picture: Image.Image, faces: tuple[Face, ...], chosen: int | None = None) -> Image.Image:
    """The picture, at most 1280 pixels wide or high, with the faces boxed and numbered as `--face` counts them; the
    `chosen` one, an index, stands out."""
    panel, scale = _shrink(picture, _WIDEST, _WIDEST)
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(size=20)
    for index, face in enumerate(faces):
        colour = "lime" if index == chosen else "yellow"
        box = [scale * side for side in face.box]
        draw.rectangle(box, outline=colour, width=3)
        draw.text((box[0] + 4, box[1] + 2), str(index + 1), fill=colour, font=font, stroke_width=2, stroke_fill="black")
    return panel


def alignment_sheet(picture: Image.Image, portrait: Portrait, crop: np.ndarray, rendering: np.ndarray) -> np.ndarray:
    """The picture with box, landmarks, crop and the head's axes; beside it the crop, and the generator's average
    head from the estimated camera.

    Args:
      crop, rendering: [N, N, 3] in [-1, 1].

    Returns:
      uint8 [H, W, 3].
    """
    panel, scale = _shrink(picture, _PANEL, _WIDEST)
    draw = ImageDraw.Draw(panel)
    for index, face in enumerate(portrait.faces):
        draw.rectangle([scale * side for side in face.box], outline="lime" if index == portrait.chosen else "yellow")
    corners = alignment.apply(portrait.frame, np.array([[0.0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]))
    draw.line([tuple(point) for point in scale * corners], fill="white", width=2)
    for x, y in scale * portrait.landmarks:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="cyan", outline="black")
    origin, *tips = scale * alignment.apply(portrait.frame, _axes(portrait.pose))
    for tip, colour in zip(tips, _AXIS_COLOURS, strict=True):
        draw.line([tuple(origin), tuple(tip)], fill=colour, width=3)

    panels = [panel, *(Image.fromarray(images.resize(image, (_PANEL, _PANEL))) for image in (crop, rendering))]
    sheet = Image.new("RGB", (sum(p.width for p in panels) + 6 * (len(panels) - 1), _PANEL), "white")
    left = 0
    for part in panels:
        sheet.paste(part, (left, (_PANEL - part.height) // 2))
        left += part.width + 6
    return np.asarray(sheet)


def _axes(estimate: pose.Pose) -> np.ndarray:
    """Tip of the mean face's nose and the ends of three axes from there, [4, 2] in crop sizes."""
    nose = pose.mean_landmarks()[2]
    points = nose + np.concatenate([np.zeros((1, 3)), _AXIS * np.eye(3)])
    return np.asarray(cameras.project(estimate.camera, points.astype(np.float32))[0])


def _shrink(picture: Image.Image, height: int, width: int) -> tuple[Image.Image, float]:
    scale = min(height / picture.height, width / picture.width)
    size = tuple(max(1, round(scale * side)) for side in picture.size)
    rgb = picture if picture.mode == "RGB" else picture.convert("L").convert("RGB")
    return rgb.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0), scale
