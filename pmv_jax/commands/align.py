"""Aligns a folder of photographs: finds the faces, crops them as EG3D crops FFHQ, and estimates their cameras.

    python -m pmv_jax.align --images DIR --out DIR [--size N] [--generator DIR] [--force]

Of every picture (PNG, JPEG, WebP, AVIF, HEIC, TIFF or BMP) the largest face is taken. The result holds the crops,
dataset.json with their cameras in EG3D's format (25 numbers an image, for `--camera` of pmv_jax.invert and for EG3D's
own programs), and alignment/ with pictures to check it by and the ways back into the photographs. Needs the extra
`pmv_jax[face]`.

Exit codes: 0 done, 2 bad input or usage, 3 some pictures failed: each is a line on stderr and in metrics.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from pmv_jax.commandline import exit_codes
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.config import InversionConfig
from pmv_jax.errors import InputError
from pmv_jax.images import SUFFIXES, open_image, save_image
from pmv_jax.results import workspace

FLAGS = Flags()
_IMAGES = FLAGS.string("images", None, "Folder of photographs. Required.")
_SIZE = FLAGS.integer("size", 512, "Side of the crops in pixels.", least=16, most=4096)
_GENERATOR = FLAGS.generator()
_OUT = FLAGS.string("out", None, "Directory for the result; must not exist yet. Required.")
_FORCE = FLAGS.force()


@command(FLAGS)
def main() -> int:
    start = time.monotonic()
    if not _IMAGES.value or not _OUT.value:
        raise InputError("--images and --out are needed: the folder of photographs, and a new one for their crops")
    out = Path(os.path.abspath(_OUT.value))
    workspace.check(out, force=_FORCE.value, resume=False)
    names = crop_names(_pictures(Path(_IMAGES.value)))

    from pmv_jax.checkpoints.orbax import load_generator
    from pmv_jax.faces import drawing, portrait
    from pmv_jax.inversion.latent import average_head

    generator = load_generator(_GENERATOR.value)
    family = generator.config
    labels, failures = [], {}
    with workspace.open_workspace(out, {"images": _IMAGES.value}, force=_FORCE.value, resume=False) as space:
        for path, name in names.items():
            try:
                picture = open_image(path)
                found = portrait.from_detection(
                    picture,
                    path.name,
                    force=_FORCE.value,
                    pivot=family.camera_pivot,
                    radius=family.camera_radius,
                    focal=family.camera_focal,
                    yaw_range=InversionConfig().camera.yaw_range,
                )
            except InputError as error:
                failures[path.name] = str(error)
                print(f"error: {error}", file=sys.stderr)
                continue
            crop = found.crop(picture, _SIZE.value)
            save_image(space.result / f"{name}.png", crop)
            checks = space.result / "alignment" / name
            checks.mkdir(parents=True)
            drawing.write_alignment(
                checks, picture, found, crop, np.asarray(average_head(generator, found.pose.camera[None])["image"][0])
            )
            labels.append([f"{name}.png", [float(value) for value in found.pose.camera]])
        if not labels:
            raise InputError(f"--images {_IMAGES.value}: no face in any of its {len(names)} pictures; see above")
        (space.result / "dataset.json").write_text(json.dumps({"labels": labels}) + "\n")
        figures = {"aligned": len(labels), "failed": failures, "seconds": time.monotonic() - start}
        (space.result / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{len(labels)} of {len(names)} pictures in {time.monotonic() - start:.0f} s: {out}")
    return exit_codes.SOME_FAILED if failures else 0


def crop_names(pictures: list[Path]) -> dict[Path, str]:
    """A name for each picture's crop, without suffix: the picture's own, and its suffix where two would be the same."""
    stems = Counter(path.stem for path in pictures)
    return {path: path.stem if stems[path.stem] == 1 else path.name.replace(".", "_") for path in pictures}


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"--images {folder}: is no folder; give one with photographs")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"--images {folder}: holds no {', '.join(SUFFIXES)} file; give a folder with photographs")
    return found
