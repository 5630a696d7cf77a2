"""Imports EG3D generators: official pickles, and state dicts with a spec, without torch and without running their code.

An official `.pkl` is a dict of networks. Each is a call of `torch_utils.persistence._reconstruct_persistent_obj` with a
table that holds its class name, the Python source of that class, and its state. The source is never looked at: the
state has the tensors, the constructor's arguments and the rendering settings, and more is not needed. Three steps, each
a function: `read_checkpoint`, `generator_config`, `to_variables`.

Facts about EG3D are from https://github.com/NVlabs/eg3d: `training/triplane.py`, `training/networks_stylegan2.py`,
`training/superresolution.py`, `training/volumetric_rendering/renderer.py`, `torch_utils/persistence.py`, `train.py`.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmv_jax.checkpoints import tensor_files
from pmv_jax.checkpoints.tensor_files import FormatError, Pickled, Record, Tensors
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

_PERSISTENT_OBJECT = "torch_utils.persistence._reconstruct_persistent_obj"
_POSITIONAL = (  # TriPlaneGenerator.__init__
    "z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "sr_num_fp16_res", "mapping_kwargs",
    "rendering_kwargs", "sr_kwargs",
)  # fmt: skip
_MAX_MODULES = 5000
_MAX_DEPTH = 16
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
_SUPERRESOLUTION = {
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


@dataclass(frozen=True)
class Eg3dState:
    """What a checkpoint says about a generator.

    Attributes:
      source: the file, for messages.
      init: constructor arguments of `TriPlaneGenerator` by name, without its `rendering_kwargs`.
      rendering_kwargs: the generator's rendering settings.
      neural_rendering_resolution: side of the raw image that the generator was last used with.
      tensors: the state dict, in torch's layouts and names.
      plane_axes: the renderer's `plane_axes` [3, 3, 3] where the file has it.
    """

    source: str
    init: Mapping[str, Any]
    rendering_kwargs: Mapping[str, Any]
    neural_rendering_resolution: Any
    tensors: Tensors
    plane_axes: np.ndarray | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


def read_spec(path: str | Path) -> dict[str, Any]:
    """Reads a JSON table with `init`, `rendering_kwargs` and `neural_rendering_resolution`.

    Raises:
      InputError: it is missing, no JSON, or lacks one of the three.
    """
    try:
        spec = json.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: the spec cannot be read: {error.strerror}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the spec is not valid JSON ({error}); see weights/README.md for its form") from error
    kinds = {"init": dict, "rendering_kwargs": dict, "neural_rendering_resolution": int}
    wrong = [key for key, kind in kinds.items() if not isinstance(spec, dict) or not isinstance(spec.get(key), kind)]
    if wrong:
        raise InputError(f"{path}: the spec has no valid {', '.join(wrong)}; see weights/README.md for its form")
    return spec


def read_checkpoint(path: str | Path, key: str = "G_ema", spec: Mapping[str, Any] | None = None) -> Eg3dState:
    """Reads a generator from a file; nothing in the file is executed.

    Args:
      path: an EG3D `.pkl`, a torch `.pt` or `.pth` with a network or a state dict, or a state dict as `.npz` or
        `.safetensors`.
      key: which entry to take where the file is a dict of networks or of state dicts.
      spec: see `read_spec`. Needed for a state dict; for a network it takes the place of the network's own settings.

    Raises:
      InputError: the file is missing or damaged, has no such network, or is a state dict without a spec.
    """
    content = tensor_files.read(path)
    try:
        state = _interpret(content, str(path), key)
    except FormatError as error:
        raise InputError(f"{path}: {error}; download the file again and compare its checksum") from error
    if spec is not None:
        return Eg3dState(
            str(path),
            spec["init"],
            spec["rendering_kwargs"],
            spec["neural_rendering_resolution"],
            state.tensors,
            state.plane_axes,
        )
    if not state.init:
        raise InputError(
            f"{path}: holds a plain state dict, which does not say how the network is built; give --spec with its "
            "constructor arguments and rendering_kwargs (weights/README.md)"
        )
    return state


def _interpret(content: Pickled | Tensors, source: str, key: str) -> Eg3dState:
    if not isinstance(content, Pickled):
        return Eg3dState(source, {}, {}, None, content)
    network = _select(content, source, key)
    table = tensor_files.mapping(network)
    if table is not None:
        return Eg3dState(source, {}, {}, None, {name: _tensor(content, name, value) for name, value in table.items()})
    name, state = _module(network)
    if name != "TriPlaneGenerator":
        raise InputError(f"{source}: {key} is a {name[:80]!r}; only EG3D's TriPlaneGenerator is supported")
    return _from_network(content, source, state)


def _select(content: Pickled, source: str, key: str) -> Any:
    """The network or state dict under `key`, or the whole content if that is one."""
    if _is_network(content, content.root):
        return content.root
    table = tensor_files.mapping(content.root)
    if table is None:
        raise InputError(f"{source}: holds no network and no table of networks; give an EG3D checkpoint")
    networks = {name: value for name, value in table.items() if isinstance(name, str) and _is_network(content, value)}
    if key in networks:
        return networks[key]
    names = ", ".join(list(networks)[:10])[:200]
    remedy = f"it has {names}: choose one with --key" if networks else "give an EG3D checkpoint"
    raise InputError(f"{source}: has no network {key!r}; {remedy}")


def _is_network(content: Pickled, value: Any) -> bool:
    if _module(value) is not None:
        return True
    state_dict = tensor_files.mapping(value) or {}
    return bool(state_dict) and all(isinstance(k, str) and content.is_tensor(v) for k, v in state_dict.items())


def _module(value: Any) -> tuple[str, dict[Any, Any]] | None:
    """Class name and state of a pickled `torch.nn.Module`; None if it is none."""
    if not isinstance(value, Record):
        return None
    if value.callee.endswith(_PERSISTENT_OBJECT):
        meta = tensor_files.mapping(value.args[0]) if len(value.args) == 1 else None
        name, state = (meta or {}).get("class_name"), tensor_files.mapping((meta or {}).get("state"))
    else:  # an importable class
        name, state = value.callee.rpartition(".")[2], tensor_files.mapping(value.state)
    if not isinstance(name, str) or state is None or tensor_files.mapping(state.get("_modules")) is None:
        return None
    return name, state


def _from_network(content: Pickled, source: str, state: dict[Any, Any]) -> Eg3dState:
    arguments = content.plain(state.get("_init_args", ()))
    init = content.plain(state.get("_init_kwargs", {}))
    rendering = content.plain(state.get("rendering_kwargs", {}))
    if isinstance(init, dict) and isinstance(arguments, list):
        init = dict(zip(_POSITIONAL, arguments, strict=False)) | init
        # The generator's attribute wins: it may have been changed after construction, and it is what EG3D renders with.
        rendering = rendering or init.pop("rendering_kwargs", None)
    if not isinstance(init, dict) or not isinstance(rendering, dict):
        raise InputError(f"{source}: the generator has no readable settings; give --spec")
    children = tensor_files.mapping(state["_modules"])
    if "sr_antialias" not in rendering and (found := _module(children.get("superresolution"))) is not None:
        rendering["sr_antialias"] = found[1].get("sr_antialias", False)  # early checkpoints keep it there
    renderer = _module(children.get("renderer"))
    axes = renderer[1].get("plane_axes") if renderer else None
    return Eg3dState(
        source,
        init,
        rendering,
        content.plain(state.get("neural_rendering_resolution")),
        dict(_state_dict(content, state)),
        None if axes is None else content.tensor(axes),
    )


def _state_dict(content: Pickled, root: dict[Any, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and tensors as torch's `Module.state_dict` gives them."""
    pending, visited = [("", root)], 0
    while pending:
        prefix, state = pending.pop()
        visited += 1
        if visited > _MAX_MODULES or prefix.count(".") > _MAX_DEPTH:
            raise FormatError("a network of too many nested modules")
        transient = tensor_files.sequence(state.get("_non_persistent_buffers_set"))
        transient = {name for name in transient if isinstance(name, str)}
        for group in ("_parameters", "_buffers"):
            for name, value in (tensor_files.mapping(state.get(group)) or {}).items():
                if isinstance(name, str) and value is not None and (group == "_parameters" or name not in transient):
                    yield prefix + name, _tensor(content, prefix + name, value)
        for name, value in (tensor_files.mapping(state.get("_modules")) or {}).items():
            found = _module(value)
            if found is not None and isinstance(name, str):
                pending.append((f"{prefix}{name}.", found[1]))


