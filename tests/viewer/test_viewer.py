"""What the viewer draws: camera conversion, the order of requests, quick and still pictures."""

import threading
import time

import numpy as np
import pytest

from pmv_jax import cameras, images
from pmv_jax.cameras import files as camera_files
from pmv_jax.edits.directions import Direction
from pmv_jax.models import frames
from pmv_jax.viewer import camera as viewer_cameras
from pmv_jax.viewer.camera import ViewerCamera
from pmv_jax.viewer.head import PICTURES, Head, letterbox, picture, quick_size
from pmv_jax.viewer.requests import LatestRequests
from tests import small_inversion


@pytest.mark.parametrize("aspect", [1.0, 1.7, 0.6])
def test_cameras_there_and_back(aspect):
    random = np.random.default_rng(0)
    for _ in range(20):
        yaw, pitch, roll, focal = random.uniform([-3, -0.8, -0.5, 1], [3, 0.8, 0.5, 6])
        camera = np.asarray(cameras.rolled(cameras.look_at(yaw, pitch, focal=focal), roll))
        back = viewer_cameras.from_viewer(viewer_cameras.to_viewer(camera, aspect), aspect)
        np.testing.assert_allclose(back, camera, atol=1e-5)
        assert camera_files.find_problem(back) is None


def test_camera_of_the_viewer_is_worked_out_by_hand():
    """At (0, 0, 3), half turned about the horizontal axis: viser's +z, forward, is then the world's -z, and y is up."""
    camera = viewer_cameras.from_viewer(ViewerCamera(np.array([0, 1.0, 0, 0]), np.array([0, 0, 3.0]), np.pi / 2), 2.0)
    np.testing.assert_allclose(camera[:16].reshape(4, 4), [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1]])
    np.testing.assert_allclose(camera[16:].reshape(3, 3), [[0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 1]], atol=1e-7)
    # A canvas half as wide as it is high shows half the tangent across its square.
    narrow = viewer_cameras.from_viewer(ViewerCamera(np.array([0, 1.0, 0, 0]), np.zeros(3), np.pi / 2), 0.5)
    assert narrow[16] == pytest.approx(1.0)
    assert viewer_cameras.vertical_fov(viewer_cameras.field_of_view(narrow), 0.5) == pytest.approx(np.pi / 2)


def test_place_and_point_looked_at():
    config = small_inversion.CONFIG
    known = np.asarray(cameras.look_at(0.5, 0.2))
    seen = viewer_cameras.place(known, config)
    assert seen.yaw == pytest.approx(0.5, abs=1e-4) and seen.pitch == pytest.approx(0.2, abs=1e-4)
    assert seen.distance == pytest.approx(1, abs=1e-5) and seen.zoom == pytest.approx(1) and not seen.is_unknown
    assert viewer_cameras.place(np.asarray(cameras.look_at(1.0, 0.0)), config).is_unknown
    assert viewer_cameras.place(np.asarray(cameras.look_at(0.0, 0.0, radius=1.5)), config).is_unknown
    np.testing.assert_allclose(viewer_cameras.looked_at(known, config.camera_pivot), config.camera_pivot, atol=1e-5)


def test_letterbox_keeps_the_square_in_the_middle():
    red = np.broadcast_to(np.float32([1, -1, -1]), (8, 8, 3))
    for width, height, shape in ((300, 100, (100, 300)), (100, 300, (300, 100)), (3000, 1500, (768, 1536))):
        sheet = letterbox(red, width, height)
        assert sheet.shape == (*shape, 3)
        rows, columns = np.nonzero(sheet[..., 0] == 255)
        side = min(shape)
        assert len(rows) == side * side
        assert rows.min() == (shape[0] - side) // 2 and columns.min() == (shape[1] - side) // 2


def test_resolution_while_moving_keeps_to_its_time():
    assert quick_size(64, 32, 0.02) == 64  # full: 0.08 s
    assert quick_size(64, 32, 0.03) == 32
    assert quick_size(128, 64, 0.3) == 32
    assert quick_size(128, 64, 9.0) == 16


def test_only_the_newest_wish_counts():
    newest = LatestRequests(settle=0.05)
    for value in range(5):
        newest.put("a", value)
    newest.put("b", 7)
    assert newest.take(0) == ("a", 4, False)  # 0 to 3 are gone
    newest.put("a", 5)
    assert newest.take(0) == ("b", 7, False)  # whoever has waited longer
    assert newest.take(0) == ("a", 5, False)
    assert newest.take(0) is None  # neither has rested
    stills = [newest.take(1), newest.take(1)]
    assert sorted(stills) == [("a", 5, True), ("b", 7, True)]
    newest.put("a", 6)
    newest.drop("a")
    assert newest.take(0.1) is None


def test_a_slow_renderer_is_never_behind():
    """Cameras come every 2 ms, a picture takes 20: few are drawn, in order, and the last one is, twice."""
    newest, drawn = LatestRequests(settle=0.05), []

    def render():
        while (taken := newest.take(0.3)) is not None:
            time.sleep(0.02)
            drawn.append(taken)

    thread = threading.Thread(target=render)
    newest.put("a", 0)
    thread.start()
    for value in range(1, 100):
        newest.put("a", value)
        time.sleep(0.002)
    thread.join()
    values = [value for _, value, _ in drawn]
    assert values == sorted(values) and len(values) < 60
    assert [(value, still) for _, value, still in drawn[-2:]] == [(99, False), (99, True)]


def test_quick_and_still_pictures():
    inversion = small_inversion.make()
    step = Direction("larger", np.ones(small_inversion.CONFIG.w_dim), layers=(0, 2))
    head = Head(inversion.generator, inversion.ws, {"larger": step})
    camera = np.asarray(cameras.look_at(-0.3, 0.1))
    image, depth = head.render(camera, {}, still=True)
    expected, expected_depth = next(frames.render_views(inversion.render, camera[None]))
    np.testing.assert_allclose(image, expected, atol=1e-4)
    np.testing.assert_allclose(depth, expected_depth, atol=1e-4)
    quick, _ = head.render(camera, {}, still=False)
    assert quick.shape == (8, 8, 3)
    moved, _ = head.render(camera, {"larger": 2.0}, still=True)
    ws = inversion.ws.copy()
    ws[:2] += 2
    shifted = Head(inversion.generator, ws, {}).render(camera, {}, still=True)[0]
    np.testing.assert_allclose(moved, shifted, atol=1e-4)
    assert np.abs(moved - image).mean() > 1e-3
    # All three at the neural resolution or the image's, and pictures that can be saved.
    for kind in PICTURES:
        assert images.to_uint8(picture(kind, image, depth, camera)).shape[2] == 3
