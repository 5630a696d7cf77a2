"""EG3D's settings as a generator's config: its own classes, whose constants stand here, and nothing else.

Facts about EG3D are from https://github.com/NVlabs/eg3d: `training/triplane.py`, `training/networks_stylegan2.py`,
`training/superresolution.py`, `training/volumetric_rendering/renderer.py`, `train.py`.
"""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pmv_jax.checkpoints.eg3d import Eg3dState
from pmv_jax.config import (
    BackboneConfig,
    DecoderConfig,
    GeneratorConfig,
    MappingConfig,
    NoiseMode,
    PlaneAxes,
    RenderingConfig,
    SuperresolutionConfig,
)
from pmv_jax.errors import InputError

OFFICIAL_PLANE_AXES: PlaneAxes = "xy_xz_zx"

_MAX_LISTED = 500

# Settings that have no part in what the network computes in float32: numeric precision and memory layout.
_PRECISION = {"num_fp16_res", "fp16_channels_last", "fused_modconv_default", "channels_last"}
# rendering_kwargs for training and for EG3D's own viewer.
_TRAINING = {
    "image_resolution", "gpc_reg_prob", "gpc_reg_fade_kimg", "density_reg", "density_reg_p_dist", "density_reg_every",
    "reg_type",
}  # fmt: skip

# Constructor constants of the classes in training/superresolution.py: the output resolution that they insist on, the
# resolution that raw images are resized to, the channels of both blocks, whether the first one doubles the resolution,
# and whether larger raw images are resized too (else the class fails on them).
SUPERRESOLUTION = {
    "SuperresolutionHybrid8XDC": (512, 128, (256, 128), True, True),
    "SuperresolutionHybrid8X": (512, 128, (128, 64), True, True),
    "SuperresolutionHybrid4X": (256, 128, (128, 64), False, False),
    "SuperresolutionHybrid2X": (128, 64, (128, 64), False, True),
    "SuperresolutionHybridDeepfp32": (256, 128, (128, 64), False, False),
}

# Cameras are in the training data, not in the checkpoint. SRN cars have a focal length of 131.25 pixels in 128; FFHQ
# and AFHQ as EG3D crops them have one of 4.2647 image widths.
_CARS_FOCAL = 131.25 / 128
_FACES_FOCAL = 4.2647


def generator_config(state: Eg3dState, plane_axes: PlaneAxes | None = None) -> GeneratorConfig:
    """Translates EG3D's settings.

    Args:
      state: from `read_checkpoint`.
      plane_axes: None takes those in the file, or the official ones where the file does not have them.

    Raises:
      InputError: settings that are missing, of the wrong type, or not supported; all are named.
    """
    problems: list[str] = []
    init = _Settings("init", state.init, problems)
    mapping = _Settings("mapping_kwargs", state.init.get("mapping_kwargs") or {}, problems)
    sr = _Settings("sr_kwargs", state.init.get("sr_kwargs") or {}, problems)
    rendering = _Settings("rendering_kwargs", state.rendering_kwargs, problems)

    _check_what_is_fixed(init, mapping, sr, rendering)
    config = GeneratorConfig(
        z_dim=init.integer("z_dim", 1, 1 << 16),
        c_dim=25,
        w_dim=512,
        image_resolution=init.integer("img_resolution", 1, 4096),
        mapping=MappingConfig(
            num_layers=mapping.integer("num_layers", 1, 64, default=8),
            lr_multiplier=mapping.number("lr_multiplier", 1e-9, 1e9, default=0.01),
            zero_conditioning=rendering.flag("c_gen_conditioning_zero"),
            conditioning_scale=rendering.number("c_scale", -1e9, 1e9, default=0.0),
        ),
        backbone=BackboneConfig(
            channel_base=init.integer("channel_base", 256, 1 << 24, default=32768),
            channel_max=init.integer("channel_max", 1, 1 << 16, default=512),
            conv_clamp=init.number("conv_clamp", 0, math.inf, default=256.0, optional=True),
        ),
        decoder=DecoderConfig(lr_multiplier=rendering.number("decoder_lr_mul", 1e-9, 1e9, default=1.0)),
        rendering=_rendering_config(state, rendering, plane_axes),
        superresolution=_superresolution_config(state, init, rendering),
        camera_radius=rendering.number("avg_camera_radius", 0, 1e9, default=2.7),
        camera_pivot=rendering.point("avg_camera_pivot", default=(0.0, 0.0, 0.0)),
        camera_focal=_CARS_FOCAL if state.rendering_kwargs.get("white_back") is True else _FACES_FOCAL,
    )
    init.ignore("sr_num_fp16_res", "mapping_kwargs", "sr_kwargs", "rendering_kwargs", "class_name")
    for settings in (init, mapping, sr):
        settings.refuse_unknown()
    if problems:
        raise InputError(
            f"{state.source}: {'; '.join(problems[:_MAX_LISTED])}; only what EG3D's own classes do is supported"
        )
    return config


