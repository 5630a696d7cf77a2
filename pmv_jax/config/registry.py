"""What can be chosen by name: perceptual terms of the loss, and architectures of the generator.

A line names where an object is defined, "module:attribute"; it is imported when it is first needed, so that settings
are checked without JAX. Your own is one more line, in a recipe or before anything is loaded; docs/extending.md:

    pmv_jax.config.PERCEPTUAL_TERMS["charbonnier"] = "my_losses:CHARBONNIER"
"""

from __future__ import annotations

import importlib
from typing import Any

PERCEPTUAL_TERMS: dict[str, str] = {
    "gradients": "pmv_jax.inversion.losses.gradients:GRADIENTS",
    "none": "pmv_jax.inversion.losses.image:NONE",
    "lpips_vgg": "pmv_jax.inversion.losses.lpips:VGG",
    "lpips_alex": "pmv_jax.inversion.losses.lpips:ALEX",
}
"""For `loss.perceptual`: objects like `pmv_jax.inversion.losses.PerceptualTerm`."""

ARCHITECTURES: dict[str, str] = {
    "triplane": "pmv_jax.models.triplane:TriPlaneGenerator",
}
"""For `architecture` in generator.json: Flax modules with the methods of `TriPlaneGenerator`."""


def resolve(reference: str) -> Any:
    """The object that "module:attribute" names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)
