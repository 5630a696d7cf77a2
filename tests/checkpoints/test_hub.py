"""Generators from the Hugging Face Hub, with a stand-in for what would fetch them."""

import json
import sys
import types

import pytest

from pmv_jax.checkpoints import hub
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.errors import InputError


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