def _check_what_is_fixed(init: _Settings, mapping: _Settings, sr: _Settings, rendering: _Settings) -> None:
    """What EG3D leaves open and this package does not."""
    init.only("c_dim", [25])  # a camera; `synthesis` reads 25 numbers
    w_dim = init.only("w_dim", [512])  # fixed inside the super-resolution classes
    init.only("img_channels", [3], default=3)
    for settings in (init, sr):
        _check_block_settings(settings)
    sr.ignore("conv_clamp", "channel_base", "channel_max")  # accepted and not used by those classes
    mapping.only("embed_features", [None, w_dim], default=None)
    mapping.only("layer_features", [None, w_dim], default=None)
    mapping.only("activation", ["lrelu"], default="lrelu")
    mapping.number("w_avg_beta", 0, 1, default=0.998)  # None would mean that there is no average w
    rendering.only("clamp_mode", ["softplus"])
    rendering.only("density_noise", [0], default=0)


def unused_settings(state: Eg3dState) -> list[str]:
    """Rendering settings that neither EG3D nor this package knows; a modified EG3D may mean something by them."""
    known = _TRAINING | _RENDERING
    return [str(key)[:60] for key in state.rendering_kwargs if key not in known]


_RENDERING = {
    "superresolution_module", "superresolution_noise_mode", "sr_antialias", "c_gen_conditioning_zero", "c_scale",
    "decoder_lr_mul", "clamp_mode", "density_noise", "disparity_space_sampling", "depth_resolution",
    "depth_resolution_importance", "ray_start", "ray_end", "box_warp", "white_back", "avg_camera_radius",
    "avg_camera_pivot",
}  # fmt: skip


def _check_block_settings(settings: _Settings) -> None:
    """Arguments of `SynthesisBlock` and `SynthesisLayer` that are passed through."""
    settings.only("architecture", ["skip"], default="skip")
    settings.only("resample_filter", [[1, 3, 3, 1]], default=[1, 3, 3, 1])
    settings.only("kernel_size", [3], default=3)
    settings.only("use_noise", [True], default=True)
    settings.only("activation", ["lrelu"], default="lrelu")
    settings.ignore(*_PRECISION)


def _rendering_config(state: Eg3dState, rendering: _Settings, plane_axes: PlaneAxes | None) -> RenderingConfig:
    resolution = _Settings("", {"neural_rendering_resolution": state.neural_rendering_resolution}, rendering.problems)
    bounds = state.rendering_kwargs.get("ray_start"), state.rendering_kwargs.get("ray_end")
    if bounds == ("auto", "auto"):
        start = end = None
    else:
        start = rendering.number("ray_start", 0, 1e9)
        end = rendering.number("ray_end", 0, 1e9)
        if end <= start:
            rendering.problems.append(f"rendering_kwargs ray_end {end:g} is not beyond ray_start {start:g}")
    disparity = rendering.flag("disparity_space_sampling")
    if disparity and start is not None and start <= 0:
        rendering.problems.append("rendering_kwargs disparity_space_sampling needs a ray_start above 0")
    if plane_axes is None:
        plane_axes = OFFICIAL_PLANE_AXES if state.plane_axes is None else _plane_axes(state.plane_axes, rendering)
    return RenderingConfig(
        neural_resolution=resolution.integer("neural_rendering_resolution", 1, 1024),
        coarse_samples=rendering.integer("depth_resolution", 4, 4096),
        fine_samples=rendering.integer("depth_resolution_importance", 0, 4096),
        ray_start=start,
        ray_end=end,
        disparity_sampling=disparity,
        box_size=rendering.number("box_warp", 1e-9, 1e9),
        white_background=rendering.flag("white_back", default=False),
        plane_axes=plane_axes,
    )


def _plane_axes(matrices: np.ndarray, rendering: _Settings) -> PlaneAxes:
    """Names the axes of `renderer.plane_axes` [3, 3, 3].

    EG3D projects with `(coordinates @ inverse(matrix))[:2]`, so the first two columns of the inverse say which world
    axes go along a plane's width and height.
    """
    known = typing.get_args(PlaneAxes)
    try:
        columns = np.linalg.inv(np.asarray(matrices, np.float64))[:, :, :2]
        name = "_".join("".join("xyz"[int(i)] for i in np.argmax(c, 0)) for c in columns)
        if columns.shape == (3, 3, 2) and np.array_equal(np.sort(columns, 1), [[[0, 0], [0, 0], [1, 1]]] * 3):
            if name in known:
                return typing.cast(PlaneAxes, name)
            rendering.problems.append(f"the renderer's planes are {name}, supported are {', '.join(known)}")
            return OFFICIAL_PLANE_AXES
    except (np.linalg.LinAlgError, ValueError, IndexError):
        pass
    rendering.problems.append("the renderer's plane_axes are not three planes along the world axes")
    return OFFICIAL_PLANE_AXES


