"""Scanned identities: the modes of ICT-FaceKit, carried onto the base mesh.

A thin-plate warp through pairs of landmarks lays the base mesh over ICT's mean face; each vertex takes the displacement
of the nearest point of ICT's skin. Where the two meshes have nothing in common (inside the mouth and the nostrils, at
the lids, eyeballs and teeth) displacements are spread from around by smoothing; down the neck they fade.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sp
import trimesh
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from tools.heads.building.formats import Mesh, read_mesh
from tools.heads.building.topology import Cage

MODES = 60
ICT_SKIN = 11248  # its first vertices: face, head and neck
NECK_END, NECK_START = 5.2, 5.9  # decimetres on the base mesh, between which displacements fade
FAR = 0.12  # decimetres between the warped mesh and ICT's skin, from where a vertex has no counterpart
SMOOTHING_STEPS = 40
CANDIDATES = 12  # triangles that a point is measured to

# Vertices of the base mesh and of ICT-FaceKit that are the same place of a face.
LANDMARKS = (
    *((5134, 4838), (1008, 8771), (12257, 7279), (736, 1780), (5244, 8250), (11901, 2483), (7030, 2498)),
    *((3742, 278), (5160, 474), (7683, 8680), (5635, 7724), (7039, 2683), (5133, 1153), (205, 2041)),
    *((11923, 3530), (11892, 2653), (11505, 3282), (7228, 6542), (5201, 1049), (11997, 4002), (5398, 1799)),
    *((11787, 3427), (5225, 965), (5330, 462), (5248, 1338), (12332, 7408), (6945, 4210), (11801, 4294)),
    *((7675, 8674), (25, 567), (715, 477), (5173, 197), (3749, 1251), (988, 8410)),
)


def carry_modes(ict: Path, mesh: Mesh, cage: Cage) -> np.ndarray:
    """Modes [MODES, C, 3], in decimetres a standard deviation, for the kept vertices.

    Args:
      ict: a checkout of ICT-FaceKit.
    """
    neutral = read_mesh(ict / "FaceXModel" / "generic_neutral_mesh.obj")
    own, theirs = np.array(LANDMARKS).T
    scale = _scale(mesh.vertices[own], neutral.vertices[theirs])
    warp = RBFInterpolator(mesh.vertices[own], neutral.vertices[theirs], kernel="thin_plate_spline", smoothing=1e-3)
    triangles, weights, distance = _nearest_skin(neutral, warp(cage.base))
    known = (distance * scale < FAR) & (cage.base[:, 1] > NECK_END)
    spread = _spreading(cage, known)
    fade = np.clip((cage.base[:, 1] - NECK_END) / (NECK_START - NECK_END), 0, 1)[:, None]
    modes = []
    for number in range(MODES):
        shape = read_mesh(ict / "FaceXModel" / f"identity{number:03d}.obj")
        moved = (shape.vertices - neutral.vertices)[triangles]
        displacement = (moved * weights[..., None]).sum(1) * scale
        modes.append(spread @ displacement * fade**2 * (3 - 2 * fade))
    return np.stack(modes)


def _scale(own: np.ndarray, theirs: np.ndarray) -> float:
    """Base units per ICT unit."""
    spread = [np.sqrt(((points - points.mean(0)) ** 2).sum()) for points in (own, theirs)]
    return spread[0] / spread[1]


def _nearest_skin(neutral: Mesh, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles [n, 3] of ICT's skin nearest to points, weights of their corners [n, 3], distances [n]."""
    triangles = neutral.triangles()[0]
    triangles = triangles[(triangles < ICT_SKIN).all(1)]
    corners = neutral.vertices[triangles]
    near = cKDTree(corners.mean(1)).query(points, k=CANDIDATES)[1]  # by their centres, then by the triangles themselves
    repeated = np.repeat(points, CANDIDATES, 0)
    nearest = trimesh.triangles.closest_point(corners[near.ravel()], repeated)
    distances = np.linalg.norm(nearest - repeated, axis=1).reshape(near.shape)
    best, rows = distances.argmin(1), np.arange(len(points))
    hit, nearest, distance = near[rows, best], nearest.reshape(*near.shape, 3)[rows, best], distances[rows, best]
    weights = trimesh.triangles.points_to_barycentric(corners[hit], nearest)
    return triangles[hit], weights, distance


def _spreading(cage: Cage, known: np.ndarray) -> sp.csr_matrix:
    """[C, C]: known vertices lightly smoothed; the others from their neighbours, or from the nearest known one."""
    count = len(known)
    sides = np.concatenate([cage.faces[:, [k, (k + 1) % 4]] for k in range(4)])
    linked = sp.csr_matrix((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), shape=(count, count))
    linked = ((linked + linked.T) > 0).astype(float)
    degree = np.asarray(linked.sum(1)).ravel()
    mean = sp.diags(np.where(degree > 0, 1 / np.maximum(degree, 1), 0)) @ linked + sp.diags((degree == 0) * 1.0)
    places = np.flatnonzero(known)
    nearest = places[cKDTree(cage.base[places]).query(cage.base)[1]]
    spread = sp.csr_matrix((np.ones(count), (np.arange(count), nearest)), shape=(count, count))
    hold, free = sp.diags(known * 1.0), sp.diags(1.0 - known)
    for _ in range(SMOOTHING_STEPS):
        spread = hold @ spread + free @ (mean @ spread)
    return sp.csr_matrix(0.5 * spread + 0.5 * mean @ spread)
