"""Inverts photographs: one picture in, a head that can be rendered from anywhere out; or many at a time.

    python -m pmv_jax.invert --image FILE [--face N | --landmarks FILE | --camera FILE | --noalign] [--generator DIR]
                             [--config FILE.py] [--set KEY=VALUE]... [--out DIR] [--seed N] [--force | --resume]
    python -m pmv_jax.invert --images 'DIR/*.png' | FILE.txt | FILE.csv | FILE.jsonl | dataset.json [--batch N]
                             [--multihost] [--strict] [--log-dir DIR] [...]

The picture (PNG, JPEG or WebP) is any photograph of a face. With the extra `pmv_jax[face]` the face is found, cropped
as EG3D crops FFHQ, and its camera estimated from its landmarks (alignment.png shows how); then the generator refines
the camera. Without it, with --noalign, or for what is no face, the central square is taken and the camera searched.
With --camera the picture is a crop already. The result directory holds the reconstruction,
renderings from other views (views.png, orbit.mp4), depth, the settings and figures (config.json, metrics.json), and the
tuned generator (inversion/).

    python -m pmv_jax.invert --image portrait.png
    python -m pmv_jax.invert --image portrait.png --camera portrait.npy --set tuning.steps=200 --out fine

With --images each picture gets such a directory inside --out, beside index.html, results.csv and failures.jsonl. All
devices are used, and with --multihost all hosts. The same command goes on where it was stopped. docs/batch.md says
what a manifest may hold, and how to launch on a TPU pod, with SLURM, and on one machine.

    python -m pmv_jax.invert --images 'photos/*.jpg' --out heads

Exit codes: 0 done, 2 bad input or usage, 3 some images of a batch failed, 75 interrupted (--resume continues).
"""

# Only ever run as `__main__`: as an attribute of the package, `pmv_jax.invert` is the function of the same name.
# JAX and everything that needs it are imported inside functions, so that --help and wrong flags answer at once.

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from pathlib import Path, PurePosixPath

from absl import flags
from tqdm import tqdm

from pmv_jax.checkpoints import hub
from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.commandline import run as entry
from pmv_jax.config import InversionConfig
from pmv_jax.errors import InputError
from pmv_jax.inputs import manifest
from pmv_jax.inputs import photograph as inputs
from pmv_jax.results import workspace

_IMAGE = flags.DEFINE_string("image", None, "Picture to invert. This or --images is required.")
_IMAGES = flags.DEFINE_string(
    "images", None, "Pictures to invert: a quoted pattern, a manifest (.txt, .csv, .jsonl), or an EG3D dataset.json."
)
_CAMERA = flags.DEFINE_string(
    "camera", None, "Its camera: .npy or .json with EG3D's 25 numbers, or an EG3D dataset.json. Default: search for it."
)
_FACE = flags.DEFINE_integer("face", None, "Which face, counted from the largest. Default: the largest.", lower_bound=1)
_LANDMARKS = flags.DEFINE_string(
    "landmarks", None, "Five lines 'x y' in pixels: eyes, nose tip, mouth corners, left first. Default: detect them."
)
_ALIGN = flags.DEFINE_bool("align", True, "Find the face and crop to it; --noalign takes the central square.")
_BATCH = flags.DEFINE_integer(
    "batch", None, "With --images: pictures at a time on each device. Default: what fits, 8 at most.", lower_bound=1
)
_WRITERS = flags.DEFINE_integer(
    "writers", 1, "With --images: results written at a time, beside the optimisation; 0: in its place.", lower_bound=0
)
_STRICT = flags.DEFINE_bool("strict", False, "With --images: stop at the first picture that fails.")
_LOG_DIR = flags.DEFINE_string("log-dir", None, "With --images: directory for scalars as JSON lines.")
_MULTIHOST = flags.DEFINE_bool(
    "multihost", False, "With --images: start jax.distributed, and take this process's share. On SLURM, GKE: automatic."
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where JAX cannot find it out itself.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are; with --coordinator.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is; with --coordinator.")
_BATCH_FLAGS = ("batch", "writers", "strict", "log-dir", "multihost", "coordinator", "num_processes", "process_id")
flags.adopt_module_key_flags(entry)


def main() -> int:
    if bool(_IMAGE.value) == bool(_IMAGES.value):
        problem = "--image is missing" if not _IMAGE.value else "--image and --images exclude each other"
        raise InputError(f"{problem}; give a picture, as --image portrait.png, or many, as --images 'photos/*.png'")
    return _invert_many() if _IMAGES.value else _invert_one()


def _invert_one() -> int:
    start = time.monotonic()
    given = [flag.name for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]) if flag.present]
    foreign = [name for name in given if name in _BATCH_FLAGS]
    if foreign:
        raise InputError(f"--{foreign[0]} is for --images; leave it away with --image")
    out = Path(os.path.abspath(entry.OUT.value or Path("out", Path(_IMAGE.value).stem)))
    force, resume = entry.FORCE.value, entry.RESUME.value

    # Everything that can be wrong is found out before anything is created or computed, the cheap checks first.
    workspace.check(out, force=force, resume=resume)
    if resume and workspace.is_finished(out):
        print(f"{out} is finished; nothing to do")
        return 0
    photograph = inputs.read(_entry(_IMAGE.value), _config())
    generator_directory = _generator_directory()

    from pmv_jax.checkpoints.orbax import load_generator
    from pmv_jax.commandline import heap
    from pmv_jax.inversion import pipeline
    from pmv_jax.results.writing import write_result

    heap.give_back_after_compiling()
    generator = load_generator(generator_directory)
    target = inputs.align(photograph, generator.config, force)
    workspace.check_space(out, _space_needed(generator_directory))
    request = target.request(str(generator_directory))
    with workspace.open_workspace(out, request, force=force, resume=resume) as space, _ProgressBars() as bars:
        inversion = pipeline.invert(
            target.image,
            target.camera,
            generator,
            photograph.config,
            progress=bars.update,
            state_directory=space.state,
            camera_guess=target.guess,
        )
        progress = lambda done, total: bars.update("rendering", done, total)  # noqa: E731
        figures = write_result(space.result, inversion, target.image, progress, title=Path(_IMAGE.value).stem)
        target.write_alignment(space.result, generator, inversion.camera)
    print(f"PSNR {figures['psnr']:.2f} dB in {time.monotonic() - start:.0f} s: {out}")
    return 0


