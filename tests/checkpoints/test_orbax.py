"""Saving and loading: exact, complete or absent, and one-line errors for whatever can be wrong with a directory."""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.checkpoints import orbax as checkpoints
from pmv_jax.config import BackboneConfig, GeneratorConfig, MappingConfig, RenderingConfig, SuperresolutionConfig
from pmv_jax.errors import InputError
from pmv_jax.models.generator import Generator

CONFIG = GeneratorConfig(
    z_dim=4,
    w_dim=4,
    image_resolution=16,
    mapping=MappingConfig(num_layers=1),
    backbone=BackboneConfig(plane_resolution=8, plane_channels=2, channel_base=32, channel_max=4),
    rendering=RenderingConfig(neural_resolution=4, coarse_samples=4, fine_samples=4),
    superresolution=SuperresolutionConfig(input_resolution=8, block_channels=(4, 4), block_upsamples=(False, True)),
    camera_pivot=(0.0, 0.1, 0.2),
)
PROVENANCE = {"source_file": "x.pkl", "sha256": "0" * 64, "licence": "none"}


@pytest.fixture(scope="module")
def generator():
    rng = np.random.default_rng(0)
    shapes = checkpoints.variable_shapes(CONFIG)
    return Generator(CONFIG, jax.tree.map(lambda s: rng.standard_normal(s.shape, np.float32), shapes))


@pytest.fixture
def saved(generator, tmp_path):
    checkpoints.save_generator(tmp_path / "generator", generator, PROVENANCE)
    return tmp_path / "generator"


def edit(directory, change):
    path = directory / "generator.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


def assert_same(tree, other, tolerance=0.0):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance), tree, other)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 0.0), ("bfloat16", 2**-8), ("float16", 2**-9)])
def test_a_generator_comes_back(generator, tmp_path, dtype, tolerance):
    checkpoints.save_generator(tmp_path / "a" / "b", generator, PROVENANCE, dtype)
    loaded = checkpoints.load_generator(tmp_path / "a" / "b")
    assert loaded.config == CONFIG
    assert_same(loaded.variables, generator.variables, tolerance)
    assert {x.dtype for x in jax.tree.leaves(loaded.variables)} == {jnp.dtype("float32")}
    assert json.loads((tmp_path / "a" / "b" / "generator.json").read_text())["provenance"] == PROVENANCE
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]


def test_a_saved_generator_is_a_few_files_that_can_be_moved(generator, saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    shutil.rmtree(saved)
    assert_same(checkpoints.load_generator(tmp_path / "copy").variables, generator.variables)
    assert sum(path.is_file() for path in (tmp_path / "copy").rglob("*")) < 30


def test_device_arrays_leave_no_trace_of_their_devices(tmp_path):
    sharding = jax.sharding.NamedSharding(jax.make_mesh((1,), ("i",)), jax.sharding.PartitionSpec("i"))
    tree = {"a": jax.device_put(jnp.arange(4.0), sharding), "b": {"c": np.array(2, np.int32), "d": jnp.zeros((), bool)}}
    checkpoints.save_tree(tmp_path / "tree", tree)
    loaded = checkpoints.load_tree(tmp_path / "tree")
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(loaded))
    assert loaded["b"]["c"].dtype == np.int32 and loaded["b"]["c"].shape == ()
    assert_same(loaded, tree)
    assert not list((tmp_path / "tree").rglob("*sharding*"))


def test_an_existing_directory_is_only_replaced_on_demand(generator, saved, tmp_path):
    other = dataclasses.replace(generator, variables=jax.tree.map(lambda x: x + 1, generator.variables))
    with pytest.raises(InputError, match="exists; give --force"):
        checkpoints.save_generator(saved, other, PROVENANCE)
    assert_same(checkpoints.load_generator(saved).variables, generator.variables)
    checkpoints.save_generator(saved, other, PROVENANCE, replace=True)
    assert_same(checkpoints.load_generator(saved).variables, other.variables)
    assert [p.name for p in tmp_path.iterdir()] == ["generator"]


