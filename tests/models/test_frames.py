"""From cameras to frames and files: paths, depth and normals of closed-form surfaces, and what players read back."""

import json
import uuid

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from pmv_jax import cameras, images
from pmv_jax.cameras import paths as camera_paths
from pmv_jax.cameras.files import find_problem
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError
from pmv_jax.images import video
from pmv_jax.models import frames

CONFIG = GeneratorConfig()
FOCAL = CONFIG.camera_focal


@pytest.mark.parametrize("name", camera_paths.PATHS)
def test_paths_are_cameras_smooth_and_closed(name):
    views = camera_paths.PATHS[name](CONFIG, 60, focal=3.0)
    assert views.shape == (60, 25) and not any(map(find_problem, views)) and np.all(views[:, 16] == 3.0)
    steps = np.linalg.norm(np.roll(views, -1, 0) - views, axis=1)  # the last one leads back to the first frame
    assert steps[-1] <= steps.max() < 0.25
    where, _ = cameras.project(views, np.asarray(CONFIG.camera_pivot)[None, None])
    np.testing.assert_allclose(where, 0.5, atol=1e-5)


def test_path_amplitudes():
    yaw, pitch = cameras.yaw_pitch(camera_paths.figure8(CONFIG, 64, focal=FOCAL, yaw=0.4, pitch=0.1))
    assert np.abs(yaw).max() == pytest.approx(0.4, abs=1e-3) and np.abs(pitch).max() == pytest.approx(0.1, abs=1e-3)
    assert np.sum(np.diff(np.sign(pitch[1:32])) != 0) == 1  # pitch swings twice while yaw swings once
    views = camera_paths.dolly(CONFIG, 8, focal=FOCAL, yaw=0.3)
    distance = np.linalg.norm(views[:, 3:12:4] - CONFIG.camera_pivot, axis=1)
    np.testing.assert_allclose(distance[4] / distance[0], 1 - camera_paths.DOLLY, rtol=1e-5)
    np.testing.assert_array_equal(views[:, :3], np.broadcast_to(views[0, :3], (8, 3)))  # nothing turns


def test_camera_file(tmp_path):
    views = camera_paths.orbit(CONFIG, 5, focal=FOCAL)
    path = tmp_path / "cameras.json"
    for data in (views.tolist(), {"cameras": views.tolist()}):
        path.write_text(json.dumps(data))
        np.testing.assert_allclose(camera_paths.load_cameras(path), views, rtol=1e-6)
    views[3, 0] = 7
    for data, problem in (
        (views.tolist(), "camera 3 the upper left 3x3"),
        (views[:, :24].tolist(), r"shape \[5, 24\]"),
        (views[0].tolist(), r"shape \[25\]"),
        ([[1.0], [1.0, 2.0]], "cannot be read"),
        ({"frames": []}, r"shape \[\]"),
        ("orbit", "cannot be read"),
    ):
        path.write_text(json.dumps(data))
        with pytest.raises(InputError, match=problem):
            camera_paths.load_cameras(path)
    with pytest.raises(InputError, match="spiral: no such file"):
        camera_paths.load_cameras("spiral")


def test_batches_are_small_and_depth_is_along_the_axis():
    views, sizes, seen = camera_paths.orbit(CONFIG, 6, focal=1.0), [], []

    def render(batch):
        sizes.append(len(batch))
        distance = cameras.z_depth_to_ray_distance(np.full((len(batch), 8, 8), 2.5), batch)
        return {"image": np.full((len(batch), 4, 4, 3), 1.5), "ray_distance": np.asarray(distance)}

    rendered = list(frames.render_views(render, views, lambda *at: seen.append(at)))
    assert sizes == [4, 2] and len(rendered) == 6 and seen == [(0, 6), (4, 6), (6, 6)]
    for image, depth in rendered:
        assert image.max() == 1
        np.testing.assert_allclose(depth, 2.5, rtol=1e-6)


