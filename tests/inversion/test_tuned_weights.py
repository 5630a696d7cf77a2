"""What of a generator is tuned, how the rest stays as it is, and inversions that are saved without it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.config import InversionConfig, WeightsConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion import tuned_weights as parameters
from pmv_jax.inversion import view_fitting as fitting
from pmv_jax.inversion.result import load_inversion
from tests import small_inversion

pytestmark = pytest.mark.usefixtures("quick_compilation")

GROUPS = {
    "backbone": ("['backbone']['synthesis']",),
    "super_resolution": ("['superresolution']",),
    "low_rank": ("['backbone']['synthesis']", "['decoder']", "['superresolution']"),
}
RANK = WeightsConfig(group="low_rank", rank=1)


@pytest.fixture(scope="module")
def untuned():
    return small_inversion.make().generator


def leaves(generator):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(generator.params)}


@pytest.mark.parametrize("group", ["all", *GROUPS])
def test_at_first_the_generator_is_the_untuned_one(untuned, group):
    tuned = parameters.start(untuned.params, WeightsConfig(group=group, rank=1))
    jax.tree.map(np.testing.assert_array_equal, parameters.merged(untuned, tuned).variables, untuned.variables)


@pytest.mark.parametrize("group", GROUPS)
def test_only_the_group_is_tuned(untuned, group):
    tuned, ws = parameters.start(untuned.params, WeightsConfig(group=group, rank=1)), small_inversion.make().ws
    size, plan = small_inversion.SIZE, fitting.plan(3, weights_rate=1e-2)
    views = fitting.single_view(jnp.zeros((size, size, 3)), cameras.look_at(0.0, 0.0))
    state, losses = fitting.run(
        fitting.start(jnp.array(ws), jax.tree.map(jnp.array, tuned)), untuned, views, plan, jnp.float32(1), None,
        jax.random.key(0), 3, loss_config=InversionConfig().loss, views_at_once=1,
    )  # fmt: skip
    before, after = leaves(untuned), leaves(parameters.merged(untuned, state.variables["params"]))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed and all(name.startswith(GROUPS[group]) for name in changed)
    assert {name for name in before if name.startswith(GROUPS[group]) and name.endswith("['weight']")} <= changed
    assert losses[2] < losses[0]


def test_low_rank_is_small_and_of_low_rank(untuned):
    tuned = parameters.start(untuned.params, RANK)
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert size(tuned) < 0.5 * size(untuned.params)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, tuned)
    change = parameters.merged(untuned, moved).params["superresolution"]["block0"]["conv1"]["weight"]
    change = change - untuned.params["superresolution"]["block0"]["conv1"]["weight"]
    assert np.linalg.matrix_rank(np.asarray(change).reshape(-1, change.shape[-1]), tol=1e-4) == 1


def an_inversion(untuned):
    tuned = jax.tree.map(lambda leaf: leaf + 0.1, parameters.start(untuned.params, RANK))
    whole = small_inversion.make()
    generator = jax.jit(parameters.merged)(untuned, tuned)
    return dataclasses.replace(whole, generator=generator, tuned=tuned, stages=())


def test_an_inversion_is_saved_without_its_generator(untuned, tmp_path):
    inversion = an_inversion(untuned)
    inversion.save(tmp_path / "delta", base=untuned)
    loaded = load_inversion(tmp_path / "delta", base=small_inversion.make().generator)
    jax.tree.map(np.testing.assert_array_equal, loaded.generator.variables, inversion.generator.variables)
    loaded.save(tmp_path / "again", base=untuned)
    loaded.save(tmp_path / "whole")
    whole = load_inversion(tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, whole.generator.variables, inversion.generator.variables)


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
