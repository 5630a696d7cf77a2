"""Meshes of glasses, hats, scarves and eye patches, made to the measure of a head."""

from dataclasses import dataclass

import numpy as np

from tools.heads.assets import Topology
from tools.heads.curves import smoothstep, to_bytes, unit
from tools.heads.hair import Obstacle
from tools.heads.meshes import vertex_normals
from tools.heads.outfit import Colour, Glasses, Headwear, Outfit
from tools.heads.regions import HEAD_AXIS, Regions
from tools.heads.scene import Paint, Part, one_paint
from tools.heads.shading import CLOTH
from tools.heads.shape import PUPILS

TUBE_SIDES, LENS_POINTS, ARM_POINTS = 8, 48, 16
DARK_GLASS = (0.02, 0.02, 0.025)
DRAPE_STEPS = {
    "beanie": 60,
    "cap": 60,
    "scarf": 250,
}  # of smoothing, by which cloth forgets ears and the angle of the jaw


@dataclass(frozen=True)
class Measure:
    """A head to be fitted: `skin` and `normals` [V, 3] in the world, `eyes` [2, 3]; the rest is of all heads."""

    topology: Topology
    regions: Regions
    skin: np.ndarray
    normals: np.ndarray
    eyes: np.ndarray


def dress(outfit: Outfit, head: Measure) -> list[Part]:
    """The parts of an outfit."""
    parts = []
    if outfit.glasses:
        parts += glasses_parts(outfit.glasses, head)
    if outfit.headwear:
        parts += headwear_parts(outfit.headwear, head)
    if outfit.eye_patch:
        parts += eye_patch_parts(outfit.eye_patch, head)
    return parts


def covered_roots(headwear: Headwear | None, place: np.ndarray) -> np.ndarray:
    """[n] bool: which roots of hair, at places [n, 3] on the average head, a hat or scarf hides with all their hair."""
    if headwear is None:
        return np.zeros(len(place), bool)
    if headwear.kind == "scarf":
        return np.ones(len(place), bool)
    return over_brim(place) > 0


def over_brim(place: np.ndarray) -> np.ndarray:
    """Height [n] over the brim of a hat, which falls from the forehead to the neck."""
    return place[:, 1] - (0.80 + 0.42 * place[:, 2])


def around_face(place: np.ndarray) -> np.ndarray:
    """Distance [n] outside of the opening of a scarf: 0 at its edge."""
    oval = np.hypot(place[:, 0] / 0.98, (place[:, 1] + 0.40) / 1.32) - 1
    return np.where(place[:, 2] > -1.0, oval, 1.0)


def inside_headwear(headwear: Headwear, place: np.ndarray) -> np.ndarray:
    """[n]: how far places [n, 3] on the average head are within the outline of a hat or scarf; less than 0 outside."""
    if headwear.kind == "scarf":
        return np.minimum(around_face(place), place[:, 1] + 3.1)
    return over_brim(place)


def hidden_skin(headwear: Headwear | None, place: np.ndarray) -> np.ndarray:
    """[n] bool: skin that is well under a hat or scarf. It is not drawn: ears would come through."""
    return np.zeros(len(place), bool) if headwear is None else inside_headwear(headwear, place) > 0.15


def headwear_parts(headwear: Headwear, head: Measure) -> list[Part]:
    """A beanie, a cap with its visor, or a scarf about head and neck: the skin's own mesh, draped and lifted."""
    inside = inside_headwear(headwear, head.regions.place)
    draped = head.skin
    steps = DRAPE_STEPS[headwear.kind]
    for _ in range(steps):
        draped = head.topology.smoothing @ draped
    normals = vertex_normals(draped, head.topology.triangles)
    # Draping shrinks: cloth is about as far out as the skin was, and its thickness more.
    sunk = np.maximum(((head.skin - draped) * normals).sum(1), 0)
    for _ in range(steps):
        sunk = head.topology.smoothing @ sunk
    thickness = 0.05 + 0.20 * smoothstep(-0.05, 0.25, inside)
    vertices = draped + (1.3 * sunk + thickness * PUPILS)[:, None] * normals
    parts = [_cloth_part(vertices, inside, headwear, head)]
    if headwear.kind == "cap":
        parts.append(_visor(headwear, head))
    return parts


