"""Inverts photographs: one picture in, a head that can be rendered from anywhere out; or many at a time.

    python -m pmv_jax.invert --image FILE [--face N | --landmarks FILE | --camera FILE | --noalign] [--mask FILE]
                             [--image FILE ...]
                             [--generator DIR] [--config NAME|FILE.py] [--set KEY=VALUE]... [--out DIR] [--seed N]
                             [--force | --resume]
    python -m pmv_jax.invert --images 'DIR/*.png' | FILE.txt | FILE.csv | FILE.jsonl | dataset.json | set.zip
                             [--batch N] [--multihost] [--strict] [--log-dir DIR] [...]

The picture (PNG, JPEG, WebP, AVIF, TIFF, BMP; HEIC with the extra `pmv_jax[heif]`) is any photograph of a face. With
the extra `pmv_jax[face]` the face is found, cropped as EG3D crops FFHQ, and its camera estimated from its landmarks
(alignment.png shows how); then the generator refines the camera. Without it the generator's encoder finds the crop, and
where it is not sure of a head, or with --noalign, the central square is taken.
With --camera the picture is a crop already. --mask says where the head is, where its hair and the background are hard
to tell apart: the geometry is held to its outline. The result directory holds the reconstruction,
renderings from other views (views.png, orbit.mp4), depth, the settings and figures (config.json, metrics.json), and the
tuned generator (inversion/). While it goes on, OUT.partial/result holds the pictures as far as they have come.

    python -m pmv_jax.invert --image portrait.png
    python -m pmv_jax.invert --image portrait.png --camera portrait.npy --set tuning.steps=200 --out fine

Several photographs of one person, by --image again and again or as a folder, make one head: what one of them does not
show, another may. --camera, --landmarks and --mask are given as often, in the same order. What belongs to the second
is in photograph_2/ of the result, and so on.

    python -m pmv_jax.invert --image front.jpg --image left.jpg --out anna

With --images each picture gets such a directory inside --out, beside index.html, results.csv and failures.jsonl. All
devices are used, and with --multihost all hosts. The same command goes on where it was stopped. docs/batch.md says
what a manifest may hold, and how to launch on a TPU pod, with SLURM, and on one machine.

    python -m pmv_jax.invert --images 'photos/*.jpg' --out heads

With --plan v5e-256 nothing is inverted: it says what these pictures would take on such a machine.

Exit codes: 0 done, 2 bad input or usage, 3 some images of a batch failed, 75 interrupted (--resume continues).
"""

# JAX and everything that needs it are imported inside functions, so that --help and wrong flags answer at once.

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path, PurePosixPath

from pmv_jax.checkpoints import hub
from pmv_jax.commandline.flags import Flags, recipe
from pmv_jax.commandline.progress import JobBar, ProgressBars
from pmv_jax.commandline.run import command
from pmv_jax.config import InversionConfig
from pmv_jax.errors import InputError
from pmv_jax.images import SUFFIXES
from pmv_jax.inputs import manifest, person
from pmv_jax.results import workspace

