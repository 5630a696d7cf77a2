"""What a network *is*: the settings that are saved with its weights, in generator.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pmv_jax.config.registry import ARCHITECTURES
from pmv_jax.config.settings import Settings, setting

NoiseMode = Literal["const", "none"]
PlaneAxes = Literal["xy_xz_zx", "xy_xz_zy"]

_WIDEST = 1 << 16  # layer
_LARGEST = 4096  # picture, pixels a side
_FAR = 1e9


@dataclass(frozen=True)
class MappingConfig(Settings, group="mapping"):
    """Mapping network, z and camera to w (EG3D `training/networks_stylegan2.py`, `MappingNetwork`)."""

    num_layers: int = setting(2, low=1, high=64)
    lr_multiplier: float = setting(0.01, low=1e-9, high=1e9)
    zero_conditioning: bool = setting(False)  # EG3D c_gen_conditioning_zero: the network sees a camera of zeros
    conditioning_scale: float = setting(1.0, low=-1e9, high=1e9)  # EG3D c_scale


@dataclass(frozen=True)
class BackboneConfig(Settings, group="backbone"):
    """StyleGAN2 synthesis network that generates the tri-planes (`SynthesisNetwork`)."""

    plane_resolution: int = setting(256, low=4, high=_LARGEST)
    plane_channels: int = setting(32, low=1, high=_WIDEST)
    channel_base: int = setting(32768, low=1, high=1 << 24)
    channel_max: int = setting(512, low=1, high=_WIDEST)
    conv_clamp: float | None = setting(256.0, low=0)
    # A learned map [res, res, channels] added after every convolution. Off in official weights. It gives what all heads
    # share a place of its own, instead of growing it out of a 4x4 constant; worth 3 dB in short supervised training.
    spatial_maps: bool = setting(False)
    plane_map: bool = setting(False)  # one added to the tri-planes themselves: paintings on a head (edits/texture.py)


@dataclass(frozen=True)
class DecoderConfig(Settings, group="decoder"):
    """Two-layer MLP from plane features to density and colour features (`OSGDecoder`)."""

    hidden_features: int = setting(64, low=1, high=_WIDEST)
    output_features: int = setting(32, low=3, high=_WIDEST)
    lr_multiplier: float = setting(1.0, low=1e-9, high=1e9)


@dataclass(frozen=True)
class RenderingConfig(Settings, group="rendering"):
    """Volume rendering (EG3D `rendering_kwargs`)."""

    neural_resolution: int = setting(128, low=1, high=_LARGEST)
    coarse_samples: int = setting(48, low=2, high=_LARGEST)
    fine_samples: int = setting(48, low=0, high=_LARGEST)
    ray_start: float | None = setting(2.25, low=0, high=_FAR)  # None, in both bounds, is EG3D's 'auto': at the box
    ray_end: float | None = setting(3.3, low=0, high=_FAR)
    disparity_sampling: bool = setting(False)
    box_size: float = setting(1.0, low=1e-9, high=_FAR)  # side of the cube that the planes span, EG3D box_warp
    white_background: bool = setting(False)
    # Which two world axes span each plane, (row, column) order as documented in rendering/triplanes.py. The official
    # weights were trained with XY, XZ, ZX (NVlabs/eg3d issue 67): no plane sees y and z together.
    plane_axes: PlaneAxes = setting("xy_xz_zx")


@dataclass(frozen=True)
class SuperresolutionConfig(Settings, group="superresolution"):
    """Two style-modulated blocks from the raw feature image to the final image (EG3D `training/superresolution.py`)."""

    input_resolution: int = setting(128, low=1, high=_LARGEST)
    block_channels: tuple[int, int] = setting((256, 128), low=1, high=_WIDEST)
    block_upsamples: tuple[bool, bool] = setting((True, True))
    # False: raw images larger than input_resolution are passed on unchanged (4X, Deepfp32).
    resize_larger: bool = setting(True)
    # EG3D's blocks that do not up-sample (2X, 4X, Deepfp32: `SynthesisBlockNoUp`) add in place, to the tensor that is
    # also returned as image_raw. True: `synthesis` returns that sum, where the raw image was not resized before.
    adds_to_raw: bool = setting(False)
    antialias: bool = setting(True)
    noise_mode: NoiseMode = setting("none")
    conv_clamp: float | None = setting(256.0, low=0)


@dataclass(frozen=True)
class GeneratorConfig(Settings):
    """An EG3D generator. Defaults are those of the official FFHQ 512-128 network."""

    z_dim: int = setting(512, low=1, high=_WIDEST)
    c_dim: int = setting(25, low=0, high=_WIDEST)
    w_dim: int = setting(512, low=1, high=_WIDEST)
    image_resolution: int = setting(512, low=1, high=_LARGEST)
    mapping: MappingConfig = field(default_factory=MappingConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    rendering: RenderingConfig = field(default_factory=RenderingConfig)
    superresolution: SuperresolutionConfig = field(default_factory=SuperresolutionConfig)
    # Convolutions and MLPs; rays composite in float32.
    compute_dtype: Literal["float32", "bfloat16"] = setting("float32")
    # The cameras that the network was trained with.
    camera_radius: float = setting(2.7, low=0, high=_FAR)
    camera_pivot: tuple[float, float, float] = setting((0.0, 0.0, 0.2), low=-_FAR, high=_FAR)
    camera_focal: float = setting(4.2647, low=1e-9, high=_FAR)  # in units of the image size
    # Which class the network is of. Not shown by repr, of which `Generator.fingerprint` is made: fingerprints that were
    # saved before there was a choice stay as they are, and classes tell by the names of their variables.
    architecture: str = setting("triplane", names=ARCHITECTURES, repr=False)

    @property
    def num_ws(self) -> int:
        """Number of style vectors: two per resolution but one at 4x4, and one for the last toRGB."""
        return 2 * (self.backbone.plane_resolution.bit_length() - 2)
