"""Trains an encoder: what one glance at a photograph tells of camera, head, outline and depth.

    python -m tools.train_encoder --data SHARDS[,DRESSED_SHARDS] --held_out OTHER_SHARDS --out DIR [--backgrounds DIR]
    python -m tools.train_encoder --generator DIR --out DIR [--steps 6000]

The demo generator's learns from the rendered heads that the generator is trained on (`tools/heads`), before backdrops
of all kinds, and as often from dressed ones, if there are some (`tools.heads dataset --outfits`), so that hats and
glasses are part of a head. Their numbers are the generator's z, so it need not wait for the generator. With --generator
it is that of any other generator, such as a converted official one: it learns from heads that this draws itself, and
tells their w. Either way the pictures are as phones would have taken them.

It goes on where it was stopped; once a minute it writes its state, and OUT/encoder, which belongs into the generator's
directory.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pmv_jax.checkpoints.encoder import save_encoder
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.errors import InputError
from pmv_jax.models.encoder import Encoder
from pmv_jax.models.generator import Generator
from tools.encoding import backdrops, encoder_loss, loop
from tools.encoding.examples import Source, stack
from tools.encoding.samples import Samples
from tools.training.data import Heads
from tools.training.network import NETWORK

FLAGS = Flags()
_DATA = FLAGS.items("data", [], "Directories of shards of rendered heads. This or --generator is required.")
_HELD_OUT = FLAGS.string("held_out", None, "With --data: directory of shards of heads that are not trained on.")
_GENERATOR = FLAGS.string("generator", None, "Directory of a generator that draws its own heads.")
_BACKGROUNDS = FLAGS.string("backgrounds", None, "Directory of pictures without people, pieces of which are backdrops.")
_STEPS = FLAGS.integer("steps", 6000, "Steps in all, in which the learning rate falls to zero.", least=1)
_OUT = FLAGS.out("out/encoder")
_SEED = FLAGS.seed()

# New examples at each step: making one of shards takes a third of the time that learning from it does, drawing one with
# a generator many times as long. Batches are drawn from the last ones.
FROM_SHARDS, FROM_GENERATOR = 16, 4
TESTS = 128


@command(FLAGS)
def main() -> None:
    out, seed = Path(_OUT.value or "out/encoder"), _SEED.value or 0
    course = _own_samples(_GENERATOR.value) if _GENERATOR.value else _rendered_heads()
    random = np.random.default_rng(loop.TEST_SEED)
    tests = stack([course.held_out.draw(random) for _ in range(TESTS)])
    pool = loop.Pool(
        lambda random, count: [course.source.draw(random) for _ in range(count)], course.fresh, course.source.refresh
    )

    def ship(state: loop.State) -> None:
        encoder = Encoder(course.config, state.average)
        save_encoder(out / "encoder", encoder, course.generator, {"steps": state.step}, replace=True)

    loop.run(encoder_loss.network(course.config), pool, tests, out, _STEPS.value, seed, ship)


class Course(NamedTuple):
    """What is trained on.

    Attributes:
      config: of the encoder.
      generator: that it is to belong to.
      source, held_out: examples to learn from, and to test with.
      fresh: new examples at each step.
    """

    config: EncoderConfig
    generator: Generator
    source: Source | Samples
    held_out: Source | Samples
    fresh: int


def _rendered_heads() -> Course:
    if not _DATA.value or not _HELD_OUT.value:
        raise InputError("--data and --held_out: give shards, as tools.heads writes them; or give --generator DIR")
    config = EncoderConfig(code_dim=NETWORK.z_dim, code_space="z")
    pictures = backdrops.pictures(_BACKGROUNDS.value)
    sources = (
        Source([Heads(shards) for shards in each], pictures, config.resolution)
        for each in (_DATA.value, [_HELD_OUT.value])
    )
    return Course(config, Generator(NETWORK, {}), *sources, FROM_SHARDS)


def _own_samples(directory: str) -> Course:
    given = next((name for name in ("data", "held_out", "backgrounds") if name in FLAGS.given()), None)
    if given is not None:
        raise InputError(f"--{given} and --generator exclude each other; with --generator it draws its own heads")
    generator = load_generator(directory)
    config = EncoderConfig(code_dim=generator.config.w_dim, code_space="w")
    source = Samples(generator, config.resolution)
    return Course(config, generator, source, source, FROM_GENERATOR)


if __name__ == "__main__":
    sys.exit(main())
