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

import chex
import fast_simplification
import jax
import numpy as np
from jax import Array
from scipy import sparse
from skimage import measure

from pmv_jax import cameras
from pmv_jax.errors import InputError
from pmv_jax.meshes.backdrop import Inside, backdrop_depth, in_front_of_backdrop
from pmv_jax.meshes.colouring import RenderedView, colours_from_views
from pmv_jax.meshes.mesh import Mesh
from pmv_jax.models.generator import Generator

SLAB_POINTS = 2**21  # of the grid held at once; with all that is computed from them some 200 MiB
CHUNK = 2**16  # points looked up at once

Field = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # points [N, 3] -> raw density [N], colour [N, 3]
Progress = Callable[[int, int], None]  # slabs done, of all

_rays = jax.jit(cameras.rays, static_argnames="size")


def field(generator: Generator, planes: Array) -> Field:
    """The field of one head, looked up in chunks of one size, so that one compiled program serves any number of points.

    Args:
      generator: with the head's parameters.
      planes: [3, H, W, C] of the head, of `Generator.planes`.
    """

    def look_up(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = len(points)
        densities, colours = np.empty(count, np.float32), np.empty((count, 3), np.float32)
        for start in range(0, count, CHUNK):
            part = np.zeros((CHUNK, 3), np.float32)
            size = min(CHUNK, count - start)
            part[:size] = points[start : start + size]
            density, colour = generator.density(planes, part)
            densities[start : start + size] = density[:size]
            colours[start : start + size] = colour[:size]
        return densities, colours

    return look_up


def surface_level(look_up: Field, z_depth: np.ndarray, camera: np.ndarray) -> float:
    """The raw density at which rendering sees the surface: the median at the ends of a view's rays.

    Args:
      look_up: of `field`.
      z_depth: [h, w] of the view; rays that end on its backdrop do not count.
      camera: [25] of the view.
    """
    chex.assert_rank(z_depth, 2)
    chex.assert_shape(camera, (25,))
    origins, directions = map(np.asarray, _rays(camera, z_depth.shape[0]))
    forward = camera[:16].reshape(4, 4)[:3, 2]
    depth = z_depth.reshape(-1)
    points = origins + (depth / (directions @ forward))[:, None] * directions
    return float(np.median(look_up(points[depth < backdrop_depth(z_depth)])[0]))


def head_mesh(
    look_up: Field,
    views: Sequence[RenderedView],
    *,
    resolution: int,
    box_size: float,
    level: float | None = None,
    backdrop: bool = False,
    faces: int | None = None,
    progress: Progress | None = None,
) -> Mesh:
    """The mesh of a head, with the colours of its rendered views.

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
    return dataclasses.replace(mesh, colours=colours_from_views(mesh.vertices, mesh.normals, mesh.colours, views))


def extract(
    look_up: Field,
    *,
    resolution: int,
    level: float,
    box_size: float,
    inside: Inside | None = None,
    faces: int | None = None,
    progress: Progress | None = None,
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
