"""The result directory, from an inversion that renders closed-form pictures instead of a network's."""

import json
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import pytest
import trimesh
from PIL import Image

from pmv_jax import cameras
from pmv_jax.cameras import paths as camera_paths
from pmv_jax.config import GeneratorConfig, InversionConfig, override, to_dict
from pmv_jax.inversion.stage import Photograph
from pmv_jax.meshes import extraction
from pmv_jax.meshes.colouring import RenderedView
from pmv_jax.models import frames
from pmv_jax.results import writing as result

SIZE, RAW = 32, 16
YAW, PITCH = 0.2, -0.1


class FakeInversion:
    """Its picture's red is the camera's yaw, its green the pitch; it sees a plane at z-depth 2.5 all over."""

    def __init__(self, pseudo_views: int = 2) -> None:
        self.config = InversionConfig(seed=7)
        self.generator = SimpleNamespace(config=GeneratorConfig(image_resolution=SIZE))
        self.stages = (SimpleNamespace(name="latent", steps=5, seconds=1.5, loss_first=2.0, loss_last=float("nan")),)
        self.stages[0].losses = np.linspace(2, 1, 5)
        self.ws, self.planes = np.zeros((6, 8)), None
        self.batches: list[int] = []
        self.cameras = np.asarray(cameras.look_at([YAW, -0.3], [PITCH, 0.1]))
        self.head_limits, self.pseudo_views = (), None
        if pseudo_views:
            views = np.zeros((pseudo_views, SIZE, SIZE, 3), np.float32)
            self.pseudo_views = SimpleNamespace(warp=views, visibility=views[..., 0], blend=views)

    @property
    def camera(self) -> np.ndarray:
        return self.cameras[0]

    def render(self, views: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(len(views))
        yaw, pitch = (np.asarray(angle)[:, None, None] for angle in cameras.yaw_pitch(views))
        blue = np.broadcast_to(np.linspace(-1.2, 1.2, SIZE), (len(views), SIZE, SIZE))
        image = np.stack([np.broadcast_to(yaw, blue.shape), np.broadcast_to(pitch, blue.shape), blue], -1)
        distance = cameras.z_depth_to_ray_distance(np.full((len(views), RAW, RAW), 2.5), views)
        return {"image": image.astype(np.float32), "ray_distance": np.asarray(distance)}

    def save(self, path) -> None:
        path.mkdir()


def ball(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Density and colour of a ball around the origin."""
    return np.float32(1000 * (0.3 - np.linalg.norm(points, axis=1))), np.zeros(points.shape, np.float32)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory, inversion, seen = tmp_path_factory.mktemp("result"), FakeInversion(), []
    photographs = [Photograph(np.clip(image, -1, 1) + 0.01) for image in inversion.render(inversion.cameras)["image"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "field", lambda *_: ball)
        patch.setattr(result, "MESH_RESOLUTION", 32)
        reds = SimpleNamespace(distances=lambda image, others: others[..., 0].mean((1, 2)))
        patch.setattr(result.dlib_identity, "installed", lambda: reds)
        figures = result.write_result(directory, inversion, photographs[:1], lambda *at: seen.append(at), title="Ball")
    with pytest.MonkeyPatch.context() as patch:  # no mesh, which is the same
        patch.setattr(result, "_write_mesh", lambda *_: None)
        patch.setattr(result.video, "write_video", lambda path, frames, fps: [*frames])
        (directory.parent / "both").mkdir()
        result.write_result(directory.parent / "both", inversion, photographs)
    return directory, inversion, figures, seen


def test_files(written):
    directory, *_ = written
    names = "input.png reconstruction.png views.png orbit.mp4 depth.png depth.npy mesh.glb report.html config.json"
    folders = ["inversion", "pseudo_views"]
    assert sorted(path.name for path in directory.iterdir()) == sorted([*names.split(), "metrics.json", *folders])
    parts = ("warp", "visibility", "blend")
    assert {path.name for path in (directory / "pseudo_views").iterdir()} == {
        f"0{i}_{p}.png" for i in (0, 1) for p in parts
    }
    for path in directory.rglob("*.png"):
        Image.open(path).load()


def test_of_several_photographs_each_has_its_files_and_figures(written):
    """The first's stand where those of one photograph do; the second's in a folder of their own."""
    directory, inversion, figures, _ = written
    both = directory.parent / "both"
    names = "input.png reconstruction.png depth.png depth.npy"
    assert sorted(path.name for path in (both / "photograph_2").iterdir()) == sorted(names.split())
    for name in names.split():
        assert (both / name).read_bytes() == (directory / name).read_bytes()
        if name != "depth.npy":  # a plane at 2.5 from anywhere
            assert (both / "photograph_2" / name).read_bytes() != (directory / name).read_bytes() or name == "depth.png"
    measured = json.loads((both / "metrics.json").read_text())
    assert {name: measured[name] for name in ("psnr", "ssim", "camera")} == {
        name: figures[name] for name in ("psnr", "ssim", "camera")
    }
    cameras_of_both = [figures["camera"] for figures in measured["photographs"]]
    np.testing.assert_allclose(cameras_of_both, inversion.cameras)
    assert all(doubt.startswith(("photograph 1: ", "photograph 2: ")) for doubt in measured["doubts"])
    page = (both / "report.html").read_text()
    assert (
        page.count("<figcaption>input 2</figcaption>") == page.count("<figcaption>reconstruction 2</figcaption>") == 1
    )
    assert "Further photographs" not in (directory / "report.html").read_text()
    heights = [Image.open(folder / "views.png").size[1] for folder in (directory, both)]
    assert heights[1] > 1.5 * heights[0]  # three rows of two in place of one of three


def test_a_first_look_makes_way_for_the_result(tmp_path):
    """A recipe that asks for pictures alone gets these, and what a result is known by."""
    inversion = FakeInversion(pseudo_views=0)
    inversion.config = override(inversion.config, [f"outputs.{name}=false" for name in ("video", "mesh", "turntable")])
    photographs = [Photograph(inversion.render(inversion.camera[None])["image"][0])]
    result.write_first_look(tmp_path, inversion, photographs)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"input.png", "reconstruction.png", "depth.png", "depth.npy", "views.png"}
    assert sum(inversion.batches) == 2 + len(result.SHEET)
    inversion.cameras = np.asarray(cameras.look_at([0.0], 0.0))
    result.write_result(tmp_path, inversion, photographs)
    assert {path.name for path in tmp_path.iterdir()} == {
        *first,
        "report.html",
        "config.json",
        "metrics.json",
        "inversion",
    }
    assert "5 rendered views" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "reconstruction.png").read_bytes() != first["reconstruction.png"]


def test_masks_are_written_where_they_say_something(tmp_path):
    half = np.zeros((SIZE, SIZE), np.float32)
    half[:16] = 1
    result._write_masks(tmp_path, np.ones_like(half), None)
    assert not list(tmp_path.iterdir())
    result._write_masks(tmp_path, half, half.T)
    for name, expected in (("weights.png", half), ("matte.png", half.T)):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name)) / 255, expected)


def test_the_share_on_the_wrong_side_of_the_outline():
    """Of what is photograph: a head in the left half, a matte that has a quarter of it less."""
    depth, matte = np.full((RAW, RAW), 3.0, np.float32), np.zeros((SIZE, SIZE), np.float32)
    depth[:, :8], matte[:16, :16] = 2.5, 1
    limit = np.full((RAW, RAW), 2.9, np.float32)
    assert result._wrong_side(limit, depth, matte, None) == pytest.approx(0.25)
    upper = np.zeros((SIZE, SIZE), np.float32)
    upper[:16] = 1
    assert result._wrong_side(limit, depth, matte, upper) == pytest.approx(0.0)


def test_identity_is_measured_at_the_yaws_of_views_png(written):
    """Red is yaw in this picture."""
    told = json.loads((written[0] / "metrics.json").read_text())["identity_distances"]
    assert {float(yaw): distance for yaw, distance in told.items()} == {yaw: yaw for yaw in result.SWEEP_YAWS}


def test_few_views_are_in_memory_at_once(written):
    _, inversion, _, seen = written
    assert max(inversion.batches) == frames.BATCH
    assert seen[-1] == (106, 106) and [done for done, _ in seen] == sorted(done for done, _ in seen)


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
    yaws = camera_paths.YAW * np.sin(2 * np.pi * np.arange(60) / 60)
    assert np.corrcoef(reds, yaws)[0, 1] > 0.99


def test_grid_holds_the_views_of_the_sheet():
    assert result.SWEEP_YAWS == (-0.6, -0.3, 0.0, 0.3, 0.6) and 0.0 in result.PITCHES
    assert set(result.SHEET) < set(result.GRID)
    yaw, pitch = cameras.yaw_pitch(result._cameras(FakeInversion(), result.GRID))
    np.testing.assert_allclose(yaw.reshape(5, 9), np.tile(result.YAWS, (5, 1)), atol=1e-5)
    assert np.all(np.diff(pitch.reshape(5, 9), axis=0) > 0.1)


def test_mesh_and_report(written):
    directory, *_ = written
    mesh = trimesh.load_mesh(directory / "mesh.glb")
    assert mesh.is_watertight and 0.2 < mesh.vertices[:, 2].max() < 0.5
    page = (directory / "report.html").read_text()
    assert "<title>Ball: pmv_jax report" in page and "45 rendered views" in page and "46." in page


def test_without_a_surface_there_is_a_warning_and_no_mesh(monkeypatch, tmp_path):
    inversion = FakeInversion()
    views = zip(result.SHEET, result._cameras(inversion, result.SHEET), strict=True)
    black, plane = np.zeros((SIZE, SIZE, 3)), np.full((RAW, RAW), 2.5)
    turned = {side: RenderedView(black, plane, camera) for side, camera in views}
    monkeypatch.setattr(extraction, "field", lambda *_: lambda points: (np.zeros(len(points)), np.zeros(points.shape)))
    with pytest.warns(UserWarning, match="no mesh.glb: the density reaches"):
        assert result._write_mesh(tmp_path / "mesh.glb", inversion, turned) is None
    assert not list(tmp_path.iterdir())


def test_without_pseudo_views_their_folder_is_left_out(tmp_path):
    assert result._pseudo_views(FakeInversion(pseudo_views=0)) == []
    result._write_pseudo_views(tmp_path / "pseudo_views", [])
    assert not (tmp_path / "pseudo_views").exists()
