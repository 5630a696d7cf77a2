"""Faces that a plain look does not find, and patterns that no look takes for one."""

import numpy as np
import pytest
from PIL import Image

from pmv_jax.faces import alignment, detection, portrait, search

needs_weights = pytest.mark.skipif(not detection.is_available(), reason="needs pip install 'pmv_jax[face]'")


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.fromarray(pytest.importorskip("skimage.data").astronaut()).crop((100, 0, 360, 300))


@pytest.fixture(scope="module")
def upright(astronaut) -> detection.Face:
    (face,) = detection.detect(astronaut)
    return face


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_the_way_back_from_a_turned_picture(quarters):
    """A marked pixel is where it was."""
    pixels = np.zeros((5, 9, 3), np.uint8)
    pixels[1, 7] = 255
    turned = np.asarray(search._turned(Image.fromarray(pixels), quarters))
    y, x = np.argwhere(turned[..., 0])[0] + 0.5
    face = search._turned_back(detection.Face((x - 1, y - 1, x, y), np.array([[x, y]]), 1.0), quarters, (9, 5))
    np.testing.assert_allclose(face.landmarks, [[7.5, 1.5]])
    assert face.box[0] < face.box[2] and face.box[1] < face.box[3]


@needs_weights
@pytest.mark.parametrize(("angle", "note"), [(90, "counterclockwise"), (180, "upside down"), (-90, "turned clockwise")])
def test_a_turned_picture_gives_the_same_crop(astronaut, upright, angle, note):
    turned = astronaut.rotate(angle, expand=True)
    with pytest.warns(UserWarning, match=note):
        found = portrait.from_detection(turned, "x.png", force=True)
    assert len(found.faces) == 1
    same = found.crop(turned, 64)
    expected = alignment.cut(astronaut, alignment.frame_of(upright.landmarks), 64)
    assert np.abs(same - expected).mean() < 0.01


@needs_weights
def test_a_plain_picture_is_looked_at_once(astronaut, upright):
    found = search.find(astronaut)
    assert found.note == "" and (found.faces[0].landmarks == upright.landmarks).all()


@needs_weights
def test_a_dark_picture(astronaut, upright):
    dark = Image.fromarray((np.asarray(astronaut) * 0.08).astype(np.uint8))
    found = search.find(dark)
    assert "dark" in found.note
    assert np.linalg.norm(found.faces[0].landmarks - upright.landmarks, axis=1).max() < 0.04 * upright.size


@needs_weights
def test_a_doubtful_face_is_found_at_the_second_look(astronaut, upright, monkeypatch):
    """As if the detector were less sure of it than its own threshold asks for."""
    detect = detection.detect

    def doubting(picture, threshold=0.9):
        return [face for face in detect(picture, 0.5) if face.score - 0.15 > threshold]

    monkeypatch.setattr(detection, "detect", doubting)
    found = search.find(astronaut)
    assert "second look" in found.note
    assert np.linalg.norm(found.faces[0].landmarks - upright.landmarks, axis=1).max() < 0.03 * upright.size


@needs_weights
@pytest.mark.parametrize(
    "name", ["coffee", "coins", *(pytest.param(name, marks=pytest.mark.slow) for name in ("chelsea", "rocket"))]
)
def test_patterns_are_no_faces(name):
    """Coins and a cup have false alarms at lower thresholds, at half size, or turned."""
    picture = getattr(pytest.importorskip("skimage.data"), name)()
    assert search.find(Image.fromarray(picture).convert("RGB")).faces == ()
