"""The crop: where it lies, what it looks like, and the way back."""

import numpy as np
import pytest
from PIL import Image

from pmv_jax import images
from pmv_jax.errors import InputError
from pmv_jax.faces import alignment
from pmv_jax.faces.landmark_files import load_landmarks

FRONTAL = np.array([[188.0, 190], [330, 190], [257, 262], [205, 325], [309, 325]])
"""Where a frontal EG3D crop of 512 pixels has them."""


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] / 100
    return (127 + 60 * np.stack([np.sin(2 * x), np.cos(3 * y), np.sin(x + y)], -1)).astype(np.uint8)


def moved(points: np.ndarray, scale: float, angle: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


def test_frontal_landmarks_give_back_the_crop_they_are_of():
    frame = alignment.frame_of(FRONTAL)
    np.testing.assert_allclose(alignment.apply(frame, np.array([[0.5, 0.5]])), [[256, 256]], atol=12)
    assert alignment.side(frame) == pytest.approx(512, rel=0.06)
    assert alignment.is_aligned(Image.new("RGB", (512, 512)), frame)
    assert not alignment.is_aligned(Image.new("RGB", (640, 640)), frame)
    assert not alignment.is_aligned(Image.new("RGB", (512, 600)), frame)


def test_affine_projection_of_the_mean_face_is_found_exactly():
    """Weak perspective, frontal: the middle sees the origin, 300 of 700 crop units are one of the mean face."""
    points = np.array([100.0, 80.0]) + 50 * alignment.MEAN_LANDMARKS[:, :2] * (1, -1)
    points = moved(points - (100, 80), 1.0, 0.0, (100, 80))
    frame = alignment.frame_of(points)
    assert alignment.side(frame) == pytest.approx(50 * 700 / 300, rel=1e-3)
    np.testing.assert_allclose(alignment.apply(frame, np.array([[0.5, 0.5]])), [[100, 80]], atol=0.1)


@pytest.mark.parametrize(("scale", "angle", "shift"), [(1.0, 0.3, (40, 7)), (0.2, -0.7, (900, 30)), (5.0, 2.5, (0, 0))])
def test_crop_moves_with_the_landmarks(scale, angle, shift):
    corners = np.array([[0.0, 0], [1, 0], [0, 1]])
    before = alignment.apply(alignment.frame_of(FRONTAL), corners)
    after = alignment.apply(alignment.frame_of(moved(FRONTAL, scale, angle, shift)), corners)
    np.testing.assert_allclose(after, moved(before, scale, angle, shift), atol=1e-6 * scale * 512)


def test_inverse():
    frame = alignment.frame_of(moved(FRONTAL, 1.3, 0.4, (30, 20)))
    points = np.random.default_rng(0).uniform(0, 1, (9, 2))
    there = alignment.apply(frame, points)
    np.testing.assert_allclose(alignment.apply(alignment.invert(frame), there), points, atol=1e-9)


def test_whole_square_is_the_plain_resize():
    picture = Image.fromarray(smooth(200, 200))
    np.testing.assert_allclose(
        alignment.cut(picture, alignment.whole(picture), 64), images.to_square(picture, 64), atol=0.03
    )


def test_quarter_turn_is_exact():
    pixels = smooth(128, 128)
    frame = np.array([[0.0, -128, 128], [128, 0, 0]])  # right in the crop is down in the picture
    turned = images.to_uint8(alignment.cut(Image.fromarray(pixels), frame, 128))
    np.testing.assert_allclose(turned.astype(int), np.rot90(pixels).astype(int), atol=1)


@pytest.mark.parametrize("angle", [0.0, 0.2])
def test_fine_stripes_become_grey_not_moire(angle):
    stripes = (255 * (np.mgrid[0:1200, 0:1200].sum(0) // 2 % 2)).astype(np.uint8)
    picture = Image.fromarray(stripes).convert("RGB")
    side = 900.0
    turn = side * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    frame = np.concatenate([turn, (np.array([600, 600]) - turn @ (0.5, 0.5))[:, None]], axis=1)
    assert np.abs(alignment.cut(picture, frame, 64)).max() < 0.1


def test_beyond_the_border_is_mirrored_soft_and_seamless():
    picture = Image.fromarray(smooth(300, 300))
    frame = np.array([[256.0, 0, 172], [0, 256.0, 22]])  # a half of it lies to the right of the picture
    crop = alignment.cut(picture, frame, 256)
    inside = np.asarray(picture)[22:278, 172:300]
    np.testing.assert_allclose(images.to_uint8(crop)[:, :124].astype(int), inside[:, :124].astype(int), atol=2)
    assert np.abs(np.diff(crop, axis=1)).max() < 0.2  # no seam
    assert crop[:, 220:].std(axis=(0, 1)).max() < 0.1  # far outside one colour


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_coverage_is_where_the_photograph_is(angle):
    """Against the crop of a white photograph, which is made up beyond its border, in area and place."""
    frame = alignment.frame_of(moved(FRONTAL, 1.0, angle, (-120 + 300 * angle, -60)))
    picture, side = Image.new("RGB", (400, 500), "white"), 64
    share = alignment.coverage(picture, frame, side)
    many = (np.arange(8 * side) + 0.5) / (8 * side)
    points = alignment.apply(frame, np.stack(np.meshgrid(many, many), -1).reshape(-1, 2))
    inside = ((points > 0) & (points < picture.size)).all(1).reshape(side, 8, side, 8).mean((1, 3))
    assert 0.3 < share.mean() < 0.9
    assert np.abs(share - inside).max() < 0.3 and abs(share.mean() - inside.mean()) < 2e-3
    assert (share[inside == 0] == 0).mean() > 0.95 and (share[inside == 1] == 1).mean() > 0.95


def test_a_crop_within_the_photograph_is_covered():
    frame = alignment.frame_of(FRONTAL + 300)
    assert (alignment.coverage(Image.new("RGB", (1200, 1200)), frame, 32) == 1).all()


def test_grey_16_bit():
    picture = Image.fromarray(smooth(200, 200)[..., 0].astype(np.float32))
    assert picture.mode == "F"
    crop = alignment.cut(picture, alignment.whole(picture), 64)
    assert crop.shape == (64, 64, 3) and np.ptp(crop, axis=-1).max() == 0


def test_pasted_back_where_it_came_from():
    photo = Image.fromarray(smooth(400, 500))
    frame = alignment.frame_of(moved(FRONTAL, 0.4, 0.3, (120, 50)))
    crop = alignment.cut(photo, frame, 256)
    same = np.asarray(alignment.paste_back(photo, crop, frame)).astype(int)
    assert np.abs(same - np.asarray(photo)).max() <= 4
    white = np.asarray(alignment.paste_back(photo, np.ones_like(crop), frame))
    assert (white[tuple(np.round(alignment.apply(frame, np.array([[0.5, 0.5]]))[0]).astype(int)[::-1])] == 255).all()
    outside = alignment.apply(alignment.invert(frame), np.array([[5.5, 5.5]]))[0]
    assert outside.min() < 0 and (white[5, 5] == np.asarray(photo)[5, 5]).all()


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), np.nan),
        np.zeros((5, 2)),
        FRONTAL[[1, 0, 2, 3, 4]],  # eyes the wrong way round
        FRONTAL[:4],
    ],
)
def test_what_is_no_face_is_refused(points):
    with pytest.raises(InputError, match="landmarks"):
        alignment.frame_of(points)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", "188 190\n330 190\n257,262\n205\t325\n309 325\n"),
     ("a.json", "[[188,190],[330,190],[257,262],[205,325],[309,325]]")],
)  # fmt: skip
def test_landmark_files(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    np.testing.assert_array_equal(load_landmarks(tmp_path / name), FRONTAL)


def test_landmark_file_of_numpy(tmp_path):
    np.save(tmp_path / "a.npy", FRONTAL)
    np.testing.assert_array_equal(load_landmarks(tmp_path / "a.npy"), FRONTAL)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "1 2\n3 4\n", "has 4 numbers instead of 10"),
        ("a.txt", "eyes nose mouth", "something else than numbers"),
        ("a.json", "{", "something else than numbers"),
        ("a.npy", "no array", "something else than numbers"),
        ("a.txt", "0 0\n0 0\n0 0\n0 0\n0 0\n", "on top of each other"),
        ("a.txt", "nan 190\n330 190\n257 262\n205 325\n309 325\n", "finite"),
    ],
)
def test_bad_landmark_files(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_landmarks(tmp_path / name)
    assert name in str(caught.value)


def test_missing_landmark_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_landmarks(tmp_path / "none.txt")
