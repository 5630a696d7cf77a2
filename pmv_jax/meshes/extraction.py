"""The surface of a head as triangles: marching cubes over the density of a tri-plane field, with colours of the field.

A field fills its whole box, and behind the head stands a backdrop that training views ended on. What is kept is what
the frontal view shows in front of its backdrop: its frame bounds the mesh on four sides, a plane before the backdrop at
the back, and the largest connected piece is the head. The cuts are capped, so the mesh is closed. Nothing is known of
the back of a head that no training view has seen; there the mesh is flat.

World axes as everywhere: x right and y up as the frontal camera sees them, z towards it, which are glTF's too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import fast_simplification
import jax
import numpy as np
from jax import Array
from scipy import ndimage, sparse, spatial
from skimage import filters, measure

from pmv_jax import cameras
from pmv_jax.errors import InputError
from pmv_jax.models.generator import Generator

SLAB_POINTS = 2**21  # of the grid held at once; with all that is computed from them some 200 MiB
_CHUNK = 2**16  # points looked up at once
_SEPARATE = 0.8  # share of the variance of depth that its two classes explain where there is a backdrop; 0.75 is flat
_OWN_DEPTH = 0.02  # world units: a depth map's edges are about as coarse
_FIELD_WEIGHT = 1e-3  # of the field's colour against a view's

Field = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # points [N, 3] -> raw density [N], colour [N, 3]
Inside = Callable[[np.ndarray], np.ndarray]  # points [N, 3] -> distance [N] to the bounds, positive inside


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


class View(NamedTuple):
    """A picture to take colours from: image [H, W, 3] in [-1, 1], z-depth [h, w], camera [25], how much it counts."""

    image: np.ndarray
    z_depth: np.ndarray
    camera: np.ndarray
    weight: float = 1.0


def paint(points: np.ndarray, normals: np.ndarray, colours: np.ndarray, views: Sequence[View]) -> np.ndarray:
    """Colours of surface points as pictures show them, which super-resolution has sharpened; the field has not seen it.

    A view counts where it sees a point from in front, the more the less slanted, and where its depth is the point's.

    Args:
      points, normals: [N, 3] on the surface.
      colours: [N, 3] of the field, for what no view sees.
      views: what to mix.

    Returns:
      [N, 3] in [-1, 1].
    """
    total, mixed = np.full(len(points), _FIELD_WEIGHT), _FIELD_WEIGHT * np.clip(colours, -1, 1)
    for view in views:
        where, depth = _project(view.camera, points)
        towards = view.camera[3:12:4] - points
        cosine = np.sum(towards * normals, axis=1) / np.linalg.norm(towards, axis=1)
        gap = np.abs(_bilinear(view.z_depth[..., None], where)[:, 0] - depth)
        seen = np.clip((cosine - 0.2) / 0.5, 0, 1) ** 2 * np.clip(2 - gap / _OWN_DEPTH, 0, 1)
        weight = view.weight * seen * np.all(np.abs(where - 0.5) < 0.5, axis=1)
        total += weight
        mixed += weight[:, None] * _bilinear(view.image, where)
    return (mixed / total[:, None]).astype(np.float32)


def _project(camera: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    where, depth = _compiled_project(camera, np.float32(points))
    return np.asarray(where, np.float64), np.asarray(depth, np.float64)


# Compiled whole; else each of their steps is compiled by itself, which takes longer than all else here.
_compiled_project = jax.jit(cameras.project)
_rays = jax.jit(cameras.rays, static_argnames="size")


def _bilinear(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """image [H, W, C] at [N, 2] x and y in (0, 1) -> [N, C]; beyond the border, the border's."""
    coordinates = [where[:, 1] * image.shape[0] - 0.5, where[:, 0] * image.shape[1] - 0.5]
    channels = [ndimage.map_coordinates(c, coordinates, order=1, mode="nearest") for c in np.moveaxis(image, -1, 0)]
    return np.stack(channels, axis=-1)


