"""Batches from their manifest to their results: what goes wrong, what is kept, what is made of it."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from pmv_jax import images
from pmv_jax.batch import job, memory
from pmv_jax.batch import slots as batch
from pmv_jax.cameras import look_at
from pmv_jax.checkpoints.orbax import save_generator
from pmv_jax.config import InversionConfig, override
from pmv_jax.errors import InputError
from pmv_jax.inputs import manifest
from pmv_jax.inversion import image_run as running
from pmv_jax.inversion import outline, pipeline
from pmv_jax.inversion.stage import Photograph
from pmv_jax.results import remote as storage
from pmv_jax.viewer import ports
from tests import small_inversion
from tests.light_invert import FILES, contents, write_result
from tests.small_inversion import RECIPE

ROOT = Path(__file__).parents[2]
CAMERA = np.asarray(look_at(0.2, 0.1)).tolist()


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Pictures, a generator, and `whole`: the results of three pictures by an uninterrupted run."""
    folder = tmp_path_factory.mktemp("studio")
    for index in range(6):
        y, x = np.mgrid[0:40, 0:40] / 40
        pixels = 127 + 120 * np.sin(np.stack([(6 + index) * x, (5 - index) * y, 4 * x * y], -1))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:300])
    save_generator(folder / "generator", small_inversion.make().generator, provenance={})
    return folder


@pytest.fixture(autouse=True)
def light(monkeypatch):
    monkeypatch.setattr(job, "write_result", write_result)
    monkeypatch.setattr(running, "CHUNK", 2)


def good(index: int, **options: object) -> dict:
    return {"image": f"{index}.png", "camera": CAMERA, **options}


