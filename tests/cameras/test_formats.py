"""Camera files of other programs."""

import json

import numpy as np
import pytest

from pmv_jax.cameras import look_at
from pmv_jax.cameras.files import load_camera
from pmv_jax.errors import InputError

CAMERA = np.asarray(look_at(0.3, -0.1), np.float64)
MATRIX, FOCAL = CAMERA[:16].reshape(4, 4), CAMERA[16]


def write(folder, name, data):
    (folder / name).write_text("\ufeff" + json.dumps(data), encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    "top",
    [
        {"fl_x": FOCAL * 800, "fl_y": FOCAL * 800, "cx": 600, "cy": 400, "w": 1200, "h": 800},
        {"fl_x": FOCAL * 800, "w": 800, "h": 900},
        {"camera_angle_x": 2 * np.arctan(0.5 / FOCAL)},
    ],
)
def test_transforms_of_nerfstudio(tmp_path, top):
    frames = [
        {"file_path": "./images/frame_1.png", "transform_matrix": MATRIX.tolist()},
        {"file_path": "./images/frame_2", "transform_matrix": (MATRIX * [1, -1, -1, 1]).tolist()},
    ]
    path = write(tmp_path, "transforms.json", {**top, "frames": frames})
    np.testing.assert_allclose(load_camera(path, "frame_2.jpg"), CAMERA, atol=1e-5)
    with pytest.raises(InputError, match="looks away"):
        load_camera(path, "frame_1.png")
    with pytest.raises(InputError, match="leave --camera_convention away"):
        load_camera(path, "frame_2.jpg", ("opengl",))


def test_cameras_of_eg3d_preprocessing(tmp_path):
    """It keeps the estimated distance and the focal length of 1024 pixels; labels have 2.7, and that of the crop."""
    pose = MATRIX.copy()
    pose[:3, 3] *= 1.07
    intrinsics = [[2985.29, 0, 512], [0, 2985.29, 512], [0, 0, 1]]
    path = write(tmp_path, "cameras.json", {"a.jpg": {"pose": pose.tolist(), "intrinsics": intrinsics}})
    found = load_camera(path, "a.png")
    np.testing.assert_allclose(found[:16], CAMERA[:16], atol=1e-6)
    np.testing.assert_allclose(found[16:], [2985.29 / 700, 0, 0.5, 0, 2985.29 / 700, 0.5, 0, 0, 1], rtol=1e-6)


def test_gaussian_splatting_is_refused_by_name(tmp_path):
    path = write(tmp_path, "cameras.json", [{"id": 0, "rotation": np.eye(3).tolist(), "position": [0, 0, 1]}])
    with pytest.raises(InputError, match="3D Gaussian splatting"):
        load_camera(path, "a.png")


@pytest.mark.parametrize(
    "data",
    [
        {"frames": [{"file_path": "a.png"}]},
        {"frames": [{"file_path": "a.png", "transform_matrix": [[1]]}], "camera_angle_x": 1},
        {"frames": [{"file_path": "a.png", "transform_matrix": np.eye(4).tolist()}], "camera_angle_x": 0},
        {"frames": [{"file_path": "a.png", "transform_matrix": np.eye(4).tolist()}], "fl_x": "x"},
        {"frames": ["a.png"]},
        {"a.png": {"pose": np.eye(4).tolist()}},
        {"a.png": {"pose": "x", "intrinsics": np.eye(3).tolist()}},
        {"labels": [["a.png", {"x": 1}]]},
    ],
)
def test_other_entries_are_refused_in_one_line(tmp_path, data):
    with pytest.raises(InputError, match="cameras?.json") as caught:
        load_camera(write(tmp_path, "camera.json", data), "a.png")
    assert "\n" not in str(caught.value)


def test_names_match_by_stem_where_no_name_is_the_same(tmp_path):
    other = np.asarray(look_at(-0.2, 0.1))
    labels = [["00/a.png", CAMERA.tolist()], ["00/b.png", other.tolist()], ["00/b.jpg", CAMERA.tolist()]]
    path = write(tmp_path, "dataset.json", {"labels": labels})
    np.testing.assert_allclose(load_camera(path, "a.jpeg"), CAMERA, atol=1e-6)
    np.testing.assert_allclose(load_camera(path, "b.png"), other, atol=1e-6)
    with pytest.raises(InputError, match="2 entries|no entry"):
        load_camera(path, "b.webp")
