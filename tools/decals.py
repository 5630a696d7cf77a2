"""Pictures to put on procedural heads, which no generator trained on plain heads has seen: text, stripes, freckles.

Every function draws a texture with Pillow or NumPy and returns a `procedural_heads.Decal`. Positions and sizes are in
head units (see there): eyes at y = 0.02, mouth at y = -0.08, cheeks around x = 0.06.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.procedural_heads import Decal

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


def _decal(
    opacity: np.ndarray, colour: Colour, centre: tuple[float, float], size: tuple[float, float], rotation: float
) -> Decal:
    texture = np.concatenate([np.broadcast_to(colour, (*opacity.shape, 3)), opacity[..., None]], axis=-1)
    return Decal(*(jnp.asarray(value, jnp.float32) for value in (texture, centre, size, rotation)))
