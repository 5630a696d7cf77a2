"""`python -m pmv_jax.render` on an inversion small enough for that."""

import json
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from pmv_jax.cameras import paths as camera_paths
from pmv_jax.commands.render import main
from tests import command, small_inversion


def render(folder: Path, arguments: str) -> command.Done:
    return command.run(main, folder, *arguments.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A result with an inversion, and files that are none."""
    folder = tmp_path_factory.mktemp("render")
    (folder / "result").mkdir()
    small_inversion.make().save(folder / "result" / "inversion")
    (folder / "other" / "inversion").mkdir(parents=True)
    (folder / "other" / "inversion" / "inversion.json").write_text('{"format": 99}')
    (folder / "nothing").mkdir()
    (folder / "taken.mp4").touch()
    views = camera_paths.orbit(small_inversion.CONFIG, 3, focal=4.0)
    (folder / "cameras.json").write_text(json.dumps(views.tolist()))
    (folder / "short.json").write_text(json.dumps(views[:, :24].tolist()))
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--inversion is missing"),
        ("--inversion result extra", "unexpected argument 'extra'"),
        ("--inversion result --config x.py", "Unknown command line flag 'config'"),
        ("--inversion result --channels colour,heat", "--channels colour,heat: choose some of colour, depth, normals"),
        ("--inversion result --out x.avi", "unknown format '.avi'"),
        ("--inversion result --out x.gif --fps 60", "a GIF plays 50 at most"),
        ("--inversion result --out taken.mp4", "taken.mp4: exists; give --force"),
        ("--inversion result --out nothing/.. --force", "is a folder with other things in it"),
        ("--inversion result --frames 0", "--frames 0: must be from 1"),
        ("--inversion result --yaw 20", "--yaw 20: is in radians"),
        ("--inversion nothing", "nothing: no inversion here"),
        ("--inversion other", "inversion format 99, this program reads 1"),
        ("--inversion result --size 33", "--size 33: does not fit; this generator renders 32 pixels"),
        ("--inversion result --path short.json", "short.json: has shape [3, 24] instead of [frames, 25]"),
        ("--inversion result --path cameras.json --yaw 0.1", "--yaw does not go with --path cameras.json"),
        ("--inversion result --path spiral", "spiral: no such file; give one of orbit, figure8, dolly"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, arguments, message):
    before = sorted(folder.rglob("*"))
    done = render(folder, arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr
    assert sorted(folder.rglob("*")) == before


@pytest.mark.filterwarnings("ignore:os.fork")  # imageio-ffmpeg's reader, harmless in a test
def test_every_channel_is_as_asked(folder):
    done = render(
        folder, "--inversion result --path figure8 --out videos/v.mp4 --channels colour,depth,normals "
        "--frames 5 --fps 10 --size 64 --samples 2"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (folder / "videos").iterdir()) == ["v.mp4", "v_depth.mp4", "v_normals.mp4"]
    for path in (folder / "videos").iterdir():
        reader = imageio_ffmpeg.read_frames(str(path))
        about = next(reader)
        assert about["size"] == (64, 64) and about["fps"] == 10 and len(list(reader)) == 5


def test_camera_file_gives_a_folder_of_pictures(folder):
    done = render(folder, "--inversion result/inversion --path cameras.json --out pictures")
    assert done.returncode == 0, done.stderr
    assert "3 frames" in done.stdout
    pictures = [np.asarray(Image.open(folder / "pictures" / f"{index:04}.png"), float) for index in range(3)]
    assert all(picture.shape == (256, 256, 3) for picture in pictures)
    assert len(list((folder / "pictures").iterdir())) == 3
