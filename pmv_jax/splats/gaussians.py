"""Gaussian splats, and how much each of them contributes to each pixel of a view.

Kerbl, Kopanas, Leimkühler, Drettakis, "3D Gaussian splatting for real-time radiance field rendering", SIGGRAPH 2023
(arXiv 2308.04079). Rasterising is written for fitting on a CPU: it returns the linear map from colours to pixels.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import sparse

_LOW_PASS = 0.3  # square pixels that viewers add to each projected covariance (released code, `computeCov2D`)
_FAINTEST = 1 / 255  # what adds less to a pixel is left out, and
_OPAQUEST = 0.99  # no splat hides all behind it, as there
_NEAREST = 0.1  # z-depth, world units


@dataclasses.dataclass(frozen=True)
class Splats:
    """Gaussians in world units.

    Attributes:
      positions: [N, 3].
      axes: [N, 3, 3], unit vectors in columns, right-handed.
      scales: [N, 3] standard deviations along the axes.
      opacities: [N] in (0, 1), at the middle of each.
      colours: [N, 3] in [0, 1], the same from all sides.
    """

    positions: np.ndarray
    axes: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    colours: np.ndarray

    @property
    def covariances(self) -> np.ndarray:
        """[N, 3, 3] in square world units."""
        spread = self.axes * self.scales[:, None, :]
        return spread @ spread.transpose(0, 2, 1)


def contributions(splats: Splats, camera: np.ndarray, size: int, samples: int = 1) -> sparse.csr_array:
    """The share of each splat in each pixel: `contributions(...) @ splats.colours` is the picture, over black.

    Projected by the local affine approximation and composited from front to back, nearest middle first (eq. 3 and 5 of
    the paper).

    Args:
      camera: [25].
      size: of the picture, which is square.
      samples: pixels are means of so many times so many finer ones, as large as a viewer might show them.

    Returns:
      [size * size, N], rows in reading order; a row's sum is how opaque the splats are in that pixel.
    """
    fine = size * samples
    middles, depths, covariances = _project(splats, camera, fine)
    order = np.argsort(depths)
    order = order[depths[order] > _NEAREST]
    owner, x, y = _pixels(order, middles, covariances, splats.opacities, fine)

    a, b, c = covariances[owner, 0, 0], covariances[owner, 0, 1], covariances[owner, 1, 1]
    dx, dy = x + 0.5 - middles[owner, 0], y + 0.5 - middles[owner, 1]
    distance = (c * dx**2 - 2 * b * dx * dy + a * dy**2) / (a * c - b**2)
    alpha = np.minimum(splats.opacities[owner] * np.exp(-0.5 * distance), _OPAQUEST)
    kept = alpha > _FAINTEST
    owner, x, y, alpha = owner[kept], x[kept], y[kept], alpha[kept]

    pixel = y * fine + x
    by_pixel = np.argsort(pixel, kind="stable")  # within each, nearest first
    owner, x, y, alpha, pixel = (values[by_pixel] for values in (owner, x, y, alpha, pixel))
    passed = np.log1p(-alpha)
    before = np.cumsum(passed) - passed
    start = np.searchsorted(pixel, pixel)  # of each pixel's run
    weight = alpha * np.exp(before - before[start]) / samples**2
    row = (y // samples) * size + x // samples
    return sparse.csr_array((weight, (row, owner)), shape=(size * size, len(splats.positions)))


def _project(splats: Splats, camera: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middles [N, 2] in pixels, z-depths [N] and covariances [N, 2, 2] in square pixels, low-pass filter included."""
    cam2world, intrinsics = np.float64(camera[:16]).reshape(4, 4), size * np.float64(camera[16:]).reshape(3, 3)[:2]
    rotation = cam2world[:3, :3]
    local = (splats.positions - cam2world[:3, 3]) @ rotation
    depth = np.maximum(local[:, 2], _NEAREST)
    middles = (local[:, :2] / depth[:, None]) @ intrinsics[:, :2].T + intrinsics[:, 2]
    slope = np.zeros((len(local), 2, 3))  # derivatives of (x / z, y / z)
    slope[:, 0, 0] = slope[:, 1, 1] = 1 / depth
    slope[:, :, 2] = -local[:, :2] / depth[:, None] ** 2
    spread = intrinsics[:, :2] @ slope @ rotation.T @ (splats.axes * splats.scales[:, None, :])
    return middles, local[:, 2], spread @ spread.transpose(0, 2, 1) + _LOW_PASS * np.eye(2)


def _pixels(
    order: np.ndarray, middles: np.ndarray, covariances: np.ndarray, opacities: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pixels that splats may reach: whose [M], in the given order, and columns and rows [M]."""
    reach = np.sqrt(2 * np.log(np.maximum(opacities / _FAINTEST, 1)))  # standard deviations until it is too faint
    radius = reach[:, None] * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    low = np.clip(np.ceil(middles - radius - 0.5), 0, size).astype(np.int64)[order]
    high = np.clip(np.floor(middles + radius - 0.5) + 1, 0, size).astype(np.int64)[order]
    width, height = np.maximum(high - low, 0).T
    count = width * height
    index = np.repeat(np.arange(len(order)), count)
    place = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
    return order[index], low[index, 0] + place % width[index], low[index, 1] + place // width[index]