def field(generator: Generator, planes: Array) -> Field:
    """The field of one head, looked up in chunks of one size, so that one compiled program serves any number of points.

    Args:
      generator: with the head's parameters.
      planes: [3, H, W, C] of the head, of `Generator.planes`.
    """

    def look_up(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = len(points)
        densities, colours = np.empty(count, np.float32), np.empty((count, 3), np.float32)
        for start in range(0, count, _CHUNK):
            part = np.zeros((_CHUNK, 3), np.float32)
            size = min(_CHUNK, count - start)
            part[:size] = points[start : start + size]
            density, colour = generator.density(planes, part)
            densities[start : start + size] = density[:size]
            colours[start : start + size] = colour[:size]
        return densities, colours

    return look_up


def backdrop_depth(z_depth: np.ndarray) -> float:
    """z-depth just before the backdrop of a view [h, w]; infinite if the view has none.

    Otsu's threshold (IEEE Trans. SMC 9, 1979) splits depths in two classes; there is a backdrop if they explain enough
    of the variance. The backdrop's own spread then says where it begins: the threshold itself would cut off shoulders.
    """
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
    """Distance to the bounds of what a view shows in front of its backdrop.

    Args:
      z_depth: [h, w] of a frontal view.
      camera: [25] of that view.
    """
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


def surface_level(look_up: Field, z_depth: np.ndarray, camera: np.ndarray) -> float:
    """The raw density at which rendering sees the surface: the median at the ends of a view's rays.

    Args:
      z_depth: [h, w] of the view; rays that end on its backdrop do not count.
      camera: [25] of the view.
    """
    origins, directions = map(np.asarray, _rays(camera, z_depth.shape[0]))
    forward = camera[:16].reshape(4, 4)[:3, 2]
    depth = z_depth.reshape(-1)
    points = origins + (depth / (directions @ forward))[:, None] * directions
    return float(np.median(look_up(points[depth < backdrop_depth(z_depth)])[0]))


def head_mesh(
    look_up: Field,
    views: Sequence[View],
    *,
    resolution: int,
    box_size: float,
    level: float | None = None,
    backdrop: bool = False,
    faces: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Mesh:
    """The mesh of a head, painted by its rendered views.

    Args:
      look_up: the head's field.
      views: of the head; the first one frontal, from which the level and the bounds are found.
      level: raw density of the surface; None finds it, see `surface_level`.
      backdrop: keep everything in the box.
      resolution, box_size, faces, progress: see `extract`.

    Raises:
      InputError: there is no surface.
    """
    front = views[0]
    if level is None:
        level = surface_level(look_up, front.z_depth, front.camera)
    inside = None if backdrop else in_front_of_backdrop(front.z_depth, front.camera)
    mesh = extract(
        look_up, resolution=resolution, level=level, box_size=box_size, inside=inside, faces=faces, progress=progress
    )
    return dataclasses.replace(mesh, colours=paint(mesh.vertices, mesh.normals, mesh.colours, views))


def extract(
    look_up: Field,
    *,
    resolution: int,
    level: float,
    box_size: float,
    inside: Inside | None = None,
    faces: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Mesh:
    """Marching cubes, slab by slab, so that no more than SLAB_POINTS of the grid are in memory at once.

    Args:
      look_up: the field.
      resolution: points of the grid along each side of the box.
      level: raw density of the surface.
      box_size: side of the cube around the origin.
      inside: bounds of what is kept, which are capped; then only the largest connected piece is kept. None keeps all,
        open where the box ends.
      faces: decimates to about as many triangles, if there are more (Garland and Heckbert's quadrics).
      progress: called with slabs done and all.

    Raises:
      InputError: the density crosses the level nowhere.
    """
    centres = ((np.arange(resolution) + 0.5) / resolution - 0.5) * box_size
    depth = max(1, SLAB_POINTS // resolution**2)
    coarse = centres[:: max(1, resolution // 16)]
    sample = np.stack(np.meshgrid(coarse, coarse, coarse), axis=-1).reshape(-1, 3)
    slope = max(float(look_up(sample)[0].std()), 1e-6) * resolution / (4 * box_size)
    starts = range(0, resolution - 1, depth)
    vertices, triangles, count = [], [], 0
    for index, start in enumerate(starts):
        if progress:
            progress(index, len(starts))
        volume = _volume(look_up, centres[start : start + depth + 1], centres, level, inside, slope)
        if volume.min() < 0 < volume.max():
            corner, face, _, _ = measure.marching_cubes(volume, 0.0)
            vertices.append(corner + [start, 0, 0])
            triangles.append(face + count)
            count += len(corner)
    if progress:
        progress(len(starts), len(starts))
    if not vertices:
        raise InputError(
            f"the density reaches {level:g} nowhere, so there is no surface to mesh; give another --level, or invert "
            "the image again"
        )
    corners, triangles = _weld(np.concatenate(vertices), np.concatenate(triangles))
    if inside is not None:
        corners, triangles = _largest_piece(corners, triangles)
    world = ((corners + 0.5) / resolution - 0.5) * box_size
    # Clockwise, as scikit-image has them, turned around.
    world, triangles = world.astype(np.float32), triangles[:, ::-1].astype(np.int32)
    if faces is not None and len(triangles) > faces:
        world, triangles = fast_simplification.simplify(world, triangles, target_count=faces)
    return Mesh(world, triangles, look_up(world)[1])


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """A painted mesh with about so many triangles at most; each vertex takes the colour of the nearest one before."""
    if len(mesh.faces) <= faces:
        return mesh
    vertices, triangles = fast_simplification.simplify(mesh.vertices, mesh.faces, target_count=faces)
    nearest = spatial.cKDTree(mesh.vertices).query(vertices)[1]
    return Mesh(vertices, triangles, mesh.colours[nearest])


def _volume(
    look_up: Field, xs: np.ndarray, centres: np.ndarray, level: float, inside: Inside | None, slope: float
) -> np.ndarray:
    """Density above the level [len(xs), N, N], cut to negative outside the bounds; far outside it is not looked up.

    The bounds enter as a second level function, with a `slope` per unit of distance like the density's own: the cap is
    flat, where densities set to a constant outside would give stairs.
    """
    grid = np.stack(np.meshgrid(xs, centres, centres, indexing="ij"), axis=-1, dtype=np.float32).reshape(-1, 3)
    shape = (len(xs), len(centres), len(centres))
    if inside is None:
        return (look_up(grid)[0] - level).reshape(shape)
    margin = inside(grid).astype(np.float32)
    step = centres[1] - centres[0]
    near = margin > -2 * step
    values = np.full(len(grid), -1.0, np.float32)
    if near.any():
        values[near] = np.minimum(look_up(grid[near])[0] - level, slope * margin[near])
    return values.reshape(shape)


def _weld(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joins vertices in the same place, on the planes where slabs meet, and drops triangles that have collapsed."""
    keys = np.rint(vertices * 2**12).astype(np.int64)
    flat = (keys[:, 0] << 42) + (keys[:, 1] << 21) + keys[:, 2]
    _, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    faces = inverse[faces]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return vertices[first], faces[distinct]


def _largest_piece(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The connected piece with the most triangles: no floaters, and no walls of hollows inside."""
    count = len(vertices)
    edges = faces[:, [0, 1, 1, 2]].reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(edges.shape[1], bool), tuple(edges)), (count, count))
    _, piece = sparse.csgraph.connected_components(graph, directed=False)
    of_face = piece[faces[:, 0]]
    faces = faces[of_face == np.bincount(of_face).argmax()]
    used, inverse = np.unique(faces, return_inverse=True)
    return vertices[used], inverse.reshape(-1, 3)


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
    """A view of the mesh in its own colours, unlit: image [size, size, 3] in [-1, 1], and where it is [size, size]."""
    where, depth = _project(camera, mesh.vertices)
    face, weights = rasterise(where * size, depth, mesh.faces, size)
    colours = np.einsum("hwk,hwkc->hwc", weights, mesh.colours[mesh.faces[face]])
    return np.where(face[..., None] >= 0, colours, 1.0), face >= 0
