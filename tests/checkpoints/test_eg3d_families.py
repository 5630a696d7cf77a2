"""EG3D's settings and names: translated, and refused by name where they are not supported."""

import dataclasses

import numpy as np
import pytest

from pmv_jax.checkpoints import eg3d, eg3d_families, eg3d_names
from pmv_jax.errors import InputError
from tests.checkpoints import fake_torch_files as fake

SPEC = {"init": fake.INIT, "rendering_kwargs": fake.RENDERING, "neural_rendering_resolution": 32}


def _state(rendering=None, init=None, resolution=32, axes=None):
    return eg3d.Eg3dState("x.pkl", fake.INIT | (init or {}), fake.RENDERING | (rendering or {}), resolution, {}, axes)


def test_settings_are_translated():
    config = eg3d_families.generator_config(
        _state({"ray_start": "auto", "ray_end": "auto", "white_back": True, "c_gen_conditioning_zero": True})
    )
    assert config.rendering.ray_start is None and config.rendering.ray_end is None
    assert config.rendering.white_background and config.mapping.zero_conditioning
    assert config.mapping.num_layers == 2 and config.backbone.conv_clamp is None
    assert config.superresolution.block_channels == (128, 64) and config.superresolution.conv_clamp == 256


@pytest.mark.parametrize(
    "module, resolution, channels, ups, size, antialias",
    [
        ("SuperresolutionHybrid8XDC", 512, (256, 128), (True, True), 128, True),
        ("SuperresolutionHybrid8X", 512, (128, 64), (True, True), 128, True),
        ("SuperresolutionHybrid4X", 256, (128, 64), (False, True), 128, True),
        ("SuperresolutionHybrid2X", 128, (128, 64), (False, True), 64, True),
        ("SuperresolutionHybridDeepfp32", 256, (128, 64), (False, True), 128, False),
    ],
)
def test_every_superresolution_module_is_known(module, resolution, channels, ups, size, antialias):
    rendering = {"superresolution_module": f"training.superresolution.{module}"}
    sr = eg3d_families.generator_config(_state(rendering, {"img_resolution": resolution})).superresolution
    assert (sr.block_channels, sr.block_upsamples, sr.input_resolution, sr.antialias) == (
        channels, ups, size, antialias
    )  # fmt: skip
    assert sr.adds_to_raw == (not ups[0])


def test_corrected_plane_axes_are_recognised_and_can_be_forced():
    corrected = np.array(fake.OFFICIAL_AXES, np.float32)
    corrected[2] = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert eg3d_families.generator_config(_state(axes=corrected)).rendering.plane_axes == "xy_xz_zy"
    assert eg3d_families.generator_config(_state()).rendering.plane_axes == "xy_xz_zx"
    assert eg3d_families.generator_config(_state(), "xy_xz_zy").rendering.plane_axes == "xy_xz_zy"
    for wrong in (corrected[[0, 0, 0]], corrected * 0, corrected * 2, corrected[0], corrected[..., :2]):
        with pytest.raises(InputError, match="plane"):
            eg3d_families.generator_config(_state(axes=wrong))


@pytest.mark.parametrize(
    "rendering, init, problem",
    [
        ({"superresolution_module": "x.SuperresolutionHybrid8XD"}, {}, "did you mean SuperresolutionHybrid8XDC"),
        ({"superresolution_module": 3}, {}, "superresolution_module 3 is unknown"),
        ({"clamp_mode": "relu"}, {}, "clamp_mode is 'relu', supported: 'softplus'"),
        ({"density_noise": 0.5}, {}, "density_noise is 0.5"),
        ({"ray_start": "auto"}, {}, "ray_start is 'auto'"),
        ({"ray_end": 1.0}, {}, "ray_end 1 is not beyond ray_start 2.25"),
        ({"box_warp": float("nan")}, {}, "box_warp is nan"),
        ({"depth_resolution": 10**12}, {}, "depth_resolution is 1000000000000"),
        ({}, {"w_dim": 256}, "w_dim is 256, supported: 512"),
        ({}, {"img_resolution": 256}, "img_resolution is 256, supported: 128 with SuperresolutionHybrid2X"),
        ({}, {"architecture": "resnet"}, "architecture is 'resnet'"),
        ({}, {"resample_filter": [1, 2, 1]}, r"resample_filter is \[1, 2, 1\]"),
        ({}, {"mapping_kwargs": {"num_layers": 10**9}}, "num_layers is 1000000000"),
        ({}, {"mapping_kwargs": 3}, "mapping_kwargs is 3, not a table"),
        ({}, {"attention": True}, "init attention is not a setting"),
    ],
)
def test_unsupported_settings_are_refused_by_name(rendering, init, problem):
    with pytest.raises(InputError, match=problem):
        eg3d_families.generator_config(_state(rendering, init))


