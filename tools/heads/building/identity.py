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
from tools.heads.curves import smoothstep

MODES = 60
ICT_SKIN = 11248  # its first vertices: face, head and neck
NECK_END, NECK_START = 5.2, 5.9  # decimetres up the base mesh, between which displacements fade
NECK_SIDE, SHOULDER = 0.95, 1.25  # decimetres from the middle, between which they fade as well
FAR = 0.12  # decimetres between the warped mesh and ICT's skin, from where a vertex has no counterpart
SMOOTHING_STEPS = 40
CANDIDATES = 12  # triangles that a point is measured to

# Vertices of the base mesh and of ICT-FaceKit that are the same place of a face.
LANDMARKS = (
    *((291, 4842), (5716, 7551), (12313, 6824), (5244, 8250), (5226, 2202), (253, 733), (7022, 2974)),
    *((11835, 4393), (270, 442), (7039, 2683), (495, 5514), (227, 2058), (5219, 2146), (11829, 4339)),
    *((3746, 335), (10414, 2576), (711, 160), (7434, 2401), (5175, 1209), (11787, 3427), (5433, 7729)),
    *((12032, 7002), (5189, 2100), (11801, 4294), (5404, 8307), (12003, 8580), (359, 2182), (106, 1328)),
    *((6890, 3545), (7015, 4054), (4851, 980), (11469, 3200), (243, 329), (11749, 3858), (5255, 1344)),
    *((11863, 3561), (5604, 7721), (12201, 6994), (903, 1198), (7605, 3416), (717, 2107), (7440, 4301)),
    *((7020, 8582), (4865, 617), (469, 5575), (7225, 6080), (5769, 1278), (12366, 3496), (6838, 3751)),
    *((5184, 866), (11796, 3107), (7214, 2594), (11873, 2552), (400, 185), (7160, 2426), (5319, 1737)),
    *((132, 1358), (5711, 8128), (12308, 7401), (5179, 2158), (11791, 4351), (5163, 208), (11776, 2449)),
    (250, 8309),
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
    fade = smoothstep(NECK_END, NECK_START, cage.base[:, 1]) * smoothstep(SHOULDER, NECK_SIDE, np.abs(cage.base[:, 0]))
    modes = []
    for number in range(MODES):
        shape = read_mesh(ict / "FaceXModel" / f"identity{number:03d}.obj")
        moved = (shape.vertices - neutral.vertices)[triangles]
        displacement = (moved * weights[..., None]).sum(1) * scale
        modes.append(spread @ displacement * fade[:, None])
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
