"""Every setting of the project, as frozen dataclasses, and the overrides that change them.

Two trees exist. `GeneratorConfig` says what a network *is*; it is saved with the weights. `InversionConfig` says what
is *done* with it; it is saved with every result. Recipes in `configs/*.py` are Python files with a `config()` function
that returns an `InversionConfig`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pmv_jax.errors import InputError, suggestion

# ---------------------------------------------------------------------------------------------------------------------
# The generator
# ---------------------------------------------------------------------------------------------------------------------

NoiseMode = Literal["const", "none", "random"]
PlaneAxes = Literal["xy_xz_zx", "xy_xz_zy"]


@dataclass(frozen=True)
class MappingConfig:
    """Mapping network, z and camera to w (EG3D `training/networks_stylegan2.py`, `MappingNetwork`)."""

    num_layers: int = 2
    lr_multiplier: float = 0.01
    zero_conditioning: bool = False  # EG3D c_gen_conditioning_zero: the network sees a camera of zeros
    conditioning_scale: float = 1.0  # EG3D c_scale


@dataclass(frozen=True)
class BackboneConfig:
    """StyleGAN2 synthesis network that paints the tri-planes (`SynthesisNetwork`)."""

    plane_resolution: int = 256
    plane_channels: int = 32
    channel_base: int = 32768
    channel_max: int = 512
    conv_clamp: float | None = 256.0
    # A learned map [res, res, channels] added after every convolution. Off in official weights. It gives what all heads
    # share a place of its own, instead of growing it out of a 4x4 constant; worth 3 dB in short supervised training.
    spatial_maps: bool = False
    plane_map: bool = False  # one added to the tri-planes themselves: what was painted on a head (`editing.paint`)


@dataclass(frozen=True)
class DecoderConfig:
    """Two-layer MLP from plane features to density and colour features (`OSGDecoder`)."""

    hidden_features: int = 64
    output_features: int = 32
    lr_multiplier: float = 1.0


@dataclass(frozen=True)
class RenderingConfig:
    """Volume rendering (EG3D `rendering_kwargs`)."""

    neural_resolution: int = 128
    coarse_samples: int = 48
    fine_samples: int = 48
    ray_start: float | None = 2.25  # None, in both bounds, is EG3D's 'auto': where the ray meets the box
    ray_end: float | None = 3.3
    disparity_sampling: bool = False
    box_size: float = 1.0  # side of the cube that the planes span, EG3D box_warp
    white_background: bool = False
    # Which two world axes span each plane, (row, column) order as documented in rendering/triplanes.py. The official
    # weights were trained with XY, XZ, ZX (NVlabs/eg3d issue 67): no plane sees y and z together.
    plane_axes: PlaneAxes = "xy_xz_zx"


@dataclass(frozen=True)
class SuperresolutionConfig:
    """Two style-modulated blocks from the raw feature image to the final image (EG3D `training/superresolution.py`)."""

    input_resolution: int = 128
    block_channels: tuple[int, int] = (256, 128)
    block_upsamples: tuple[bool, bool] = (True, True)
    resize_larger: bool = True  # False: raw images larger than input_resolution are passed on unchanged (4X, Deepfp32)
    # EG3D's blocks that do not up-sample (2X, 4X, Deepfp32: `SynthesisBlockNoUp`) add in place, to the tensor that is
    # also returned as image_raw. True: `synthesis` returns that sum, where the raw image was not resized before.
    adds_to_raw: bool = False
    antialias: bool = True
    noise_mode: NoiseMode = "none"
    conv_clamp: float | None = 256.0


@dataclass(frozen=True)
class GeneratorConfig:
    """An EG3D generator. Defaults are those of the official FFHQ 512-128 network."""

    z_dim: int = 512
    c_dim: int = 25
    w_dim: int = 512
    image_resolution: int = 512
    mapping: MappingConfig = field(default_factory=MappingConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    rendering: RenderingConfig = field(default_factory=RenderingConfig)
    superresolution: SuperresolutionConfig = field(default_factory=SuperresolutionConfig)
    compute_dtype: Literal["float32", "bfloat16"] = "float32"  # convolutions and MLPs; rays composite in float32
    # The cameras that the network was trained with.
    camera_radius: float = 2.7
    camera_pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)
    camera_focal: float = 4.2647  # in units of the image size

    @property
    def num_ws(self) -> int:
        """Number of style vectors: two per resolution but one at 4x4, and one for the last toRGB."""
        return 2 * (self.backbone.plane_resolution.bit_length() - 2)


# ---------------------------------------------------------------------------------------------------------------------
# The inversion
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LossConfig:
    """Image loss: `l2_weight * L2 + perceptual_weight * perceptual` (HFGI3D eq. 1 and 6)."""

    l2_weight: float = 1.0
    perceptual_weight: float = 1.0
    # "gradients" of the error at several scales stand in for LPIPS, whose weights are not shipped; see losses.py.
    perceptual: Literal["gradients", "none", "lpips_vgg", "lpips_alex"] = "gradients"
    lpips_weights: str | None = None  # directory by tools.convert_lpips; default: those that pmv_jax[lpips] installs

    @property
    def uses_lpips(self) -> bool:
        return self.perceptual.startswith("lpips")


@dataclass(frozen=True)
class CameraSearchConfig:
    """Camera estimation, when none is given: random heads and cameras are rendered, and pose and code regressed on what
    they look like; then again around the estimate, or first around the camera that landmarks tell."""

    yaw_range: float = 0.6  # radians, either side of frontal
    pitch_range: float = 0.4
    roll_width: float = 0.02  # standard deviation of the roll, radians
    shift_width: float = 0.01  # and of shifts to the right and down, in picture sizes
    guess_width: float = 0.05  # of yaw and pitch around the camera that landmarks tell, radians; roll, shift: 1/20
    heads: int = 128  # drawn for the search
    refine_heads: int = 48  # and for each round of refinement
    views: int = 4  # cameras of each head
    refine_steps: int = 1  # rounds around the estimate; without them there is no refinement
    resolution: int = 32  # of the pictures compared


@dataclass(frozen=True)
class LatentConfig:
    """Stage 1: latent optimisation from the average w (StyleGAN2 projector; HFGI3D section 3.1)."""

    steps: int = 60
    learning_rate: float = 0.08
    ramp_up: float = 0.05  # share of the steps
    ramp_down: float = 0.5
    noise: float = 0.05  # w noise at the start, in standard deviations of w
    noise_ramp: float = 0.75  # share of the steps after which the noise is gone
    regularisation: float = 0.01  # pull of all rows of w_plus towards each other, in (standard deviations of w)^2
    space: Literal["w", "w_plus"] = "w_plus"
    # Of an estimated camera, which is refined together with the code: learning rate of its yaw and pitch, radians, with
    # the schedule of the code's. A camera that was given stays.
    camera_rate: float = 0.006
    # Its pull towards where it was estimated, in shares of the loss for half a squared radian: a photograph that the
    # code fits badly says little of the camera, one that it fits well moves it all the same.
    camera_pull: float = 10.0


@dataclass(frozen=True)
class TuningConfig:
    """Stage 2: generator tuning on the input alone, until its perceptual term is small enough (HFGI3D section 3.1)."""

    steps: int = 20
    learning_rate: float = 4e-3
    warm_up: float = 0.1  # share of the steps; Adam's first steps move every weight by the full rate
    final_rate: float = 0.2  # share of the learning rate that is left at the end
    # Perceptual term (L2, where the loss has no other) at which the stage ends. None: the loss's own, see
    # losses.EARLY_STOP; 0: never.
    early_stop: float | None = 0.0


@dataclass(frozen=True)
class WeightsConfig:
    """What of the generator all tunings change: gradients and Adam's moments exist for that alone."""

    # "backbone" is what paints the tri-planes; "low_rank" a change of small rank of every array but the mapping's.
    group: Literal["all", "backbone", "super_resolution", "low_rank"] = "all"
    rank: int = 8  # of "low_rank"