def _invert_many() -> int:
    for flag in (_CAMERA, _FACE, _LANDMARKS):
        if flag.value is not None:
            raise InputError(f"--{flag.name} is for one --image; a manifest has it line by line")
    images = manifest.read(_IMAGES.value)
    config = _config()
    generator_directory = _generator_directory()
    default = PurePosixPath(_IMAGES.value)
    default = default.stem if default.suffix.lower() in manifest.KINDS else default.parent.name
    out = entry.OUT.value or f"out/{default or 'images'}"

    from pmv_jax.batch import cluster

    cluster.start(_MULTIHOST.value, _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)

    from pmv_jax.batch import job

    options = job.Options(
        batch=_BATCH.value,
        writers=_WRITERS.value,
        align=_ALIGN.value,
        force=entry.FORCE.value,
        strict=_STRICT.value,
        log_directory=_LOG_DIR.value,
    )
    return job.run(images, out if "://" in out else os.path.abspath(out), generator_directory, config, options)


def _entry(image: str) -> manifest.Entry:
    return manifest.Entry(image, _CAMERA.value, _LANDMARKS.value, _FACE.value, _ALIGN.value)


def _config() -> InversionConfig:
    config = entry.recipe()
    return config if entry.SEED.value is None else dataclasses.replace(config, seed=entry.SEED.value)


def _generator_directory() -> Path:
    return hub.local_directory(entry.GENERATOR.value or default_generator_directory()).resolve()


def _space_needed(generator_directory: Path) -> int:
    """Bytes that a run may need on disk, generously: weights are shipped in 16 bits, and kept in 32 in the result and,
    with two moments each, in the resumable state."""
    return 8 * sum(path.stat().st_size for path in generator_directory.rglob("*") if path.is_file()) + 32 * 2**20


class _ProgressBars:
    """One bar per stage, each staying on the screen when the next begins."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __enter__(self) -> _ProgressBars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def update(self, stage: str, done: int, total: int, loss: float = math.nan) -> None:
        """Called when a stage starts or resumes, and after each of its chunks."""
        if self._bar is None:
            pause = 0.1 if sys.stderr.isatty() else 10.0  # seconds; a log file needs no animation
            self._bar = tqdm(total=total, initial=done, desc=f"{stage:<12}", mininterval=pause)
        if math.isfinite(loss):
            self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self.__exit__()


if __name__ == "__main__":
    entry.run(main)
