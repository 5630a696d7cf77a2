"""Heads from two sides, and a completer that learns from them."""

import jax
import numpy as np
import pytest

from pmv_jax.config.completer import CompleterConfig
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.models import encoder
from pmv_jax.models.completer import SEEN_CHANNELS, CompletionReadings
from tests import rendered_spheres
from tools.encoding import completer_loss, loop
from tools.encoding.examples import stack
from tools.encoding.pairs import Pairs
from tools.training.data import Heads

CONFIG = CompleterConfig(resolution=32, widths=(4, 4, 4, 4), blocks=(0, 0, 0, 0))
NETWORK = completer_loss.network(CONFIG)
ENCODER = EncoderConfig(resolution=32, widths=(4, 4, 4, 4, 4), blocks=(0, 0, 0, 0, 0), hidden_features=4)


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    shards = tmp_path_factory.mktemp("shards")
    rendered_spheres.shard(shards / "shard_0000.npz", heads=3, views=3, seed=0)
    new = encoder.initialise(ENCODER, jax.random.key(0))
    pairs = Pairs([Heads(shards)], [], new, CONFIG.resolution)
    first, second = (stack(pairs.draw(np.random.default_rng(1), 16)) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)  # of the random numbers alone
    return first


def test_pairs_are_views_with_their_truth(batch):
    assert batch.seen.shape == (16, 32, 32, SEEN_CHANNELS)
    assert batch.colour.shape == (16, 32, 32, 3) and np.abs(batch.colour).max() <= 1
    known = np.isfinite(batch.relief)
    assert (batch.matte[known] > 0.98).all() and known.mean() > 0.5 * (batch.matte > 0.5).mean() > 0.02
    turns = batch.seen[:, 0, 0, -2:]
    assert np.ptp(turns, axis=0).min() > 0.1, "views of other sides"


def test_a_completer_learns_what_it_is_shown(batch):
    state, losses = loop.begin(NETWORK, 0), []
    for _ in range(40):
        state, figures = loop.advance(state, batch, 5e-3, NETWORK)
        losses.append(float(figures["loss"]))
    assert losses[-1] < losses[0] - 2
    assert loop.test(state.params, batch, NETWORK)["matte"] < 0.1


def test_errors_are_in_units_of_the_world_and_of_colours(batch):
    nothing = np.zeros((16, 32, 32), np.float32)
    readings = CompletionReadings(
        matte_logits=batch.matte - 0.5,
        relief=(np.nan_to_num(batch.relief) + 0.02) / 0.1,
        relief_log_width=nothing,
        colour=batch.colour + 0.2,
        colour_log_width=nothing,
    )
    seen = batch.seen.copy()
    seen[..., 0] = 1  # nothing is hidden, so nothing is counted there
    errors = completer_loss.told_errors(readings, batch._replace(seen=seen))
    expected = {"matte": 0.0, "relief": 0.02, "hidden_relief": 0.0, "colour": 0.01, "hidden_colour": 0.0}
    assert {name: pytest.approx(float(x), abs=1e-4) for name, x in errors.items()} == expected


def test_what_is_no_head_has_neither_relief_nor_colour_to_learn(batch):
    params = loop.begin(NETWORK, 0).params
    nothing = batch._replace(relief=np.full_like(batch.relief, np.nan), matte=np.zeros_like(batch.matte))
    other = nothing._replace(colour=-nothing.colour)
    losses = [float(completer_loss.loss(params, each, CONFIG)[0]) for each in (nothing, other, batch)]
    assert losses[0] == losses[1] != losses[2] and np.isfinite(losses).all()
