"""What more photographs of one person bring: heads of the benchmark inverted from 1, 2, 3 and 5 views.

    python -m tools.benchmarks several --heads_dir HEADS [--inputs 1,2,3,5] [--split dev|test] [--heads N]
                                       [--config NAME|FILE.py] [--set KEY=VALUE]... [--generator DIR] [--out DIR]

The first view is that of `inversion`, with its true camera as there. Further ones are novel cameras of that benchmark,
first the one on the other side of the face, then the one on the same side, then from below and from above. What is
compared are the eight novel views that are never an input, the same for every number of inputs; `visible` and `hidden`
are by the first input. Every step sees all inputs, so that steps take the longer the more there are. As in the program,
fitting begins with what the generator's encoder sees, if it has one, and with its mattes.

The output directory (default: out/several_<split>) gets table.md, and cases/, from where the same command continues.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pmv_jax import images
from pmv_jax.checkpoints import hub
from pmv_jax.checkpoints.encoder import load_encoder
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.commandline.flags import Flags, recipe
from pmv_jax.commandline.run import command
from pmv_jax.config import InversionConfig, to_dict
from pmv_jax.errors import InputError
from pmv_jax.evaluation import comparison
from pmv_jax.evaluation.comparison import Reference
from pmv_jax.inputs import framing
from pmv_jax.inversion.pipeline import invert_photographs
from pmv_jax.inversion.stage import Photograph
from pmv_jax.models.encoder import Encoder
from pmv_jax.models.generator import Generator
from pmv_jax.results.remote import replace_text
from tools.benchmarks import cases as benchmark_cases
from tools.benchmarks import truth as benchmark_truth
from tools.benchmarks.cases import Case
from tools.benchmarks.tables import means
from tools.benchmarks.truth import Truth

LEFT, RIGHT, BELOW, ABOVE = 3, 9, 5, 11
"""Views of a truth that may be inputs: yaw -0.45 and 0.45, then pitch -0.3 and 0.3 near the front."""
COLUMNS = ("novel_psnr", "visible_psnr", "hidden_psnr", "novel_ssim", "novel_ms_ssim", "depth_rmse", "normal_angle")

FLAGS = Flags()
_HEADS_DIR = FLAGS.string("heads_dir", None, "Directory that python -m tools.benchmarks heads made. Required.")
_INPUTS = FLAGS.items("inputs", ["1", "2", "3", "5"], "Numbers of photographs, up to 5.")
_SPLIT = FLAGS.choice("split", "dev", list(benchmark_cases.SEEDS), "dev: for choices; test: for reporting.")
_HEADS = FLAGS.integer("heads", 4, "Number of heads.")
_GENERATOR = FLAGS.generator()
_CONFIG = FLAGS.config()
_SET = FLAGS.changes()
_OUT = FLAGS.out("out/several_<split>")


def order(case: Case) -> tuple[int, ...]:
    """Views of a case's truth in the order in which they become inputs."""
    sides = (LEFT, RIGHT) if case.yaw > 0 else (RIGHT, LEFT)
    return (0, *sides, BELOW, ABOVE)


def never_input(truth: Truth) -> Reference:
    """The first input, and the novel views that no number of inputs takes."""
    kept = [view for view in range(len(truth.cameras)) if view not in (LEFT, RIGHT, BELOW, ABOVE)]
    known = {name: value for name, value in vars(truth.reference).items() if value is not None}
    return Reference(**{name: value[kept] for name, value in known.items()})


def measure(
    case: Case,
    truth: Truth,
    inputs: int,
    generator: Generator,
    config: InversionConfig,
    encoder: Encoder | None = None,
    sheet: Path | None = None,
) -> dict[str, float]:
    """Figures of a head inverted from so many photographs, and `seconds` of its stages, compilation included.

    Args:
      encoder: the generator's, if it has one.
      sheet: where to leave a picture of three novel views.
    """

    def photograph(view: int) -> Photograph:
        matte = None if encoder is None else framing.matte_of(truth.image[view], encoder)
        return Photograph(truth.image[view], truth.cameras[view], matte=matte)

    photographs = [photograph(view) for view in order(case)[:inputs]]
    inversion = invert_photographs(photographs, generator, config, encoder=encoder)
    reference = never_input(truth)
    if sheet is not None:
        views = np.clip(inversion.render(reference.cameras[[1, 2, 5]])["image"], -1, 1)
        images.save_image(sheet, np.concatenate([*reference.image[[1, 2, 5]], *views], axis=1))
    figures = comparison.compare(inversion, reference)
    seconds = sum(stage.seconds for stage in inversion.stages)
    return {"input_psnr": figures["input_psnr"], **{name: figures[name] for name in COLUMNS}, "seconds": seconds}


def _numbers(values: list[str]) -> list[int]:
    if not values or any(value not in {"1", "2", "3", "4", "5"} for value in values):
        raise InputError(f"--inputs {','.join(values)}: must be numbers from 1 to 5, as 1,2,3,5")
    return sorted({int(value) for value in values})


@command(FLAGS)
def main() -> None:
    counts, config = _numbers(_INPUTS.value), recipe(_CONFIG.value, _SET.value)
    chosen = benchmark_cases.cases(_SPLIT.value, _HEADS.value)
    out = Path(os.path.abspath(_OUT.value or Path("out", f"several_{_SPLIT.value}")))
    generator = load_generator(_GENERATOR.value)
    encoder = load_encoder(hub.local_directory(_GENERATOR.value), generator)
    heads = benchmark_truth.check(_HEADS_DIR.value, chosen, Truth, generator.config)
    (out / "cases").mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, float]]] = {str(count): [] for count in counts}
    for count, case in tqdm([(count, case) for case in chosen for count in counts], unit="inversion"):
        path = out / "cases" / f"{case.name}_{count}.json"
        made_of = [
            generator.fingerprint(),
            encoder is None,
            dataclasses.asdict(case),
            benchmark_truth.digest(heads, case),
        ]
        request = json.loads(json.dumps([*made_of, count, to_dict(config)]))
        found = json.loads(path.read_text()) if path.is_file() else {}
        if found.get("request") != request:
            truth = benchmark_truth.load(heads, case, Truth)
            figures = measure(case, truth, count, generator, config, encoder, path.with_suffix(".png"))
            found = {"request": request, "figures": figures}
            replace_text(path, json.dumps(found, indent=1))
        rows[str(count)].append(found["figures"])
    text = comparison.markdown({count: means(figures) for count, figures in rows.items()}, first="photographs")
    replace_text(out / "table.md", text)
    print(f"Means over {len(chosen)} heads of the split {_SPLIT.value}.\n\n{text}", end="")


if __name__ == "__main__":
    sys.exit(main())
