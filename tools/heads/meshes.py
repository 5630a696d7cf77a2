"""Pure functions on triangle meshes."""

import numpy as np


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3] of vertices [V, 3]: those of the triangles [T, 3] about each, weighted by area."""
    corners = vertices[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for axis in range(3):
        repeated = np.repeat(across[:, axis], 3)
        normals[:, axis] = np.bincount(triangles.ravel(), repeated, len(vertices))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def triangle_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Twice the areas [T]."""
    corners = vertices[triangles]
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)


def at_points(values: np.ndarray, triangles: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values [V, ...] of vertices, interpolated at points in triangles [n, 3] with barycentric weights [n, 3]."""
    weights = weights.reshape(weights.shape + (1,) * (values.ndim - 1))
    return (values[triangles] * weights).sum(1)
