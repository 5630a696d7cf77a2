"""Pixels in and out: files to float images in [-1, 1] and back.

Inside the project an image is a float32 array [H, W, 3] of sRGB values in [-1, 1]; uint8 exists in files only.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from pmv_jax.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "HEIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".heic", ".heif")
SMALLEST_SIDE = 16  # pixels; below this a face has no features that an inversion could hold on to

_KINDS = "PNG, JPEG, WebP, AVIF, HEIC, TIFF or BMP"
_STARTS = {  # of files that are something else than their name or their owner says
    b"GIF8": f"is a GIF, not a {_KINDS} picture",
    b"%PDF": f"is a PDF, not a {_KINDS} picture",
    b"<!DO": "is a web page, not a picture: the download went wrong",
    b"<htm": "is a web page, not a picture: the download went wrong",
    b"vers": "is a Git LFS pointer, not the picture itself: run git lfs pull",
}


def load_image(path: str | Path, resolution: int) -> np.ndarray:
    """Reads a picture as a square image [resolution, resolution, 3], float32 in [-1, 1].

    The same as `to_square(open_image(path), resolution)`; see there for what is accepted and done.

    Raises:
      InputError: the file is no usable picture.
    """
    return to_square(open_image(path), resolution)


def open_image(path: str | Path) -> Image.Image:
    """Decodes a picture file into an upright image of mode RGB, or F in [0, 255] for 16-bit grey.

    PNG, JPEG, WebP, AVIF, TIFF and BMP are read; HEIC with the extra `pmv_jax[heif]`.

    EXIF orientation is applied, an embedded colour profile is converted to sRGB, transparency is laid over white.
    Of several frames the first is used, with a warning.

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
            image = Image.open(path, formats=_formats())
            _check_size(path, *image.size)
            animated = image.format != "MPO" and getattr(image, "is_animated", False)  # MPO: a phone's JPEG and preview
            image = _to_rgb(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"image {path}: far too many pixels ({error}); scale it down first") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"image {path}: {_unidentified(path)}") from error
    except PermissionError as error:
        raise InputError(f"image {path}: may not be read; check its permissions") from error
    except Exception as error:  # a damaged file can raise nearly anything inside the decoders
        raise InputError(f"image {path}: cannot be decoded ({error}): damaged or cut short; get it again") from error
    if animated:
        warnings.warn(f"image {path}: has several frames; using its first frame", stacklevel=2)
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


def _formats() -> list[str]:
    """What this installation decodes: AVIF depends on how Pillow was built, HEIC on the extra."""
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _unidentified(path: Path) -> str:
    """What is wrong with a file that no decoder takes, and the remedy."""
    with path.open("rb") as file:
        start = file.read(12)
    if not start:
        return "is empty; export it again"
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"):
        return "is a HEIC photograph; pip install 'pmv_jax[heif]', or export it as JPEG"
    if start[4:12] == b"ftypavif":
        return "is an AVIF picture, which needs Pillow 11.3; pip install -U pillow, or export it as JPEG"
    return _STARTS.get(start[:4], f"is not a {_KINDS} picture, whatever its name says") + "; export it again as one"


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < SMALLEST_SIDE:
        raise InputError(
            f"image {path}: is {width}x{height} pixels, too small to show a face; "
            f"give one of at least {SMALLEST_SIDE}x{SMALLEST_SIDE}"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":  # of a TIFF, in [0, 1] or up to what a byte holds
        pixels = np.nan_to_num(np.asarray(image, np.float32))
        return Image.fromarray(np.clip(pixels * (255 if pixels.max() <= 1 else 1), 0, 255))
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
