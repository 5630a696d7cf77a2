"""Generators from the Hugging Face Hub: with a stand-in for what would fetch them, and from a real cache, offline."""

import json
import os
import sys
import types

import chex
import pytest

from pmv_jax.checkpoints import hub
from pmv_jax.checkpoints.orbax import load_generator, save_generator
from pmv_jax.errors import InputError
from tests import small_inversion


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """A stand-in for huggingface_hub that notes what it is asked for and gives one folder; returns both."""
    calls = []

    def snapshot_download(repository, revision, allow_patterns):
        calls.append((repository, revision, allow_patterns))
        return str(tmp_path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    return tmp_path, calls


def test_directories_are_themselves(tmp_path, fetched):
    assert hub.local_directory(tmp_path / "x") == tmp_path / "x" and not fetched[1]


def test_a_name_is_fetched_and_its_licence_shown(fetched):
    folder, calls = fetched
    (folder / "generator.json").write_text(json.dumps({"provenance": {"licence": "CC BY\n4.0"}}))
    with pytest.warns(UserWarning, match="hf://ann/heads@v1: licence: CC BY 4.0"):
        assert hub.local_directory("hf://ann/heads@v1") == folder
    assert calls == [("ann/heads", "v1", ["generator.json", "variables/*"])]


def test_load_generator_takes_names_and_says_what_a_repository_lacks(fetched):
    with pytest.warns(UserWarning, match="licence: not stated"), pytest.raises(InputError, match="no generator.json"):
        load_generator("hf://ann/empty")


@pytest.mark.parametrize("name", ["hf://heads", "hf://", "hf://a/b/c", "hf://a/b@", "hf://a/../b"])
def test_other_forms_are_refused(name, fetched):
    with pytest.raises(InputError, match="write hf://user/name"):
        hub.local_directory(name)
    assert not fetched[1]


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it fails
    with pytest.raises(InputError, match=r"pip install 'pmv_jax\[hub\]'"):
        hub.local_directory("hf://ann/heads")


def test_failure_to_fetch_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise OSError("401 Client Error.\nRepository Not Found")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=fail))
    with pytest.raises(InputError, match=r"^hf://ann/heads: cannot be fetched \(401 Client Error\.\); check the name"):
        hub.local_directory("hf://ann/heads")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache as huggingface_hub lays it out: one repository, its main branch and a tag, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--ann--heads", "0123456789" * 4
    snapshot = repository / "snapshots" / commit
    for folder in (snapshot.parent, repository / "refs", repository / "blobs"):
        folder.mkdir(parents=True)
    save_generator(snapshot, small_inversion.generator(), provenance={"licence": "CC BY 4.0"})
    files = [path for path in snapshot.rglob("*") if path.is_file()]
    for number, path in enumerate(files):  # each a link to its content, relative as the original's
        blob = path.rename(repository / "blobs" / f"{number:040x}")
        path.symlink_to(os.path.relpath(blob, path.parent))
    for name in ("main", "v1"):
        (repository / "refs" / name).write_text(commit)
    return snapshot


@pytest.mark.parametrize("name", ["hf://ann/heads", "hf://ann/heads@v1"])
def test_what_the_cache_holds_is_loaded_offline(cache, name):
    with pytest.warns(UserWarning, match=f"{name}: licence: CC BY 4.0"):
        assert hub.local_directory(name) == cache
        loaded = load_generator(name)
    assert loaded.config == small_inversion.CONFIG
    chex.assert_trees_all_equal(loaded.variables, small_inversion.generator().variables)


@pytest.mark.parametrize("name", ["hf://ann/faces", "hf://ann/heads@v2"])
def test_what_the_cache_lacks_is_one_line_offline(cache, name):
    with pytest.raises(InputError, match=f"{name}: cannot be fetched .*; check the name and the network"):
        load_generator(name)
