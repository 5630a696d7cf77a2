"""The shipped example pictures: aligned as EG3D aligns, and what the script makes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmv_jax import cameras
from pmv_jax.cameras.files import load_camera
from tools import make_example

DEMO = Path(__file__).parents[2] / "weights" / "demo"


def test_similarity_is_recovered():
    source = np.array([[0.0, 0.0], [3.0, 1.0], [-2.0, 5.0]])
    expected = np.array([[1.2, -0.5, 7.0], [0.5, 1.2, -3.0]])
    target = source @ expected[:, :2].T + expected[:, 2]
    np.testing.assert_allclose(make_example.similarity(source, target), expected, atol=1e-12)


def test_portrait_has_its_landmarks_where_eg3d_has_them():
    names = list(make_example.CROP_LANDMARKS)
    source = np.array([make_example.PORTRAIT_LANDMARKS[name] for name in names])
    target = np.array([make_example.CROP_LANDMARKS[name] for name in names])
    matrix = make_example.similarity(source, target)
    assert np.abs(source @ matrix[:, :2].T + matrix[:, 2] - target).max() < 7


def test_shipped_portrait_is_what_the_script_makes():
    pytest.importorskip("skimage")
    shipped = np.asarray(Image.open(DEMO / "portrait.png"), np.float32)
    made = np.asarray(make_example.portrait(), np.float32)
    assert shipped.shape == (512, 512, 3)
    assert np.abs(shipped - made).mean() < 0.5  # of 255: Pillow's rounding may change


def test_a_crop_that_leaves_the_picture_is_refused():
    landmarks = {name: (0.5 * x - 60, 0.5 * y) for name, (x, y) in make_example.CROP_LANDMARKS.items()}
    with pytest.raises(ValueError, match="leaves the picture"):
        make_example.align(Image.new("RGB", (512, 512)), landmarks)


def test_shipped_head_comes_with_its_camera():
    camera = load_camera(DEMO / "tattoo_head_camera.json", "tattoo_head.png")
    np.testing.assert_allclose(camera, cameras.look_at(make_example.INPUT_YAW, 0.0), atol=1e-6)
    head, sheet = (np.asarray(Image.open(DEMO / name)) for name in ("tattoo_head.png", "tattoo_head_views.png"))
    size, column = make_example.HEAD_SIZE, make_example.SHEET_YAWS.index(make_example.INPUT_YAW)
    np.testing.assert_array_equal(head, sheet[:, column * size : (column + 1) * size])


def test_the_example_head_could_be_one_of_the_training():
    """But for its tattoos: p has unit root mean square, and the same on every call."""
    p = make_example.head()
    assert np.mean(p**2) == pytest.approx(1, rel=1e-5)
    np.testing.assert_array_equal(p, make_example.head())