def test_all_unsupported_settings_are_named_at_once():
    with pytest.raises(InputError) as error:
        eg3d_families.generator_config(_state({"clamp_mode": "relu"}, {"c_dim": 0}, "no number"))
    assert all(name in str(error.value) for name in ("x.pkl", "clamp_mode", "c_dim", "neural_rendering_resolution"))


def test_missing_settings_are_named():
    state = dataclasses.replace(_state(), rendering_kwargs={})
    with pytest.raises(InputError, match="ray_start is missing.*depth_resolution is missing"):
        eg3d_families.generator_config(state)


def test_settings_of_modified_versions_are_reported():
    assert eg3d_families.unused_settings(_state({"my_own": 1})) == ["my_own"]


# Variables


class _Shape:
    def __init__(self, *shape):
        self.shape = shape


SHAPES = {
    "params": {
        "backbone": {"synthesis": {"b4": {"conv1": {"weight": _Shape(3, 3, 3, 2), "noise_strength": _Shape()}}}},
        "decoder": {"net_0": {"weight": _Shape(3, 2)}},
    },
    "buffers": {
        "backbone": {"synthesis": {"b4": {"conv1": {"noise_const": _Shape(4, 4)}}}, "mapping": {"w_avg": _Shape(8)}}
    },
}


def test_tensors_are_renamed_and_transposed():
    taps = np.array([1, 3, 3, 1], np.float32) / 8
    tensors = fake.SMALL_TENSORS | {"backbone.b4.resample_filter": np.outer(taps, taps)}
    variables = eg3d_names.to_variables(SHAPES, tensors)
    weight = variables["params"]["backbone"]["synthesis"]["b4"]["conv1"]["weight"]
    official = tensors["backbone.synthesis.b4.conv1.weight"]
    assert weight[0, 1, 2, 1] == official[1, 2, 0, 1] and weight.dtype == np.float32
    np.testing.assert_array_equal(variables["params"]["decoder"]["net_0"]["weight"], tensors["decoder.net.0.weight"].T)


def test_all_differences_are_listed_in_one_error():
    tensors = dict(fake.SMALL_TENSORS)
    del tensors["backbone.mapping.w_avg"]
    tensors["decoder.net.0.weight"] = np.zeros((2, 4), np.float32)
    tensors["backbone.synthesis.b4.conv1.noise_const"] = np.full((4, 4), np.nan, np.float32)
    tensors["backbone.synthesis.b4.conv1.noise_strength"] = np.array(1)
    tensors["extra.weight"] = np.zeros(1, np.float32)
    tensors["b4.resample_filter"] = np.ones((4, 4), np.float32)
    with pytest.raises(InputError) as error:
        eg3d_names.to_variables(SHAPES, tensors, "x.pkl")
    for part in (
        "x.pkl: 6 tensors", "missing backbone.mapping.w_avg [8]",
        "decoder.net.0.weight has shape [2, 4] instead of [2, 3]",
        "noise_const has values that are not finite", "noise_strength has dtype int64", "unknown extra.weight [1]",
        "b4.resample_filter is not the [1, 3, 3, 1] filter",
    ):  # fmt: skip
        assert part in str(error.value)
