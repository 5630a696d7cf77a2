"""Scalp hair: guides are grown from the scalp, pushed out of the skin, and followed by all other strands.

Then come waves of fixed frequencies along the strands, whose amplitudes alone depend on p, frizz, and which strands are
there at all. Everything is smooth in p. Lengths of styles are in distances between the pupils.
"""

import numpy as np
from scipy.spatial import cKDTree

from tools.heads.curves import ramp, smoothstep, unit
from tools.heads.groom import STRAND_RADIUS, HairStyle
from tools.heads.roots import Scalp
from tools.heads.shape import PUPILS

POINTS = 26  # along a strand
SINK = 0.012  # of roots into the skin
# Waves: amplitude's name, turns per length, how much strands of a lock differ, which random number is the lock's.
WAVES = (("wave", 0.75, 0.2, 4), ("curl", 1.9, 0.3, 5), ("coil", 4.2, 0.5, 6))
STEPS_PER_TURN = 6.5  # points that a wave needs
TURN = 6.28


class Obstacle:
    """What hair does not go through: a surface [V, 3] with normals, pushed out where there are clothes."""

    def __init__(self, vertices: np.ndarray, normals: np.ndarray) -> None:
        self.vertices, self.normals, self.tree = vertices, normals, cKDTree(vertices)

    def distance(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signed distance [n] of points [n, 3], blended over the nearest vertices, and the surface's normal [n, 3]."""
        away, nearest = self.tree.query(points, k=3)
        share = 1 / (away + 0.02 * PUPILS) ** 2
        share /= share.sum(1, keepdims=True)
        normals = self.normals[nearest]
        distance = ((points[:, None] - self.vertices[nearest]) * normals).sum(-1)
        return (distance * share).sum(1), unit((normals * share[..., None]).sum(1))


def grow_hair(
    scalp: Scalp, style: HairStyle, surface: np.ndarray, normals: np.ndarray, obstacle: Obstacle, eyes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All strands of a head.

    Args:
      surface, normals: [V, 3] skin.
      eyes: [3] the middle of the eyes: long strands are kept from falling across the face.

    Returns:
      Points [SCALP_STRANDS, POINTS, 3] in world units and radii [SCALP_STRANDS], 0 for strands that are not there.
    """
    roots, root_normals = scalp.roots.on(surface), unit(scalp.roots.on(normals))
    lengths = _guide_lengths(scalp, style)
    guides = _grow_guides(scalp, style, lengths, roots[scalp.guides], root_normals[scalp.guides], obstacle, eyes)
    offsets = _follow(scalp, style, guides, roots)
    cut = 1 - 0.35 * scalp.roots.random[:, 0] ** 2  # strands differ in length
    offsets = _shortened(offsets, cut)
    length = (lengths[scalp.followed[:, 0]] * cut)[:, None]
    offsets = offsets + _waves(scalp, style, offsets, length) * PUPILS
    along = np.linspace(0, 1, POINTS)[None, :, None]
    points = roots[:, None] + offsets - root_normals[:, None] * SINK * PUPILS * (1 - along)
    thin = 0.55 + 0.45 * np.clip(length[:, 0] / 0.25, 0, 1)
    thin = thin * (0.4 + 0.6 * smoothstep(0.0, 0.16, scalp.above))  # down at the hairline
    radii = STRAND_RADIUS * (0.7 + 0.6 * scalp.roots.random[:, 3]) * thin * _kept(scalp, style, length[:, 0])
    return points, radii


def _guide_lengths(scalp: Scalp, style: HairStyle) -> np.ndarray:
    """[GUIDES], in distances between the pupils."""
    top, back, front = _areas(scalp)
    low = style.side * (1 - back) + style.back * back
    length = style.top * top + low * (1 - top) + front * (style.front - style.top) * 0.8
    return np.maximum(length, 0.03)


def _areas(scalp: Scalp) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far each guide is on the top, the back and the front of the scalp, [GUIDES] each in [0, 1]."""
    height, azimuth = scalp.roots.place[scalp.guides, 1], scalp.azimuth[scalp.guides]
    top = smoothstep(0.5, 1.3, height)
    return top, smoothstep(80, 150, azimuth), smoothstep(70, 20, azimuth) * top


def _combing(scalp: Scalp, style: HairStyle, normals: np.ndarray) -> np.ndarray:
    """Where each guide is combed, unit vectors [GUIDES, 3] along the scalp: from the parting, backwards, down."""
    top, back, _ = _areas(scalp)
    aside = scalp.roots.place[scalp.guides, 0] - style.parting
    at_parting = style.parting_back * np.exp(-((aside / 0.15) ** 2)) * top
    comb = np.stack(
        [
            np.tanh(aside / 0.05) * style.comb_side * (1 - 0.5 * back),
            -0.6 * (1 - top) - 0.9 * back,
            -style.comb_back * (1 - back) - at_parting,
        ],
        1,
    )
    return unit(comb - normals * (comb * normals).sum(1, keepdims=True) * 0.9)


def _grow_guides(
    scalp: Scalp,
    style: HairStyle,
    lengths: np.ndarray,
    roots: np.ndarray,
    normals: np.ndarray,
    obstacle: Obstacle,
    eyes: np.ndarray,
) -> np.ndarray:
    """Guides [GUIDES, POINTS, 3]: step by step, bent by combing, weight and the face, and pushed out of the skin."""
    random = scalp.roots.random[scalp.guides]
    comb, top = _combing(scalp, style, normals), _areas(scalp)[0]
    aside = scalp.roots.place[scalp.guides, 0] - style.parting
    step = (lengths * PUPILS / (POINTS - 1))[:, None]
    # Strands lie on one another in layers, thicker on the top.
    layer = 0.010 + 0.05 * style.volume * random[:, 3] * np.minimum(1, lengths * 1.2)
    layer = layer * PUPILS * (1 + 1.2 * top * style.volume)
    direction = normals * style.lift + comb * (1 - 0.6 * style.coily) + 0.25 * style.mess * (random[:, :3] - 0.5)
    direction, point = unit(direction), roots.copy()
    points = [point]
    for k in range(1, POINTS):
        along = k / (POINTS - 1)
        bend = 2.7 * comb * np.exp(-2.2 * along) + np.array([0, -3.0 * style.gravity, 0]) + 2.0 * style.coily * normals
        bend = bend + 3 * _off_the_face((point - eyes) / PUPILS, aside, lengths)
        direction = unit(direction + step / PUPILS * bend)
        point = point + direction * step
        point, direction = _pushed_out(point, direction, layer * min(1, 3 * along + 0.15), obstacle)
        points.append(point)
    return np.stack(points, 1)


def _off_the_face(place: np.ndarray, aside: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Pull [n, 3] on long strands before the face, at `place` [n, 3] from the eyes: to their side, and backwards."""
    front = smoothstep(-0.5, 0.1, place[:, 2]) * smoothstep(1.15, 0.7, np.abs(place[:, 0]))
    front = front * smoothstep(0.9, 0.4, place[:, 1]) * smoothstep(0.5, 1.2, lengths)
    sideways = np.tanh(place[:, 0] / 0.25 + np.tanh(aside / 0.3))
    return 1.6 * front[:, None] * np.stack([sideways, np.zeros_like(aside), np.full_like(aside, -0.6)], 1)


def _pushed_out(
    point: np.ndarray, direction: np.ndarray, clearance: np.ndarray, obstacle: Obstacle
) -> tuple[np.ndarray, np.ndarray]:
    """Points moved to at least `clearance` before the obstacle; where they hit it, they go on along it."""
    distance, normal = obstacle.distance(point)
    # Points far behind the surface are not near it: they are behind something thin.
    near = smoothstep(-0.45 * PUPILS, -0.15 * PUPILS, distance)
    pushed = ramp((clearance - distance) / PUPILS, 60) * PUPILS * near
    hit = smoothstep(0, 0.02, pushed / PUPILS)[:, None]
    inwards = np.minimum((direction * normal).sum(1, keepdims=True), 0)
    sliding = unit(direction - normal * inwards * 0.9 + 1e-6)
    return point + normal * pushed[:, None], unit(direction * (1 - hit) + sliding * hit)


def _follow(scalp: Scalp, style: HairStyle, guides: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Offsets [n, POINTS, 3] of strands from their roots: the mean of their guides', drawn into locks."""
    offsets = guides - guides[:, :1]
    # Guides that run another way (across the parting) count less.
    heading = unit(offsets[:, POINTS // 3])
    agree = (heading[scalp.followed] * heading[scalp.followed[:, :1]]).sum(-1)
    shares = scalp.shares * smoothstep(0.55, 0.9, agree)
    shares /= shares.sum(1, keepdims=True)
    followed = sum(offsets[scalp.followed[:, k]] * shares[:, k, None, None] for k in range(shares.shape[1]))
    lock = style.clumps * np.linspace(0, 1, POINTS)[None, :, None]
    to_guide = guides[scalp.followed[:, 0]] - roots[:, None]
    return followed * (1 - 0.88 * lock) + to_guide * (0.88 * lock)


def _shortened(offsets: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The first `share` [n] of curves [n, POINTS, 3], resampled to as many points."""
    place = np.linspace(0, 1, POINTS) * share[:, None] * (POINTS - 1)
    first = np.clip(np.floor(place).astype(int), 0, POINTS - 2)
    part, rows = (place - first)[..., None], np.arange(len(offsets))[:, None]
    return offsets[rows, first] * (1 - part) + offsets[rows, first + 1] * part


def _waves(scalp: Scalp, style: HairStyle, offsets: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Displacement [n, POINTS, 3] in distances between the pupils, of curves of a length [n, 1]: curls and frizz."""
    random = scalp.roots.random
    lock = random[scalp.guides][scalp.followed[:, 0]]
    distance = np.linspace(0, 1, POINTS)[None] * length  # along the strand
    u, v = np.zeros_like(distance), np.zeros_like(distance)
    for name, turns, spread, column in WAVES:
        frequency = turns * (1 + 0.2 * (lock[:, column] - 0.5))[:, None]
        frequency = np.minimum(frequency, (POINTS - 1) / STEPS_PER_TURN / np.maximum(length, 0.05))
        angle = TURN * (frequency * distance + lock[:, column, None] + spread * (random[:, 1:2] - 0.5))
        amplitude = getattr(style, name) * np.minimum(1, distance * 3) * np.minimum(1, length * 1.5)
        u, v = u + amplitude * np.cos(angle), v + amplitude * np.sin(angle)
    frizz = style.frizz * (0.15 + np.linspace(0, 1, POINTS)[None]) * np.minimum(1, length * 2)
    r = [random[:, column, None] for column in range(8)]
    u = u + frizz * np.sin(9 * distance + 40 * r[2]) * (r[3] - 0.5)
    u = u + frizz * np.sin(23 * distance + 40 * r[4]) * 0.4 * (r[5] - 0.5)
    v = v + frizz * np.sin(11 * distance + 40 * r[6]) * (r[4] - 0.5)
    v = v + frizz * np.sin(19 * distance + 40 * r[1]) * 0.4 * (r[2] - 0.5)
    tangent = unit(np.gradient(offsets, axis=1) + 1e-9)
    first = unit(np.cross(tangent, np.array([0.31, 0.2, 0.93])))
    return first * u[..., None] + np.cross(tangent, first) * v[..., None]


def _kept(scalp: Scalp, style: HairStyle, length: np.ndarray) -> np.ndarray:
    """[n] in [0, 1]: strands beyond the hairline, on bald places and in the parting are not there."""
    x, y, z = scalp.roots.place.T
    random = scalp.roots.random
    corners = np.exp(-(((np.abs(x) - 0.62) / 0.3) ** 2))  # the hairline recedes there first
    receded = style.recede * (0.25 + 0.9 * corners) * (z > -0.9)
    bald = style.bald * np.exp(-((x / 0.8) ** 2 + ((z + 1.0) / 1.1) ** 2)) * smoothstep(0.7, 1.1, y)
    parting = 0.85 * np.exp(-(((x - style.parting) / 0.04) ** 2)) * smoothstep(60, 30, scalp.azimuth)
    parting = parting * smoothstep(0.6, 0.9, y) * np.clip(style.comb_side, 0, 1) * smoothstep(0.3, 0.8, length)
    kept = smoothstep(-0.03, 0.05, scalp.above + 0.12 * (random[:, 7] - 0.5) - receded)
    kept = kept * smoothstep(-0.06, 0.06, random[:, 6] - bald * 1.25)
    return kept * smoothstep(-0.06, 0.06, style.density * (1 - parting) - random[:, 5])
