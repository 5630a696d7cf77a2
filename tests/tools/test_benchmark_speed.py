"""The benchmark of speed: what goes to the reference, its command line; a stand-in plays the reference."""

import dataclasses
import json
import sys

import jax
import numpy as np
import pytest

from pmv_jax.checkpoints import eg3d as eg3d_import
from pmv_jax.checkpoints.orbax import save_generator, variable_shapes
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError
from tests import command, small_inversion
from tools.benchmarks import speed as benchmark


def test_settings_for_the_reference_are_read_back_as_the_same_generator():
    spec = benchmark.specification(GeneratorConfig())
    state = eg3d_import.Eg3dState("test", spec["init"], spec["rendering_kwargs"], 128, {})
    assert eg3d_import.generator_config(state) == GeneratorConfig()


def test_the_reference_cannot_build_any_generator():
    with pytest.raises(InputError, match="EG3D's own classes cannot build"):
        benchmark.specification(small_inversion.CONFIG)


def test_exported_weights_are_imported_as_they_were():
    variables = small_inversion.make().generator.variables
    back = eg3d_import.to_variables(variable_shapes(small_inversion.CONFIG), benchmark.export(variables))
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_flops_of_a_matrix_product():
    assert benchmark.count_flops(lambda a, b: a @ b, np.ones((8, 16)), np.ones((16, 4))) == 2 * 8 * 16 * 4


def test_flops_of_a_convolution_and_of_loops():
    image, kernel = np.ones((1, 10, 10, 4), np.float32), np.ones((3, 3, 4, 8), np.float32)

    def convolve(image, kernel):
        layout = "NHWC", "HWIO", "NHWC"
        return jax.lax.conv_general_dilated(image, kernel, (1, 1), "VALID", dimension_numbers=layout)

    once = benchmark.count_flops(convolve, image, kernel)
    assert once == 2 * (8 * 8 * 8) * (3 * 3 * 4)
    five = lambda x, k: jax.lax.map(lambda image: convolve(image, k), x)  # noqa: E731
    assert benchmark.count_flops(five, np.stack([image] * 5), kernel) == 5 * once
    either = lambda x, k: jax.lax.cond(x[0, 0, 0, 0] > 0, convolve, lambda x, k: convolve(x, 2 * k), x, k)  # noqa: E731
    assert benchmark.count_flops(either, image, kernel) == once


def test_table_leaves_out_samples_and_what_is_not_known():
    text = benchmark.table([{"what": "a", "seconds": 0.25, "samples": [1]}, {"what": "b", "of peak": None}])
    assert text.splitlines()[0].split() == ["what", "seconds", "of", "peak"] and "0.25" in text and "[" not in text


def test_steps_of_a_small_generator(tmp_path):
    save_generator(tmp_path / "generator", small_inversion.make().generator, {})
    options = "--generator", tmp_path / "generator", "--repeat", 2, "--views", 0, "--out", tmp_path / "out"
    done = command.run(benchmark.main, tmp_path, "--measure", "tuning_step", *options)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out" / "tuning_step.json").read_text())
    (row,) = written["rows"]
    assert len(row["samples"]) == 2 and row["seconds"] > 0 and row["TFLOP/s"] > 0 and written["device"] in done.stdout


@pytest.mark.parametrize(
    "arguments, problem",
    [
        ((), "--measure is missing"),
        (("--measure", "forwards"), "did you mean 'forward'"),
        (("--measure", "warp", "--peer", "."), "--peer: goes with"),
        (("--measure", "forward", "--generator", "random:ffhq"), "did you mean 'random:ffhq512-128'"),
        (("--measure", "forward", "--generator", "nowhere"), "nowhere"),
        (("--measure", "forward", "--precision", "half"), "precision"),
    ],
)
def test_bad_input(arguments, problem, tmp_path):
    done = command.run(benchmark.main, tmp_path, *arguments)
    assert done.returncode == 2 and problem in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not list(tmp_path.iterdir())


def test_peer_that_is_no_checkout(tmp_path):
    with pytest.raises(InputError, match="no checkout of EG3D"):
        benchmark.Peer(str(tmp_path), sys.executable, None, 0)


def test_peer_whose_reference_fails(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "triplane.py").write_text("raise ImportError('no such thing')\n")
    inversion = small_inversion.make()
    generator = inversion.generator.replace(config=GeneratorConfig())
    views = benchmark.view_fitting.Views(np.zeros((1, 25)), np.zeros((1, 8, 8, 3)), np.ones((1, 8, 8)))
    benchmark.FLAGS.parse([])
    with pytest.raises(InputError, match="the reference fails"):
        benchmark.Peer(str(tmp_path), sys.executable, benchmark.Case(generator, inversion.ws, views), 0)


def test_random_weights_differ_and_have_the_official_shape():
    config = benchmark.RANDOM["random:ffhq512-128"]
    assert dataclasses.replace(config, image_resolution=512) == GeneratorConfig() and config.num_ws == 14
