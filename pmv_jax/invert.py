"""Inverts one photograph: one picture in, a head that can be rendered from anywhere out.

    python -m pmv_jax.invert --image FILE [--face N | --landmarks FILE | --camera FILE | --noalign] [--generator DIR]
                             [--config FILE.py] [--set KEY=VALUE]... [--out DIR] [--seed N] [--force | --resume]

The picture (PNG, JPEG or WebP) is any photograph of a face. With the extra `pmv_jax[face]` the face is found, cropped
as EG3D crops FFHQ, and its camera estimated from its landmarks (alignment.png shows how); then the generator refines
the camera. Without it, with --noalign, or for what is no face, the central square is taken and the camera searched.
With --camera the picture is a crop already. The result directory holds the reconstruction,
renderings from other views (views.png, orbit.mp4), depth, the settings and figures (config.json, metrics.json), and the
tuned generator (inversion/).

    python -m pmv_jax.invert --image portrait.png
    python -m pmv_jax.invert --image portrait.png --camera portrait.npy --set tuning.steps=200 --out fine

Exit codes: 0 done, 2 bad input or usage, 75 interrupted (--resume continues).
"""

# Only ever run as `__main__`: as an attribute of the package, `pmv_jax.invert` is the function of the same name.
# JAX and everything that needs it are imported inside functions, so that --help and wrong flags answer at once.

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags
from PIL import Image
from tqdm import tqdm

from pmv_jax import entry, workspace
from pmv_jax.camera_files import load_camera
from pmv_jax.config import GeneratorConfig, InversionConfig, load_recipe, override, to_dict
from pmv_jax.demo import default_generator_directory
from pmv_jax.errors import InputError
from pmv_jax.images import open_image, to_square

if TYPE_CHECKING:
    from pmv_jax.faces.portrait import Portrait

_IMAGE = flags.DEFINE_string("image", None, "Picture to invert. Required.")
_CAMERA = flags.DEFINE_string(
    "camera", None, "Its camera: .npy or .json with EG3D's 25 numbers, or an EG3D dataset.json. Default: search for it."
)
_FACE = flags.DEFINE_integer("face", None, "Which face, counted from the largest. Default: the largest.", lower_bound=1)
_LANDMARKS = flags.DEFINE_string(
    "landmarks", None, "Five lines 'x y' in pixels: eyes, nose tip, mouth corners, left first. Default: detect them."
)
_ALIGN = flags.DEFINE_bool("align", True, "Find the face and crop to it; --noalign takes the central square.")
flags.adopt_module_key_flags(entry)


def main() -> None:
    start = time.monotonic()
    if not _IMAGE.value:
        raise InputError("--image is missing; give the picture to invert, for example --image portrait.png")
    image_path = Path(_IMAGE.value)
    out = Path(os.path.abspath(entry.OUT.value or Path("out", image_path.stem)))
    force, resume = entry.FORCE.value, entry.RESUME.value

    # Everything that can be wrong is found out before anything is created or computed, the cheap checks first.
    workspace.check(out, force=force, resume=resume)
    if resume and workspace.is_finished(out):
        print(f"{out} is finished; nothing to do")
        return
    config = _config()
    picture = open_image(image_path)
    _check_exclusive()
    camera = None if _CAMERA.value is None else load_camera(_CAMERA.value, image_path)
    generator_directory = Path(entry.GENERATOR.value or default_generator_directory()).resolve()

    from pmv_jax.checkpoints import load_generator

    generator = load_generator(generator_directory)
    portrait = None if camera is not None or not _ALIGN.value else _find_face(picture, generator.config, config, force)
    resolution = generator.config.image_resolution
    image = to_square(picture, resolution) if portrait is None else portrait.crop(picture, resolution)
    guess = None if portrait is None else portrait.pose.camera
    workspace.check_space(out, _space_needed(generator_directory))

    request = {
        "image": hashlib.sha256(image.tobytes()).hexdigest(),
        "camera": None if camera is None else camera.tolist(),
        "landmarks": None if portrait is None else portrait.landmarks.tolist(),
        "generator": str(generator_directory),
        "config": to_dict(config),
    }
    with workspace.open_workspace(out, request, force=force, resume=resume) as space:
        figures = _invert(image, camera, guess, generator, config, space)
        if portrait is not None:
            _write_alignment(space.result, picture, portrait, image, generator, np.array(figures["camera"], np.float32))
    print(f"PSNR {figures['psnr']:.2f} dB in {time.monotonic() - start:.0f} s: {out}")


def _config() -> InversionConfig:
    config = load_recipe(entry.CONFIG.value) if entry.CONFIG.value else InversionConfig()
    config = override(config, entry.SET.value)
    return config if entry.SEED.value is None else dataclasses.replace(config, seed=entry.SEED.value)


def _check_exclusive() -> None:
    given = {
        "--camera": _CAMERA.value is not None,
        "--landmarks": _LANDMARKS.value is not None,
        "--face": _FACE.value is not None,
        "--noalign": not _ALIGN.value,
    }
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise InputError(f"{' and '.join(names)} exclude each other; each says in its own way where the face is")


def _find_face(picture: Image.Image, family: GeneratorConfig, config: InversionConfig, force: bool) -> Portrait | None:
    """The face to invert; None where the central square has to do, which a warning then says."""
    from pmv_jax.faces import detection, landmark_files, portrait

    about = {
        "pivot": family.camera_pivot,
        "radius": family.camera_radius,
        "focal": family.camera_focal,
        "yaw_range": config.camera.yaw_range,
        "force": force,
    }
    if _LANDMARKS.value is not None:
        landmarks = landmark_files.load_landmarks(_LANDMARKS.value)
        found = portrait.from_landmarks(picture, _IMAGE.value, landmarks, **about)
    elif _FACE.value is None and not detection.is_available():
        warnings.warn(
            "face detection is not installed (pip install 'pmv_jax[face]'); "
            "taking the central square and searching for the camera",
            stacklevel=2,
        )
        return None
    else:
        found = portrait.from_detection(picture, _IMAGE.value, _FACE.value, **about)
    if found.is_ambiguous and _FACE.value is None:
        warnings.warn(
            f"{len(found.faces)} faces, two or more nearly as large; taking the largest, see faces.png in the result "
            "for the numbers that --face takes",
            stacklevel=2,
        )
    return found


def _write_alignment(
    directory: Path, picture: Image.Image, portrait: Portrait, image: np.ndarray, generator: Any, refined: np.ndarray
) -> None:
    from pmv_jax.faces.drawing import write_alignment
    from pmv_jax.inversion.camera_search import average_head

    head = np.asarray(average_head(generator, refined))
    write_alignment(directory, picture, portrait, image, head, refined)


def _invert(
    image: np.ndarray,
    camera: np.ndarray | None,
    guess: np.ndarray | None,
    generator: Any,
    config: InversionConfig,
    space: workspace.Workspace,
) -> dict[str, Any]:
    from pmv_jax.inversion import pipeline
    from pmv_jax.result import write_result

    with _ProgressBars() as bars:
        inversion = pipeline.invert(
            image,
            camera,
            generator,
            config,
            progress=bars.update,
            state_directory=space.state,
            camera_guess=guess,
        )
        progress = lambda done, total: bars.update("rendering", done, total)  # noqa: E731
        return write_result(space.result, inversion, image, progress, title=Path(_IMAGE.value).stem)


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