FLAGS = Flags()
_IMAGE = FLAGS.strings(
    "image",
    "Picture to invert, or a folder of one person's. Repeated: more of the same person. This or --images is required.",
)
_IMAGES = FLAGS.string(
    "images",
    None,
    "Pictures to invert: a quoted pattern, a manifest (.txt, .csv, .jsonl), an EG3D dataset.json or .zip.",
)
_CAMERA = FLAGS.strings(
    "camera",
    "Its camera: .npy or .json with EG3D's 25 numbers, EG3D's dataset.json or cameras.json, or nerfstudio's "
    "transforms.json. Default: search for it.",
)
_CONVENTION = FLAGS.string(
    "camera_convention",
    None,
    "How the camera is written, where it is not as EG3D does it: opengl, pytorch3d, world2cam, transposed, pixels; "
    "several are joined by commas.",
)
_FACE = FLAGS.integer("face", None, "Which face, counted from the largest. Default: the largest.", least=1)
_LANDMARKS = FLAGS.strings(
    "landmarks", "Five lines 'x y' in pixels: eyes, nose tip, mouth corners, left first. Default: detect them."
)
_MASK = FLAGS.strings(
    "mask",
    "Picture of the photograph's size, or the crop's, with head, hair and clothes white and all else black.",
)
_ALIGN = FLAGS.switch("align", True, "Find the face and crop to it; --noalign takes the central square.")
_BATCH = FLAGS.integer(
    "batch", None, "With --images: pictures at a time on each device. Default: what fits, 8 at most.", least=1
)
_WRITERS = FLAGS.integer(
    "writers", 1, "With --images: results written at a time, beside the optimisation; 0: in its place.", least=0
)
_STRICT = FLAGS.switch("strict", False, "With --images: stop at the first picture that fails.")
_LOG_DIR = FLAGS.string("log-dir", None, "With --images: directory for scalars as JSON lines.")
_MULTIHOST = FLAGS.switch(
    "multihost", False, "With --images: start jax.distributed, and take this process's share. On SLURM, GKE: automatic."
)
_COORDINATOR = FLAGS.string("coordinator", None, "HOST:PORT of process 0, where JAX cannot find it out itself.")
_NUM_PROCESSES = FLAGS.integer("num_processes", None, "How many processes there are; with --coordinator.")
_PROCESS_ID = FLAGS.integer("process_id", None, "Which of them this is; with --coordinator.")
_GENERATOR = FLAGS.generator()
_CONFIG = FLAGS.config()
_SET = FLAGS.changes()
_OUT = FLAGS.out()
_SEED = FLAGS.seed()
_FORCE = FLAGS.force()
_RESUME = FLAGS.resume()
_PLAN = FLAGS.string(
    "plan", None, "With --images: only say what they would take on CHIP-COUNT, such as v5e-256 or h100-8 (estimates)."
)
_BATCH_FLAGS = (
    "plan",
    "batch",
    "writers",
    "strict",
    "log-dir",
    "multihost",
    "coordinator",
    "num_processes",
    "process_id",
)


@command(FLAGS)
def main() -> int:
    if bool(_IMAGE.value) == bool(_IMAGES.value):
        problem = "--image is missing" if not _IMAGE.value else "--image and --images exclude each other"
        raise InputError(f"{problem}; give a picture, as --image portrait.png, or many, as --images 'photos/*.png'")
    return _invert_many() if _IMAGES.value else _invert_one()


def _invert_one() -> int:
    start = time.monotonic()
    foreign = [name for name in FLAGS.given() if name in _BATCH_FLAGS]
    if foreign:
        raise InputError(f"--{foreign[0]} is for --images; it has no meaning with --image")
    title = Path(os.path.abspath(_IMAGE.value[0])).stem
    out = Path(os.path.abspath(_OUT.value or Path("out", title)))
    force, resume = _FORCE.value, _RESUME.value

    # Everything that can be wrong is found out before anything is created or computed, the cheap checks first.
    workspace.check(out, force=force, resume=resume)
    if resume and workspace.is_finished(out):
        print(f"{out} is finished; nothing to do")
        return 0
    sources = person.read(_entry(), _config())
    generator_directory = _generator_directory()

    from pmv_jax.checkpoints.encoder import load_encoder
    from pmv_jax.checkpoints.orbax import load_generator
    from pmv_jax.commandline import heap
    from pmv_jax.inversion import pipeline
    from pmv_jax.results.writing import write_first_look, write_result

    heap.give_back_after_compiling()
    generator = load_generator(generator_directory)
    encoder = load_encoder(generator_directory, generator)
    target = person.align(sources, generator.config, force, encoder)
    workspace.check_space(out, _space_needed(generator_directory))
    request = target.request(str(generator_directory))
    with workspace.open_workspace(out, request, force=force, resume=resume) as space, ProgressBars() as bars:
        inversion = pipeline.invert_photographs(
            target.photographs,
            generator,
            target.config,
            bars.update,
            space.state,
            encoder=encoder,
            look=lambda inversion: write_first_look(space.result, inversion, target.photographs),
        )
        figures = write_result(space.result, inversion, target.photographs, bars.stage("rendering"), title=title)
        target.write_alignments(space.result, generator, inversion.cameras)
    if figures["doubts"]:
        print(f"doubtful: {'; '.join(figures['doubts'])}")
    print(f"PSNR {figures['psnr']:.2f} dB in {time.monotonic() - start:.0f} s: {out}")
    return 0