def _superresolution_config(state: Eg3dState, init: _Settings, rendering: _Settings) -> SuperresolutionConfig:
    noise_mode = rendering.only("superresolution_noise_mode", typing.get_args(NoiseMode))
    module = state.rendering_kwargs.get("superresolution_module")
    name = module.rpartition(".")[2] if isinstance(module, str) else ""
    if name not in SUPERRESOLUTION:
        near = difflib.get_close_matches(name, SUPERRESOLUTION, 1)
        supported = f"did you mean {near[0]}" if near else f"supported are {', '.join(SUPERRESOLUTION)}"
        rendering.problems.append(f"rendering_kwargs superresolution_module {_shown(module)} is unknown, {supported}")
        return SuperresolutionConfig()
    output, size, channels, first_doubles, resize_larger = SUPERRESOLUTION[name]
    init.only("img_resolution", [output], f" with {name}")
    raw = state.neural_rendering_resolution
    if not resize_larger and isinstance(raw, int) and raw > size:
        rendering.problems.append(f"neural_rendering_resolution {raw} is above the {size} that {name} can take")
    return SuperresolutionConfig(
        input_resolution=size,
        block_channels=channels,
        block_upsamples=(first_doubles, True),
        resize_larger=resize_larger,
        adds_to_raw=not first_doubles,
        # Deepfp32 has no such argument, and interpolates without.
        antialias=rendering.flag("sr_antialias") if name != "SuperresolutionHybridDeepfp32" else False,
        noise_mode=noise_mode or "none",
        conv_clamp=256.0 if init.integer("sr_num_fp16_res", 0, 64, default=0) > 0 else None,
    )


_REQUIRED: Any = object()


class _Settings:
    """One table of settings. Takes values out by name, and notes what is missing, mistyped or not supported.

    Every reader returns a usable stand-in when it notes a problem, so that all problems are found in one go.
    """

    def __init__(self, name: str, values: Any, problems: list[str]) -> None:
        self.name, self.problems = name, problems
        self.values = values if isinstance(values, Mapping) else {}
        self.read: set[str] = set()
        if not isinstance(values, Mapping):
            problems.append(f"{name} is {_shown(values)}, not a table of settings")

    def number(self, key: str, low: float, high: float, default: Any = _REQUIRED, optional: bool = False) -> Any:
        """A float in [low, high]; None too if `optional`."""
        value = self._value(key, default)
        if value is None and optional:
            return None
        if type(value) not in (int, float) or not low <= value <= high:
            self._refuse(key, value, f"a number in [{low:g}, {high:g}]")
            return low
        return float(value)

    def integer(self, key: str, low: int, high: int, default: Any = _REQUIRED) -> int:
        value = self._value(key, default)
        if type(value) is not int or not low <= value <= high:
            self._refuse(key, value, f"a whole number in [{low}, {high}]")
            return low
        return value

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        value = self._value(key, default)
        if type(value) is not bool:
            self._refuse(key, value, "True or False")
            return False
        return value

    def point(self, key: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
        value = self._value(key, default)
        good = isinstance(value, (list, tuple)) and len(value) == 3
        if not good or not all(type(x) in (int, float) and math.isfinite(x) for x in value):
            self._refuse(key, value, "three numbers")
            return default
        return tuple(float(x) for x in value)

    def only(self, key: str, allowed: Iterable[Any], why: str = "", default: Any = _REQUIRED) -> Any:
        """A value that EG3D's classes leave open but of which only some are supported."""
        value = self._value(key, default)
        allowed = list(allowed)
        for choice in allowed:
            if type(value) is type(choice) and value == choice:
                return value
        self._refuse(key, value, " or ".join(_shown(choice) for choice in allowed) + why)
        return allowed[0]

    def ignore(self, *keys: str) -> None:
        """Marks settings that change nothing."""
        self.read.update(keys)

    def refuse_unknown(self) -> None:
        for key in self.values:
            if key not in self.read:
                self.problems.append(f"{self.name} {str(key)[:60]} is not a setting of EG3D's")

    def _value(self, key: str, default: Any) -> Any:
        self.read.add(key)
        return self.values.get(key, default)

    def _refuse(self, key: str, value: Any, wanted: str) -> None:
        label = f"{self.name} {key}".strip()
        self.problems.append(
            f"{label} is missing" if value is _REQUIRED else f"{label} is {_shown(value)}, supported: {wanted}"
        )


def _shown(value: Any) -> str:
    """A short text for a value that may come from anywhere."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value) if len(str(value)) <= 60 else repr(str(value)[:60]) + "..."
    if isinstance(value, (list, tuple)) and len(value) <= 8 and all(isinstance(x, (int, float)) for x in value):
        return repr(list(value))
    return f"a {type(value).__name__}"
