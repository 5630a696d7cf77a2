"""Renders the heads that inversions and texture edits are measured on: `cases.py` says which.

    python -m tools.benchmarks heads --assets DIR --out DIR [--split dev|test] [--heads N] [--generator DIR]

Pictures have the size that the generator paints. The assets are found by --assets or PMV_HEADS_ASSETS
(tools/heads/README.md says how to make them). A head takes ten seconds of a core, one that is painted as well twenty.
The same command goes on where it was stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pmv_jax.checkpoints import hub
from pmv_jax.checkpoints.orbax import load_config
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.errors import InputError
from tools.benchmarks import cases, truth
from tools.benchmarks.cases import Case
from tools.heads.assets import assets_directory
from tools.heads.head import Studio
from tools.heads.outfit import NOTHING, Outfit
from tools.heads.rendering import SAMPLES, render

FLAGS = Flags()
_ASSETS = FLAGS.string("assets", None, "Directory of the assets. Default: PMV_HEADS_ASSETS.")
_SPLIT = FLAGS.choice("split", None, list(cases.SEEDS), "dev: for choices; test: for reporting. Default: both.")
_HEADS = FLAGS.integer("heads", cases.HEADS, "Number of heads of a split.")
_GENERATOR = FLAGS.generator()
_OUT = FLAGS.string("out", None, "Directory for the heads. Required.")


def pictures(studio: Studio, case: Case, outfit: Outfit) -> truth.TakePicture:
    """Takes pictures of a case's head in an outfit."""
    scene = studio.head(case.p, outfit)

    def take(camera: np.ndarray, size: int, smooth: bool) -> truth.Rendered:
        return truth.Rendered(*render(scene, camera, size, factor=SAMPLES if smooth else 1))

    return take


@command(FLAGS)
def main() -> None:
    if _OUT.value is None:
        raise InputError("--out: give a directory for the heads")
    chosen = [case for split in cases.SEEDS for case in cases.cases(split, _HEADS.value)]
    chosen = [case for case in chosen if _SPLIT.value in (None, case.name.partition("-")[0])]
    config = load_config(hub.local_directory(_GENERATOR.value))
    size, coarse_size = config.image_resolution, config.rendering.neural_resolution
    out = Path(_OUT.value)
    studio = Studio.load(assets_directory(_ASSETS.value))
    out.mkdir(parents=True, exist_ok=True)
    for case in tqdm(chosen, unit="head"):
        if not truth.path_of(out, case, truth.Truth).exists():
            truth.save(out, case, truth.make(case, pictures(studio, case, cases.outfit(case)), size, coarse_size))
        if case.number < cases.PAINTED and not truth.path_of(out, case, truth.Painted).exists():
            outfits = NOTHING, Outfit(decals=(cases.painting(case),))
            plain, painted = (pictures(studio, case, worn) for worn in outfits)
            truth.save(out, case, truth.make_painted(case, plain, painted, size))


if __name__ == "__main__":
    sys.exit(main())
