"""From an entry to a target: its files read, its camera taken or refused."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from pmv_jax.cameras import look_at
from pmv_jax.config import GeneratorConfig, InversionConfig
from pmv_jax.errors import InputError
from pmv_jax.inputs import photograph
from pmv_jax.inputs.manifest import Entry

FAMILY = GeneratorConfig(image_resolution=32)
CAMERA = np.asarray(look_at(0.3, 0.1), np.float64)
OPENGL = np.concatenate([(CAMERA[:16].reshape(4, 4) * [1, -1, -1, 1]).ravel(), CAMERA[16:]])
FAR = CAMERA * np.array([*[1, 1, 1, 4] * 3, *[1] * 13])


@pytest.fixture
def picture(tmp_path):
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def target(entry: Entry, force: bool = False) -> photograph.Target:
    return photograph.align(photograph.read(entry, InversionConfig()), FAMILY, force)


def test_a_camera_is_taken_in_the_convention_that_it_is_said_to_have(picture, tmp_path):
    np.testing.assert_array_equal(target(Entry(picture, tuple(CAMERA))).camera, CAMERA.astype(np.float32))
    (tmp_path / "c.json").write_text(json.dumps(OPENGL.tolist()))
    for given in (tuple(OPENGL), str(tmp_path / "c.json")):
        with pytest.raises(InputError, match="looks away.*--camera_convention opengl takes"):
            target(Entry(picture, given))
        found = target(Entry(picture, given, camera_convention="opengl")).camera
        np.testing.assert_allclose(found, CAMERA, atol=1e-6)
    with pytest.raises(InputError, match="'glopen' is not one"):
        target(Entry(picture, tuple(CAMERA), camera_convention="glopen"))
    with pytest.raises(InputError, match="give one by --camera"):
        target(Entry(picture, camera_convention="opengl"))


def test_a_camera_of_another_world_is_refused_unless_forced(picture):
    with pytest.raises(InputError, match="stands 10.8 away.*--force"):
        target(Entry(picture, tuple(FAR)))
    with pytest.warns(UserWarning, match="stands 10.8 away"):
        target(Entry(picture, tuple(FAR)), force=True)


def test_a_rotation_that_is_a_little_off_is_mended_with_a_warning(picture):
    stretched = CAMERA.copy()
    stretched[:12].reshape(3, 4)[:, 1] *= 1.013
    with pytest.warns(UserWarning, match="off by 1.3 %"):
        found = target(Entry(picture, tuple(stretched))).camera
    np.testing.assert_allclose(found, CAMERA, atol=1e-6)


def test_a_picture_in_an_archive(picture, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(picture, "00/a.png")
        archive.writestr("00/bad.png", io.BytesIO().getvalue())
    found = target(Entry(f"{tmp_path}/set.zip/00/a.png", tuple(CAMERA)))
    np.testing.assert_array_equal(found.image, target(Entry(picture, tuple(CAMERA))).image)
    with pytest.raises(InputError, match="bad.png: is empty"):
        target(Entry(f"{tmp_path}/set.zip/00/bad.png", tuple(CAMERA)))
    with pytest.raises(InputError, match="cannot be taken out"):
        target(Entry(f"{tmp_path}/set.zip/00/gone.png", tuple(CAMERA)))


def mask_of(tmp_path, size, box) -> str:
    """A black picture with a white box (left, top, right, bottom)."""
    mask = Image.new("L", size)
    mask.paste(255, box)
    mask.save(tmp_path / "mask.png")
    return str(tmp_path / "mask.png")


def test_a_mask_is_cropped_with_its_photograph(tmp_path):
    Image.new("RGB", (60, 40), "grey").save(tmp_path / "wide.png")
    entry = Entry(str(tmp_path / "wide.png"), align=False, mask=mask_of(tmp_path, (60, 40), (0, 0, 30, 40)))
    with pytest.warns(UserWarning, match="not square"):
        matte = target(entry).matte
    assert matte.shape == (32, 32) and matte.min() >= 0 and matte.max() <= 1
    np.testing.assert_allclose(matte[:, :14], 1, atol=0.02)
    np.testing.assert_allclose(matte[:, 18:], 0, atol=0.02)

    # With landmarks, by the same frame as the photograph, whose pixels it has here.
    (tmp_path / "points.txt").write_text("24 15\n33 16\n29 20\n24 24\n31 25\n")
    random = np.random.default_rng(0).integers(0, 2, (40, 60), np.uint8) * 255
    Image.fromarray(random).save(tmp_path / "mask.png")
    Image.fromarray(random).convert("RGB").save(tmp_path / "wide.png")
    found = target(Entry(entry.image, landmarks=str(tmp_path / "points.txt"), mask=entry.mask), force=True)
    np.testing.assert_allclose(found.matte, (found.image[..., 0] + 1) / 2, atol=1e-6)


def test_a_mask_of_the_crop_is_taken_as_it_is(tmp_path):
    Image.new("RGB", (60, 40), "grey").save(tmp_path / "wide.png")
    (tmp_path / "points.txt").write_text("24 15\n33 16\n29 20\n24 24\n31 25\n")
    mask = mask_of(tmp_path, (32, 32), (8, 4, 24, 32))
    found = target(Entry(str(tmp_path / "wide.png"), landmarks=str(tmp_path / "points.txt"), mask=mask), force=True)
    assert (found.matte[4:, 8:24] == 1).all() and found.matte.mean() == 28 * 16 / 32**2
    plain = target(Entry(str(tmp_path / "wide.png"), landmarks=str(tmp_path / "points.txt")), force=True)
    assert plain.matte is None and "matte" not in plain.request("") and "matte" in found.request("")


@pytest.mark.parametrize(
    ("size", "box", "message"),
    [
        ((64, 32), (0, 0, 20, 20), "is 64x32 pixels; draw it on the photograph, which is 32x32"),
        ((32, 32), (0, 0, 0, 0), "is all black"),
        ((32, 32), (0, 0, 32, 32), "is all white"),
    ],
)
def test_masks_that_say_nothing_are_refused(picture, tmp_path, size, box, message):
    with pytest.raises(InputError, match=message):
        target(Entry(picture, tuple(CAMERA), mask=mask_of(tmp_path, size, box)))


def test_masks_that_cannot_be_read_are_refused(picture, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    for name in ("none.png", "text.png"):
        with pytest.raises(InputError, match=f"mask: image .*{name}"):
            target(Entry(picture, tuple(CAMERA), mask=f"{tmp_path}/{name}"))
    Image.new("RGB", (60, 32), "grey").save(tmp_path / "wide.png")
    mask = mask_of(tmp_path, (60, 32), (0, 0, 6, 32))
    with pytest.warns(UserWarning, match="not square"), pytest.raises(InputError, match="black all over the crop"):
        target(Entry(str(tmp_path / "wide.png"), align=False, mask=mask))


def test_addresses_are_refused_with_a_sentence():
    with pytest.raises(InputError, match="address on the web; download"):
        photograph.read(Entry("https://example.org/a.png"), InversionConfig())
