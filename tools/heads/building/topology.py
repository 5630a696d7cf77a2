"""The head of the base mesh: which vertices are kept, one Catmull-Clark step as a matrix, masks from pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from PIL import Image

from tools.heads.building.formats import BASE_VERTICES, Mesh

LOWEST, WIDEST = 2.7, 3.2  # decimetres: faces above, and as far from the middle, are drawn: head and shoulders


@dataclass(frozen=True)
class Cage:
    """What is kept of the base mesh: `kept` [C] numbers of its vertices; `number` [BASE_VERTICES], -1 if not kept;
    faces [F, 4] and uv [F, 4, 2] of the drawn surface."""

    base: np.ndarray
    kept: np.ndarray
    number: np.ndarray
    faces: np.ndarray
    uv: np.ndarray


def cut_cage(mesh: Mesh, helpers: np.ndarray) -> Cage:
    """Keeps the head and shoulders, and the `helpers` [n] that fitted meshes hang on."""
    drawn = []
    for face, face_uv, group in zip(mesh.faces, mesh.face_uv, mesh.groups, strict=True):
        corners = mesh.vertices[list(face)]
        if group == "body" and corners[:, 1].min() >= LOWEST and np.abs(corners[:, 0]).max() <= WIDEST:
            drawn.append((face, face_uv))
    faces = np.array([face for face, _ in drawn])
    kept = np.union1d(faces, helpers)
    number = np.full(BASE_VERTICES, -1)
    number[kept] = np.arange(len(kept))
    return Cage(mesh.vertices[kept], kept, number, number[faces], mesh.uv[np.array([face_uv for _, face_uv in drawn])])


@dataclass(frozen=True)
class Subdivided:
    """One Catmull-Clark step: `matrix` [V, C] with rows for the vertices `head` [H], then edges, then faces; quads
    [4 F, 4] and their uv [4 F, 4, 2]."""

    matrix: sp.csr_matrix
    head: np.ndarray
    quads: np.ndarray
    uv: np.ndarray


def subdivide(faces: np.ndarray, uv: np.ndarray, vertices: int) -> Subdivided:
    """Catmull and Clark, https://doi.org/10.1016/0010-4485(78)90110-0, with the usual rules at borders."""
    head = np.unique(faces)
    count, place = len(faces), np.searchsorted(head, faces)
    sides = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    ends, first, side_of = np.unique(np.sort(sides, 1), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # edges are numbered as faces come upon them
    ends, side_of = ends[order], np.argsort(order)[side_of.ravel()].reshape(count, 4)

    def rows(columns: np.ndarray, weight: float) -> sp.csr_matrix:
        """Weighted sums [n, vertices] of some vertices [n, k]."""
        n, k = columns.shape
        entries = (np.full(n * k, weight), (np.repeat(np.arange(n), k), columns.ravel()))
        return sp.csr_matrix(entries, shape=(n, vertices))

    face_points, middles = rows(faces, 0.25), rows(ends, 0.5)
    touching = sp.csr_matrix((np.ones(4 * count), (side_of.ravel(), np.repeat(np.arange(count), 4))))
    inner = np.asarray(touching.sum(1)).ravel() == 2
    inside = sp.diags(inner.astype(float))
    edge_points = inside @ (0.5 * middles + 0.25 * touching @ face_points) + sp.diags(1.0 - inner) @ middles
    vertex_points = _vertex_rows(head, faces, ends, inner, face_points, middles, vertices)
    edges, centres = len(head) + side_of, len(head) + len(ends) + np.arange(count)
    quads, quad_uv = [], []
    for k in range(4):
        quads.append(np.stack([place[:, k], edges[:, k], centres, edges[:, k - 1]], 1))
        corners = (uv[:, k], (uv[:, k] + uv[:, (k + 1) % 4]) / 2, uv.mean(1), (uv[:, k] + uv[:, k - 1]) / 2)
        quad_uv.append(np.stack(corners, 1))
    matrix = sp.csr_matrix(sp.vstack([vertex_points, edge_points, face_points]))
    return Subdivided(matrix, head, np.stack(quads, 1).reshape(-1, 4), np.stack(quad_uv, 1).reshape(-1, 4, 2))


def _vertex_rows(
    head: np.ndarray,
    faces: np.ndarray,
    ends: np.ndarray,
    inner: np.ndarray,
    face_points: sp.csr_matrix,
    middles: sp.csr_matrix,
    vertices: int,
) -> sp.csr_matrix:
    """(F + 2 R + (n - 3) P) / n of mean face point, edge middle and vertex; at borders 1/8, 6/8, 1/8."""

    def incidence(columns: np.ndarray) -> sp.csr_matrix:
        n, k = columns.shape
        entries = (np.ones(n * k), (np.searchsorted(head, columns).ravel(), np.repeat(np.arange(n), k)))
        return sp.csr_matrix(entries, shape=(len(head), n))

    own = sp.csr_matrix((np.ones(len(head)), (np.arange(len(head)), head)), shape=(len(head), vertices))
    of_faces, of_edges = incidence(faces), incidence(ends)
    valence = np.asarray(of_faces.sum(1)).ravel()
    means = sp.diags(1 / valence) @ of_faces @ face_points + 2 * sp.diags(1 / _sums(of_edges)) @ of_edges @ middles
    smooth = sp.diags(1 / valence) @ (means + sp.diags(valence - 3) @ own)
    of_border = of_edges @ sp.diags(1.0 - inner)
    border = _sums(of_border) > 0
    # The two edges of a border, by their middles: P / 2 + (M + M') / 4.
    creased = 0.5 * own + 0.25 * of_border @ middles
    return sp.diags(1.0 - border) @ smooth + sp.diags(border.astype(float)) @ creased


def _sums(matrix: sp.csr_matrix) -> np.ndarray:
    return np.asarray(matrix.sum(1)).ravel()


def mask_from_picture(path: Path, subdivided: Subdivided) -> np.ndarray:
    """A mask [V] in [0, 1] from a picture over the base mesh's texture coordinates."""
    picture = np.asarray(Image.open(path).convert("L"), np.float64) / 255
    height, width = picture.shape
    x = np.clip((subdivided.uv[..., 0] * width).astype(int), 0, width - 1)
    y = np.clip(((1 - subdivided.uv[..., 1]) * height).astype(int), 0, height - 1)
    total = np.bincount(subdivided.quads.ravel(), picture[y, x].ravel())
    return total / np.bincount(subdivided.quads.ravel())
