"""`python -m pmv_jax.align` on a folder with a good photograph, one turned and shrunk, and what is none."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmv_jax.cameras import roll_of, yaw_pitch
from pmv_jax.cameras.files import load_camera
from pmv_jax.commands.align import crop_names, main
from pmv_jax.faces import alignment, detection
from tests import command

ROOT = Path(__file__).parents[2]
PORTRAIT = ROOT / "weights" / "demo" / "portrait.png"
needs_weights = pytest.mark.skipif(not detection.is_available(), reason="needs pip install 'pmv_jax[face]'")


def align(folder: Path, *arguments: object) -> command.Done:
    return command.run(main, folder, *arguments)


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """The folder, and what the program said."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "in").mkdir()
    portrait = Image.open(PORTRAIT).convert("RGB")
    portrait.save(folder / "in" / "straight.png")
    canvas = Image.new("RGB", (700, 600), (120, 110, 100))
    canvas.paste(portrait.resize((300, 300), Image.Resampling.LANCZOS), (150, 130))
    canvas.rotate(15, Image.Resampling.BICUBIC, center=(300, 280)).save(folder / "in" / "turned.jpg", quality=95)
    Image.new("RGB", (200, 200), "grey").save(folder / "in" / "wall.png")
    (folder / "in" / "cut.jpg").write_bytes((folder / "in" / "turned.jpg").read_bytes()[:9000])
    (folder / "in" / "notes.txt").write_text("no picture")
    return folder, align(folder, "--images", "in", "--out", "crops", "--size", 256)


@needs_weights
def test_what_works_is_aligned_and_the_rest_named(album):
    folder, done = album
    assert done.returncode == 3, done.stderr
    assert "2 of 4 pictures" in done.stdout
    problems = done.stderr.splitlines()
    assert len(problems) == 2
    assert "cut.jpg: cannot be decoded" in problems[0] and "wall.png: no face found" in problems[1]
    names = {path.name for path in (folder / "crops").iterdir()}
    assert names == {"straight.png", "turned.png", "alignment", "dataset.json", "metrics.json"}
    assert Image.open(folder / "crops" / "turned.png").size == (256, 256)
    assert sorted(json.loads((folder / "crops" / "metrics.json").read_text())["failed"]) == ["cut.jpg", "wall.png"]


@needs_weights
def test_dataset_is_eg3ds_and_both_pictures_have_one_camera(album):
    folder, _ = album
    labels = json.loads((folder / "crops" / "dataset.json").read_text())["labels"]
    assert [(name, len(camera)) for name, camera in labels] == [("straight.png", 25), ("turned.png", 25)]
    straight, turned = (load_camera(folder / "crops" / "dataset.json", name) for name, _ in labels)
    difference = np.degrees(np.subtract(yaw_pitch(straight), yaw_pitch(turned)))
    assert np.abs(difference).max() < 3
    assert abs(np.degrees(roll_of(turned))) < 2  # the turn by 15 degrees is in the crop, not in the camera


@needs_weights
def test_way_back_into_the_photograph(album):
    folder, _ = album
    facts = json.loads((folder / "crops" / "alignment" / "turned" / "alignment.json").read_text())
    frame = np.array(facts["crop_to_photo"])
    assert np.degrees(np.arctan2(frame[1, 0], frame[0, 0])) == pytest.approx(-15, abs=3)
    photo = Image.open(folder / "in" / "turned.jpg").convert("RGB")
    crop = np.asarray(Image.open(folder / "crops" / "turned.png"), np.float32) / 127.5 - 1
    back = np.asarray(alignment.paste_back(photo, crop, frame), float)
    middle = np.abs(back - np.asarray(photo, float))[200:350, 220:370]
    assert middle.mean() < 3 and Image.open(folder / "crops" / "alignment" / "turned" / "alignment.png").height == 512


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--images and --out are needed"),
        ("--images nowhere --out crops", "nowhere: is no folder"),
        ("--images in/a.txt --out crops", "is no folder"),
        ("--images in --out crops", "holds no .png"),
        ("--images in --out in", "exists"),
        ("--images in --out crops --size 3", "--size=3"),
        ("--images in --out crops --seed 3", "Unknown command line flag 'seed'"),
    ],
)
def test_bad_input(tmp_path, arguments, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").touch()
    done = align(tmp_path, *arguments.split())
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and message in done.stderr
    assert not (tmp_path / "crops").exists()


def test_names_of_crops_do_not_collide():
    found = crop_names([Path("a.jpg"), Path("a.png"), Path("b.webp")])
    assert sorted(found.values()) == ["a_jpg", "a_png", "b"]
