"""Trains a completer: what other views show of a head, where a photograph shows only a part.

    python -m tools.train_completer --data SHARDS[,DRESSED_SHARDS] --held_out OTHER_SHARDS[,...] --out DIR

It learns from two views of each rendered head (`tools/heads`): the encoder looks at one, as a photograph, and what it
sees is carried into the other, which is the truth. So an encoder comes first (`tools.train_encoder`), that of
--generator.

It goes on where it was stopped; once a minute it writes its state, and OUT/completer, which belongs into the
generator's directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.checkpoints.encoder import load_encoder, save_completer
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.config.completer import CompleterConfig
from pmv_jax.errors import InputError
from pmv_jax.models.completer import Completer
from tools.encoding import backdrops, completer_loss, loop
from tools.encoding.examples import stack
from tools.encoding.pairs import Pairs
from tools.training.data import Heads

FLAGS = Flags()
_DATA = FLAGS.items("data", [], "Directories of shards of rendered heads, with several views of each. Required.")
_HELD_OUT = FLAGS.items("held_out", [], "Directories of shards of heads that are not trained on. Required.")
_GENERATOR = FLAGS.generator()
_BACKGROUNDS = FLAGS.string("backgrounds", None, "Directory of pictures without people, pieces of which are backdrops.")
_STEPS = FLAGS.integer("steps", 6000, "Steps in all, in which the learning rate falls to zero.", least=1)
_OUT = FLAGS.out("out/completer")
_SEED = FLAGS.seed()

FRESH = 4  # new pairs at each step: making one takes as long as learning from it
TESTS = 192


@command(FLAGS)
def main() -> None:
    if not _DATA.value or not _HELD_OUT.value:
        raise InputError("--data and --held_out: give shards, as tools.heads writes them")
    directory = _GENERATOR.value or default_generator_directory()
    generator = load_generator(directory)
    encoder = load_encoder(directory, generator)
    if encoder is None:
        raise InputError(f"--generator {directory}: has no encoder; python -m tools.train_encoder trains one")
    out, config = Path(_OUT.value or "out/completer"), CompleterConfig()
    pictures = backdrops.pictures(_BACKGROUNDS.value)
    train, held_out = (
        Pairs([Heads(shards) for shards in each], pictures, encoder, config.resolution)
        for each in (_DATA.value, _HELD_OUT.value)
    )
    tests = stack(held_out.draw(np.random.default_rng(loop.TEST_SEED), TESTS))

    def ship(state: loop.State) -> None:
        completer = Completer(config, state.average)
        save_completer(out / "completer", completer, generator.config, {"steps": state.step}, replace=True)

    pool = loop.Pool(train.draw, FRESH, train.refresh)
    loop.run(completer_loss.network(config), pool, tests, out, _STEPS.value, _SEED.value or 0, ship)


if __name__ == "__main__":
    sys.exit(main())
