import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms

from pmv_jax import images
from pmv_jax.errors import InputError


def gradient(height: int, width: int) -> np.ndarray:
    """Smooth uint8 colour picture: red grows to the right, green downwards."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / (width - 1), 255 * y / (height - 1), np.full_like(x, 90)], -1).round().astype(np.uint8)


def in_range(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 127.5 - 1


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bin"])
def test_own_resolution_is_exact(tmp_path, name):
    pixels = gradient(32, 32)
    Image.fromarray(pixels).save(tmp_path / name, format="WEBP" if name.endswith("webp") else "PNG", lossless=True)
    loaded = images.load_image(tmp_path / name, 32)
    assert loaded.shape == (32, 32, 3) and loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, in_range(pixels), atol=1e-6)
    assert (images.to_uint8(loaded) == pixels).all()


def test_jpeg(tmp_path):
    Image.fromarray(gradient(64, 64)).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(images.load_image(tmp_path / "a.jpg", 64), in_range(gradient(64, 64)), atol=0.06)


def test_round_trip_of_every_value(tmp_path):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, -1)
    images.save_image(tmp_path / "a.png", in_range(pixels))
    assert (images.to_uint8(images.load_image(tmp_path / "a.png", 16)) == pixels).all()


def test_orientation_of_phones(tmp_path):
    pixels = gradient(32, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn by 90 degrees clockwise
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_allclose(images.load_image(tmp_path / "a.png", 32), in_range(pixels), atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGBA", "LA"])
def test_modes(tmp_path, mode):
    grey = np.where(np.mgrid[0:32, 0:32][1] < 16, 0, 255).astype(np.uint8)
    image = Image.fromarray(grey).convert("RGB").convert("L" if mode in ("1", "LA") else mode).convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(path)
    expected = in_range(grey)[..., None].repeat(3, -1)
    np.testing.assert_allclose(images.load_image(path, 32), expected, atol=0.1 if mode == "CMYK" else 1e-6)


def test_sixteen_bit_grey(tmp_path):
    grey = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    Image.fromarray(grey).save(tmp_path / "a.png")
    loaded = images.load_image(tmp_path / "a.png", 32)
    np.testing.assert_allclose(loaded[..., 1], grey / 32767.5 - 1, atol=1e-5)


def test_transparency_lies_over_white(tmp_path):
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, :16, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    loaded = images.load_image(tmp_path / "a.png", 32)
    assert (loaded[:, :16] == -1).all() and (loaded[:, 16:] == 1).all()


def test_colour_profile_is_applied(tmp_path):
    pixels = gradient(32, 32)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels).save(tmp_path / "srgb.png", icc_profile=profile)
    Image.fromarray(pixels).save(tmp_path / "broken.png", icc_profile=b"nonsense")
    for name in ("srgb.png", "broken.png"):
        np.testing.assert_allclose(images.load_image(tmp_path / name, 32), in_range(pixels), atol=0.02)


def test_wide_picture_is_cropped_in_the_middle_with_a_warning(tmp_path):
    pixels = gradient(32, 48)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match="48x32, not square"):
        loaded = images.load_image(tmp_path / "a.png", 32)
    np.testing.assert_allclose(loaded, in_range(pixels[:, 8:40]), atol=1e-6)


def test_square_picture_gives_no_warning(tmp_path):
    Image.fromarray(gradient(32, 32)).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images.load_image(tmp_path / "a.png", 16)


def test_downsampling_is_antialiased(tmp_path):
    checkers = (np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checkers).save(tmp_path / "a.png")
    assert np.abs(images.load_image(tmp_path / "a.png", 32)).max() < 0.05  # mid-grey everywhere


def test_animation_uses_first_frame(tmp_path):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.warns(UserWarning, match="first frame"):
        loaded = images.load_image(tmp_path / "a.webp", 32)
    np.testing.assert_allclose(loaded[0, 0], [1, -1, -1], atol=0.02)


def make_bad(path, kind):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    if kind == "missing":
        path.unlink()
    elif kind == "directory":
        path.unlink()
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("hello")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "header only":
        path.write_bytes(path.read_bytes()[:20])
    elif kind == "one pixel":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "thin":
        Image.new("RGB", (500, 3)).save(path)
    elif kind == "bomb":
        Image.new("1", (14000, 14000)).save(path)
    elif kind == "svg":
        path.write_text("<svg/>")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("directory", "directory"),
        ("empty", "empty"),
        ("text", "not a PNG, JPEG, WebP"),
        ("svg", "not a PNG, JPEG, WebP"),
        ("truncated", "cannot be decoded"),
        ("header only", "cannot be decoded|not a PNG"),
        ("one pixel", "too small"),
        ("thin", "too small"),
        ("bomb", "too many pixels"),
    ],
)
def test_unusable_files_are_refused_in_one_line(tmp_path, kind, message):
    path = tmp_path / "picture.png"
    make_bad(path, kind)
    with pytest.raises(InputError, match=message) as caught:
        images.load_image(path, 32)
    assert "picture.png" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_no_damage_gives_anything_but_an_input_error(tmp_path, form):
    path = tmp_path / "a.png"
    Image.fromarray(gradient(48, 48)).save(path, format=form)
    good = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(good[: random.integers(1, len(good))] if random.random() < 0.5 else good)
        for position in random.integers(0, len(data), 4):
            data[position] = random.integers(256)
        path.write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert np.isfinite(images.load_image(path, 16)).all()
        except InputError:
            pass


def test_depth_colours_near_is_bright():
    depth = np.linspace(2.2, 3.2, 100, dtype=np.float32).reshape(10, 10)
    brightness = images.colour_depth(depth).astype(float).sum(-1).ravel()
    assert images.colour_depth(depth).shape == (10, 10, 3)
    assert (np.diff(brightness) <= 3).all() and brightness[0] > 550 and brightness[-1] < 30
    assert (images.colour_depth(np.full((4, 4), 2.7)) == images.colour_depth(np.full((4, 4), 2.7))[0, 0]).all()


def test_contact_sheet_holds_every_picture():
    red, blue = np.full((8, 8, 3), [1.0, -1, -1]), np.full((8, 8, 3), [0, 0, 255], np.uint8)
    sheet = images.contact_sheet([[("red", red)], [("red", red), ("blue", blue), ("red", red)]], width=320)
    assert sheet.dtype == np.uint8 and sheet.shape[1:] == (320, 3)
    assert (sheet == [255, 0, 0]).all(-1).sum() == 308**2 + 2 * 98**2
    assert (sheet == [0, 0, 255]).all(-1).sum() == 98**2


@pytest.mark.parametrize("suffix", ["bmp", "tif", "avif", "heic"])
def test_other_kinds_of_pictures(tmp_path, suffix):
    if suffix == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    pixels = gradient(48, 48)
    try:
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", quality=95)
    except (OSError, KeyError, ValueError):
        pytest.skip("this Pillow does not write it")
    np.testing.assert_allclose(images.load_image(tmp_path / f"a.{suffix}", 48), in_range(pixels), atol=0.06)


def test_float_tiff_is_in_zero_to_one(tmp_path):
    grey = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    Image.fromarray(grey).save(tmp_path / "a.tif")
    np.testing.assert_allclose(images.load_image(tmp_path / "a.tif", 32)[..., 0], 2 * grey - 1, atol=1e-5)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\0\0\0\x18ftypheic\0\0", "HEIC"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs", "LFS pointer"),
        (b"%PDF-1.4", "is a PDF"),
    ],
)
def test_what_a_file_is_instead(tmp_path, start, message):
    (tmp_path / "a.jpg").write_bytes(start + bytes(40))
    with pytest.raises(InputError, match=message):
        images.load_image(tmp_path / "a.jpg", 16)