def _cloth_part(vertices: np.ndarray, inside: np.ndarray, headwear: Headwear, head: Measure) -> Part:
    """What is inside of the outline, as a part of its own. Along u its texture is transparent where `inside` < 0, so
    that the outline is smooth; along v it has stripes."""
    triangles = head.topology.triangles[(inside[head.topology.triangles] > 0).any(1)]
    used, local = np.unique(triangles, return_inverse=True)
    local = local.reshape(-1, 3)
    u = 0.5 + np.clip(inside[triangles], -0.49, 0.49)
    v = (head.regions.place[triangles][..., 1] * 0.5) % 1
    striped = headwear.kind == "beanie"
    rows = (np.arange(64) // 8 % 4 == 0)[:, None, None] & striped
    image = np.ones((64, 64, 4))
    image[..., :3] = np.where(rows, np.array(headwear.stripes), np.array(headwear.colour))
    image[:, :32, 3] = 0
    paint = Paint(to_bytes(image), CLOTH, cutout=True)
    normals = vertex_normals(vertices[used], local)
    return Part(vertices[used], normals, local, np.stack([u, v], -1).reshape(-1, 6), *one_paint(local, paint))


def _visor(headwear: Headwear, head: Measure) -> Part:
    """A bent sheet from the brim forwards."""
    place = head.regions.place
    front = (np.abs(over_brim(place)) < 0.12) & (np.abs(place[:, 0]) < 0.2) & (place[:, 2] > -0.9)
    root = head.skin[front].mean(0) + np.array([0, 0.05, 0.1]) * PUPILS
    across, along = np.meshgrid(np.linspace(-1.15, 1.15, 25), np.linspace(0, 1, 8))
    reach = 0.85 * along * np.cos(across * 0.9)
    x = 1.05 * np.sin(across)
    y = 0.40 * (np.cos(across) - 1) - 0.25 * along - 0.1 * along * np.abs(x) ** 2
    z = 0.95 * (np.cos(across) - 1) + reach
    vertices = root + np.stack([x, y, z], -1).reshape(-1, 3) * PUPILS
    return _plain_part(vertices, _grid_triangles(8, 25), headwear.stripes)


def glasses_parts(glasses: Glasses, head: Measure) -> list[Part]:
    """Two rims, a bridge and two arms to the ears; dark lenses if it has any."""
    place = head.regions.place
    bridge = (np.abs(place[:, 0]) < 0.9) & (np.abs(place[:, 1] - 0.02) < 0.12) & (place[:, 2] > -0.6)
    front = head.skin[bridge, 2].max() + 0.07 * PUPILS
    obstacle = Obstacle(head.skin, head.normals)
    rims, parts = [], []
    for eye in sorted(head.eyes.tolist()):
        rim = _rim(glasses, np.array(eye), front)
        rims.append(rim)
        parts.append(_tube(np.concatenate([rim, rim[:2]]), glasses.rim * PUPILS, glasses.colour))
        parts.append(_arm(glasses, rim, head, obstacle))
        if glasses.dark:
            vertices = np.concatenate([rim, rim.mean(0, keepdims=True)])
            ring = np.arange(LENS_POINTS)
            fan = np.stack([ring, (ring + 1) % LENS_POINTS, np.full(LENS_POINTS, LENS_POINTS)], 1)
            parts.append(_plain_part(vertices, fan, DARK_GLASS))
    inner = [rims[0][rims[0][:, 0].argmax()], rims[1][rims[1][:, 0].argmin()]]
    arch = (inner[0] + inner[1]) / 2 + np.array([0, 0.06, 0.02]) * PUPILS
    return [*parts, _tube(np.stack([inner[0], arch, inner[1]]), glasses.rim * PUPILS, glasses.colour)]


def _rim(glasses: Glasses, eye: np.ndarray, front: float) -> np.ndarray:
    """A superellipse [LENS_POINTS, 3] before an eye, bent back at the sides as a face is."""
    angle = np.linspace(0, 2 * np.pi, LENS_POINTS, endpoint=False)
    power = 2 / glasses.square
    x = eye[0] * 1.02 + PUPILS * glasses.width * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
    y = eye[1] - PUPILS * (0.04 - glasses.height * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power)
    return np.stack([x, y, front - 0.10 * PUPILS * (x / PUPILS) ** 2], 1)


def _arm(glasses: Glasses, rim: np.ndarray, head: Measure, obstacle: Obstacle) -> Part:
    """From the outer end of a rim along the temple to the top of the ear, outside of the skin."""
    side = np.sign(rim[:, 0].mean())
    start = rim[(rim[:, 0] * side + rim[:, 1]).argmax()]
    over_ear = np.linalg.norm(head.regions.place - np.array([side * 1.12, 0.12, -1.15]), axis=1).argmin()
    line = np.linspace(start, head.skin[over_ear] + np.array([side * 0.06, 0, 0]) * PUPILS, ARM_POINTS)
    distance, normal = obstacle.distance(line)
    line = line + normal * np.maximum(0.06 * PUPILS - distance, 0)[:, None]
    return _tube(line, glasses.rim * PUPILS, glasses.colour)


def eye_patch_parts(side: int, head: Measure) -> list[Part]:
    """A black patch over one eye, and a band about the head."""
    eye = head.eyes[np.argmax(head.eyes[:, 0] * side)]
    place = head.regions.place
    centre = np.array([side * 0.5, -0.03])
    brow = (np.hypot(*(place[:, :2] - centre).T) < 0.45) & (place[:, 2] > -0.7)
    front = head.skin[brow, 2].max() + 0.03 * PUPILS
    radius, angle = np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 2 * np.pi, 25))
    offset = np.stack([0.40 * radius * np.cos(angle), 0.34 * radius * np.sin(angle), -0.14 * radius**2], -1)
    middle = np.array([eye[0], eye[1], front])
    patch = _plain_part(middle + offset.reshape(-1, 3) * PUPILS, _grid_triangles(25, 6), (0.02, 0.02, 0.02))
    obstacle = Obstacle(head.skin, head.normals)
    bands = []
    axis = head.eyes.mean(0) + np.array(HEAD_AXIS) * PUPILS
    for azimuth, rise in ((side * 90.0, 0.1), (-side * 75.0, 1.0)):
        # An arc outside of the head, drawn in onto the skin.
        angle = np.radians(np.linspace(side * 22.0, azimuth, ARM_POINTS))
        height = np.linspace(middle[1] - axis[1], middle[1] - axis[1] + rise * PUPILS, ARM_POINTS)
        line = axis + np.stack([1.5 * PUPILS * np.sin(angle), height, 1.5 * PUPILS * np.cos(angle)], 1)
        for _ in range(4):
            distance, normal = obstacle.distance(line)
            line = line + normal * (0.05 * PUPILS - distance)[:, None]
        line[0] = middle
        bands.append(_tube(line, 0.025 * PUPILS, (0.02, 0.02, 0.02)))
    return [patch, *bands]


