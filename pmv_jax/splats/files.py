"""Gaussian splats as .ply files, as the code of Kerbl et al. (arXiv 2308.04079) writes them and viewers read them.

A vertex has `x y z nx ny nz f_dc_0..2 f_rest_0..44 opacity scale_0..2 rot_0..3`, all little-endian float32: colour as
coefficients of spherical harmonics (those beyond the first are 0, so that readers which insist on them are content),
opacity before the sigmoid, logarithms of the scales, a quaternion with its real part first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pmv_jax.splats.gaussians import Splats

_PROPERTIES = [
    *("x", "y", "z", "nx", "ny", "nz"),
    *(f"f_dc_{i}" for i in range(3)),
    *(f"f_rest_{i}" for i in range(45)),
    "opacity",
    *(f"scale_{i}" for i in range(3)),
    *(f"rot_{i}" for i in range(4)),
]
_SH_0 = 0.28209479177387814  # the first spherical harmonic, 1 / (2 sqrt(pi))
# Scenes for splat viewers have y down and z away from the one who looks, as OpenCV's cameras; ours have the opposite.
_TURN = np.diag([1.0, -1.0, -1.0])


def write_ply(path: Path, splats: Splats) -> None:
    """Writes a whole file or none. In it y is down and the face looks towards -z; units are those of the splats."""
    axes = _TURN @ splats.axes
    values = np.zeros((len(splats.positions), len(_PROPERTIES)), "<f4")
    values[:, 0:3] = splats.positions @ _TURN
    values[:, 3:6] = axes[:, :, 2]
    values[:, 6:9] = (splats.colours - 0.5) / _SH_0
    values[:, 54] = np.log(splats.opacities / (1 - splats.opacities))
    values[:, 55:58] = np.log(splats.scales)
    values[:, 58:62] = Rotation.from_matrix(axes).as_quat()[:, [3, 0, 1, 2]]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(values)}"]
    header += [*(f"property float {name}" for name in _PROPERTIES), "end_header\n"]
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes("\n".join(header).encode() + values.tobytes())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
