"""Gaussian splats as .ply files, as the code of Kerbl et al. (arXiv 2308.04079) writes them and viewers read them.

A vertex has `x y z nx ny nz f_dc_0..2 f_rest_0..44 opacity scale_0..2 rot_0..3`, all little-endian float32: colour as
coefficients of spherical harmonics (those beyond the first are 0, so that readers which insist on them are content),
opacity before the sigmoid, logarithms of the scales, a quaternion with its real part first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pmv_jax.errors import InputError
from pmv_jax.splats.gaussians import Splats
from pmv_jax.whole_files import appearing

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
    with appearing(path) as partial:
        partial.write_bytes("\n".join(header).encode() + values.tobytes())


def read_ply(path: Path) -> Splats:
    """Reads what `write_ply` or other programs wrote. View-dependent colour is left out, colours are clipped to [0, 1],
    and what has no size or no opacity is not kept.

    Raises:
      InputError: there is no such file, or it is none of splats in this form.
    """
    try:
        header, separator, body = path.read_bytes().partition(b"end_header\n")
    except OSError as error:
        raise InputError(f"splats {path}: {error.strerror or error}; give a .ply of python -m pmv_jax.splat") from error
    lines = [line.split() for line in header.decode("latin-1").splitlines()]
    names = [words[2] for words in lines if words[:2] == ["property", "float"]]
    counts = [words[2] for words in lines if words[:2] == ["element", "vertex"]]
    plain = ["format", "binary_little_endian", "1.0"] in lines and len(lines) == 3 + len(names)
    if not separator or not plain or len(counts) != 1 or not {"x", "f_dc_0", "opacity", "rot_3"} <= {*names}:
        raise InputError(f"splats {path}: is no .ply of Gaussian splats; give one of python -m pmv_jax.splat")
    if len(body) != 4 * int(counts[0]) * len(names) or not body:
        raise InputError(f"splats {path}: is cut short, or empty; write it anew")
    values = np.frombuffer(body, "<f4").reshape(-1, len(names)).astype(np.float64)

    def columns(*wanted: str) -> np.ndarray:
        return values[:, [names.index(name) for name in wanted]]

    scales = np.exp(columns("scale_0", "scale_1", "scale_2"))
    opacities = 1 / (1 + np.exp(-columns("opacity")[:, 0]))
    turns = columns("rot_1", "rot_2", "rot_3", "rot_0")
    kept = np.isfinite(values).all(1) & (np.abs(turns).sum(1) > 0) & (opacities > 0)
    if not kept.any():
        raise InputError(f"splats {path}: none of its {len(values)} splats can be seen; write it anew")
    return Splats(
        positions=columns("x", "y", "z")[kept] @ _TURN,
        axes=_TURN @ Rotation.from_quat(turns[kept]).as_matrix(),
        scales=scales[kept],
        opacities=opacities[kept],
        colours=np.clip(_SH_0 * columns("f_dc_0", "f_dc_1", "f_dc_2")[kept] + 0.5, 0, 1),
    )
