"""`python -m pmv_jax.invert`, from what is wrong with its input to whole runs of a tiny generator."""

import json
import os
import resource
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from pmv_jax.cameras import look_at
from pmv_jax.checkpoints.encoder import save_encoder
from pmv_jax.checkpoints.orbax import save_generator
from pmv_jax.commandline.progress import ProgressBars
from pmv_jax.commands.invert import main
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.faces import detection
from pmv_jax.inversion.result import load_inversion
from pmv_jax.models.encoder import initialise
from pmv_jax.viewer.subject import load_subject
from tests import command, small_inversion


def invert(folder: Path, *arguments: object) -> command.Done:
    return command.run(main, folder, *arguments)


@pytest.fixture
def folder(tmp_path):
    """Good and bad inputs."""
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "good.png")
    good = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(good[:3000])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    Image.new("RGB", (1, 1)).save(tmp_path / "pixel.png")
    camera = np.asarray(look_at(0.1, 0.0))
    np.save(tmp_path / "good.npy", camera)
    np.save(tmp_path / "short.npy", camera[:24])
    np.save(tmp_path / "nan.npy", np.full(25, np.nan))
    np.save(tmp_path / "zero.npy", np.zeros(25))
    (tmp_path / "four.txt").write_text("1 2\n3 4\n5 6\n7 8\n")
    Image.new("RGB", (48, 48)).save(
        tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (48, 48), "red")]
    )
    (tmp_path / "taken").mkdir()
    (tmp_path / "recipe.py").write_text("def config():\n    return 3\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--image is missing"),
        ("--image", "image"),
        ("--imag good.png", "'imag'. Did you mean: image"),
        ("--image good.png more.png", "unexpected argument 'more.png'"),
        ("--image none.png", "none.png: no such file"),
        ("--image taken", "taken: is a directory that holds no picture"),
        ("--image good.png --image none.png", "none.png: no such file"),
        ("--image good.png --image good.png --camera good.npy", "--camera is given 1 times for 2 pictures"),
        ("--image good.png --mask good.png --mask good.png", "--mask is given 2 times for 1 pictures"),
        ("--image good.png --image good.png --face 2", "--face is for one --image"),
        ("--image empty.png", "empty.png: is empty"),
        ("--image text.png", "text.png: is not a PNG, JPEG, WebP"),
        ("--image cut.png", "cut.png: cannot be decoded"),
        ("--image pixel.png", "pixel.png: is 1x1 pixels"),
        ("--image good.png --camera none.npy", "none.npy: no such file"),
        ("--image good.png --camera good.png", "good.png: unknown kind of file"),
        ("--image good.png --camera short.npy", "short.npy: has shape [24]"),
        ("--image good.png --camera nan.npy", "nan.npy: has values that are not finite"),
        ("--image good.png --camera zero.npy", "zero.npy: the last row"),
        ("--image moving.gif", "moving.gif: is a GIF, not a PNG"),
        ("--image good.png --landmarks none.txt", "none.txt: no such file"),
        ("--image good.png --landmarks four.txt", "four.txt: has 8 numbers instead of 10"),
        ("--image good.png --camera good.npy --landmarks four.txt", "--camera and --landmarks exclude each other"),
        ("--image good.png --mask none.png", "mask: image none.png: no such file"),
        ("--image good.png --face 0", "--face=0"),
        ("--image good.png --noalign --face 2", "exclude each other"),
        ("--image good.png --generator nowhere", "nowhere: no such directory"),
        ("--image good.png --generator taken", "taken: holds no generator"),
        ("--image good.png --config none.py", "none.py: no such file"),
        ("--image good.png --config recipe.py", "must return"),
        ("--image good.png --set tunning.steps=3", "did you mean 'tuning'?"),
        ("--image good.png --set tuning.steps=many", "tuning.steps"),
        ("--image good.png --set tuning.steps", "expected key=value"),
        ("--image good.png --seed x", "--seed=x"),
        ("--image good.png --out taken", "taken: exists"),
        ("--image good.png --out good.png/below", "is no directory"),
        ("--image good.png --force --resume", "exclude each other"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, arguments, message):
    before = sorted(folder.rglob("*"))
    done = invert(folder, *arguments.split())
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_help(tmp_path):
    done = invert(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for flag in "image camera face landmarks mask align generator config set out seed force resume".split():
        assert f"--{flag} " in done.stdout


# ---------------------------------------------------------------------------------------------------------------------
# Whole runs, with a generator and step counts that make them short
# ---------------------------------------------------------------------------------------------------------------------

SHORT = (
    "latent.steps=4", "tuning.steps=4", "joint.steps=4", "pseudo_views.count=3",
    *small_inversion.SMALL_SEARCH, "loss.perceptual=none",
)  # fmt: skip
FILES = (
    "input.png reconstruction.png views.png orbit.mp4 depth.png depth.npy report.html config.json metrics.json "
    "inversion"
)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A folder with a picture, a tiny generator, and the result of one run, `first`, whose output is in `first.log`."""
    folder = tmp_path_factory.mktemp("studio")
    y, x = np.mgrid[0:80, 0:96] / 80
    pixels = 127 + 120 * np.sin(np.stack([6 * x, 5 * y, 4 * x * y], -1))
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "me.png")
    save_generator(folder / "generator", small_inversion.generator(), provenance={})
    done = short_invert(folder, "first")
    assert done.returncode == 0, done.stderr
    (folder / "first.log").write_text(done.stdout + done.stderr)
    return folder


def arguments_for(out: str) -> list[str]:
    overrides = [text for setting in SHORT for text in ("--set", setting)]
    return ["--image", "me.png", "--noalign", "--generator", "generator", "--seed", "3", "--out", out, *overrides]


def short_invert(folder: Path, out: str, *arguments: object) -> command.Done:
    return invert(folder, *arguments_for(out), *arguments)


def contents(result: Path) -> dict[str, bytes]:
    """What must be the same in every run: all pictures, the video and the depth."""
    kinds = (".png", ".mp4", ".npy")
    return {str(path.relative_to(result)): path.read_bytes() for path in result.rglob("*") if path.suffix in kinds}


def test_result_is_complete(studio):
    result = studio / "first"
    names = {path.name for path in result.iterdir()} - {"mesh.glb"}  # random weights need not have a surface
    assert names == {*FILES.split(), "pseudo_views"}
    assert not (studio / "first.partial").exists()
    figures = json.loads((result / "metrics.json").read_text())
    assert figures["psnr"] > 3 and figures["seed"] == 3 and len(figures["camera"]) == 25
    assert {"latent", "tuning", "joint"} <= {stage["name"] for stage in figures["stages"]}
    assert all(stage["loss_last"] is not None for stage in figures["stages"])
    assert json.loads((result / "config.json").read_text())["latent"]["steps"] == 4
    assert np.isfinite(np.load(result / "depth.npy")).all()
    assert Image.open(result / "input.png").size == (32, 32)
    log = (studio / "first.log").read_text()
    assert "96x80, not square" in log and "PSNR" in log and str(result) in log


@pytest.mark.skipif(not detection.is_available(), reason="needs pip install 'pmv_jax[face]'")
def test_no_face_is_one_line_with_a_way_on(studio):
    done = invert(studio, "--image", "me.png", "--generator", "generator", "--out", "nobody")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "me.png: no face found" in done.stderr and "--noalign" in done.stderr
    assert not (studio / "nobody").exists() and not (studio / "nobody.partial").exists()


def test_landmarks_give_crop_and_camera(studio):
    """A turned face, by its landmarks: the result shows how it was aligned, and the camera stays near the estimate."""
    (studio / "points.txt").write_text("38 30\n62 33\n56 44\n38 53\n57 55\n")
    arguments = [a for a in arguments_for("aligned") if a != "--noalign"]
    done = invert(studio, *arguments, "--landmarks", "points.txt")
    assert done.returncode == 0, done.stderr
    result = studio / "aligned"
    assert {"alignment.png", "alignment.json"} <= {path.name for path in result.iterdir()}
    assert Image.open(result / "alignment.png").height == 512
    facts = json.loads((result / "alignment.json").read_text())
    assert np.shape(facts["crop_to_photo"]) == (2, 3) and not facts["photo_is_crop"] and facts["yaw"] < -0.1
    camera = json.loads((result / "metrics.json").read_text())["camera"]
    np.testing.assert_allclose(camera, facts["camera"], atol=0.5)
    assert not np.array_equal(
        np.asarray(Image.open(result / "input.png")), np.asarray(Image.open(studio / "first/input.png"))
    )


def test_finished_result_is_not_overwritten(studio):
    before = contents(studio / "first")
    assert short_invert(studio, "first").returncode == 2
    resumed = short_invert(studio, "first", "--resume")
    assert resumed.returncode == 0 and "finished" in resumed.stdout
    assert contents(studio / "first") == before


def test_interrupted_and_resumed_run_gives_the_same_bytes(studio, monkeypatch):
    def stop_while_tuning(self, stage, done, total, loss=np.nan):
        if stage == "tuning":
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(ProgressBars, "update", stop_while_tuning)
        done = short_invert(studio, "second")
    assert done.returncode == 75 and done.stderr.splitlines()[-1].startswith("error: interrupted")
    state = studio / "second.partial" / "state"
    assert (state / "latent").is_dir() and not (studio / "second").exists()
    look = Image.open(studio / "second.partial" / "result" / "reconstruction.png")  # as the latent stage left it
    assert not np.array_equal(np.asarray(look), np.asarray(Image.open(studio / "first" / "reconstruction.png")))

    resumed = short_invert(studio, "second", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert contents(studio / "second") == contents(studio / "first")
    assert not (studio / "second.partial").exists()


def test_an_instant_result_is_pictures_from_what_the_encoder_sees(studio):
    """No camera is searched for, and nothing made that takes longer than the pictures."""
    seeing = EncoderConfig(
        resolution=32, widths=(4,) * 5, blocks=(0,) * 5, hidden_features=4, code_dim=8, code_space="z"
    )
    shutil.copytree(studio / "generator", studio / "seeing")
    first = initialise(seeing, jax.random.key(0))
    save_encoder(studio / "seeing" / "encoder", first, small_inversion.generator(), provenance={})
    settings = ("tuning.steps=2", "loss.perceptual=none", "pseudo_views.count=3")
    done = invert(
        studio, "--image", "me.png", "--noalign", "--generator", "seeing", "--config", "instant", "--out", "instant",
        *(text for setting in settings for text in ("--set", setting)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (studio / "instant").iterdir()} == set(FILES.split()) - {"orbit.mp4"}
    figures = json.loads((studio / "instant" / "metrics.json").read_text())
    assert [stage["name"] for stage in figures["stages"]] == ["tuning"]


def test_full_disk_is_one_line_and_leaves_no_result(studio):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        done = short_invert(studio, "third")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert not (studio / "third").exists()


@pytest.mark.slow
def test_several_photographs_from_a_folder_make_one_result(studio):
    """And their head can be evaluated and shown as that of one."""
    folder = studio / "anna"
    folder.mkdir()
    y, x = np.mgrid[0:80, 0:80] / 80
    for index in range(2):
        pixels = 127 + 120 * np.sin(np.stack([(6 + index) * x, 5 * y, (4 - index) * x * y], -1))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
        np.save(studio / f"{index}.npy", np.asarray(look_at(0.3 - 0.6 * index, 0.0)))
    overrides = [text for setting in SHORT for text in ("--set", setting)]
    known = ["--camera", "0.npy", "--camera", "1.npy", "--generator", "generator", *overrides]
    done = invert(studio, "--image", "anna", *known, "--out", "both")
    assert done.returncode == 0, done.stderr
    both = studio / "both"
    assert {"input.png", "reconstruction.png", "depth.npy"} <= {path.name for path in (both / "photograph_2").iterdir()}
    for place, picture in ((both, "0.png"), (both / "photograph_2", "1.png")):
        small = Image.open(folder / picture).resize((32, 32), Image.Resampling.BOX)
        assert np.abs(np.asarray(small, float) - np.asarray(Image.open(place / "input.png"), float)).mean() < 10
    figures = json.loads((both / "metrics.json").read_text())
    assert len(figures["photographs"]) == 2 and figures["photographs"][0]["psnr"] == figures["psnr"]
    np.testing.assert_allclose(load_inversion(both).cameras, [look_at(0.3, 0.0), look_at(-0.3, 0.0)], atol=1e-6)
    assert load_subject(both).photograph is not None
