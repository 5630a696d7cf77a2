"""Colours of surface points from rendered views of a head, whose pictures super-resolution has sharpened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import chex
import numpy as np
from scipy import ndimage

from pmv_jax.meshes.projection import project

_DEPTH_TOLERANCE = 0.02  # world units: a depth map's edges are about as coarse
_FIELD_WEIGHT = 1e-3  # of the field's colour against a view's


class RenderedView(NamedTuple):
    """A picture to take colours from.

    Attributes:
      image: [H, W, 3] in [-1, 1].
      z_depth: [h, w] in world units.
      camera: [25].
      weight: how much it counts against other views.
    """

    image: np.ndarray
    z_depth: np.ndarray
    camera: np.ndarray
    weight: float = 1.0


def colours_from_views(
    points: np.ndarray, normals: np.ndarray, colours: np.ndarray, views: Sequence[RenderedView]
) -> np.ndarray:
    """Colours of surface points as views show them.

    A view counts where it sees a point from in front, the more the less slanted, and where its depth is the point's.

    Args:
      points, normals: [N, 3] on the surface.
      colours: [N, 3] of the field, for what no view sees.
      views: to take colours from.

    Returns:
      [N, 3] in [-1, 1].
    """
    chex.assert_shape((points, normals, colours), (len(points), 3))
    total, mixed = np.full(len(points), _FIELD_WEIGHT), _FIELD_WEIGHT * np.clip(colours, -1, 1)
    for view in views:
        where, depth = project(view.camera, points)
        towards = view.camera[3:12:4] - points
        cosine = np.sum(towards * normals, axis=1) / np.linalg.norm(towards, axis=1)
        gap = np.abs(_bilinear(view.z_depth[..., None], where)[:, 0] - depth)
        seen = np.clip((cosine - 0.2) / 0.5, 0, 1) ** 2 * np.clip(2 - gap / _DEPTH_TOLERANCE, 0, 1)
        weight = view.weight * seen * np.all(np.abs(where - 0.5) < 0.5, axis=1)
        total += weight
        mixed += weight[:, None] * _bilinear(view.image, where)
    return (mixed / total[:, None]).astype(np.float32)


def _bilinear(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """image [H, W, C] at [N, 2] x and y in (0, 1) -> [N, C]; beyond the border, the border's."""
    coordinates = [where[:, 1] * image.shape[0] - 0.5, where[:, 0] * image.shape[1] - 0.5]
    channels = [ndimage.map_coordinates(c, coordinates, order=1, mode="nearest") for c in np.moveaxis(image, -1, 0)]
    return np.stack(channels, axis=-1)
