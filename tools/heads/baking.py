"""Bakes the light about a head: everything that does not depend on the camera is computed once.

Irradiance of vertices and strands from the surroundings with their shadows, and the map of the key light's shadows.
"""

from dataclasses import dataclass

import numpy as np

from tools.heads.curves import unit
from tools.heads.light import Light, radiance
from tools.heads.rasteriser import FAR, Samples, Strands, Textures, draw_strands, draw_triangles, visibility

REACH = 0.62  # half the side of a shadow map, world units: a head and its shoulders
DIRECTIONS = 36  # from which the surroundings shine
SKY_MAP, KEY_MAP = 192, 1024  # samples across shadow maps
STRAND_STRIDE = 4  # every which strand throws sky shadows, thicker for it
POINT_STRIDE, SHADOW_POINT_STRIDE = 4, 3  # points of a strand that are lit, that throw shadows
SKY_THICKNESS, KEY_THICKNESS = 4.4, 2.4  # of strands in shadow maps: hair is let through less light than its ribbons
UP = np.array([0.13, 1, 0.07])  # of shadow maps: no light comes from exactly there
LIFT = 0.007  # of points off their surface before shadows are looked up


def sphere(count: int) -> np.ndarray:
    """Directions [count, 3] spread evenly: the golden spiral."""
    number = np.arange(count) + 0.5
    height = 1 - 2 * number / count
    angle, level = number * np.pi * (3 - np.sqrt(5)), np.sqrt(1 - height**2)
    return np.stack([level * np.cos(angle), height, level * np.sin(angle)], 1)


def shadow_matrix(direction: np.ndarray, size: int) -> np.ndarray:
    """[3, 4] float32 from world points to x, y in samples of a map `size` across and depth along the light's rays."""
    forward = -unit(direction)
    right = unit(np.cross(UP, forward))
    down = np.cross(forward, right)
    scale = size / (2 * REACH)
    matrix = np.zeros((3, 4), np.float32)
    matrix[:, :3] = [right * scale, down * scale, forward]
    matrix[:2, 3] = size / 2
    return matrix


def in_map(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [..., 3] by a shadow matrix, float32."""
    return (points @ matrix[:, :3].T + matrix[:, 3]).astype(np.float32)


@dataclass(frozen=True)
class Casters:
    """What throws shadows: triangles (`positions` [V, 3], the rest as in `draw_triangles`) and strands."""

    positions: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    material: np.ndarray
    textures: Textures
    strands: Strands

    def depth_maps(self, matrix: np.ndarray, size: int, stride: int, thickness: float) -> tuple[np.ndarray, np.ndarray]:
        """Depth of what is nearest to the light [size, size]: without strands, and with every `stride`-th of them."""
        bare = _depth_map(size)
        screen = in_map(matrix, self.positions)
        draw_triangles(bare, screen, self.triangles, self.uv, self.material, self.textures, False)
        some = self.strands.label % stride == 0
        if not some.any():
            return bare.depth, bare.depth
        thick = Strands(
            np.ascontiguousarray(self.strands.points[some, ::SHADOW_POINT_STRIDE]),
            (self.strands.radius[some] * thickness).astype(np.float32),
            self.strands.label[some],
        )
        hairy = bare._replace(depth=bare.depth.copy())
        scale = float(np.linalg.norm(matrix[0, :3]))
        draw_strands(hairy, in_map(matrix, thick.points), thick, scale, False, 0)
        return bare.depth, hairy.depth


def _depth_map(size: int) -> Samples:
    depth = np.full((size, size), FAR, np.float32)
    return Samples(depth, np.empty((size, size), np.int32), np.empty((size, size, 2), np.float32))


def _seen(depth_map: np.ndarray, points: np.ndarray, bias: float, falloff: float) -> np.ndarray:
    seen = np.empty(len(points), np.float32)
    visibility(depth_map, points, np.float32(bias), np.float32(falloff), seen)
    return seen


@dataclass(frozen=True)
class Sky:
    """Irradiance / pi from the surroundings: of vertices with shadows and without, [V, 3]; of strands [S, P, 3]."""

    shadowed: np.ndarray
    open: np.ndarray
    strands: np.ndarray


def bake_sky(light: Light, casters: Casters, normals: np.ndarray) -> Sky:
    """Sums the light of `DIRECTIONS` directions, each with a shadow map of its own; normals [V, 3]."""
    directions = sphere(DIRECTIONS)
    share = 4 * np.pi / DIRECTIONS / np.pi * radiance(light, directions)
    points = casters.positions + normals * LIFT
    hair = np.ascontiguousarray(casters.strands.points[:, ::POINT_STRIDE])
    tangents = unit(np.gradient(casters.strands.points, axis=1))[:, ::POINT_STRIDE].reshape(-1, 3).astype(np.float32)
    shadowed, strands = np.zeros((len(points), 3), np.float32), np.zeros((len(tangents), 3), np.float32)
    for direction, colour in zip(directions.astype(np.float32), share.astype(np.float32), strict=True):
        matrix = shadow_matrix(direction, SKY_MAP)
        bare, hairy = casters.depth_maps(matrix, SKY_MAP, STRAND_STRIDE, SKY_THICKNESS)
        places = in_map(matrix, points)
        seen = _seen(bare, places, 0.006, 250.0) * _seen(hairy, places, 0.010, 60.0)
        shadowed += (np.maximum(normals @ direction, 0) * seen)[:, None] * colour
        seen = _seen(hairy, in_map(matrix, hair.reshape(-1, 3)), 0.006, 38.0)
        across = np.sqrt(np.maximum(0, 1 - (tangents @ direction) ** 2))
        strands += (0.55 * seen * across)[:, None] * colour
    unshadowed = np.maximum(normals @ directions.T, 0) @ share
    return Sky(shadowed, unshadowed, _along(strands.reshape(*hair.shape), casters.strands.points.shape[1]))


def _along(values: np.ndarray, points: int) -> np.ndarray:
    """Values [S, n, 3] at every `POINT_STRIDE`-th point of strands, interpolated to all [S, points, 3]."""
    place = np.arange(points) / POINT_STRIDE
    first = np.minimum(place.astype(int), values.shape[1] - 2)
    part = np.clip(place - first, 0, 1)[None, :, None].astype(np.float32)
    return values[:, first] * (1 - part) + values[:, first + 1] * part


def bake_key(light: Light, casters: Casters) -> tuple[np.ndarray, np.ndarray]:
    """The key light's shadow matrix [3, 4] and its shadow map [KEY_MAP, KEY_MAP]."""
    matrix = shadow_matrix(light.key_direction, KEY_MAP)
    return matrix, casters.depth_maps(matrix, KEY_MAP, 1, KEY_THICKNESS)[1]


def key_seen(matrix: np.ndarray, shadow_map: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How much of the key light reaches points [n, 3], 0 to 1."""
    return _seen(shadow_map, in_map(matrix, points), 0.008, 90.0)