@dataclass(frozen=True)
class OccludedConfig:
    """Between stages 2 and 3: a second generator, tuned from the pivot on the input without what is foreign to the
    generator, for the parts that the input hides (HFGI3D figure 2b). Without steps it is the untuned generator."""

    steps: int = 0
    learning_rate: float = 4e-3
    warm_up: float = 0.1
    final_rate: float = 0.2
    # Pixels that the latent code misses by more, on average over the channels, are left out: the difference map. The
    # paper gives no value.
    difference: float = 0.2


@dataclass(frozen=True)
class PseudoViewConfig:
    """Stage 3: pseudo-views by warping and inpainting (HFGI3D sections 3.2 and 3.3)."""

    count: int = 16
    pattern: Literal["disc", "ellipse"] = "disc"  # all over an ellipse of angles, or on its rim as in the paper
    centre: Literal["input", "frontal"] = "frontal"  # what yaw and pitch below are measured from
    yaw_range: float = 0.65  # radians
    pitch_range: float = 0.3
    pitch_offset: float = 0.0
    # Of the depth by which the input is warped: so many rays a side for each pixel of the raw picture, at the median of
    # their light. 0: the expected depth that comes with the raw picture.
    depth_detail: int = 2
    depth_tolerance: float = 0.01  # share of the depth by which a point may miss the surface that the input shows
    steepest: float = 10.0  # tangent of the angle to the line of sight past which the input's surface is not copied
    erode: float = 0.01  # width taken off the mask, in units of the image size
    blur: float = 0.02  # width of the Gaussian (six sigma) that softens its edge
    # Who paints what the input does not show: the tuned generator, the one of `OccludedConfig`, or the latter where
    # nothing was observed and both have the same surface, and else the former.
    fill: Literal["tuned", "occluded", "both"] = "both"
    hidden_weight: float = 0.2  # of pixels that a generator made up, in the joint loss


