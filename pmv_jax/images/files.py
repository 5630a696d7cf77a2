"""Pixels in and out: files to float images in [-1, 1] and back.

Inside the project an image is a float32 array [H, W, 3] of sRGB values in [-1, 1]; uint8 exists in files only.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from pmv_jax.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP")
SMALLEST_SIDE = 16  # pixels; below this a face has no features that an inversion could hold on to


def load_image(path: str | Path, resolution: int) -> np.ndarray:
    """Reads a picture as a square image [resolution, resolution, 3], float32 in [-1, 1].

    The same as `to_square(open_image(path), resolution)`; see there for what is accepted and done.

    Raises:
      InputError: the file is no usable picture.
    """
    return to_square(open_image(path), resolution)


def open_image(path: str | Path) -> Image.Image:
    """Decodes a PNG, JPEG or WebP file into an upright image of mode RGB, or F in [0, 255] for 16-bit grey.

    EXIF orientation is applied, an embedded colour profile is converted to sRGB, transparency is laid over white.
    Of an animation the first frame is used, with a warning.

    Raises:
      InputError: missing, a directory, empty, not one of these formats, damaged, truncated, or of an absurd size.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"image {path}: is a directory; give one picture file")
    if not path.is_file():
        raise InputError(f"image {path}: no such file; check the path")
    try:
        with warnings.catch_warnings():  # Pillow warns of large pictures before it refuses huge ones
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
            _check_size(path, *image.size)
            animated = image.format != "MPO" and getattr(image, "is_animated", False)  # MPO: a phone's JPEG and preview
            image = _to_rgb(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"image {path}: far too many pixels ({error}); scale it down first") from error
    except Image.UnidentifiedImageError as error:
        with path.open("rb") as file:
            start = file.read(4)
        known = {b"": "is empty", b"GIF8": "is a GIF, not a PNG, JPEG or WebP picture"}
        problem = known.get(start, "is not a PNG, JPEG or WebP picture, whatever its name says")
        raise InputError(f"image {path}: {problem}; export it again as one of these") from error
    except PermissionError as error:
        raise InputError(f"image {path}: may not be read; check its permissions") from error
    except Exception as error:  # a damaged file can raise nearly anything inside the decoders
        raise InputError(f"image {path}: cannot be decoded ({error}): damaged or cut short; get it again") from error
    if animated:
        warnings.warn(f"image {path}: is animated; using its first frame", stacklevel=2)
    return image


def to_square(image: Image.Image, resolution: int) -> np.ndarray:
    """Crops to the central square, with a warning if that loses anything, and resamples with a Lanczos filter.

    Args:
      image: mode RGB or F, as `open_image` gives it.
      resolution: side of the result. Downsampling is antialiased: the filter grows with the scale.

    Returns:
      [resolution, resolution, 3] float32 in [-1, 1].
    """
    width, height = image.size
    side = min(width, height)
    if width != height:
        warnings.warn(
            f"the image is {width}x{height}, not square; using its central {side}x{side} pixels", stacklevel=2
        )
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    # Channel by channel in float: Pillow resamples RGB with rounding to 8 bits.
    channels = [
        np.asarray(channel.convert("F").resize((resolution, resolution), Image.Resampling.LANCZOS, box=box))
        for channel in image.split()
    ]
    pixels = np.stack(channels * (3 // len(channels)), axis=-1)
    return np.clip(pixels / 127.5 - 1, -1, 1).astype(np.float32)  # Lanczos overshoots at edges


def save_image(path: str | Path, image: np.ndarray) -> None:
    """Writes colour [H, W, 3] or grey [H, W], in [-1, 1] or uint8, in the format that the file name asks for."""
    Image.fromarray(to_uint8(image)).save(path)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """[...] in [-1, 1] -> uint8, rounded to the nearest. What is uint8 already passes through."""
    image = np.asarray(image)
    return image if image.dtype == np.uint8 else np.rint(np.clip((image + 1) * 127.5, 0, 255)).astype(np.uint8)


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < SMALLEST_SIDE:
        raise InputError(
            f"image {path}: is {width}x{height} pixels, too small to show a face; "
            f"give one of at least {SMALLEST_SIDE}x{SMALLEST_SIDE}"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it at 255
        return Image.fromarray(np.asarray(image, np.float32) / 257)
    image = _to_srgb(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _to_srgb(image: Image.Image) -> Image.Image:
    """Applies an embedded ICC profile: phones save Display P3, print shops CMYK."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image  # a broken profile is common, and says nothing about the pixels
