"""The result directory, from an inversion that renders closed-form pictures instead of a network's."""

import json
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from pmv_jax import cameras, result
from pmv_jax.config import GeneratorConfig, InversionConfig, to_dict

SIZE, RAW = 32, 16
YAW, PITCH = 0.2, -0.1


class FakeInversion:
    """Its picture's red is the camera's yaw, its green the pitch; it sees a plane at z-depth 2.5 all over."""

    def __init__(self, pseudo_views: int = 2) -> None:
        self.camera = np.asarray(cameras.look_at(YAW, PITCH))
        self.config = InversionConfig(seed=7)
        self.generator = SimpleNamespace(config=GeneratorConfig(image_resolution=SIZE))
        self.stages = (SimpleNamespace(name="latent", steps=5, seconds=1.5, loss_first=2.0, loss_last=float("nan")),)
        self.batches: list[int] = []
        self.pseudo_views = None
        if pseudo_views:
            views = np.zeros((pseudo_views, SIZE, SIZE, 3), np.float32)
            self.pseudo_views = SimpleNamespace(warp=views, visibility=views[..., 0], blend=views)

    def render(self, views: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(len(views))
        yaw, pitch = (np.asarray(angle)[:, None, None] for angle in cameras.yaw_pitch(views))
        blue = np.broadcast_to(np.linspace(-1.2, 1.2, SIZE), (len(views), SIZE, SIZE))
        image = np.stack([np.broadcast_to(yaw, blue.shape), np.broadcast_to(pitch, blue.shape), blue], -1)
        distance = cameras.z_depth_to_ray_distance(np.full((len(views), RAW, RAW), 2.5), views)
        return {"image": image.astype(np.float32), "ray_distance": np.asarray(distance)}

    def save(self, path) -> None:
        path.mkdir()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory, inversion, seen = tmp_path_factory.mktemp("result"), FakeInversion(), []
    image = np.clip(inversion.render(inversion.camera[None])["image"][0], -1, 1)
    figures = result.write_result(directory, inversion, image + 0.01, lambda *at: seen.append(at))
    return directory, inversion, figures, seen


def test_files(written):
    directory, *_ = written
    names = "input.png reconstruction.png views.png orbit.mp4 depth.png depth.npy config.json metrics.json inversion"
    assert sorted(path.name for path in directory.iterdir()) == sorted([*names.split(), "pseudo_views"])
    parts = ("warp", "visibility", "blend")
    assert {path.name for path in (directory / "pseudo_views").iterdir()} == {
        f"0{i}_{p}.png" for i in (0, 1) for p in parts
    }
    for path in directory.rglob("*.png"):
        Image.open(path).load()


def test_every_rendering_uses_one_batch_size(written):
    _, inversion, _, seen = written
    assert set(inversion.batches[1:]) == {result._BATCH}
    assert seen[-1] == (71, 71) and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_depth_is_z_depth(written):
    depth = np.load(written[0] / "depth.npy")
    assert depth.dtype == np.float32 and depth.shape == (RAW, RAW)
    np.testing.assert_allclose(depth, 2.5, rtol=1e-6)


def test_figures(written):
    directory, inversion, figures, _ = written
    assert json.loads((directory / "metrics.json").read_text()) == figures
    assert json.loads((directory / "config.json").read_text()) == to_dict(inversion.config)
    assert figures["psnr"] == pytest.approx(46, abs=0.2) and 0.9 < figures["ms_ssim"] <= 1 and figures["lpips"] is None
    assert figures["seed"] == 7 and figures["peak_memory_bytes"] > 1e7
    np.testing.assert_allclose(figures["camera"], inversion.camera)
    assert figures["stages"] == [{"name": "latent", "steps": 5, "seconds": 1.5, "loss_first": 2.0, "loss_last": None}]


@pytest.mark.filterwarnings("ignore:os.fork")  # imageio-ffmpeg's reader, harmless in a test
def test_orbit_video_is_smooth_closed_and_complete(written):
    views = result.orbit_cameras(FakeInversion())
    steps = np.linalg.norm(np.roll(views, -1, 0) - views, axis=1)  # the last one leads back to the first frame
    assert steps.max() < 0.2 and np.abs(np.diff(steps)).max() < 0.02
    frames = imageio_ffmpeg.read_frames(str(written[0] / "orbit.mp4"))
    about = next(frames)
    assert about["size"] == (256, 256) and about["fps"] == result.ORBIT_FPS
    reds = [np.frombuffer(frame, np.uint8).reshape(256, 256, 3)[..., 0].mean() for frame in frames]
    assert len(reds) == result.ORBIT_FRAMES
    yaws = result.ORBIT_YAW * np.sin(2 * np.pi * np.arange(60) / 60)
    assert np.corrcoef(reds, yaws)[0, 1] > 0.99


def test_without_ffmpeg_there_is_a_webp(tmp_path, monkeypatch):
    def missing():
        raise RuntimeError("no ffmpeg")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    frames = [np.full((32, 32, 3), shade, np.uint8) for shade in (0, 128, 255)]
    with pytest.warns(UserWarning, match="no ffmpeg"):
        result._write_video(tmp_path / "orbit.mp4", frames)
    assert Image.open(tmp_path / "orbit.webp").n_frames == 3


def test_video_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OSError, match="orbit.mp4"):
        result._write_video(tmp_path / "missing" / "orbit.mp4", [np.zeros((32, 32, 3), np.uint8)] * 3)
    (tmp_path / "orbit.mp4").symlink_to("/dev/full")
    with pytest.raises(OSError, match="orbit.mp4"):
        result._write_video(tmp_path / "orbit.mp4", [np.zeros((32, 32, 3), np.uint8)] * 3)


def test_without_pseudo_views_their_folder_is_left_out(tmp_path):
    result._write_pseudo_views(tmp_path / "pseudo_views", FakeInversion(pseudo_views=0))
    assert not (tmp_path / "pseudo_views").exists()
