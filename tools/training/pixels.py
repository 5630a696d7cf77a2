"""Pixels of rendered views: six bytes each, and files of 20 KB a view for a set that has to travel."""

from __future__ import annotations

import io
import lzma

import numpy as np
from PIL import Image

NEAR, FAR = 2.0, 4.0  # range of z-depth; a step of its two bytes is 3e-5
STEP = 0.001  # of the z-depth in a packed view
_LEVELS = 2**16 - 1  # 0 is background

Pixels = np.ndarray
"""uint8 [..., 6]: red, green, blue, mask, and the z-depth's low and high byte."""


def encode(rgb: np.ndarray, mask: np.ndarray, z_depth: np.ndarray) -> Pixels:
    """rgb uint8 [..., 3], mask uint8 [...], z_depth float [...] (0 is background) -> [..., 6]."""
    level = np.clip(np.round((z_depth - NEAR) / (FAR - NEAR) * _LEVELS), 1, _LEVELS)
    depth = np.where(z_depth > 0, level, 0).astype("<u2")
    return np.concatenate([rgb, mask[..., None], depth[..., None].view(np.uint8)], axis=-1)


def decode_depth(low, high):  # of NumPy or JAX
    """Bytes of the z-depth as floats [...] -> z-depth [...]; 0 is background."""
    level = low + 256.0 * high
    return (level > 0) * (NEAR + level / _LEVELS * (FAR - NEAR))


def pack_view(view: Pixels) -> tuple[bytes, bytes, bytes]:
    """[N, N, 6] -> colours as WebP, mask as PNG, depth at half the resolution: the lower median of two by two pixels.

    A raw pixel's ray runs between two by two of these blocks, so that a slanted surface is where it was.
    """
    n = len(view)
    blocks = decode_depth(view[..., 4], view[..., 5]).reshape(n // 2, 2, n // 2, 2)
    depth = np.sort(blocks.swapaxes(1, 2).reshape(n // 2, n // 2, 4), axis=-1)[..., 1]
    level = np.where(depth > 0, np.round((depth - NEAR) / STEP) + 1, 0).astype("<i2")
    change = np.diff(level, axis=1, prepend=np.int16(0)).astype("<i2")
    return _picture(view[..., :3], "WEBP", quality=90), _picture(view[..., 3], "PNG"), lzma.compress(change.tobytes())


def unpack_view(colour: bytes, mask: bytes, depth: bytes) -> Pixels:
    """Inverse of `pack_view`, nearly."""
    rgb, covered = (np.asarray(Image.open(io.BytesIO(data))) for data in (colour, mask))
    change = np.frombuffer(lzma.decompress(depth), "<i2").reshape(len(rgb) // 2, -1)
    level = np.cumsum(change, axis=1)
    z_depth = np.where(level > 0, NEAR + (level - 1) * STEP, 0)
    return encode(rgb, covered, z_depth.repeat(2, axis=0).repeat(2, axis=1))


def _picture(pixels: np.ndarray, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind, **options)
    return file.getvalue()
