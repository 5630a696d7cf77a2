"""Pictures and video: files in, float images in [-1, 1] inside, files out."""

from pmv_jax.images.files import (
    FORMATS,
    SMALLEST_SIDE,
    SUFFIXES,
    colour_depth,
    contact_sheet,
    load_image,
    open_image,
    resize,
    save_image,
    to_square,
    to_uint8,
)

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
