"""Decals: pictures in the plane of the face, laid on the texture of the skin."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import map_coordinates

from tools.heads.curves import lerp, linear_from_srgb, smoothstep, to_bytes
from tools.heads.outfit import Decal

GLYPH_HEIGHT = 64  # pixels of a word's picture
FRECKLES = 60
EDGE = 0.04  # softness of edges, of a decal's size


def lay_decals(colour: np.ndarray, place: np.ndarray, decals: tuple[Decal, ...]) -> np.ndarray:
    """Skin [h, w, 3] in linear light with decals on it.

    Args:
      place: [h, w, 3] of each texel on the average head (`Regions.place`).
    """
    for decal in decals:
        ink = linear_from_srgb(to_bytes(np.array(decal.colour)))
        colour = lerp(colour, ink, opacity(decal, place)[..., None])
    return colour


def opacity(decal: Decal, place: np.ndarray) -> np.ndarray:
    """[h, w] in [0, 1]. What is behind the ears has the same x and y, and is left out."""
    x, y = (place[..., 0] - decal.x) / decal.size, (place[..., 1] - decal.y) / decal.size
    cosine, sine = np.cos(decal.angle), np.sin(decal.angle)
    u, v = cosine * x + sine * y, cosine * y - sine * x
    shapes = {"text": _text, "stripes": _stripes, "paint": _paint, "freckles": _freckles, "star": _star, "disc": _disc}
    return shapes[decal.kind](decal, u, v) * (place[..., 2] > -0.9)


def _inside(distance: np.ndarray) -> np.ndarray:
    """1 where a signed distance is less than 0, softly."""
    return smoothstep(EDGE, -EDGE, distance)


def _disc(decal: Decal, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A sticker with a hole."""
    radius = np.hypot(u, v)
    return _inside(radius - 0.8) * (1 - _inside(radius - 0.35))


def _star(decal: Decal, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    sector = np.abs((np.arctan2(u, v) / (2 * np.pi) * 5 + 0.5) % 1 - 0.5) * 2  # 0 at the five points, 1 between
    return _inside(np.hypot(u, v) - lerp(1.0, 0.45, sector))


def _stripes(decal: Decal, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _inside(np.abs(u) - 1) * _inside(np.abs(v) - 0.75) * _inside(np.abs((v * 2) % 1 - 0.5) - 0.22)


def _paint(decal: Decal, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A smear with a wavy outline, half transparent."""
    wave = 0.15 * np.sin(5 * u + decal.seed % 7) + 0.1 * np.sin(11 * u)
    return 0.8 * smoothstep(0.1, -0.15, np.hypot(0.7 * u, 1.6 * v + wave) - 0.9)


def _freckles(decal: Decal, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    total = np.zeros_like(u)
    near = np.hypot(u, v) < 1.8
    for x, y, radius in np.random.default_rng(decal.seed).normal((0, 0, 0.07), (0.6, 0.5, 0.015), (FRECKLES, 3)):
        total[near] = np.maximum(total[near], np.exp(-(((u[near] - x) ** 2 + (v[near] - y) ** 2) / radius**2)))
    return 0.7 * total


def _text(decal: Decal, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    glyphs = _written(decal.word)
    rows = (0.5 - v / 0.9) * glyphs.shape[0]
    columns = u / 0.9 * glyphs.shape[0] + glyphs.shape[1] / 2
    return map_coordinates(glyphs, [rows, columns], order=1, mode="constant")


@cache
def _written(word: str) -> np.ndarray:
    """A word as an image [GLYPH_HEIGHT, w] in [0, 1], by Pillow's own font."""
    font = ImageFont.load_default(size=GLYPH_HEIGHT * 0.9)
    width = int(font.getlength(word)) + 4
    image = Image.new("L", (width, GLYPH_HEIGHT))
    ImageDraw.Draw(image).text((2, GLYPH_HEIGHT / 2), word, fill=255, font=font, anchor="lm", stroke_width=2)
    return np.asarray(image, np.float32) / 255
