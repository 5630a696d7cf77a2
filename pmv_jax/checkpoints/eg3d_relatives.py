"""Networks that grew out of EG3D and carry its class name, told by their tensors: refused by the name people know.

Facts are from https://github.com/SizheAn/PanoHead and https://github.com/lhyfst/SphereHead, `training/triplane.py` of
both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_FULL_HEAD = "a network of its own for the background (bcg_synthesis) and a camera that depends on z (t_mapping)"


def name_of(tensors: Iterable[str], rendering_kwargs: Mapping[str, Any]) -> str | None:
    """Which relative of EG3D a network is.

    Args:
      tensors: names of its state dict.
      rendering_kwargs: its rendering settings, empty where there are none.

    Returns:
      Its name and what it has that EG3D has not, for one line; None if it is none of those known here.
    """
    parts = {name.partition(".")[0] for name in tensors}
    depth = rendering_kwargs.get("triplane_depth", 1)
    depth = depth if isinstance(depth, int) else 1
    if {"ConvA", "ConvB"} <= parts:
        return f"a SphereHead network: it has two sets of planes in spherical coordinates (ConvA, ConvB), {_FULL_HEAD}"
    if {"t_mapping", "bcg_synthesis"} & parts or depth != 1:
        return f"a PanoHead network: it has a tri-grid (planes of several layers: triplane_depth), {_FULL_HEAD}"
    return None
