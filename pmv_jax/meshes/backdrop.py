"""What a view shows in front of its backdrop: the part of a field that is the head."""

from __future__ import annotations

from collections.abc import Callable

import chex
import numpy as np
from skimage import filters

_SEPARATE = 0.8  # share of the variance of depth that its two classes explain where there is a backdrop; 0.75 is flat

Inside = Callable[[np.ndarray], np.ndarray]  # points [N, 3] -> distance [N] to the bounds, positive inside


def backdrop_depth(z_depth: np.ndarray) -> float:
    """z-depth just before the backdrop of a view.

    Otsu's threshold (IEEE Trans. SMC 9, 1979) splits depths in two classes; there is a backdrop if they explain enough
    of the variance. The backdrop's own spread then says where it begins: the threshold itself would cut off shoulders.

    Args:
      z_depth: [h, w] of the view.

    Returns:
      In the unit of z_depth; infinite if the view has no backdrop.
    """
    chex.assert_rank(z_depth, 2)
    if np.ptp(z_depth) < 1e-6:
        return np.inf
    threshold = filters.threshold_otsu(z_depth, nbins=128)
    far = z_depth[z_depth > threshold]
    share = len(far) / z_depth.size
    between = share * (1 - share) * (far.mean() - z_depth[z_depth <= threshold].mean()) ** 2
    if between < _SEPARATE * z_depth.var():
        return np.inf
    middle = np.median(far)
    spread = 1.4826 * np.median(np.abs(far - middle))  # a normal distribution's standard deviation
    return float(max(middle - 4 * max(spread, 0.005), threshold))


def in_front_of_backdrop(z_depth: np.ndarray, camera: np.ndarray) -> Inside:
    """The bounds of what a view shows in front of its backdrop.

    Args:
      z_depth: [h, w] of a frontal view.
      camera: [25] of that view.

    Returns:
      The distance to these bounds of points in the world.
    """
    chex.assert_shape(camera, (25,))
    cam2world, intrinsics = np.float64(camera[:16]).reshape(4, 4), camera[16:].reshape(3, 3)
    cut = backdrop_depth(z_depth)
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    # Inward normals of the frame's four sides, through the camera.
    sides = np.array([[fx, 0, cx], [-fx, 0, 1 - cx], [0, fy, cy], [0, -fy, 1 - cy]])
    sides /= np.linalg.norm(sides, axis=1, keepdims=True)

    def inside(points: np.ndarray) -> np.ndarray:
        local = (points - cam2world[:3, 3]) @ cam2world[:3, :3]
        return np.minimum((local @ sides.T).min(axis=1), cut - local[:, 2])

    return inside
