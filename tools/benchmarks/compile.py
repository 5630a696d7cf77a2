"""What the compilers of devices that are not here say of a program: seconds to compile, code, memory, collectives,
FLOPs, and on TPUs an estimate of cycles, by line of source.

    python -m tools.benchmarks compile --target v5e:2x2 --generator random:ffhq512-128 --precision bfloat16
    python -m tools.benchmarks compile --target h100 --program render --json h100.json

Targets are `v5e:2x2`, `v6e:2x2`, `v5p:2x2x1` or any other shape, `h100` and `cpu`. TPUs need `pip install libtpu`, CUDA
`pip install 'jax-cuda12-plugin[with-cuda]'`; no device. Run on the CPU (`JAX_PLATFORMS=cpu`).
"""

from __future__ import annotations

import dataclasses
import json
import sys

import jax
from etils import epath

from pmv_jax.batch import compilation
from pmv_jax.batch.targets import target
from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.commandline.flags import Flags, recipe
from pmv_jax.commandline.run import command
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError, suggestion
from pmv_jax.models.generator import Generator
from pmv_jax.results.remote import replace_text

RANDOM = {"random:ffhq512-128": GeneratorConfig()}

FLAGS = Flags()
_TARGET = FLAGS.string("target", None, "What to compile for, such as v5e:2x2 or h100. Required.")
_PROGRAM = FLAGS.choice("program", "step", compilation.PROGRAMS, "Which program.")
_BATCH = FLAGS.integer("batch", 1, "Images a device.", least=1)
_PRECISION = FLAGS.choice("precision", "float32", ["float32", "bfloat16"], "Of convolutions and matrix products.")
_JSON = FLAGS.string("json", None, "File that the figures are written to.")
_GENERATOR = FLAGS.generator()
_CONFIG = FLAGS.config()
_SET = FLAGS.changes()


@command(FLAGS)
def main() -> int:
    if not _TARGET.value:
        raise InputError("--target is missing; give a device to compile for, such as --target v5e:2x2")
    where, settings = target(_TARGET.value), recipe(_CONFIG.value, _SET.value)
    figures = compilation.compile_program(_PROGRAM.value, _generator(), settings, where, _BATCH.value)
    for line in table(figures):
        print(line)
    if where.chip.memory:
        print(f"{'images a device that fit':36}{compilation.images_that_fit(figures, where):14}")
    if _JSON.value:
        replace_text(
            epath.Path(_JSON.value), json.dumps({"jax": jax.__version__, **dataclasses.asdict(figures)}, indent=1)
        )
    return 0


def table(figures: compilation.Figures) -> list[str]:
    """The figures, a line for each."""
    cells = {
        "seconds to compile": f"{figures.compile_seconds:.0f}",
        "code, MB": f"{figures.code_bytes / 1e6:.1f}",
        "arguments, GB": f"{figures.argument_bytes / 1e9:.3f}",
        "temporary arrays, GB": f"{figures.temporary_bytes / 1e9:.3f}",
        "each further image, GB": f"{figures.image_bytes / 1e9:.3f}",
        "TFLOP, loops of unknown length once": f"{figures.flops / 1e12:.3f}",
        "collectives": ", ".join(figures.collectives) or "none",
    }
    if figures.cycles:
        cells["cycles, M, compiler's estimate"] = f"{figures.cycles / 1e6:.1f}"
        for kind, rows in figures.moved.items():
            cells[f"{kind} rows, M, without an estimate"] = f"{rows / 1e6:.2f}"
        cells["cycles, M, of these, our estimate"] = f"{figures.moved_cycles / 1e6:.1f}"
        cells["seconds, estimate"] = f"{figures.seconds:.3f}"
        cells["share of the matrix units, estimate"] = f"{figures.share:.1%}"
    lines = [f"{name:36}{value:>14}" for name, value in cells.items()]
    return lines + [f"{cycles / 1e6:12.2f} M cycles  {line}" for line, cycles in figures.dearest]


def _generator() -> Generator:
    name = _GENERATOR.value or default_generator_directory()
    if str(name).startswith("random:"):
        if name not in RANDOM:
            raise InputError(f"--generator {name}: no such configuration; {suggestion(name, RANDOM)}")
        generator = compilation.shapes_of_generator(RANDOM[name])
    else:
        generator = load_generator(name)
    return generator.replace(config=dataclasses.replace(generator.config, compute_dtype=_PRECISION.value))


if __name__ == "__main__":
    sys.exit(main())
