"""Pictures and video: files in, float images in [-1, 1] inside, files out."""

from pmv_jax.images.files import (
    FORMATS,
    SMALLEST_SIDE,
    SUFFIXES,
    load_image,
    open_image,
    save_image,
    to_square,
    to_uint8,
)
from pmv_jax.images.pictures import colour_depth, contact_sheet, resize

__all__ = [
    "FORMATS",
    "SMALLEST_SIDE",
    "SUFFIXES",
    "colour_depth",
    "contact_sheet",
    "load_image",
    "open_image",
    "resize",
    "save_image",
    "to_square",
    "to_uint8",
]