def test_normals_of_a_sphere():
    size, radius = 64, 0.3
    camera = cameras.look_at(0.4, -0.2, pivot=(0.0, 0.0, 0.0))
    origins, directions = (np.asarray(x, np.float64) for x in cameras.rays(camera, size))
    along = -np.sum(origins * directions, -1)
    discriminant = along**2 - np.sum(origins**2, -1) + radius**2
    hit = discriminant > 0.3 * radius**2
    distance = along - np.sqrt(np.maximum(discriminant, 0))
    points = origins + distance[:, None] * directions
    rotation = np.asarray(cameras.split(camera)[0])[:3, :3]
    expected = (points / radius) @ rotation * [1, -1, -1]
    depth = np.asarray(cameras.ray_distance_to_z_depth(distance.reshape(size, size), camera))
    found = frames.normals(depth, camera).reshape(-1, 3)
    assert np.sum(found[hit] * expected[hit], -1).min() > 0.99
    assert found[size * size // 2 + size // 2, 2] > 0.99  # the middle faces the camera


def test_depth_frames_share_one_scale():
    near, far = np.full((4, 4), 2.0), np.full((4, 4), 3.0)
    shown = frames.depth_frames(np.stack([near, far]))
    assert shown[0].mean() > 200 and shown[1].mean() < 10
    np.testing.assert_array_equal(shown[0], images.colour_depth(np.stack([near, far])[:, 0])[:1].repeat(4, 0))


def shades(count, size=32):
    return [np.full((size, size, 3), 255 * i // max(count - 1, 1), np.uint8) for i in range(count)]


@pytest.mark.filterwarnings("ignore:os.fork")  # imageio-ffmpeg's reader, harmless in a test
@pytest.mark.parametrize("fps", [12, 24, 29.97])
def test_mp4_is_read_back_as_asked(tmp_path, fps):
    assert video.write_video(tmp_path / "v.mp4", shades(18), fps) == tmp_path / "v.mp4"
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "v.mp4"))
    about = next(reader)
    assert about["size"] == (32, 32) and about["codec"] == "h264"
    assert about["fps"] == pytest.approx(fps, abs=0.01) and about["duration"] == pytest.approx(18 / fps, abs=0.05)
    levels = [np.frombuffer(frame, np.uint8).mean() for frame in reader]
    np.testing.assert_allclose(levels, [frame.mean() for frame in shades(18)], atol=4)
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_animations_are_read_back_as_asked(tmp_path, suffix):
    video.write_video(tmp_path / f"v{suffix}", shades(24), 24)
    animation, total = Image.open(tmp_path / f"v{suffix}"), 0
    assert animation.n_frames == 24 and animation.size == (32, 32) and animation.info["loop"] == 0
    for index, frame in enumerate(shades(24)):
        animation.seek(index)
        animation.load()
        total += animation.info["duration"]
        assert abs(np.asarray(animation.convert("RGB"), float).mean() - frame.mean()) < 4
    assert total == 1000


def test_folder_of_pictures_replaces_another(tmp_path):
    video.write_video(tmp_path / "v", shades(5), 24)
    video.write_video(tmp_path / "v", shades(3), 24)
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["0000.png", "0001.png", "0002.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "v" / "0001.png")), shades(3)[1])


def test_without_ffmpeg_there_is_a_webp(tmp_path, monkeypatch):
    def missing():
        raise RuntimeError("no ffmpeg")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.warns(UserWarning, match="no ffmpeg"):
        assert video.write_video(tmp_path / "v.mp4", shades(3), 24) == tmp_path / "v.webp"
    assert Image.open(tmp_path / "v.webp").n_frames == 3


def test_video_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="v.mp4"):
        video.write_video(tmp_path / "missing" / "v.mp4", shades(3), 24)
    name = uuid.uuid4()
    monkeypatch.setattr("pmv_jax.whole_files.uuid.uuid4", lambda: name)
    (tmp_path / f".v.{name.hex}.mp4").symlink_to("/dev/full")
    with pytest.raises(OSError, match="v.mp4"):
        video.write_video(tmp_path / "v.mp4", shades(3), 24)
    assert not list(tmp_path.iterdir())


def test_frames_are_even_and_large_enough():
    assert frames.shown_size(128) == 256 and frames.shown_size(100) == 300 and frames.shown_size(512) == 512
    assert frames.scale(np.zeros((15, 15, 3)), 45).shape == (46, 46, 3)
