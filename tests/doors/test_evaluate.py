"""`python -m pmv_jax.evaluate`: figures of saved inversions, and what it says of bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmv_jax import cameras, images
from pmv_jax.commands.evaluate import main
from pmv_jax.errors import InputError
from pmv_jax.evaluation import comparison, metrics
from pmv_jax.evaluation.identity import IdentityModel, load_identity_model
from tests import command, small_inversion

VIEWS = ((0.4, 0.1), (-0.3, -0.2))


def evaluate(folder: Path, *arguments: object) -> command.Done:
    return command.run(main, folder, *arguments)


@pytest.fixture
def folder(tmp_path):
    """What looks like a result until it is opened, and folders of views with one fault each."""
    picture = Image.new("RGB", (64, 64), "grey")
    result = tmp_path / "result"
    result.mkdir()
    picture.save(result / "input.png")
    (result / "metrics.json").write_text("{}")
    camera = np.asarray(cameras.look_at(0.1, 0.0))
    for name in ("bare", "unequal", "oblong", "empty", "broken"):
        (tmp_path / name).mkdir()
    for name in ("bare", "unequal", "broken"):
        picture.save(tmp_path / name / "a.png")
    for name in ("unequal/a", "unequal/b", "oblong/a"):
        np.save(tmp_path / f"{name}.npy", camera)
    np.save(tmp_path / "broken" / "a.npy", camera[:9])
    Image.new("RGB", (32, 32)).save(tmp_path / "unequal" / "b.png")
    Image.new("RGB", (32, 64)).save(tmp_path / "oblong" / "a.png")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--result is missing"),
        ("--result nowhere", "nowhere: is no finished result"),
        ("--result result --views nowhere", "nowhere: no such folder"),
        ("--result result --views empty", "empty: holds no"),
        ("--result result --views bare", "bare/a.png: has no camera; put one of a.npy, a.json, dataset.json"),
        ("--result result --views unequal", "unequal/b.png: is 32x32 pixels, but a.png is 64x64"),
        ("--result result --views oblong", "oblong/a.png: is 32x64 pixels, not square"),
        ("--result result --views broken", "broken/a.npy: has shape [9]"),
        ("--result result --out result/input.png", "exists"),
        ("--result result --lpips nowhere", "pmv_jax.convert lpips"),
        ("--result result --identity no.onnx", "no.onnx: no such file"),
        ("--result result", "no inversion here"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, arguments, message):
    before = sorted(folder.rglob("*"))
    done = evaluate(folder, *arguments.split())
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_an_inversion_agrees_with_its_own_renderings(tmp_path):
    """Saved, with views that it rendered itself: equal but for the rounding, to 8 bits and by
    another compilation of so rough a network."""
    inversion = small_inversion.make()
    views = np.asarray(cameras.look_at(*np.array(VIEWS, np.float32).T))
    everything = np.concatenate([inversion.camera[None], views])
    rendered = inversion.render(everything)
    pictures = np.clip(rendered["image"], -1, 1)
    depth = np.asarray(cameras.ray_distance_to_z_depth(rendered["ray_distance"], everything))
    for name in ("result", "views"):
        (tmp_path / name).mkdir()
    inversion.save(tmp_path / "result" / "inversion")
    images.save_image(tmp_path / "result" / "input.png", np.clip(pictures[0] + 0.1, -1, 1))
    (tmp_path / "result" / "metrics.json").write_text("{}")
    labels = [[f"{index}.png", camera.tolist()] for index, camera in enumerate(views)]
    (tmp_path / "views" / "dataset.json").write_text(json.dumps({"labels": labels}))
    for index in range(len(views)):
        images.save_image(tmp_path / "views" / f"{index}.png", pictures[index + 1])
        np.save(tmp_path / "views" / f"{index}.depth.npy", depth[index + 1] - 0.02)

    done = evaluate(tmp_path, "--result", "result", "--views", "views", "--out", "figures")
    assert done.returncode == 0, done.stderr
    assert [line.split(";")[0] for line in done.stderr.splitlines()] == [
        "warning: LPIPS is left out",
        "warning: identity is left out",
    ]
    figures = json.loads((tmp_path / "figures" / "metrics.json").read_text())["result"]
    assert set(figures) == set(comparison.COLUMNS)
    expected = float(metrics.psnr(pictures[0], np.clip(pictures[0] + 0.1, -1, 1)))
    assert figures["input_psnr"] == pytest.approx(expected, abs=0.5)
    assert figures["novel_psnr"] > 35 and figures["novel_ssim"] > 0.99
    assert figures["depth_rmse"] == pytest.approx(0.02, rel=0.1)
    assert figures["novel_lpips"] is None and figures["hidden_psnr"] is None
    table = (tmp_path / "figures" / "table.md").read_text()
    assert table in done.stdout and "| result |" in table and "| - |" in table

    done = evaluate(tmp_path, "--result", "result", "--out", "figures")
    assert done.returncode == 2 and "--force" in done.stderr

    # Where a half was made up, it has no part in the figures, whatever stands there.
    half = np.ones((small_inversion.SIZE,) * 2, np.float32)
    half[16:] = -1
    images.save_image(tmp_path / "result" / "weights.png", np.repeat(half[..., None], 3, axis=-1))
    spoilt = np.where(half[..., None] > 0, np.clip(pictures[0] + 0.1, -1, 1), 1.0)
    images.save_image(tmp_path / "result" / "input.png", spoilt)
    done = evaluate(tmp_path, "--result", "result", "--out", "half")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "half" / "metrics.json").read_text())["result"]
    expected = float(metrics.psnr(pictures[0][:16], np.clip(pictures[0] + 0.1, -1, 1)[:16]))
    assert figures["input_psnr"] == pytest.approx(expected, abs=0.5)


class Node:
    def __init__(self, name: str, shape: list):
        self.name, self.shape = name, shape


class Means:
    """Stands in for an ONNX session: embeds a picture as its mean colour."""

    def __init__(self, *shapes: list):
        self.nodes = [Node(f"input{index}", shape) for index, shape in enumerate(shapes)]
        self.seen = []

    def get_inputs(self) -> list[Node]:
        return self.nodes

    def get_outputs(self) -> list[Node]:
        return [Node("embedding", [1, 3])]

    def run(self, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert outputs == ["embedding"]
        (pixels,) = feed.values()
        self.seen.append(pixels)
        axis = (2, 3) if pixels.shape[1] == 3 else (1, 2)
        return [pixels.mean(axis=axis)]


@pytest.mark.parametrize("shape", [[1, 3, 112, 112], ["N", 3, "h", "w"], [1, 160, 160, 3]])
def test_identity_is_the_cosine_of_embeddings(shape):
    session = Means(shape)
    model = IdentityModel(session)
    a = np.broadcast_to(np.array([0.5, 0, 0], np.float32), (2, 64, 64, 3))
    b = np.broadcast_to(np.array([0.3, 0.4, 0], np.float32), (2, 64, 64, 3))
    np.testing.assert_allclose(model.similarity(a, b), [0.6, 0.6], atol=1e-3)
    np.testing.assert_allclose(model.similarity(a, a), [1, 1], atol=1e-3)
    side = 160 if 160 in shape else 112
    assert session.seen[0].shape == ((1, side, side, 3) if shape[3] == 3 else (1, 3, side, side))
    assert session.seen[0].dtype == np.float32


def test_identity_crops_as_arcface_does():
    """The eyes of an EG3D crop land where ArcFace's template has them, within the 6 % that one square crop allows."""
    session = Means([1, 3, 112, 112])
    picture = np.full((512, 512, 3), -1, np.float32)
    for x in (188, 330):
        picture[184:197, x - 6 : x + 7] = 1
    IdentityModel(session).embed(picture)
    bright = session.seen[0][0, 0] > 0
    rows, columns = np.nonzero(bright)
    left, right = columns < 56, columns >= 56
    found = [(columns[half].mean() + 0.5, rows[half].mean() + 0.5) for half in (left, right)]
    np.testing.assert_allclose(found, [(38.3, 51.7), (73.5, 51.5)], atol=0.06 * 112)


@pytest.mark.parametrize("shapes", [[[1, 512]], [[1, 3, 112, 112], [1]], [[1, 1, 112, 112]]])
def test_networks_of_another_form_are_refused(shapes):
    with pytest.raises(InputError, match="needed is one of"):
        IdentityModel(Means(*shapes))


def test_files_that_are_no_networks_are_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "no.onnx").write_text("hello")
    with pytest.raises(InputError, match=r"no\.onnx: is no ONNX network"):
        load_identity_model(tmp_path / "no.onnx")


def test_an_onnx_file_is_run(tmp_path):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("GlobalAveragePool", ["x"], ["y"])],
        "mean",
        [tensor("x", onnx.TensorProto.FLOAT, [1, 3, 112, 112])],
        [tensor("y", onnx.TensorProto.FLOAT, [1, 3, 1, 1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "mean.onnx"))
    picture = np.broadcast_to(np.array([0.6, -0.8, 0], np.float32), (128, 128, 3))
    np.testing.assert_allclose(load_identity_model(tmp_path / "mean.onnx").embed(picture), [0.6, -0.8, 0], atol=1e-4)
