"""How the published EG3D generators are built, for state dicts of them, which do not say it themselves.

Facts are from https://github.com/NVlabs/eg3d: `train.py` and `docs/models.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_FACES = {
    "depth_resolution": 48, "depth_resolution_importance": 48, "ray_start": 2.25, "ray_end": 3.3, "box_warp": 1,
    "avg_camera_radius": 2.7, "avg_camera_pivot": [0, 0, 0.2],
}  # fmt: skip
_CATS = {**_FACES, "avg_camera_pivot": [0, 0, -0.06]}
_CARS = {
    "depth_resolution": 64, "depth_resolution_importance": 64, "ray_start": 0.1, "ray_end": 2.6, "box_warp": 1.6,
    "white_back": True, "avg_camera_radius": 1.7, "avg_camera_pivot": [0, 0, 0], "c_gen_conditioning_zero": True,
}  # fmt: skip


def _spec(resolution: int, raw: int, rendering: Mapping[str, Any]) -> dict[str, Any]:
    """What `eg3d.read_spec` reads from a file."""
    return {
        "init": {
            "z_dim": 512, "c_dim": 25, "w_dim": 512, "img_channels": 3, "img_resolution": resolution,
            "sr_num_fp16_res": 4, "mapping_kwargs": {"num_layers": 2}, "channel_base": 32768, "channel_max": 512,
            "conv_clamp": None,
        },
        "rendering_kwargs": {
            "c_gen_conditioning_zero": False, "c_scale": 1.0, "clamp_mode": "softplus", "decoder_lr_mul": 1.0,
            "disparity_space_sampling": False, "sr_antialias": True, "superresolution_noise_mode": "none", **rendering,
        },
        "neural_rendering_resolution": raw,
    }  # fmt: skip


PRESETS = {
    "ffhq512-128": _spec(512, 128, _FACES),
    "ffhq512-64": _spec(512, 64, _FACES),
    "ffhqrebalanced512-128": _spec(512, 128, _FACES),
    "ffhqrebalanced512-64": _spec(512, 64, _FACES),
    "afhqcats512-128": _spec(512, 128, _CATS),
    "shapenetcars128-64": _spec(128, 64, _CARS),
}


def superresolution_module(resolution: Any, tensors: Mapping[str, np.ndarray]) -> str | None:
    """Which of EG3D's classes a state dict's super-resolution is, by the image's resolution and its own width.

    Args:
      resolution: of the final image, pixels a side, as the file has it.
      tensors: the state dict; `superresolution.block0.conv1.weight` [O, I, 3, 3] tells the width.

    Returns:
      The class name; None if it is none of those.
    """
    weight = tensors.get("superresolution.block0.conv1.weight")
    width = weight.shape[0] if weight is not None and weight.ndim == 4 else None
    classes = {(512, 256): "8XDC", (512, 128): "8X", (256, 128): "4X", (128, 128): "2X"}
    name = classes.get((resolution, width)) if isinstance(resolution, int) else None
    return name and f"SuperresolutionHybrid{name}"
