"""What of a generator is tuned, how the rest stays as it is, and inversions that are saved without it."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.config import WeightsConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion import tuned_weights, view_fitting
from pmv_jax.inversion.result import load_inversion
from tests import small_inversion

TUNED = ("['backbone']['synthesis']", "['decoder']", "['superresolution']")  # by a change of low rank
RANK = WeightsConfig(rank=1)


@pytest.fixture(scope="module")
def untuned():
    return small_inversion.make().generator


def leaves(generator):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(generator.params)}


@pytest.mark.parametrize("config", [WeightsConfig(), RANK])
def test_at_first_the_generator_is_the_untuned_one(untuned, config):
    tuned = tuned_weights.start(untuned.params, config)
    chex.assert_trees_all_equal(tuned_weights.merged(untuned, tuned).variables, untuned.variables)


@pytest.mark.parametrize(("config", "moving"), [(WeightsConfig(), ("['backbone']", *TUNED)), (RANK, TUNED)])
def test_weights_move_and_the_mapping_network_stays(untuned, config, moving):
    tuned, ws = tuned_weights.start(untuned.params, config), small_inversion.make().ws
    views, plan = small_inversion.four_views(), view_fitting.plan(3, weights_rate=1e-2)
    state, losses = view_fitting.run(
        view_fitting.start(jnp.array(ws), jax.tree.map(jnp.array, tuned)), untuned, views, plan, jnp.float32(1), None,
        jax.random.key(0), 3, loss_config=small_inversion.RECIPE.loss,
    )  # fmt: skip
    before, after = leaves(untuned), leaves(tuned_weights.merged(untuned, state.variables["params"]))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert all(name.startswith(moving) for name in changed)
    assert {name for name in before if name.startswith(TUNED) and name.endswith("['weight']")} <= changed
    assert not any(name.startswith("['backbone']['mapping']") for name in changed)
    assert losses[2] < losses[0]


def test_low_rank_is_small_and_of_low_rank(untuned):
    tuned = tuned_weights.start(untuned.params, RANK)
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert size(tuned) < 0.5 * size(untuned.params)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, tuned)
    change = tuned_weights.merged(untuned, moved).params["superresolution"]["block0"]["conv1"]["weight"]
    change = change - untuned.params["superresolution"]["block0"]["conv1"]["weight"]
    assert np.linalg.matrix_rank(np.asarray(change).reshape(-1, change.shape[-1]), tol=1e-4) == 1


def an_inversion(untuned):
    tuned = jax.tree.map(lambda leaf: leaf + 0.1, tuned_weights.start(untuned.params, RANK))
    whole = small_inversion.make()
    generator = jax.jit(tuned_weights.merged)(untuned, tuned)
    return dataclasses.replace(whole, generator=generator, tuned=tuned, stages=())


def test_an_inversion_is_saved_without_its_generator(untuned, tmp_path):
    inversion = an_inversion(untuned)
    inversion.save(tmp_path / "delta", base=untuned)
    loaded = load_inversion(tmp_path / "delta", base=small_inversion.make().generator)
    chex.assert_trees_all_equal(loaded.generator.variables, inversion.generator.variables)
    loaded.save(tmp_path / "again", base=untuned)
    loaded.save(tmp_path / "whole")
    whole = load_inversion(tmp_path / "whole")
    chex.assert_trees_all_equal(whole.generator.variables, inversion.generator.variables)


def test_its_generator_must_be_there_and_be_the_same(untuned, tmp_path):
    inversion = an_inversion(untuned)
    inversion.save(tmp_path / "delta", base=untuned)
    with pytest.raises(InputError, match="holds only what was tuned; give load_inversion the one whose fingerprint"):
        load_inversion(tmp_path / "delta")
    with pytest.raises(InputError, match="tuned from another generator"):
        load_inversion(tmp_path / "delta", base=inversion.generator)
    with pytest.raises(ValueError, match="edited since"):
        dataclasses.replace(inversion, generator=untuned).save(tmp_path / "wrong", base=untuned)
    assert not (tmp_path / "wrong").exists()
