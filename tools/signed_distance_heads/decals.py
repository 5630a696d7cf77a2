"""Pictures to put on procedural heads, which no generator trained on plain heads has seen: text, stripes, stickers, ...

Every function draws a texture with Pillow or NumPy and returns a `procedural_heads.Decal`. Positions and sizes are in
head units (see there): eyes at y = 0.02, mouth at y = -0.08, cheeks around x = 0.06.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.signed_distance_heads.heads import EYE_X, EYE_Y, MOUTH_Y, Decal

TEXTURE_SIZE = 96  # texels a side; few enough that a 128-pixel view does not alias
_OVERSAMPLING = 4

Colour = tuple[float, float, float]
INK: Colour = (0.06, 0.09, 0.20)


def text_decal(
    text: str,
    centre: tuple[float, float] = (0.0, 0.085),
    width: float = 0.11,
    rotation: float = 0.0,
    colour: Colour = INK,
) -> Decal:
    """One line of letters; its height follows from its width."""
    size = _OVERSAMPLING * TEXTURE_SIZE
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text, stroke_width=size // 40)
    word = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(word).text((-left, -top), text, fill=255, font=font, stroke_width=size // 40)
    # One texel of margin, so that interpolation fades to nothing at the border.
    opacity = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE), np.float32)
    inner = (TEXTURE_SIZE - 2, TEXTURE_SIZE - 2)
    opacity[1:-1, 1:-1] = np.asarray(word.resize(inner, Image.Resampling.BOX), np.float32) / 255
    return _decal(opacity, colour, centre, (width, width * word.height / word.width), rotation)


def stripes_decal(
    count: int = 3,
    centre: tuple[float, float] = (0.066, -0.030),
    size: tuple[float, float] = (0.050, 0.040),
    rotation: float = 0.0,
    colour: Colour = (0.60, 0.05, 0.04),
) -> Decal:
    """Horizontal bars of war paint, as wide as the gaps between them."""
    rows = (np.arange(TEXTURE_SIZE) + 0.5) / TEXTURE_SIZE
    edge = 2 * count / TEXTURE_SIZE  # of a texel, in units of a bar and its gap
    wave = np.abs((rows * count) % 1.0 - 0.5)
    bars = np.clip((0.25 - wave) / edge + 0.5, 0.0, 1.0)
    opacity = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE), np.float32)
    opacity[:, 1:-1] = bars[:, None]
    return _decal(0.9 * opacity, colour, centre, size, rotation)


def freckles_decal(
    seed: int = 0,
    count: int = 60,
    centre: tuple[float, float] = (0.0, -0.022),
    size: tuple[float, float] = (0.180, 0.060),
    colour: Colour = (0.30, 0.13, 0.07),
) -> Decal:
    """Round spots in a band across nose and cheeks."""
    random = np.random.default_rng(seed)
    x = random.uniform(0.06, 0.94, count)
    y = np.clip(0.5 + 0.18 * random.standard_normal(count), 0.06, 0.94)
    radii = random.uniform(0.0014, 0.0028, count)
    grid = (np.arange(TEXTURE_SIZE) + 0.5) / TEXTURE_SIZE
    opacity = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE), np.float32)
    for column, row, radius in zip(x, y, radii, strict=True):
        squared = ((grid[None] - column) * size[0]) ** 2 + ((grid[:, None] - row) * size[1]) ** 2
        opacity = np.maximum(opacity, np.exp(-squared / radius**2))
    return _decal(0.75 * opacity, colour, centre, size, 0.0)


def paint_decal(colour: Colour, second: Colour, side: int = 1) -> Decal:
    """Face paint: half the face (side 1: right in the picture) in one colour, edged with a zigzag of another."""
    x, y = _grid()
    edge = side * x - 0.10 * (2 * np.abs((3 * y) % 1.0 - 0.5) - 0.5)
    border = np.minimum(0.48 - np.abs(x), 0.48 - np.abs(y))
    opacity = 0.85 * _soft(edge + 0.06) * _soft(border)
    # Eyes and lips stay free.
    size = (0.22, 0.26)
    for part_x, part_y, half_width, half_height in ((EYE_X, EYE_Y, 0.031, 0.014), (0.0, MOUTH_Y, 0.044, 0.017)):
        radius = np.hypot((np.abs(x) * size[0] - part_x) / half_width, (y * size[1] - part_y) / half_height)
        opacity = opacity * np.clip((radius - 1) * 3, 0, 1)
    return _coloured_decal(_two_colours(_soft(edge - 0.06), second, colour), opacity, (0.0, 0.0), size)


def birthmark_decal(seed: int, centre: tuple[float, float], size: float, colour: Colour = (0.34, 0.16, 0.11)) -> Decal:
    """A brown spot with an irregular outline."""
    random = np.random.default_rng(seed)
    x, y = _grid()
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    waves = sum(random.uniform(0.02, 0.07) * np.sin(n * angle + random.uniform(0, 2 * np.pi)) for n in (1, 2, 3, 5))
    return _decal(0.8 * _soft(0.30 + waves - radius), colour, centre, (size, size), 0.0)


STICKERS = ("star", "heart", "disc")


def sticker_decal(
    kind: str,
    centre: tuple[float, float],
    size: float,
    rotation: float = 0.0,
    colour: Colour = (0.95, 0.80, 0.10),
    border: Colour = (0.95, 0.95, 0.95),
) -> Decal:
    """An opaque paper shape, one of STICKERS, with a border."""
    x, y = _grid()
    if kind == "star":
        # Distance to the edges of a five-pointed star, by folding it into one half point.
        angle = np.abs((np.arctan2(x, y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        radius = np.hypot(x, y)
        tip, notch = np.array([0.47, 0.0]), 0.21 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
        edge = (notch - tip) / np.linalg.norm(notch - tip)
        inside = radius * np.sin(angle) * edge[0] - (radius * np.cos(angle) - tip[0]) * edge[1]
    elif kind == "heart":
        lobe = _drop(np.abs(x) - 0.19, y - 0.16, np.array([-0.19, -0.58]), 0.23)
        inside = np.maximum(lobe, _drop(x, y - 0.05, np.array([0.0, -0.47]), 0.22))
    else:
        inside = 0.45 - np.hypot(x, y)
    return _coloured_decal(
        _two_colours(_soft(inside - 0.06), border, colour), _soft(inside), centre, (size, size), rotation
    )


def empty_decal() -> Decal:
    """Paints nothing."""
    size = (TEXTURE_SIZE, TEXTURE_SIZE)
    return _decal(np.zeros(size), INK, (0.0, 0.0), (1.0, 1.0), 0.0)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """x to the right [1, T] and y upward [T, 1] of the texels, in (-0.5, 0.5)."""
    centres = (np.arange(TEXTURE_SIZE) + 0.5) / TEXTURE_SIZE - 0.5
    return centres[None], -centres[:, None]


def _drop(x: np.ndarray, y: np.ndarray, tip: np.ndarray, radius: float) -> np.ndarray:
    """How far points lie inside a disc around the origin that tapers to a tip."""
    along = np.clip((x * tip[0] + y * tip[1]) / (tip @ tip), 0, 1)
    return radius * (1 - along) - np.hypot(x - along * tip[0], y - along * tip[1])


def _soft(distance: np.ndarray) -> np.ndarray:
    """0 to 1 over two texels around 0; distances in units of the texture's side."""
    return np.clip(0.5 + 0.5 * TEXTURE_SIZE * distance, 0.0, 1.0)


def _two_colours(amount: np.ndarray, first: Colour, second: Colour) -> np.ndarray:
    """[T, T, 3] from the first colour (0) to the second (1)."""
    return np.asarray(first) + amount[..., None] * (np.asarray(second) - np.asarray(first))


def _coloured_decal(
    colour: np.ndarray,
    opacity: np.ndarray,
    centre: tuple[float, float],
    size: tuple[float, float],
    rotation: float = 0.0,
) -> Decal:
    texture = np.concatenate([colour, opacity[..., None]], axis=-1)
    return Decal(*(jnp.asarray(value, jnp.float32) for value in (texture, centre, size, rotation)))


def _decal(
    opacity: np.ndarray, colour: Colour, centre: tuple[float, float], size: tuple[float, float], rotation: float
) -> Decal:
    return _coloured_decal(np.broadcast_to(colour, (*opacity.shape, 3)), opacity, centre, size, rotation)
