"""Cameras from landmarks: exact on the mean face, steady on other faces, suspicious of what is no face."""

import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.cameras.files import find_problem
from pmv_jax.faces import pose

CASES = [(0.0, 0.0, 0.0), (0.45, -0.05, 0.03), (-0.5, 0.3, -0.05), (0.2, -0.3, 0.0), (-0.3, 0.1, 0.06)]


def degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    forward = [np.asarray(camera)[:16].reshape(4, 4)[:3, 2] for camera in (a, b)]
    return float(np.degrees(np.arccos(np.clip(forward[0] @ forward[1], -1, 1))))


def seen(camera: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.asarray(cameras.project(camera, points.astype(np.float32))[0])


@pytest.mark.parametrize(("yaw", "pitch", "roll"), CASES)
def test_mean_face(yaw, pitch, roll):
    truth = cameras.rolled(cameras.look_at(yaw, pitch), roll)
    found = pose.estimate(seen(truth, pose.mean_landmarks()))
    assert degrees_between(found.camera, truth) < 2.5  # what the prior pulls towards a frontal view
    assert abs(found.roll - roll) < np.radians(1.5)
    assert found.residual < 0.004 and found.oddity < 0.7
    assert find_problem(found.camera.astype(np.float64)) is None
    assert float(cameras.roll_of(found.camera)) == pytest.approx(found.roll, abs=1e-5)


def test_other_faces_and_noise():
    """Faces as they vary, landmarks as they scatter, crops that sit a little wrong."""
    random, errors = np.random.default_rng(0), []
    for _ in range(60):
        yaw, pitch = random.uniform(-1, 1, 2) * (0.5, 0.25)
        points = pose.mean_landmarks() + 0.0027 * random.normal(0, 2, (5, 3))
        truth = cameras.look_at(yaw, pitch)
        landmarks = seen(truth, points) * random.normal(1, 0.02) + random.normal(0, 0.006, (5, 2))
        errors.append(degrees_between(pose.estimate(landmarks).camera, truth))
    assert np.median(errors) < 5 and np.mean(errors) < 6


def test_mirror_image_has_the_mirrored_camera():
    landmarks = seen(cameras.look_at(0.3, 0.1), pose.mean_landmarks())
    mirrored = landmarks[[1, 0, 2, 4, 3]] * (-1, 1) + (1, 0)
    one, other = pose.estimate(landmarks), pose.estimate(mirrored)
    assert one.yaw == pytest.approx(-other.yaw, abs=0.01) and one.pitch == pytest.approx(other.pitch, abs=0.01)


def test_the_generators_own_cameras():
    """Another pivot and distance: the landmarks are the same, and so is the viewing direction."""
    family = {"pivot": (0.0, 0.0, 0.0), "radius": 2.7, "focal": 4.0}
    found = pose.estimate(seen(cameras.look_at(0.3, 0.0, **family), pose.mean_landmarks()), **family)
    assert found.yaw == pytest.approx(0.3, abs=0.05) and found.camera[16] == 4.0


@pytest.mark.parametrize("swap", [[3, 4, 2, 0, 1], [0, 1, 3, 2, 4]])
def test_what_is_no_face_is_odd(swap):
    landmarks = seen(cameras.look_at(0.0, 0.0), pose.mean_landmarks())[swap]
    assert pose.estimate(landmarks).oddity > 1.6


def test_roll_turns_the_picture_clockwise():
    camera = cameras.look_at(0.2, 0.1)
    point = np.array([[0.0, 0.1, 0.2]], np.float32)  # above the pivot
    (x, y), (rolled_x, rolled_y) = seen(camera, point)[0], seen(cameras.rolled(camera, 0.3), point)[0]
    assert rolled_x > x and rolled_y > y
    np.testing.assert_allclose(cameras.rolled(cameras.rolled(camera, 0.3), -0.3), camera, atol=1e-6)
