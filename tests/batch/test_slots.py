"""Many images at a time: each comes out as it would alone, on however many devices."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from pmv_jax.batch import memory
from pmv_jax.batch import slots as batch
from pmv_jax.cameras import look_at
from pmv_jax.config import InversionConfig, LatentConfig
from pmv_jax.errors import NumericalError
from pmv_jax.inversion import image_run as running
from pmv_jax.inversion import pipeline
from pmv_jax.inversion.image_run import ImageRun
from pmv_jax.inversion.stage import Photograph
from tests import small_inversion
from tests.small_inversion import RECIPE, SIZE

ROOT = Path(__file__).parents[2]
LONGER = dataclasses.replace(RECIPE, latent=LatentConfig(steps=7), seed=5)
CAMERA = look_at(0.2, 0.1)


@functools.cache
def generator():
    return small_inversion.make().generator


def picture(index: int) -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    return np.float32(0.8 * np.sin(np.stack([(6 + index) * x, (5 - index) * y, 4 * x * y], -1)))


@functools.cache
def alone(index: int, config: InversionConfig = RECIPE) -> pipeline.Inversion:
    return pipeline.invert(picture(index), CAMERA, generator(), config)


def enter(slots: batch.Batch, index: int, config: InversionConfig = RECIPE, slot: int | None = None) -> int:
    slot = slots.free if slot is None else slot
    stages = pipeline.stages([Photograph(picture(index), CAMERA)], slots.generator(slot), config)
    slots.runs[slot] = ImageRun(stages, config.seed)
    return slot


def assert_same(run: ImageRun, other: pipeline.Inversion) -> None:
    view = run.result.render(CAMERA[None])["image"] - other.render(CAMERA[None])["image"]
    assert np.abs(view).max() < 1e-4
    np.testing.assert_allclose(run.result.ws, other.ws, atol=1e-4)
    for record, expected in zip(run.records, other.stages, strict=True):
        assert record.name == expected.name
        np.testing.assert_allclose(record.losses, expected.losses, atol=1e-5)


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    monkeypatch.setattr(running, "CHUNK", 2)


def test_each_image_comes_out_as_alone_whatever_its_company():
    """Two slots, three images of two lengths: the third enters where the first has left, while the second runs on."""
    slots = batch.Batch(generator(), 2, jax.local_devices()[:1])
    images = {enter(slots, 0): (0, RECIPE), enter(slots, 1, LONGER): (1, LONGER)}
    assert sorted(images) == [0, 1] and slots.free is None
    done, third = {}, None
    for _ in range(20):
        for slot, problem in slots.advance():
            assert problem is None and slots.runs[slot].stage is None
            done[images.pop(slot)] = slots.runs[slot]
            slots.runs[slot] = None
            if third is None:
                third = enter(slots, 2)
                assert third == slot and len(images) == 1  # the other one is still under way
                images[third] = (2, RECIPE)
        if not images:
            break
    assert len(done) == 3
    for (index, config), run in done.items():
        assert_same(run, alone(index, config))


def test_a_poisoned_image_leaves_its_neighbour_alone():
    slots = batch.Batch(generator(), 2, jax.local_devices()[:1])
    bad = dataclasses.replace(RECIPE, latent=LatentConfig(steps=4, learning_rate=1e30))
    poisoned, good = enter(slots, 1, bad), enter(slots, 0)
    ended = {}
    while not {poisoned, good} <= ended.keys():
        for slot, problem in slots.advance():
            ended[slot] = problem, slots.runs[slot]
            slots.runs[slot] = None
    assert isinstance(ended[poisoned][0], NumericalError) and ended[good][0] is None
    assert_same(ended[good][1], alone(0))


def test_out_of_memory_frees_all_slots(monkeypatch):
    slots = batch.Batch(generator(), 2, jax.local_devices()[:1])
    enter(slots, 0)

    def exhausted(*_):  # and tells that it was called with the precision of who calls
        precision = jax.config.jax_default_matmul_precision
        raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: Out of memory allocating 1 byte of {precision}")

    monkeypatch.setattr(batch, "compiled", lambda *_: exhausted)
    with jax.default_matmul_precision("highest"), pytest.raises(batch.OutOfMemory, match="1 byte of highest"):
        slots.advance()
    assert slots.runs == [None, None]


def test_default_size_stays_within_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 1000)
    assert [memory.default_size(one, 100) for one in (100_000, 500, 300, 200, 1)] == [
        1,
        1,
        2,
        4,
        memory.LARGEST_DEFAULT,
    ]
    assert memory.default_size(1, 3) == 3


@pytest.mark.slow  # jobs ask for what one image needs
def test_memory_grows_with_the_batch():
    one, four = (memory.needed(generator(), RECIPE, size) for size in (1, 4))
    state = 12 * sum(leaf.size for leaf in jax.tree.leaves(generator().params))  # weights and two moments
    assert one > state and one + 3 * state <= four <= 4 * one
    assert 1e8 < memory.free() < 1e14


DEVICES = """
import jax
from tests.batch import test_slots as t
from pmv_jax.batch import slots as batch
assert jax.device_count() == 8
slots = batch.Batch(t.generator(), 1)
t.enter(slots, 0, slot=0), t.enter(slots, 1, t.LONGER, slot=7)
ended = {}
while len(ended) < 2:
    for slot, problem in slots.advance():
        assert problem is None, problem
        ended[slot], slots.runs[slot] = slots.runs[slot], None
        places = {array.device.id for array in jax.tree.leaves(ended[slot].result.generator.params)}
        assert places == {slot}, places
t.assert_same(ended[0], t.alone(0))
t.assert_same(ended[7], t.alone(1, t.LONGER))
"""


@pytest.mark.slow
def test_each_of_eight_devices_gives_the_same_by_itself():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "8"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", DEVICES], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
