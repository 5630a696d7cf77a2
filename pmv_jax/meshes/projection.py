"""Meshes on pictures: where their points are, and which triangle covers which pixel."""

from __future__ import annotations

import numpy as np

from pmv_jax import cameras
from pmv_jax.meshes.mesh import Mesh


def project(camera: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`cameras.project` on the host.

    Args:
      camera: [25].
      points: [N, 3].

    Returns:
      x and y [N, 2] in units of the picture, inside in (0, 1), and z-depth [N].
    """
    where, depth = cameras.project(camera, np.float32(points))
    return np.asarray(where, np.float64), np.asarray(depth, np.float64)


def rasterise(points: np.ndarray, depth: np.ndarray, faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which triangle covers the centre of each pixel, the nearest first.

    Args:
      points: [V, 2] x and y in pixels, centres at (i + 0.5).
      depth: [V]; interpolated linearly, which for z-depths is right to within a pixel's depth range.
      faces: [F, 3].
      size: side of the picture.

    Returns:
      face [size, size], -1 where none, and barycentric weights [size, size, 3] of its corners.
    """
    face_of, weights = np.full(size * size, -1), np.zeros((size * size, 3))
    nearest = np.full(size * size, np.inf)
    corners = points[faces]
    low = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, size).astype(int)
    high = np.clip(np.floor(corners.max(axis=1) - 0.5), -1, size - 1).astype(int)
    extent = np.maximum(high - low + 1, 0)
    pixels = extent.prod(axis=1)
    for part in np.array_split(np.arange(len(faces)), max(1, int(np.ceil(pixels.sum() / 2**22)))):
        which = np.repeat(part, pixels[part])
        rank = np.arange(len(which)) - np.repeat(np.cumsum(pixels[part]) - pixels[part], pixels[part])
        x, y = low[which, 0] + rank % extent[which, 0], low[which, 1] + rank // extent[which, 0]
        (ax, ay), (bx, by), (cx, cy) = (corners[which, i].T for i in range(3))
        px, py = x + 0.5, y + 0.5
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        with np.errstate(divide="ignore", invalid="ignore"):
            b = ((px - ax) * (cy - ay) - (cx - ax) * (py - ay)) / area
            c = ((bx - ax) * (py - ay) - (px - ax) * (by - ay)) / area
        bary = np.stack([1 - b - c, b, c], axis=-1)
        hit = (bary >= -1e-9).all(axis=1)
        which, bary, pixel = which[hit], bary[hit], (y * size + x)[hit]
        z = np.sum(bary * depth[faces[which]], axis=1)
        order = np.argsort(-z, kind="stable")  # the nearest is written last
        order = order[z[order] < nearest[pixel[order]]]
        nearest[pixel[order]], face_of[pixel[order]], weights[pixel[order]] = z[order], which[order], bary[order]
    return face_of.reshape(size, size), weights.reshape(size, size, 3)


def draw(mesh: Mesh, camera: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A view of a mesh in its own colours, unlit, on white.

    Args:
      mesh: with colours.
      camera: [25].
      size: side of the picture in pixels.

    Returns:
      Image [size, size, 3] in [-1, 1], and where the mesh is, bool [size, size].
    """
    where, depth = project(camera, mesh.vertices)
    face, weights = rasterise(where * size, depth, mesh.faces, size)
    colours = np.einsum("hwk,hwkc->hwc", weights, mesh.colours[mesh.faces[face]])
    return np.where(face[..., None] >= 0, colours, 1.0), face >= 0
