"""The loop: a resumed training is the same training, stages grow the network, and finishing cools a copy."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from pmv_jax.errors import InputError
from tests import rendered_spheres as spheres
from tools.training import network, recipe, report
from tools.training.data import Heads
from tools.training.loop import AVERAGE_FILE, STATE_FILE, Log, Training
from tools.training.recipe import RECIPE, Stage

TINY = dataclasses.replace(
    network.NETWORK,
    w_dim=8,
    image_resolution=spheres.SIZE,
    backbone=dataclasses.replace(
        network.NETWORK.backbone, plane_resolution=16, plane_channels=4, channel_base=64, channel_max=8
    ),
    decoder=dataclasses.replace(network.NETWORK.decoder, hidden_features=8, output_features=4),
    rendering=dataclasses.replace(network.NETWORK.rendering, neural_resolution=8, coarse_samples=4, fine_samples=4),
    superresolution=dataclasses.replace(network.NETWORK.superresolution, input_resolution=8, block_channels=(8, 4)),
)
STAGES = (
    Stage("rays", 3, 5e-3, 8, heads=2, views=2, rays=16, guided=6),
    Stage("surface", None, 2e-3, 16, 2, 1, rays=36, images=True, as_rendered=True, guided=6, distance_weight=4.0),
)


@pytest.fixture
def training(tmp_path):
    spheres.shard(tmp_path / "shard_0000.npz", heads=3, views=2, seed=0)
    return Training(TINY, Heads(tmp_path), seed=1, stages=STAGES)


def _run(training, state, steps):
    for _ in range(steps):
        state = training.advance(training.step(state)[0])
    return state


def _same(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def test_resumed_training_is_the_uninterrupted_one(training, tmp_path):
    straight = _run(training, training.begin(), 5)
    halfway = _run(training, training.begin(), 4)
    training.save(halfway, tmp_path)
    again = Training(TINY, Heads(tmp_path), seed=1, stages=STAGES)
    resumed = _run(again, again.load(tmp_path), 1)
    assert (resumed.stage, resumed.step) == (straight.stage, straight.step) == (1, 2)
    assert _same(resumed.weights, straight.weights)


def test_a_stage_begins_with_the_average_of_the_one_before_and_paints_the_same(training):
    before = _run(training, training.begin(), 2)
    last = training.step(before)[0]
    average = jax.tree.map(np.asarray, last.weights.average)
    after = training.advance(last)
    assert (after.stage, after.step) == (1, 0)
    grown = after.weights.params["backbone"]["synthesis"]
    for name, block in average["backbone"]["synthesis"].items():
        assert _same(block, grown[name])
    assert set(grown) - set(average["backbone"]["synthesis"]) == {"b16"}
    fresh = network.fresh(TINY, 1).params["backbone"]["synthesis"]["b16"]["torgb"]["weight"]
    np.testing.assert_allclose(grown["b16"]["torgb"]["weight"], 0.02 * fresh, rtol=1e-6)


def test_new_heads_are_learned_from_without_a_new_start(training, tmp_path):
    state = training.begin()
    spheres.shard(tmp_path / "shard_0001.npz", heads=4, views=2, seed=1)
    assert state.heads == 3 and training.step(state)[0].heads == 7


def test_finishing_cools_down_and_leaves_the_saved_state_alone(training, tmp_path, monkeypatch):
    state = _run(training, training.begin(), 3)
    training.save(state, tmp_path)
    saved = (tmp_path / STATE_FILE).read_bytes()
    rates, step = [], training.step
    monkeypatch.setattr(training, "step", lambda state, rate: rates.append(rate) or step(state, rate))
    seen = []
    done = training.finish(state, 4, lambda state, figures: seen.append(state.step))
    assert seen == [1, 2, 3, 4] and done.step == 4
    assert rates[0] == STAGES[1].learning_rate and all(a > b for a, b in itertools.pairwise(rates))
    assert (tmp_path / STATE_FILE).read_bytes() == saved


def test_the_rate_cools_to_nothing_and_warms_up_from_little():
    stage = RECIPE[-1]
    assert recipe.warm(stage, 0) == pytest.approx(stage.learning_rate / recipe.WARM_UP)
    assert recipe.warm(stage, recipe.WARM_UP) == recipe.warm(stage, 10**6) == stage.learning_rate
    assert recipe.cooling(stage, 400, 400) == 0
    assert recipe.cooling(stage, 100, 400) == pytest.approx(stage.learning_rate / 2)


def test_the_state_of_another_network_is_refused(training, tmp_path):
    training.save(training.begin(), tmp_path)
    other = Training(dataclasses.replace(TINY, w_dim=12), training.heads, stages=STAGES)
    with pytest.raises(InputError, match="another network"):
        other.load(tmp_path)


def test_the_stage_without_end_begins_with_averaged_weights_that_have_travelled(training, tmp_path):
    state = training.begin(1)
    training.save_average(state, tmp_path)
    begun = training.begin_open(tmp_path / AVERAGE_FILE)
    assert (begun.stage, begun.step) == (1, 0) and _same(begun.weights.params, state.weights.average)
    with pytest.raises(InputError, match="no such file"):
        training.begin_open(tmp_path / "nothing.npz")


def test_the_recipe_asks_for_distances_of_rendered_rays_alone_and_ends_open():
    assert all(stage.as_rendered for stage in RECIPE if stage.distance_weight)
    assert [stage.steps is None for stage in RECIPE] == [False, True, True]  # the last one is for `--finish`


def test_the_log_has_means_and_the_time(tmp_path, training):
    log, state = Log(tmp_path / "log.jsonl", every=2), training.begin()
    for step, value in enumerate((1.0, 3.0, 5.0), 1):
        log.step("rays", dataclasses.replace(state, step=step), {"loss": np.float32(value)})
    log.step("images", dataclasses.replace(state, stage=1, step=1), {"psnr": np.float32(20.0)})
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert '"loss": 2.0' in line and '"time": "' in line


def test_figures_and_sheet_of_a_generator(training):
    generator = training.generator(training.begin(1))
    figures = report.figures(generator, training.heads, 2)
    assert 0 <= figures["mask_iou"] <= 1 and 0 < figures["psnr"] < 60 and 0 <= figures["depth_missed"] <= 1
    assert report.contact_sheet(generator, training.heads, [0, 2]).size == (2 * spheres.SIZE, 4 * spheres.SIZE)