@dataclass(frozen=True)
class JointConfig:
    """Stage 4: tuning on the input and the pseudo-views together (HFGI3D eq. 6)."""

    steps: int = 120
    learning_rate: float = 2e-2
    warm_up: float = 0.1
    final_rate: float = 0.1
    views_per_step: int = 1
    view_weight: float = 1.5  # of the pseudo-views' mean loss, against the input's
    depth_weight: float = 0.02  # of the pull towards the geometry that the pseudo-views were made with
    reset_generator: bool = False  # True: start again from the untuned weights, as the paper does


@dataclass(frozen=True)
class InversionConfig:
    """The whole recipe. Every field can be overridden with `--set stage.field=value`."""

    seed: int = 0
    loss: LossConfig = field(default_factory=LossConfig)
    camera: CameraSearchConfig = field(default_factory=CameraSearchConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    occluded: OccludedConfig = field(default_factory=OccludedConfig)
    pseudo_views: PseudoViewConfig = field(default_factory=PseudoViewConfig)
    joint: JointConfig = field(default_factory=JointConfig)


# ---------------------------------------------------------------------------------------------------------------------
# To and from plain data, overrides
# ---------------------------------------------------------------------------------------------------------------------

Config = TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain dict of a config, for JSON."""
    return dataclasses.asdict(config)


def from_dict(cls: type[Config], data: typing.Mapping[str, Any], where: str = "") -> Config:
    """Inverse of `to_dict`. Missing fields take their defaults.

    Raises:
      InputError: a key that is no field (the nearest name is suggested) or a value of the wrong type.
    """
    if not isinstance(data, typing.Mapping):
        raise InputError(f"config {where or cls.__name__} must be a table of settings, not {data!r}")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in data.items():
        path = f"{where}.{key}" if where else str(key)
        _check_name(key, list(hints), path)
        hint = hints[key]
        values[key] = from_dict(hint, value, path) if dataclasses.is_dataclass(hint) else _coerce(value, hint, path)
    return cls(**values)


def override(config: Config, assignments: typing.Iterable[str]) -> Config:
    """Applies `stage.field=value` assignments to a config tree.

    Raises:
      InputError: no `=`, an unknown name (the nearest is suggested), or a value that is not of the field's type.
    """
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise InputError(f"--set {assignment}: expected key=value, for example tuning.steps=200")
        config = _replace(config, path.strip().split("."), text.strip(), path.strip())
    return config


def load_recipe(path: str | Path) -> InversionConfig:
    """Runs a recipe file (it is Python, and trusted like any script) and returns what its `config()` returns.

    Raises:
      InputError: the file is missing, fails to run, or its `config()` gives no `InversionConfig`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"--config {path}: no such file; recipes are Python files such as configs/demo.py")
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
        config = module.config()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"--config {path}: {problem}; see configs/demo.py for the form") from error
    if not isinstance(config, InversionConfig):
        raise InputError(f"--config {path}: config() must return a pmv_jax.config.InversionConfig, got {config!r}")
    return config


def _replace(config: Any, keys: list[str], text: str, path: str) -> Any:
    hints = typing.get_type_hints(type(config))
    _check_name(keys[0], list(hints), path)
    hint, old = hints[keys[0]], getattr(config, keys[0])
    if dataclasses.is_dataclass(old):
        if len(keys) == 1:
            members = ", ".join(field.name for field in dataclasses.fields(old))
            raise InputError(f"--set {path}: is a group; set one of {members}")
        new = _replace(old, keys[1:], text, path)
    elif len(keys) > 1:
        raise InputError(f"--set {path}: {keys[0]} is a single value, not a group")
    else:
        new = _coerce(_parse(text, hint), hint, path)
    return dataclasses.replace(config, **{keys[0]: new})


def _check_name(name: str, known: list[str], path: str) -> None:
    if name not in known:
        raise InputError(f"unknown setting {path!r}; {suggestion(str(name), known)}")


def _parse(text: str, hint: Any) -> Any:
    """Command-line text to a plain value of about the right kind; `_coerce` then checks it."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return [_parse(part.strip(), args[0]) for part in text.strip("()[]").split(",")]
    if type(None) in args:
        return None if text.lower() in ("none", "null") else _parse(text, next(a for a in args if a is not type(None)))
    if hint is bool:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _coerce(value: Any, hint: Any, path: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    bad = InputError(f"setting {path}: {value!r} is not {_describe(hint)}")
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _coerce(value, next(a for a in args if a is not type(None)), path)
    if origin is Literal:
        if value not in args:
            raise bad
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or len(value) != len(args):
            raise bad
        return tuple(_coerce(v, a, path) for v, a in zip(value, args, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, bool) or not isinstance(value, hint):
        raise bad
    if hint is float and value != value:
        raise bad
    return value


def _describe(hint: Any) -> str:
    args = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, args))
    if typing.get_origin(hint) is tuple:
        return f"{len(args)} comma-separated values of type {args[0].__name__}"
    if args:
        return " or ".join("none" if a is type(None) else a.__name__ for a in args)
    return f"a value of type {hint.__name__}"
