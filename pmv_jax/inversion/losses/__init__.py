"""Losses of one image: L2 and a perceptual term, which `loss.perceptual` chooses by name; pulls on the geometry.

A perceptual term is one object in one file here, and one line in config/registry.py.
"""

from pmv_jax.inversion.losses.image import (
    NONE,
    PerceptualTerm,
    Terms,
    depth_loss,
    early_stop,
    image_loss,
    load_network,
    perceptual_term,
    terms,
)
from pmv_jax.inversion.losses.outline import Outline, outline_loss
from pmv_jax.inversion.losses.surface import Surface, surface_loss

__all__ = [
    "NONE",
    "Outline",
    "PerceptualTerm",
    "Surface",
    "Terms",
    "depth_loss",
    "early_stop",
    "image_loss",
    "load_network",
    "outline_loss",
    "perceptual_term",
    "surface_loss",
    "terms",
]
