"""Faces in photographs in every state: dark ones, ones that lie on their side, faces that the detector half believes.

The detector's own threshold is high, because patterns pass a lower one. Where it finds nothing, or nothing that it is
sure of, other looks follow, and what they find must be prominent: a false alarm mostly is tiny. Nothing
is taken for a face in scikit-image's 25 sample pictures without people, and in five of cloth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from pmv_jax.faces import detection
from pmv_jax.faces.detection import Face

SURE = 0.97  # score below which a face may be a turned one that is seen upright: those reached 0.95, true ones 0.998
TURNED = 0.95  # score that a face in a turned picture needs
LOW = 0.75  # threshold of the last look; clear frontal faces were missed at 0.84 to 0.86
PROMINENT = 0.1  # size of faces that further looks may find, in longer sides of the picture
SIZES = (1.0, 0.5, 0.7, 2.0)  # of the picture, at the last look; larger only if it is
SMALL = 400  # pixels at most on its shorter side: twice the size, a pattern of 741 x 500 passed with a score of 0.98
DARK = 90  # 99th percentile of the grey levels below which a picture is brightened for detection


@dataclass(frozen=True)
class Found:
    """What was found, in pixels of the photograph as it is.

    Attributes:
      faces: the largest first; those of a turned picture have landmarks that are turned with it.
      note: how it differs from a plain look, a sentence; empty where it does not.
    """

    faces: tuple[Face, ...]
    note: str = ""


def find(picture: Image.Image) -> Found:
    """All faces of an RGB picture.

    Raises:
      InputError: the extra `pmv_jax[face]` is not installed, or is another version's.
    """
    seen, dark = _brightened(picture)
    upright = detection.detect(seen)
    found = Found(tuple(upright), dark)
    best = _best(upright)
    if best >= SURE:
        return found
    for quarters in (1, 3, 2):
        faces = _prominent(detection.detect(_turned(seen, quarters)), picture)
        if _best(faces) > max(best, TURNED):
            best = _best(faces)
            note = f"the picture is {('turned clockwise', 'upside down', 'turned counterclockwise')[quarters - 1]}"
            found = Found(
                tuple(_turned_back(face, quarters, picture.size) for face in faces), f"{note}; {dark}".strip("; ")
            )
    if found.faces:
        return found
    for size in SIZES:
        if size > 1 and min(picture.size) > SMALL:
            continue
        small = seen.resize([max(1, round(size * side)) for side in seen.size], Image.Resampling.BICUBIC)
        faces = [_scaled(face, 1 / size) for face in detection.detect(small, LOW)]
        faces = _prominent(faces, picture)
        if faces:
            note = f"the face was found at the second look (score {_best(faces):.2f}), check alignment.png"
            return Found(tuple(faces), f"{note}; {dark}".strip("; "))
    return found


def _brightened(picture: Image.Image) -> tuple[Image.Image, str]:
    pixels = np.asarray(picture, np.float32)
    bright = float(np.percentile(pixels[::4, ::4].mean(-1), 99))
    if not 2 < bright < DARK:
        return picture, ""
    pixels = np.clip(pixels * (255 / bright), 0, 255).astype(np.uint8)
    note = (
        f"the picture is dark ({bright / 2.55:.0f} % of full brightness at most), its face found in a brightened copy"
    )
    return Image.fromarray(pixels), note


def _best(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _prominent(faces: list[Face], picture: Image.Image) -> list[Face]:
    return [face for face in faces if face.size >= PROMINENT * max(picture.size)]


def _turned(picture: Image.Image, quarters: int) -> Image.Image:
    """Turned counterclockwise."""
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return picture.transpose(turns[quarters - 1])


def _turned_back(face: Face, quarters: int, size: tuple[int, int]) -> Face:
    """From a picture turned by `quarters` counterclockwise to the one [width, height] that it was made of."""
    width, height = size

    def back(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        return np.stack({1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarters], axis=-1)

    corners = back(np.reshape(face.box, (2, 2)))
    return Face((*corners.min(0).tolist(), *corners.max(0).tolist()), back(face.landmarks), face.score)


def _scaled(face: Face, scale: float) -> Face:
    return replace(face, box=tuple(scale * side for side in face.box), landmarks=scale * face.landmarks)