def _plain_part(vertices: np.ndarray, triangles: np.ndarray, colour: Colour) -> Part:
    image = np.tile(to_bytes(np.array([*colour, 1.0])), (2, 2, 1))
    uv = np.zeros((len(triangles), 6))
    normals = vertex_normals(vertices, triangles)
    facing = np.where(normals[:, 2:] < 0, -normals, normals)  # sheets are lit on the side that is seen
    return Part(vertices, facing, triangles, uv, *one_paint(triangles, Paint(image, CLOTH)))


def _grid_triangles(rows: int, columns: int) -> np.ndarray:
    """Triangles [2 (rows - 1) (columns - 1), 3] of a grid of vertices."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + columns + 1], 1)
    return np.concatenate([lower, np.stack([corner, corner + columns + 1, corner + columns], 1)])


def _tube(line: np.ndarray, radius: float, colour: Colour) -> Part:
    """A tube of a radius about a polyline [n, 3]."""
    tangent = unit(np.gradient(line, axis=0))
    first = unit(np.cross(tangent, np.array([0.02, 0.99, 0.1])))
    second = np.cross(tangent, first)
    angle = np.linspace(0, 2 * np.pi, TUBE_SIDES + 1)
    ring = np.cos(angle)[:, None] * first[:, None] + np.sin(angle)[:, None] * second[:, None]
    vertices = (line[:, None] + radius * ring).reshape(-1, 3)
    triangles = _grid_triangles(len(line), TUBE_SIDES + 1)
    image = np.tile(to_bytes(np.array([*colour, 1.0])), (2, 2, 1))
    uv = np.zeros((len(triangles), 6))
    return Part(vertices, ring.reshape(-1, 3), triangles, uv, *one_paint(triangles, Paint(image, CLOTH)))
