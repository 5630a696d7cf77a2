"""Losses of one image: L2 and a perceptual term, which `loss.perceptual` chooses by name, and a pull on depth.

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

__all__ = [
    "NONE",
    "PerceptualTerm",
    "Terms",
    "depth_loss",
    "early_stop",
    "image_loss",
    "load_network",
    "perceptual_term",
    "terms",
]
