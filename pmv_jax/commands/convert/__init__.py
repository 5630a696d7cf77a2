"""Converts weights of others, EG3D's and LPIPS's, without PyTorch and without running code from their files.

    python -m pmv_jax.convert eg3d --input ffhq512-128.pkl --output weights/ffhq512-128
    python -m pmv_jax.convert lpips --backbone alexnet-owt-7be5be79.pth --heads alex.pth --output weights/lpips_alex

Each has --help.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pmv_jax.commandline.dispatch import dispatch


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the converter that the first argument names, and returns its exit code."""
    return dispatch(__name__, Path(__file__).parent, "python -m pmv_jax.convert", arguments)