def _tensor(content: Pickled, name: str, value: Any) -> np.ndarray:
    try:
        return content.tensor(value)
    except FormatError as error:
        raise FormatError(f"{name[:120]}: {error}") from error


# ---------------------------------------------------------------------------------------------------------------------
# Configuration
# ---------------------------------------------------------------------------------------------------------------------


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
    if name not in _SUPERRESOLUTION:
        near = difflib.get_close_matches(name, _SUPERRESOLUTION, 1)
        supported = f"did you mean {near[0]}" if near else f"supported are {', '.join(_SUPERRESOLUTION)}"
        rendering.problems.append(f"rendering_kwargs superresolution_module {_shown(module)} is unknown, {supported}")
        return SuperresolutionConfig()
    output, size, channels, first_doubles, resize_larger = _SUPERRESOLUTION[name]
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


# ---------------------------------------------------------------------------------------------------------------------
# Variables
# ---------------------------------------------------------------------------------------------------------------------


def to_variables(
    shapes: Mapping[str, Any], tensors: Mapping[str, np.ndarray], source: str = "checkpoint"
) -> dict[str, Any]:
    """Renames and transposes a state dict into Flax variables, all float32.

    Convolution weights go from OIHW to HWIO, fully connected ones from [out, in] to [in, out], the learned constant
    from CHW to HWC. Every tensor must be used, or be a `resample_filter` with the values of EG3D's only filter; every
    variable must be filled.

    Args:
      shapes: the model's variables as a nested dict of anything with a `shape` (`checkpoints.variable_shapes`).
      tensors: the state dict in torch's names and layouts.
      source: the file, for messages.

    Raises:
      InputError: lists all tensors that are missing, unknown, of the wrong shape, or not finite.
    """
    problems, unused = [], dict(tensors)

    def fill(node: Any, path: tuple[str, ...]) -> Any:
        if isinstance(node, Mapping):
            return {key: fill(child, (*path, key)) for key, child in node.items()}
        # The first name is Flax's collection; torch numbers the layers of a Sequential.
        name = re.sub(r"\.net_(\d+)\.", r".net.\1.", ".".join(path[1:]))
        order = _torch_order(path[-1], len(node.shape))
        wanted = tuple(node.shape[order.index(i)] for i in range(len(order)))
        if name not in unused:
            problems.append(f"missing {name} {list(wanted)}")
            return None
        tensor = unused.pop(name)
        if tensor.shape != wanted:
            problems.append(f"{name} has shape {list(tensor.shape)} instead of {list(wanted)}")
            return None
        if not _is_floating(tensor):
            problems.append(f"{name} has dtype {tensor.dtype}")
            return None
        array = np.array(tensor.transpose(order), np.float32, order="C")
        if not np.isfinite(array).all():
            problems.append(f"{name} has values that are not finite")
        return array

    variables = fill(shapes, ())
    for name, tensor in unused.items():
        if name.rpartition(".")[2] != "resample_filter":
            problems.append(f"unknown {name[:120]} {list(tensor.shape)}")
        elif not _is_resample_filter(tensor):
            problems.append(f"{name[:120]} is not the [1, 3, 3, 1] filter, which alone is supported")
    if problems:
        more = f" and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise InputError(
            f"{source}: {len(problems)} tensors do not fit the network that its settings describe: "
            f"{'; '.join(problems[:_MAX_LISTED])}{more}; check the settings (--spec) or download the file again"
        )
    return variables


def _torch_order(leaf: str, ndim: int) -> tuple[int, ...]:
    """The axes of torch's layout in the order in which ours has them."""
    orders = {("weight", 4): (2, 3, 1, 0), ("weight", 2): (1, 0), ("const", 3): (1, 2, 0)}
    return orders.get((leaf, ndim), tuple(range(ndim)))


def _is_floating(tensor: np.ndarray) -> bool:
    return tensor.dtype.kind == "f" or tensor.dtype.name == "bfloat16"  # ml_dtypes are of kind 'V'


def _is_resample_filter(tensor: np.ndarray) -> bool:
    taps = np.array([1, 3, 3, 1]) / 8
    good = tensor.shape == (4, 4) and _is_floating(tensor)
    return good and np.allclose(tensor.astype(np.float64), np.outer(taps, taps), atol=1e-3)
