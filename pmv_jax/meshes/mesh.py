"""Triangle meshes: what they are, and smaller ones."""

from __future__ import annotations

import dataclasses

import fast_simplification
import numpy as np
from scipy import spatial


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Triangles in world units.

    Attributes:
      vertices: [V, 3] float32.
      faces: [F, 3] int32, counter-clockwise as seen from outside.
      colours: [V, 3] float32 in [-1, 1].
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray

    @property
    def normals(self) -> np.ndarray:
        """Unit normals [V, 3] of the vertices: of their faces' mean, weighted by area."""
        corners = self.vertices[self.faces]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        total = np.stack(
            [np.bincount(self.faces.ravel(), np.repeat(cross[:, i], 3), len(self.vertices)) for i in range(3)], axis=-1
        )
        return (total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-20)).astype(np.float32)

    @property
    def boundary_edges(self) -> int:
        """Number of edges that do not belong to exactly two faces; none in a watertight mesh."""
        edges = np.sort(self.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1).astype(np.int64)
        _, counts = np.unique(edges[:, 0] * len(self.vertices) + edges[:, 1], return_counts=True)
        return int(np.sum(counts != 2))


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """A mesh with fewer triangles.

    Args:
      mesh: with colours.
      faces: about the most triangles that it may have.

    Returns:
      A mesh in which each vertex has the colour of the nearest vertex before.
    """
    if len(mesh.faces) <= faces:
        return mesh
    vertices, triangles = fast_simplification.simplify(mesh.vertices, mesh.faces, target_count=faces)
    nearest = spatial.cKDTree(mesh.vertices).query(vertices)[1]
    return Mesh(vertices, triangles, mesh.colours[nearest])
