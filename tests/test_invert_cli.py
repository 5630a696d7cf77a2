"""`python -m pmv_jax.invert` as a user runs it, from another folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmv_jax.cameras import look_at

ROOT = Path(__file__).parent.parent


def invert(cwd: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pmv_jax.invert", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


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
        ("--image .", "directory"),
        ("--image empty.png", "empty.png: is empty"),
        ("--image text.png", "text.png: is not a PNG, JPEG or WebP"),
        ("--image cut.png", "cut.png: cannot be decoded"),
        ("--image pixel.png", "pixel.png: is 1x1 pixels"),
        ("--image good.png --camera none.npy", "none.npy: no such file"),
        ("--image good.png --camera good.png", "good.png: unknown kind of file"),
        ("--image good.png --camera short.npy", "short.npy: has shape [24]"),
        ("--image good.png --camera nan.npy", "nan.npy: has values that are not finite"),
        ("--image good.png --camera zero.npy", "zero.npy: the last row"),
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
    for flag in "image camera generator config set out seed force resume".split():
        assert f"--{flag} " in done.stdout