def _invert_many() -> int:
    for flag in (_CAMERA, _CONVENTION, _FACE, _LANDMARKS, _MASK):
        if flag.value:
            raise InputError(f"--{flag.name} is for --image; a manifest has it line by line")
    images = manifest.read(_IMAGES.value)
    config = _config()
    generator_directory = _generator_directory()
    if _PLAN.value:
        return _plan(_PLAN.value, len(images), generator_directory, config)
    default = PurePosixPath(_IMAGES.value)
    default = default.stem if default.suffix.lower() in manifest.KINDS else default.parent.name
    out = _OUT.value or f"out/{default or 'images'}"

    from pmv_jax.batch import cluster

    cluster.start(_MULTIHOST.value, _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)

    from pmv_jax.batch import job

    options = job.Options(
        batch=_BATCH.value,
        writers=_WRITERS.value,
        align=_ALIGN.value,
        force=_FORCE.value,
        strict=_STRICT.value,
        log_directory=_LOG_DIR.value,
    )
    where = out if "://" in out else os.path.abspath(out)
    with JobBar() as bar:
        return job.run(images, where, generator_directory, config, options, bar.update)


def _plan(machine: str, images: int, generator_directory: Path, config: InversionConfig) -> int:
    from pmv_jax.batch import plan
    from pmv_jax.checkpoints.orbax import load_generator

    for line in plan.lines(plan.make(machine, images, load_generator(generator_directory), config, _BATCH.value)):
        print(line)
    return 0


def _entry() -> manifest.Entry:
    """What is asked for: the first photograph, with those after it as its others."""
    pictures = [picture for image in _IMAGE.value for picture in _pictures(image)]
    if _FACE.value is not None and len(pictures) > 1:
        raise InputError("--face is for one --image; a manifest has it line by line, with the same person in each line")
    each = (_one_for_each(flag.name, flag.value, len(pictures)) for flag in (_CAMERA, _LANDMARKS, _MASK))
    first, *others = (
        manifest.Entry(picture, camera, landmarks, _FACE.value, _ALIGN.value, _CONVENTION.value, mask)
        for picture, camera, landmarks, mask in zip(pictures, *each, strict=True)
    )
    return dataclasses.replace(first, others=tuple(others))


def _pictures(image: str) -> list[str]:
    """A picture, or those of a folder."""
    folder = Path(image)
    if not folder.is_dir():
        return [image]
    found = sorted(str(path) for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"--image {image}: is a directory that holds no picture; give a picture, or a folder of some")
    return found


def _one_for_each(flag: str, values: list[str], pictures: int) -> list[str | None]:
    if values and len(values) != pictures:
        raise InputError(
            f"--{flag} is given {len(values)} times for {pictures} pictures; give it for each, or for none"
        )
    return [*values] if values else [None] * pictures


def _config() -> InversionConfig:
    config = recipe(_CONFIG.value, _SET.value)
    return config if _SEED.value is None else dataclasses.replace(config, seed=_SEED.value)


def _generator_directory() -> Path:
    return hub.local_directory(_GENERATOR.value).resolve()


def _space_needed(generator_directory: Path) -> int:
    """Bytes that a run may need on disk, generously: weights are shipped in 16 bits, and kept in 32 in the result and,
    with two moments each, in the resumable state."""
    return 8 * sum(path.stat().st_size for path in generator_directory.rglob("*") if path.is_file()) + 32 * 2**20
