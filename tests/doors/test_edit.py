"""`python -m pmv_jax.edit` on an inversion small enough for that."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmv_jax import images
from pmv_jax.cameras import look_at
from pmv_jax.commands import edit
from pmv_jax.errors import InputError
from pmv_jax.inversion.result import load_inversion
from tests import command, small_inversion

SIZE = small_inversion.SIZE


def run(folder: Path, arguments: str) -> command.Done:
    return command.run(edit.main, folder, *arguments.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A result with an inversion, directions for it, and paintings."""
    folder = tmp_path_factory.mktemp("edit")
    (folder / "result").mkdir()
    inversion = small_inversion.make()
    inversion.save(folder / "result" / "inversion")
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    picture = np.stack([np.sin(7 * x), np.cos(9 * y), x * y], axis=-1)
    images.save_image(folder / "result" / "input.png", picture)
    picture[10:16, 8:20] = (1, -1, 1)
    images.save_image(folder / "painted.png", picture)
    images.save_image(folder / "large.png", np.zeros((64, 64, 3)))
    random = np.random.default_rng(0)
    np.savez(folder / "d.npz", smile=random.standard_normal(8), age=random.standard_normal((inversion.ws.shape[0], 8)))
    np.save(folder / "wide.npy", np.ones(9))
    (folder / "view.json").write_text(json.dumps(np.asarray(look_at(-0.2, 0.0)).tolist()))
    return folder


def refused(folder: Path, arguments: str) -> str:
    before = sorted(folder.rglob("*"))
    done = run(folder, arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--inversion is missing"),
        ("--inversion result", "nothing to edit; give --direction"),
        ("--inversion result --direction smile", "1 --direction and 0 --strength"),
        ("--inversion result --direction smile --strength nan", "--strength must be a finite number"),
        ("--inversion result --direction a --strength 1 --mask m.png", "--mask goes with --texture-edit"),
        ("--inversion result --texture-edit x.png --keep age", "--keep needs a --direction"),
        ("--inversion result --direction smile --sweep 1:2", "--sweep 1:2: give FROM:TO:COUNT"),
        ("--inversion result --direction smile --strength 1 --out result", "result: exists; give --force"),
    ],
)
def test_wrong_flags(folder, arguments, message):
    assert message in refused(folder, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--direction smile --strength 1", "has shape [128]; this generator takes [8]"),
        ("--direction simle --strength 1 --directions d.npz", "none of this name; did you mean 'smile'?"),
        ("--direction wide.npy --strength 1", "wide.npy: wide has shape [9]"),
        ("--direction d.npz --strength 1", "has 2 directions; give d.npz:NAME, of smile, age"),
        ("--direction d.npz:smile --strength 1 --layers 3-99", "--layers 3-99: give a range"),
        ("--texture-edit large.png", "large.png: is 64x64 pixels, the inversion's pictures are 32x32"),
        ("--texture-edit result/input.png", "result/input.png: does not differ"),
    ],
)
def test_what_cannot_be_edited(folder, arguments, message):
    assert message in refused(folder, f"--inversion result {arguments}")


@pytest.mark.parametrize("text", ["1:2", "a:b:3", "1:2:1", "1:2:99", "0:inf:3", "1:2:3:4"])
def test_sweeps_that_are_none(text):
    with pytest.raises(InputError, match="give FROM:TO:COUNT"):
        edit.parse_sweep(text)


def test_sweep_ends_are_included():
    np.testing.assert_allclose(edit.parse_sweep("-2:2:9"), np.arange(-2, 2.5, 0.5))


def test_quick_edit_moves_the_code_and_keeps_the_weights(folder):
    done = run(
        folder, "--inversion result --direction d.npz:smile --strength 40 --direction d.npz:age --strength -0.5 "
        "--layers 0-1 --out moved --quick"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "warning: smile at strength 40 is" in done.stderr and "standard deviations" in done.stderr
    names = {path.name for path in (folder / "moved").iterdir()}
    assert names == {"edit.json", "edit.png", "input.png", "inversion", "metrics.json", "reconstruction.png"}
    before, after = load_inversion(folder / "result"), load_inversion(folder / "moved")
    stored = np.load(folder / "d.npz")
    expected = 40 * np.tile(stored["smile"], (len(before.ws), 1)) - 0.5 * stored["age"]
    expected[2:] = 0
    np.testing.assert_allclose(after.ws - before.ws, expected, atol=1e-4)
    assert np.asarray(Image.open(folder / "moved" / "edit.png")).shape[1] == 1600
    about = json.loads((folder / "moved" / "edit.json").read_text())
    assert [move["direction"] for move in about["moves"]] == ["smile", "age"]
    assert abs(about["positions"][0]["after"]) > 3


def test_sweep_gives_a_strip_and_a_grid(folder):
    done = run(folder, "--inversion result --direction d.npz:smile --keep d.npz:age --sweep -1:1:3 --out swept")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (folder / "swept").iterdir()}
    assert names == {"edit.json", "grid.png", "metrics.json", "strip.png"}
    strip, grid = (Image.open(folder / "swept" / name).size for name in ("strip.png", "grid.png"))
    assert strip[0] == grid[0] and 4.5 < grid[1] / strip[1] < 5.5


@pytest.mark.parametrize("what, out", [("--direction d.npz:smile --strength 1", "result_edit"),
                                       ("--texture-edit painted.png", "result_painted")])  # fmt: skip
def test_a_move_and_a_painting_do_not_meet_in_one_directory(folder, what, out):
    (folder / out).mkdir(exist_ok=True)
    done = run(folder, f"--inversion result {what}")
    assert done.returncode == 2 and f"{out}: exists" in done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork")
def test_paintings_on_the_input_and_on_another_view_then_a_move(folder):
    """The whole of it, with every file of a result; the second edit starts from the first one's result."""
    done = run(folder, "--inversion result --texture-edit painted.png --out first --quick")
    assert done.returncode == 0, done.stderr
    first = load_inversion(folder / "first")
    assert [stage.name for stage in first.stages] == ["latent", "joint", "texture_1"]
    view = np.clip(first.render(np.asarray(look_at(-0.2, 0.0))[None])["image"][0], -1, 1)
    view[20:26, 10:20] = (-1, 1, -1)
    images.save_image(folder / "view.png", view)
    done = run(
        folder, "--inversion first --texture-edit view.png --view-camera view.json "
        "--direction d.npz:smile --strength 0.1 --out second"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (folder / "second").iterdir()}
    assert {"edit.png", "edit.json", "views.png", "orbit.mp4", "report.html", "inversion"} <= names
    page = (folder / "second" / "report.html").read_text()
    assert "The edit" in page and "<!-- edit -->" not in page
    assert load_inversion(folder / "second").stages[-1].name == "texture_2"
