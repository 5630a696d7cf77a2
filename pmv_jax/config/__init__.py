"""Every setting of the project with its range, what a recipe is, and the overrides that change a setting.

There are two trees. `GeneratorConfig` says what a network *is*; it is saved with the weights. `InversionConfig` says
what is *done* with it; it is saved with every result.
"""

from pmv_jax.config.generator import (
    BackboneConfig,
    DecoderConfig,
    GeneratorConfig,
    MappingConfig,
    NoiseMode,
    PlaneAxes,
    RenderingConfig,
    SuperresolutionConfig,
)
from pmv_jax.config.inversion import (
    CameraSearchConfig,
    InversionConfig,
    JointConfig,
    LatentConfig,
    LossConfig,
    OutputConfig,
    PseudoViewConfig,
    TuningConfig,
    WeightsConfig,
)
from pmv_jax.config.overrides import override
from pmv_jax.config.recipes import known_recipes, load_recipe
from pmv_jax.config.registry import ARCHITECTURES, PERCEPTUAL_TERMS, resolve
from pmv_jax.config.settings import Settings, from_dict, setting, to_dict

__all__ = [
    "ARCHITECTURES",
    "PERCEPTUAL_TERMS",
    "BackboneConfig",
    "CameraSearchConfig",
    "DecoderConfig",
    "GeneratorConfig",
    "InversionConfig",
    "JointConfig",
    "LatentConfig",
    "LossConfig",
    "MappingConfig",
    "NoiseMode",
    "OutputConfig",
    "PlaneAxes",
    "PseudoViewConfig",
    "RenderingConfig",
    "Settings",
    "SuperresolutionConfig",
    "TuningConfig",
    "WeightsConfig",
    "from_dict",
    "known_recipes",
    "load_recipe",
    "override",
    "resolve",
    "setting",
    "to_dict",
]
