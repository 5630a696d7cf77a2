"""Trains the encoder of a demo generator: what one glance at a photograph tells of camera, head and outline.

    python -m tools.train_encoder --data SHARDS --held_out OTHER_SHARDS --out DIR [--steps 6000] [--backgrounds DIR]

It learns from the rendered heads that the generator is trained on (`tools/heads`), before backdrops of all kinds and as
phones would have taken them. Their numbers are the generator's z, so it need not wait for the generator. It goes on
where it was stopped; once a minute it writes its state, and DIR/encoder, which belongs into the generator's directory.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from pmv_jax.checkpoints.encoder import save_encoder
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.errors import InputError
from tools.encoding import backdrops, loop
from tools.encoding.examples import Source, stack
from tools.training.data import Heads
from tools.training.loop import Log
from tools.training.network import NETWORK

FLAGS = Flags()
_DATA = FLAGS.string("data", None, "Directory of shards of rendered heads. Required.")
_HELD_OUT = FLAGS.string("held_out", None, "Directory of shards of heads that are not trained on. Required.")
_BACKGROUNDS = FLAGS.string("backgrounds", None, "Directory of pictures without people, pieces of which are backdrops.")
_STEPS = FLAGS.integer("steps", 6000, "Steps in all, in which the learning rate falls to zero.", least=1)
_OUT = FLAGS.out("out/encoder")
_SEED = FLAGS.seed()

BATCH = 16
FRESH, POOL = 4, 3000  # examples made at each step, and kept: making one costs as much as learning from three
TESTS = 128
_SAVE_SECONDS, _LOG_EVERY, _REFRESH = 60, 50, 100


@command(FLAGS)
def main() -> None:
    if not _DATA.value or not _HELD_OUT.value:
        raise InputError("--data and --held_out: give directories of shards, as tools.heads writes them")
    out, seed = Path(_OUT.value or "out/encoder"), _SEED.value or 0
    heads, held_out = Heads(_DATA.value), Heads(_HELD_OUT.value)
    config = EncoderConfig(code_dim=NETWORK.z_dim, code_space="z")
    pictures = _pictures(_BACKGROUNDS.value) if _BACKGROUNDS.value else []
    source = Source(heads, pictures, config.resolution)
    random = np.random.default_rng(0)
    tests = Source(held_out, pictures, config.resolution).batch(random, TESTS)
    out.mkdir(parents=True, exist_ok=True)
    state = loop.load(out, config) if (out / loop.STATE_FILE).exists() else loop.begin(config, seed)
    random = np.random.default_rng((seed, state.step))
    pool = deque((source.draw(random) for _ in range(100 * FRESH)), maxlen=POOL)
    figures, saved = [], time.monotonic()
    while state.step < _STEPS.value:
        if state.step % _REFRESH == 0:
            heads.refresh()
        pool.extend(source.draw(random) for _ in range(FRESH))
        batch = stack([pool[i] for i in random.integers(len(pool), size=BATCH)])
        state, figure = loop.advance(state, batch, loop.rate(state.step, _STEPS.value), config)
        figures.append(figure)
        if state.step % _LOG_EVERY == 0:
            tested = loop.test(state.average, tests, config)
            _log(out, state.step, len(heads), jax.tree.map(lambda *x: np.mean(x), *figures), tested)
            figures = []
        if time.monotonic() - saved > _SAVE_SECONDS:
            _save(state, out, config)
            saved = time.monotonic()
    _save(state, out, config)


def _save(state: loop.State, out: Path, config: EncoderConfig) -> None:
    loop.save(state, out)
    save_encoder(out / "encoder", loop.finished(state, config), {"steps": state.step}, replace=True)


def _log(out: Path, step: int, heads: int, *figures: dict) -> None:
    rounded = [{name: round(float(x), 4) for name, x in part.items()} for part in figures]
    Log(out / "log.jsonl").write({"step": step, "heads": heads, **rounded[0], "held_out": rounded[1]})


def _pictures(directory: str) -> backdrops.Pictures:
    paths = [p for p in sorted(Path(directory).iterdir()) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not paths:
        raise InputError(f"--backgrounds {directory}: holds no .jpg or .png; give a directory of pictures")
    return [Image.open(path).convert("RGB") for path in paths]


if __name__ == "__main__":
    sys.exit(main())
