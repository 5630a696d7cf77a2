"""Identity by dlib's network: a face is itself, mirrored too, and not the next one; without the extra nothing."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pmv_jax import images
from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.evaluation import dlib_identity

DEMO = Path(default_generator_directory())


def test_portraits_of_two_people_are_farther_apart_than_one_from_its_mirror_image():
    network = dlib_identity.installed()
    if network is None:
        pytest.skip("the extra pmv_jax[identity] is not installed")
    own, other = (images.load_image(DEMO / name, 256) for name in ("portrait.png", "tattoo_head.png"))
    same, mirrored, apart = network.distances(own, np.stack([own, own[:, ::-1], other]))
    assert same == 0 and mirrored < 0.4 < dlib_identity.SAME_PERSON < apart


def test_without_the_extra_nothing_is_told(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == dlib_identity.MODELS else find(name))
    assert dlib_identity.installed.__wrapped__() is None
