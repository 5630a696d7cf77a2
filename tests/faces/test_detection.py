"""MTCNN in NumPy: its layers against loops, and faces in a real photograph, turned, shrunk, twice, or absent."""

import numpy as np
import pytest
from PIL import Image

from pmv_jax import images
from pmv_jax.errors import InputError
from pmv_jax.faces import alignment, detection, portrait, search

needs_weights = pytest.mark.skipif(not detection.is_available(), reason="needs pip install 'pmv_jax[face]'")

BY_EYE = np.array([[203.2, 100.8], [246.8, 103.2], [224.2, 126.4]])
"""Irises and tip of the nose in `skimage.data.astronaut()`."""


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    data = pytest.importorskip("skimage.data")
    return Image.fromarray(data.astronaut())


@pytest.fixture(scope="module")
def face(astronaut) -> detection.Face:
    (found,) = detection.detect(astronaut)
    return found


def test_convolution_against_loops():
    random = np.random.default_rng(0)
    x, kernel = random.normal(size=(2, 6, 5, 3)), random.normal(size=(3, 2, 3, 4))
    bias, slope = random.normal(size=4), random.uniform(size=(1, 1, 4))
    expected = np.zeros((2, 4, 4, 4))
    for i in range(4):
        for j in range(4):
            patch = x[:, i : i + 3, j : j + 2]
            expected[:, i, j] = sum(patch[:, a, b] @ kernel[a, b] for a in range(3) for b in range(2)) + bias
    expected = np.where(expected > 0, expected, slope * expected)
    np.testing.assert_allclose(detection._convolve(x, kernel, bias, slope), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("side", "size", "ceil"), [(22, 3, True), (9, 3, False), (46, 3, True), (8, 2, True), (7, 2, True)]
)
def test_pooling_against_loops(side, size, ceil):
    x = np.random.default_rng(0).normal(size=(1, side, side, 2))
    count = -(-side // 2) if ceil else (side - size) // 2 + 1
    expected = np.stack(
        [[x[0, 2 * i : 2 * i + size, 2 * j : 2 * j + size].max((0, 1)) for j in range(count)] for i in range(count)]
    )
    np.testing.assert_array_equal(detection._pool(x, size, ceil)[0], expected)


def test_suppression():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [2, 2, 5, 5]], float)
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    assert detection._suppress(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert detection._suppress(boxes, scores, 0.5, relative_to_smaller=True).tolist() == [1, 2]


def test_sample_of_a_box_is_the_box():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    found = np.asarray(detection.sample(picture, np.array([[24.0, 0, 10], [0, 24, 20]]), 24))
    np.testing.assert_array_equal(found, np.asarray(picture)[20:44, 10:34])
    outside = np.asarray(detection.sample(picture, np.array([[24.0, 0, -12], [0, 24, 20]]), 24))
    assert (outside[:, :12] == 0).all() and (outside[:, 13:] == np.asarray(picture)[20:44, 1:12]).all()


@needs_weights
def test_landmarks_lie_on_the_face(face):
    assert face.score > 0.95
    distance = np.linalg.norm(face.landmarks[:3] - BY_EYE, axis=1) / face.size
    assert distance[:2].max() < 0.015 and distance[2] < 0.04


@needs_weights
@pytest.mark.parametrize(("angle", "scale"), [(15, 1.0), (-25, 0.6), (0, 2.5)])
def test_turned_and_scaled(astronaut, face, angle, scale):
    """The landmarks move with the picture: to 1 % of the face."""
    size = tuple(round(scale * side) for side in astronaut.size)
    picture = astronaut.resize(size, Image.Resampling.LANCZOS).rotate(angle, Image.Resampling.BICUBIC)
    (found,) = [f for f in detection.detect(picture) if f.size > 40 * scale]
    turn = np.radians(-angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    expected = (scale * face.landmarks - np.array(size) / 2) @ matrix.T + np.array(size) / 2
    assert np.linalg.norm(found.landmarks - expected, axis=1).max() < 0.02 * found.size


@needs_weights
def test_two_faces_are_counted_from_the_largest(astronaut, monkeypatch):
    head = astronaut.crop((130, 0, 330, 220))
    picture = Image.new("RGB", (700, 300), "grey")
    picture.paste(head.resize((260, 286)), (20, 0))
    picture.paste(head, (450, 40))
    found = search.find(picture)
    large, small = found.faces
    monkeypatch.setattr(search, "find", lambda picture: found)  # once is enough
    assert large.landmarks[:, 0].max() < 300 < small.landmarks[:, 0].min() and large.size > small.size
    first, second = (portrait.from_detection(picture, "x.png", n) for n in (1, 2))
    assert first.is_ambiguous and len(first.faces) == 2
    assert (first.landmarks == large.landmarks).all() and (second.landmarks == small.landmarks).all()
    with pytest.raises(InputError, match="2 faces were found"):
        portrait.from_detection(picture, "x.png", 3)


@needs_weights
def test_crop_of_the_photograph_and_its_camera(astronaut):
    found = portrait.from_detection(astronaut, "astronaut")
    assert not found.is_crop and abs(found.pose.yaw) < np.radians(6) and abs(found.pose.roll) < np.radians(2)
    crop = Image.fromarray(images.to_uint8(found.crop(astronaut, 256)))
    again = portrait.from_detection(crop, "crop")
    assert again.is_crop  # a crop of ours is left as it is
    np.testing.assert_array_equal(again.crop(crop, 256), images.to_square(crop, 256))
    before = alignment.apply(alignment.invert(found.frame), found.landmarks)
    assert np.abs(again.landmarks / 256 - before).max() < 0.02
    assert again.pose.yaw == pytest.approx(found.pose.yaw, abs=np.radians(3))


@needs_weights
def test_shipped_portrait_is_recognised_as_a_crop():
    picture = images.open_image("weights/demo/portrait.png")
    assert portrait.from_detection(picture, "portrait.png").is_crop


@needs_weights
@pytest.mark.parametrize("kind", ["grey", "noise", "tiny"])
def test_no_face(kind):
    random = np.random.default_rng(0)
    picture = {
        "grey": Image.new("RGB", (300, 200), "grey"),
        "noise": Image.fromarray(random.integers(0, 256, (200, 300, 3), np.uint8)),
        "tiny": Image.new("RGB", (16, 16)),
    }[kind]
    assert detection.detect(picture) == []
    with pytest.raises(InputError, match="no face found.*--landmarks"):
        portrait.from_detection(picture, "x.png")


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(detection, "PACKAGE", "no-such-package-anywhere")
    detection._networks.cache_clear()
    assert not detection.is_available()
    with pytest.raises(InputError, match="pip install"):
        detection.detect(Image.new("RGB", (64, 64)))
    detection._networks.cache_clear()


@needs_weights
def test_other_weights_are_not_loaded(monkeypatch):
    monkeypatch.setattr(detection, "WEIGHTS_SHA256", {"pnet": "0" * 64})
    detection._networks.cache_clear()
    with pytest.raises(InputError, match="other weights"):
        detection.detect(Image.new("RGB", (64, 64)))
    detection._networks.cache_clear()


FRONTAL = np.array([[188.0, 190], [330, 190], [257, 262], [205, 325], [309, 325]])


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (FRONTAL / 16 + 100, "pixels wide"),
        (FRONTAL + 1000, "outside"),
        (FRONTAL + [[0, 0], [0, 0], [75, 0], [0, 0], [0, 0]], "turned by|fit no face"),
        (FRONTAL + [[0, 0], [0, 0], [0, 110], [0, 0], [0, 0]], "no order"),
    ],
)
def test_implausible_faces_are_refused_unless_forced(landmarks, message):
    picture = Image.new("RGB", (600, 600))
    with pytest.raises(InputError, match=message):
        portrait.from_landmarks(picture, "x.png", landmarks)
    if message not in ("outside", "no order"):
        with_force = portrait.from_landmarks(picture, "x.png", landmarks, force=True)
        assert np.isfinite(with_force.pose.camera).all()