def test_what_is_no_generator_is_never_replaced(generator, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("thesis", "file"):
        with pytest.raises(InputError, match="is not a saved generator"):
            checkpoints.save_generator(tmp_path / name, generator, PROVENANCE, replace=True)
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "x"


@pytest.mark.parametrize("replace", [False, True])
def test_a_full_disk_leaves_things_as_they_were(generator, saved, tmp_path, monkeypatch, replace):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    target = saved if replace else tmp_path / "new"
    with pytest.raises(InputError, match="No space left on device; free some space"):
        checkpoints.save_generator(target, generator, PROVENANCE, replace=replace)
    assert [p.name for p in tmp_path.iterdir()] == ["generator"]
    assert_same(checkpoints.load_generator(saved).variables, generator.variables)


def test_a_failed_last_rename_puts_the_old_directory_back(saved, generator, tmp_path, monkeypatch):
    rename = type(tmp_path).rename

    def failing(self, target):
        if self.name == "new":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(type(tmp_path), "rename", failing)
    with pytest.raises(InputError, match="cannot be written"):
        checkpoints.save_generator(saved, generator, PROVENANCE, replace=True)
    assert_same(checkpoints.load_generator(saved).variables, generator.variables)


def test_weights_beyond_the_range_of_float16_are_refused(generator, tmp_path):
    large = dataclasses.replace(generator, variables=jax.tree.map(lambda x: x + 1e6, generator.variables))
    with pytest.raises(InputError, match="cannot be stored as float16"):
        checkpoints.save_generator(tmp_path / "x", large, PROVENANCE, "float16")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda d: d.update(format_version=99), "format version 99"),
        (lambda d: d.pop("format_version"), "format version None"),
        (lambda d: d.pop("config"), "config: None is not a group of settings"),
        (lambda d: d["config"].update(z_dmi=3), "unknown setting 'z_dmi'; did you mean 'z_dim'"),
        (lambda d: d["config"].update(z_dim="four"), "'four' is not"),
        (lambda d: d["config"].update(z_dim=5), "1 variables do not fit .*fc0.weight has shape \\(8, 4\\) instead of"),
        (lambda d: d["config"].update(z_dim=-3), "z_dim: -3 is not a whole number from 1"),
        (lambda d: d["config"].update(c_dim=5 * 10**15), "c_dim"),
        (lambda d: d["config"]["mapping"].update(num_layers=2), "missing params.backbone.mapping.fc1.weight"),
        (lambda d: d["config"]["backbone"].update(plane_resolution=4), "unknown params.backbone.synthesis.b8"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(saved, change, problem):
    edit(saved, change)
    with pytest.raises(InputError, match=problem) as error:
        checkpoints.load_generator(saved)
    assert str(saved) in str(error.value) and "\n" not in str(error.value)


def test_incomplete_directories_are_refused(saved, tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        checkpoints.load_generator(tmp_path / "none")
    with pytest.raises(InputError, match="holds no generator.json"):
        checkpoints.load_generator(tmp_path)
    manifest = saved / "variables" / "manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:20])
    with pytest.raises(InputError, match="variables: the checkpoint cannot be read"):
        checkpoints.load_generator(saved)
    shutil.rmtree(saved / "variables")
    with pytest.raises(InputError, match="variables: no such directory"):
        checkpoints.load_generator(saved)
    (saved / "generator.json").write_text("{")
    with pytest.raises(InputError, match="generator.json: cannot be read"):
        checkpoints.load_generator(saved)


def test_without_a_directory_it_is_the_demo_generator():
    demo = Path(__file__).parents[2] / "weights" / "demo"
    found, expected = checkpoints.load_generator(), checkpoints.load_generator(demo)
    assert found.config == expected.config
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)
