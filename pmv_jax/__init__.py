"""pmv_jax: from one photograph to a 3D head, by pseudo-multi-view inversion of a tri-plane GAN.

    generator = pmv_jax.load_generator()  # the demo one; or give a directory
    w = generator.mapping(z, camera, truncation_psi=0.7)
    out = generator.synthesis(w, camera)  # image, image_raw, ray_distance
    inversion = pmv_jax.invert(image, camera, generator)
    inversion.render(cameras)

Names are imported when they are first used, so that `import pmv_jax.config` and the commands start without JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pmv_jax.checkpoints.orbax import load_generator
    from pmv_jax.inversion.pipeline import invert, invert_photographs
    from pmv_jax.inversion.result import Inversion, load_inversion
    from pmv_jax.inversion.stage import Photograph
    from pmv_jax.inversion.visibility import warp_to_view
    from pmv_jax.models.generator import Generator

__all__ = [
    "Generator",
    "Inversion",
    "Photograph",
    "invert",
    "invert_photographs",
    "load_generator",
    "load_inversion",
    "warp_to_view",
]

_HOMES = {
    "Generator": "pmv_jax.models.generator",
    "Inversion": "pmv_jax.inversion.result",
    "Photograph": "pmv_jax.inversion.stage",
    "invert": "pmv_jax.inversion.pipeline",
    "invert_photographs": "pmv_jax.inversion.pipeline",
    "load_generator": "pmv_jax.checkpoints.orbax",
    "load_inversion": "pmv_jax.inversion.result",
    "warp_to_view": "pmv_jax.inversion.visibility",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
