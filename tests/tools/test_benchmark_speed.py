"""The benchmark of speed: what goes to the reference, its command line; a stand-in plays the reference."""

import json
import math
import sys

import jax
import numpy as np
import pytest

from pmv_jax.checkpoints import eg3d, eg3d_families, eg3d_names
from pmv_jax.checkpoints.orbax import save_generator, variable_shapes
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion.view_fitting import Views
from pmv_jax.models.generator import initialise
from tests import command, small_inversion
from tools.benchmarks import reference, timing
from tools.benchmarks import speed as benchmark


def test_settings_for_the_reference_are_read_back_as_the_same_generator():
    spec = reference.specification(GeneratorConfig())
    state = eg3d.Eg3dState("test", spec["init"], spec["rendering_kwargs"], 128, {})
    assert eg3d_families.generator_config(state) == GeneratorConfig()


def test_the_reference_cannot_build_any_generator():
    with pytest.raises(InputError, match="EG3D's own classes cannot build"):
        reference.specification(small_inversion.CONFIG)


def test_exported_weights_are_imported_as_they_were():
    variables = small_inversion.make().generator.variables
    back = eg3d_names.to_variables(variable_shapes(small_inversion.CONFIG), reference.export(variables))
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_flops_of_a_matrix_product():
    assert timing.count_flops(lambda a, b: a @ b, np.ones((8, 16)), np.ones((16, 4))) == 2 * 8 * 16 * 4


def test_flops_of_a_convolution_and_of_loops():
    image, kernel = np.ones((1, 10, 10, 4), np.float32), np.ones((3, 3, 4, 8), np.float32)

    def convolve(image, kernel):
        layout = "NHWC", "HWIO", "NHWC"
        return jax.lax.conv_general_dilated(image, kernel, (1, 1), "VALID", dimension_numbers=layout)

    once = timing.count_flops(convolve, image, kernel)
    assert once == 2 * (8 * 8 * 8) * (3 * 3 * 4)
    five = lambda x, k: jax.lax.map(lambda image: convolve(image, k), x)  # noqa: E731
    assert timing.count_flops(five, np.stack([image] * 5), kernel) == 5 * once
    either = lambda x, k: jax.lax.cond(x[0, 0, 0, 0] > 0, convolve, lambda x, k: convolve(x, 2 * k), x, k)  # noqa: E731
    assert timing.count_flops(either, image, kernel) == once


def test_table_leaves_out_samples_and_what_is_not_known():
    text = timing.table([{"what": "a", "seconds": 0.25, "samples": [1]}, {"what": "b", "of peak": None}])
    assert text.splitlines()[0].split() == ["what", "seconds", "of", "peak"] and "0.25" in text and "[" not in text


@pytest.mark.parametrize("what", ["forward", pytest.param("tuning_step", marks=pytest.mark.slow)])
def test_times_of_a_small_generator(tmp_path, what):
    save_generator(tmp_path / "generator", small_inversion.make().generator, {})
    options = ["--generator", tmp_path / "generator", "--out", tmp_path / "out", "--set", "loss.perceptual=none"]
    options += ["--repeat", 2, "--views", 0]
    done = command.run(benchmark.main, tmp_path, "--measure", what, *options)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out" / f"{what}.json").read_text())
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
        reference.Peer(str(tmp_path), sys.executable, None, None, None)


def test_peer_whose_reference_fails(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "triplane.py").write_text("raise ImportError('no such thing')\n")
    inversion = small_inversion.make()
    generator = inversion.generator.replace(config=GeneratorConfig())
    views = Views(np.zeros((1, 25)), np.zeros((1, 8, 8, 3)), np.ones((1, 8, 8)))
    with pytest.raises(InputError, match="the reference fails"):
        reference.Peer(str(tmp_path), sys.executable, generator, inversion.ws, views)


def test_random_generators_have_the_size_of_their_names():
    """Of official ones, whose weights are not here: as many parameters as NVIDIA's FFHQ generator has."""
    config = benchmark.RANDOM["random:ffhq512-128"]
    assert (config.image_resolution, config.rendering.neural_resolution, config.num_ws) == (512, 128, 14)
    shapes = variable_shapes(config)["params"]
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == pytest.approx(30.7e6, rel=0.005)


def test_random_weights_differ_from_layer_to_layer():
    params = initialise(small_inversion.CONFIG, jax.random.key(0)).variables["params"]
    drawn = [np.asarray(leaf) for leaf in jax.tree.leaves(params) if np.ndim(leaf) > 1]
    assert all(leaf.std() > 0 for leaf in drawn)
    assert len({leaf.ravel()[:4].tobytes() for leaf in drawn}) == len(drawn)
