"""Pictures to look at: a colour map for depth, and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pmv_jax.images.files import to_uint8

# Degree-6 polynomial fit of matplotlib's "inferno", lowest power first, by Matt Zucker (CC0),
# https://www.shadertoy.com/view/WlfXRN
_INFERNO = np.array(
    [
        [0.0002189403691192265, 0.001651004631001012, -0.01948089843709184],
        [0.1065134194856116, 0.5639564367884091, 3.932712388889277],
        [11.60249308247187, -3.972853965665698, -15.9423941062914],
        [-41.70399613139459, 17.43639888205313, 44.35414519872813],
        [77.162935699427, -33.40235894210092, -81.80730925738993],
        [-71.31942824499214, 32.62606426397723, 73.20951985803202],
        [25.13112622477341, -12.24266895238567, -23.07032500287172],
    ]
)


def colour_depth(depth: np.ndarray) -> np.ndarray:
    """z-depth [h, w] -> uint8 [h, w, 3] in the perceptually uniform map inferno: near is bright, far is dark.

    The map spans the 1st to the 99th percentile, so that a few stray rays do not flatten the rest.
    """
    near, far = np.percentile(depth, [1, 99])
    nearness = np.clip((far - depth) / max(far - near, 1e-6), 0, 1)
    colour = np.moveaxis(np.polynomial.polynomial.polyval(nearness, _INFERNO), 0, -1)
    return to_uint8(2 * colour - 1)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resamples [H, W, 3], in [-1, 1] or uint8, for display -> uint8 [height, width, 3]; `size` is (height, width)."""
    image = Image.fromarray(to_uint8(image))
    return np.asarray(image.resize(size[::-1], Image.Resampling.LANCZOS))


def contact_sheet(rows: Sequence[Sequence[tuple[str, np.ndarray]]], width: int, margin: int = 6) -> np.ndarray:
    """Rows of labelled square pictures, each row scaled to fill the width.

    Args:
      rows: for each row (label, picture [N, N, 3] in [-1, 1] or uint8).
      width: of the sheet in pixels.
      margin: between pictures, in pixels.

    Returns:
      uint8 [H, width, 3].
    """
    font = ImageFont.load_default(size=14)
    text_height = 20
    sides = [(width - margin) // len(row) - margin for row in rows]
    height = margin + sum(side + text_height + margin for side in sides)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    top = margin
    for row, side in zip(rows, sides, strict=True):
        for column, (label, picture) in enumerate(row):
            left = margin + column * (side + margin)
            sheet.paste(Image.fromarray(resize(picture, (side, side))), (left, top + text_height))
            draw.text((left, top), label, fill="black", font=font)
        top += side + text_height + margin
    return np.asarray(sheet)
