"""Trains the demo generator: a tri-plane network in small, supervised by rendered heads with known latents.

    python -m tools.train_demo_generator --data DIR --out DIR               # for ever; resumes where it stopped
    python -m tools.train_demo_generator --data DIR --out DIR --finish 1500 # a generator to keep, from its state

A discriminator would need millions of images. Here the latent of every head is known, so the network is simply
regressed: it gets a head's numbers, and those of the backdrop, as `z` and must render that head (`tools/training`).

Shards may be added to `--data` while it runs. Once a minute it writes its state; every `--report_minutes` the averaged
weights as a generator directory, figures on the heads of `--held_out`, and contact sheets, truth above generated.
`--finish` leaves the state alone and writes to `OUT/finished`; training can go on from the same state afterwards.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

from pmv_jax.checkpoints import orbax as checkpoints
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.errors import InputError
from tools.training import report
from tools.training.data import Heads
from tools.training.loop import STATE_FILE, Log, State, Training
from tools.training.network import NETWORK
from tools.training.recipe import RECIPE

FLAGS = Flags()
_DATA = FLAGS.string("data", None, "Directory of shards of rendered heads. Required.")
_HELD_OUT = FLAGS.string("held_out", None, "Directory of shards of heads that are not trained on, for figures.")
_FINISH = FLAGS.integer("finish", None, "Steps of the last stage, in which the learning rate falls to zero.", least=1)
_INIT = FLAGS.string("init", None, "Averaged weights (average.npz) with which to begin the stage without end.")
_BATCH = FLAGS.integer("batch", 1, "Multiplies the heads of a step.", least=1)
_HOURS = FLAGS.number("hours", None, "Time after which to stop.")
_REPORT = FLAGS.number("report_minutes", 15.0, "Time between reports.", least=0.0)
_OUT = FLAGS.out("out/demo_generator")
_SEED = FLAGS.seed()
_SAVE_SECONDS = 60


@command(FLAGS)
def main() -> None:
    if not _DATA.value:
        raise InputError("--data: give the directory of the shards to train on")
    out = Path(_OUT.value or "out/demo_generator")
    stages = tuple(dataclasses.replace(stage, heads=_BATCH.value * stage.heads) for stage in RECIPE)
    training = Training(NETWORK, Heads(_DATA.value), _SEED.value or 0, stages)
    held_out = Heads(_HELD_OUT.value) if _HELD_OUT.value else None
    out.mkdir(parents=True, exist_ok=True)
    if (out / STATE_FILE).exists():
        state = training.load(out)
    else:
        state = training.begin_open(Path(_INIT.value)) if _INIT.value else training.begin()
    if _FINISH.value:
        _finish(training, state, out / "finished", held_out)
    else:
        _train(training, state, out, held_out)


def _train(training: Training, state: State, out: Path, held_out: Heads | None) -> None:
    log, begun = Log(out / "log.jsonl"), time.time()
    saved = reported = begun
    while _HOURS.value is None or time.time() - begun < 3600 * _HOURS.value:
        state, figures = training.step(state)
        log.step(training.stages[state.stage].name, state, figures)
        state = training.advance(state)
        if time.time() - saved > _SAVE_SECONDS:
            training.save(state, out)
            saved = time.time()
        if time.time() - reported > 60 * _REPORT.value:
            _report(training, state, out, held_out, log)
            reported = time.time()
    training.save(state, out)
    _report(training, state, out, held_out, log)


def _finish(training: Training, state: State, out: Path, held_out: Heads | None) -> None:
    out.mkdir(exist_ok=True)
    log = Log(out / "log.jsonl")
    name = training.stages[-1].name
    state = training.finish(state, _FINISH.value, lambda state, figures: log.step(name, state, figures))
    _report(training, state, out, held_out, log)


def _report(training: Training, state: State, out: Path, held_out: Heads | None, log: Log) -> None:
    generator = training.generator(state)
    name = training.stages[state.stage].name
    line = {"stage": name, "step": state.step, "heads": state.heads}
    sheets = {"train": training.heads}
    if held_out is not None:
        sheets["held_out"] = held_out
        line["held_out"] = report.figures(generator, held_out, 40)
    line["train"] = report.figures(generator, training.heads, 20)
    log.write(line)
    for what, heads in sheets.items():
        report.contact_sheet(generator, heads, [0, 1, 2, 3]).save(
            out / f"{name}_{state.step:06d}_{what}.jpg", quality=92
        )
    training.save_average(state, out)
    provenance = {"made_by": "tools/train_demo_generator.py", "licence": "same as this repository", "recipe": line}
    checkpoints.save_generator(out / "generator", generator, provenance, dtype="bfloat16", replace=True)


if __name__ == "__main__":
    sys.exit(main())
