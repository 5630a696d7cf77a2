from __future__ import annotations

import dataclasses
import functools
import importlib.util

import jax
import jax.numpy as jnp
import pytest

from pmv_jax.batch import compilation, memory, plan, targets
from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.config import InversionConfig, override
from pmv_jax.errors import InputError
from pmv_jax.rendering import scatter
from tests.small_inversion import RECIPE
from tests.small_inversion import generator as small_generator

FIGURES = compilation.Figures(
    target="v5e:16x16", program="step", precision="bfloat16", batch=2, lower_seconds=1.0, compile_seconds=2.0,
    code_bytes=10**7, argument_bytes=10**9, temporary_bytes=2 * 10**9, image_bytes=4 * 10**8, flops=1e12, cycles=10**8,
    moved={}, moved_cycles=0, share=0.1, seconds=0.07, collectives=[], dearest=[],
)  # fmt: skip
V5E = targets.Target("v5e:16x16", targets.CHIPS["v5e"], None)


@pytest.mark.parametrize("name", ["v5e", "v9z:2x2", "v5e:two", "h100:2x2", "v5e:2x2x2", "v5p:2x2"])
def test_targets_that_do_not_exist_are_one_line(name):
    with pytest.raises(InputError, match=f"target {name}: "):
        targets.target(name)


@pytest.mark.parametrize(("name", "wheel"), [("v5e:2x2", "libtpu"), ("h100", "jax-cuda12-plugin")])
def test_a_missing_compiler_names_what_to_install(name, wheel, monkeypatch):
    def missing(module):
        assert "." not in module  # of a package that is not there, `find_spec` raises

    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    with pytest.raises(InputError, match=f"pip install '?{wheel}"):
        targets.target(name)


@pytest.mark.parametrize("name", ["v5e", "v5e-0", "v5e-7", "x-4", "h100-many"])
def test_machines_that_do_not_exist_are_one_line(name):
    with pytest.raises(InputError, match=f"--plan {name}: "):
        plan.machine(name)


def test_as_many_images_fit_as_memory_is_left_for():
    fit = compilation.images_that_fit(FIGURES, V5E)
    taken = FIGURES.memory + (fit - 2) * FIGURES.image_bytes
    assert taken <= 0.97 * 16 * 2**30 < taken + FIGURES.image_bytes


def test_a_batch_that_does_not_fit_says_how_many_would():
    error = RuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 17.50G of 15.75G hbm.")
    problem = compilation._input_error(error, V5E, 8, 2**30)
    assert isinstance(problem, InputError) and "6 would (--batch 6)" in str(problem)
    other = RuntimeError("INTERNAL: something else")
    assert compilation._input_error(other, V5E, 8, 2**30) is other


def test_a_plan_reckons_with_all_views_and_says_what_is_an_estimate():
    recipe = InversionConfig()
    joint = recipe.joint.steps * (1 + recipe.joint.views_per_step)
    assert plan.views(recipe) == recipe.latent.steps + recipe.tuning.steps + joint
    made = plan.Plan("v5e-256", FIGURES, FIGURES, 1000, 256, 64, 8, 33, 36.0, 1e8)
    assert made.hours == pytest.approx(4 * 36 / 3600)
    text = "\n".join(plan.lines(made))
    assert "estimate" in text and "no collective" in text and "33 would fit" in text


def there_or_skipped(name: str) -> targets.Target:
    try:
        return targets.target(name)
    except InputError as error:  # its compiler is no dependency
        pytest.skip(str(error))


def test_kernels_are_lowered_for_the_chip_and_not_for_this_process():
    device = there_or_skipped("v5e:2x2").device
    points = jnp.zeros((3, 1024), jnp.int32), jnp.zeros((12, 1024)), jnp.zeros((32, 1024))
    with memory.aimed_at(device):
        lowered = jax.jit(functools.partial(scatter.add_cells, 64)).lower(*memory.shapes_on(device, points))
    assert "tpu_custom_call" in lowered.as_text()


@pytest.mark.parametrize(
    ("program", "changes"),
    [
        ("glance", []),
        ("symmetry", []),
        ("completion", []),
        ("warp", []),
        ("warp", ["pseudo_views.fill=tuned", "pseudo_views.depth_detail=0"]),
    ],
)
def test_programs_beside_the_steps_compile_for_one_image(program, changes):
    recipe = override(RECIPE, changes)
    figures = compilation.compile_program(program, small_generator(), recipe, targets.target("cpu"), 1)
    assert figures.program == program and figures.flops > 0 and figures.collectives == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v5e:2x2", "h100"])
def test_the_demo_step_compiles_for_devices_that_are_not_here(name):
    where = there_or_skipped(name)
    generator = load_generator(default_generator_directory())
    generator = generator.replace(config=dataclasses.replace(generator.config, compute_dtype="bfloat16"))
    figures = compilation.compile_program("step", generator, InversionConfig(), where, 2)
    assert figures.memory < 2**30
    assert figures.code_bytes < 100e6
    assert figures.collectives == []
    assert compilation.images_that_fit(figures, where) > 8