def run(studio: Path, out: str, lines: list[dict], config: InversionConfig = RECIPE, **options: object) -> int:
    (studio / f"{out}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    entries = manifest.read(str(studio / f"{out}.jsonl"))
    options = job.Options(**{"batch": 2, "writers": 0, **options})
    return job.run(entries, str(studio / out), studio / "generator", config, options)


@pytest.fixture
def whole(studio):
    if not (studio / "whole").exists():
        assert run(studio, "whole", [good(0), good(1), good(2)]) == 0
    return contents(studio / "whole")


def names(out: Path) -> set[str]:
    return {path.parent.name for path in out.glob("*/metrics.json")}


def failures(out: Path) -> dict[str, dict]:
    return {line["name"]: line for line in map(json.loads, (out / "failures.jsonl").read_text().splitlines())}


BAD = [
    {"image": "cut.png", "camera": CAMERA},
    {"image": "gone.png", "camera": CAMERA},
    {"image": "3.png", "camera": [0.0] * 25},
    {"image": "4.png", "camera": CAMERA, "tunning.steps": 3},
    {"image": "5.png", "camera": CAMERA, "latent.learning_rate": 1e30},
]


@pytest.mark.filterwarnings("ignore:.*failed:", "ignore:.*once more")
def test_bad_images_leave_the_others_alone(studio, whole):
    """Then one of them is mended, and the same command does what is missing and nothing else."""
    lines = [BAD[0], good(2), BAD[1], BAD[4], good(0), BAD[2], BAD[3], good(1)]
    assert run(studio, "mixed", lines, writers=1, log_directory=str(studio / "log")) == 3
    out = studio / "mixed"
    assert contents(out) == whole
    reasons = {name: failure["reason"] for name, failure in failures(out).items()}
    assert reasons.keys() == {"cut", "gone", "3", "4", "5"}
    for name, words in {"cut": "cut short", "gone": "no such", "3": "rotation", "4": "tuning", "5": "loss is"}.items():
        assert words in reasons[name] or name == "3"
        assert "Traceback" in (out / failures(out)[name]["traceback"]).read_text()
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert [row["name"] for row in rows] == ["0", "1", "2"] and rows[0]["image"].endswith("0.png")
    figures = json.loads((out / "0" / "metrics.json").read_text())
    assert float(rows[0]["psnr"]) == figures["psnr"] and float(rows[0]["yaw"]) == pytest.approx(0.2, abs=0.02)
    assert rows[0]["doubts"] == "; ".join(figures["doubts"]) and "poorly matched" in rows[0]["doubts"]
    page = (out / "index.html").read_text()
    assert "doubtful: the input view itself" in page
    assert 'href="1/report.html"' in page and 'src="2/reconstruction.png"' in page and "5 failed" in page
    scalars = list(map(json.loads, (studio / "log" / "scalars-0.jsonl").read_text().splitlines()))
    assert {"latent", "tuning", "joint"} <= {line.get("stage") for line in scalars}
    assert sum(line.get("failed", False) for line in scalars) == 5
    assert not list(out.rglob("*.partial"))

    before = (out / "1" / "metrics.json").stat().st_mtime_ns
    (studio / "cut.png").write_bytes((studio / "0.png").read_bytes())
    assert run(studio, "mixed", lines) == 3
    assert names(out) == {"0", "1", "2", "cut"} and failures(out).keys() == {"gone", "3", "4", "5"}
    assert (out / "1" / "metrics.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_images_with_and_without_a_mask_share_a_batch(studio, whole, monkeypatch):
    """They run programs of their own, and neither sees the other."""
    monkeypatch.setattr(outline, "head_limit", lambda z_depth: np.full_like(z_depth, 2.5))
    mask = np.zeros((40, 40), np.uint8)
    mask[10:, 10:30] = 255
    Image.fromarray(mask).save(studio / "mask.png")
    assert run(studio, "masked", [good(0, mask="mask.png"), good(1)]) == 0
    both = contents(studio / "masked")
    assert both["1/final.npy"] == whole["1/final.npy"] and both["0/final.npy"] != whole["0/final.npy"]


@pytest.mark.slow
def test_lines_of_a_person_are_one_head_beside_others(studio, whole):
    """Whose result is that of the same photographs alone."""
    others = [good(index, person="anna") for index in (3, 4)]
    assert run(studio, "people", [others[0], good(1), others[1]]) == 0
    found = contents(studio / "people")
    assert names(studio / "people") == {"anna", "1"}
    assert found["1/final.npy"] == whole["1/final.npy"]
    figures = json.loads((studio / "people" / "anna" / "metrics.json").read_text())
    assert len(figures["photographs"]) == 2
    given = [
        Photograph(images.load_image(studio / f"{index}.png", small_inversion.SIZE), np.float32(CAMERA))
        for index in (3, 4)
    ]
    alone = pipeline.invert_photographs(given, small_inversion.generator(), RECIPE)
    final = np.load(studio / "people" / "anna" / "final.npy")
    np.testing.assert_allclose(final, alone.render(alone.camera[None])["image"][0], atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*once more")
def test_second_try_has_lower_learning_rates(studio, monkeypatch):
    monkeypatch.setattr(job, "RETRY_RATE", 1e-31)
    assert run(studio, "retried", [good(5, **{"latent.learning_rate": 1e30}), good(0)]) == 0
    assert names(studio / "retried") == {"0", "5"} and not failures(studio / "retried")


@pytest.mark.filterwarnings("ignore:.*failed:")
def test_strict_stops_at_once(studio):
    assert run(studio, "strict", [BAD[1], good(0), good(1)], strict=True) == 3
    assert not names(studio / "strict") and failures(studio / "strict").keys() == {"gone"}


def test_out_of_memory_halves_the_batch(studio, whole, monkeypatch):
    compiled, sizes = batch.compiled, []

    def narrow(program):
        def call(states, *others):
            sizes.append(states.step.shape[0])
            if sizes[-1] > 1 and len(sizes) > 2:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
            return compiled(program)(states, *others)

        return call

    known = json.loads((studio / "whole" / "0" / "metrics.json").read_text())["peak_memory_bytes"]
    monkeypatch.setattr(memory, "needed", lambda *_: known)
    monkeypatch.setattr(batch, "compiled", narrow)
    with pytest.warns(UserWarning, match="out of memory; 1 images at a time"):
        assert run(studio, "narrow", [good(0), good(1), good(2)]) == 0
    assert sizes[:4] == [2, 2, 2, 1] and contents(studio / "narrow").keys() == whole.keys()
    for name in "012":  # another number of images is another program, and may add in another order
        ours, theirs = (np.load(studio / out / name / "final.npy") for out in ("narrow", "whole"))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_stopped_job_goes_on_where_it_was(studio, whole, monkeypatch):
    advance, calls = batch.Batch.advance, []

    def stopped(self):
        calls.append(0)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(self)

    monkeypatch.setattr(batch.Batch, "advance", stopped)
    monkeypatch.setattr(running, "SAVE_SHARE", 0.0)  # only what stopping saves, beside the first chunk and stages' ends
    with pytest.raises(KeyboardInterrupt):
        run(studio, "stopped", [good(0), good(1), good(2)])
    out = studio / "stopped"
    saved = {str(path.relative_to(out)) for path in out.glob("*/state/*/*/*")}
    assert saved == {"0.partial/state/1/latent/4", "1.partial/state/1/latent/4"} and not names(out)
    assert (out / "index.html").exists()
    monkeypatch.setattr(batch.Batch, "advance", advance)
    assert run(studio, "stopped", [good(0), good(1), good(2)]) == 0
    assert contents(out) == whole and not list(out.rglob("*.partial"))


class Died(BaseException):
    """The end of a process, which nothing can catch."""


def test_a_job_that_dies_goes_on_and_ends_the_same(studio, whole, monkeypatch):
    """Without a warning, with two images on their way and one to come; a killed process is the same test, but slow."""
    save, calls = running.ImageRun.save, []

    def dying(self):
        save(self)
        calls.append(0)
        if len(calls) == 3:
            raise Died

    monkeypatch.setattr(running.ImageRun, "save", dying)
    monkeypatch.setattr(running, "SAVE_SHARE", np.inf)  # after every chunk
    with pytest.raises(Died):
        run(studio, "died", [good(0), good(1), good(2)])
    out = studio / "died"
    assert len(list(out.glob("*.partial/state/*/*/*"))) == 2 and not names(out)
    monkeypatch.setattr(running.ImageRun, "save", save)
    assert run(studio, "died", [good(0), good(1), good(2)]) == 0
    assert contents(out) == whole and not list(out.rglob("*.partial"))


def test_results_of_another_recipe_are_not_mixed_in(studio, whole):
    other = dataclasses.replace(RECIPE, seed=1)
    with pytest.raises(InputError, match="its results had another config; give --force"):
        run(studio, "whole", [good(0)], other)
    (studio / "thesis").mkdir()
    (studio / "thesis" / "a.tex").touch()
    with pytest.raises(InputError, match="no result of --images"):
        run(studio, "thesis", [good(0)])


def test_where_folders_cannot_be_renamed_results_are_copied(studio, whole, monkeypatch):
    """What an object store gets: the same files, and metrics.json, which makes them a result, last of all."""
    monkeypatch.setattr(storage, "_is_remote", lambda path: True)
    assert run(studio, "bucket", [good(0), good(1), good(2)], writers=1) == 0
    assert contents(studio / "bucket") == whole and not list((studio / "bucket").rglob("*.partial"))
    for result in (studio / "bucket").glob("*/"):
        if (result / "metrics.json").exists():
            times = {path: path.stat().st_mtime_ns for path in result.rglob("*") if path.is_file()}
            assert max(times, key=times.get) == result / "metrics.json"


def test_duplicate_names_do_not_collide(studio, whole):
    (studio / "sub").mkdir()
    (studio / "sub" / "0.png").write_bytes((studio / "1.png").read_bytes())
    assert run(studio, "twins", [good(0), {**good(0), "image": "sub/0.png"}]) == 0
    finals = [np.load(path) for path in (studio / "twins").glob("0-*/final.npy")]
    assert len(finals) == 2 and not np.array_equal(*finals)


# ---------------------------------------------------------------------------------------------------------------------
# Processes
# ---------------------------------------------------------------------------------------------------------------------


# How many steps a stage has is data: these are the programs of the tests above.
SETTINGS = ("latent.steps=20", "tuning.steps=4", "joint.steps=8", "pseudo_views.count=3", "loss.perceptual=none")


def start(studio: Path, out: str, *arguments: object, devices: int = 1) -> subprocess.Popen:
    flags = [text for setting in SETTINGS for text in ("--set", setting)]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "JAX_NUM_CPU_DEVICES": str(devices),
    }
    command = [
        sys.executable, str(ROOT / "tests" / "light_invert.py"), "--images", str(studio / "job.jsonl"),
        "--out", str(studio / out), "--generator", str(studio / "generator"), "--batch", "2", *flags,
        *map(str, arguments),
    ]  # fmt: skip
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start_many(studio: Path, out: str, count: int, devices: int = 2) -> list[subprocess.Popen]:
    port = ports.free_port("localhost", 20_000 + os.getpid() % 20_000)
    cluster = ("--coordinator", f"localhost:{port}", "--num_processes", count)
    return [start(studio, out, *cluster, "--process_id", process, devices=devices) for process in range(count)]


def end(process: subprocess.Popen, code: int = 0) -> str:
    text, _ = process.communicate(timeout=900)
    assert process.returncode == code, text
    return text


def wait_for_state(out: Path, process: subprocess.Popen) -> None:
    while process.poll() is None and not list(out.glob("*.partial/state/*/*/*")):
        time.sleep(0.05)


@pytest.fixture
def reference(studio):
    """Six pictures by this process with one device."""
    lines = [good(index) for index in range(6)]
    (studio / "job.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if not (studio / "reference").exists():
        assert run(studio, "reference", lines, override(InversionConfig(), SETTINGS)) == 0
    return contents(studio / "reference")


@pytest.mark.slow
def test_a_killed_job_goes_on_and_ends_the_same(studio, reference):
    process = start(studio, "killed")
    wait_for_state(studio / "killed", process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and len(names(studio / "killed")) < 6
    end(start(studio, "killed"))
    assert contents(studio / "killed") == reference and len(reference) == 6 * len(FILES)
    assert not list((studio / "killed").rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_two_processes_share_the_work(studio, reference, devices):
    out = f"two_{devices}"
    texts = [end(process) for process in start_many(studio, out, 2, devices)]
    assert all("3 of 6 images done here, 0 failed" in text for text in texts), texts
    assert contents(studio / out) == reference
    assert len(list(csv.DictReader((studio / out / "results.csv").open()))) == 6


@pytest.mark.slow
def test_a_process_that_dies_takes_nobody_with_it(studio, reference):
    first, second = start_many(studio, "orphan", 2)
    wait_for_state(studio / "orphan", second)
    second.kill()
    second.communicate()
    assert "3 of 6 images done here, 0 failed" in end(first)
    assert len(names(studio / "orphan")) < 6
    end(start(studio, "orphan"))
    assert contents(studio / "orphan") == reference


@pytest.mark.slow
def test_four_processes_share_the_work(studio, reference):
    texts = [end(process) for process in start_many(studio, "four", 4)]
    shares = [text.rpartition("\n")[0].rpartition("\n")[2][:6] for text in texts]
    assert sorted(shares) == ["1 of 6", "1 of 6", "2 of 6", "2 of 6"]
    assert contents(studio / "four") == reference
