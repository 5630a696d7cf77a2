"""Where things are on the surface of a head: masks per vertex, painted on the average head once and for all heads.

Places are in distances between the pupils from the middle of the eyes: x to the picture's right, y up, z forwards.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from tools.heads.assets import Assets
from tools.heads.curves import smoothstep
from tools.heads.description import Person
from tools.heads.meshes import vertex_normals
from tools.heads.shape import build, eye_centres, morphed

AVERAGE = Person(gender=0.5, age=0.25, african=1 / 3, asian=1 / 3, caucasian=1 / 3, weight=0.5)

# The hairline: its height over the angle about the head's axis, in degrees from the front, the same on both sides.
HAIRLINE_ANGLES = (0, 20, 38, 50, 62, 72, 80, 92, 105, 120, 140, 180)
HAIRLINE_HEIGHTS = (1.06, 1.08, 0.98, 0.62, 0.12, -0.28, -0.42, -0.05, -0.25, -0.9, -1.25, -1.4)
HEAD_AXIS = (0, 0.35, -1.15)


@dataclass(frozen=True)
class Regions:
    """Per vertex of the surface.

    Attributes:
      place, normal: [V, 3] on the average head; `cage_place` [C, 3] of the cage at rest.
      azimuth: [V] degrees about the head's axis from the front, 0 to 180 on both sides.
      scalp, beard, moustache, jaw: [V] in [0, 1], where hair grows; `painted`, where the skin sheets have hair painted:
        the scalp, the sideburns, behind the ears; `brows`, about the eyebrows.
      face: [F] vertices by which pictures are exposed.
      mouth: [3], middle of the lips.
      mouth_inside, mouth_depth: [m] cage vertices inside the mouth, [m, 1] how far behind the lips.
      covered: [garments, V], skin well under each garment.
    """

    place: np.ndarray
    cage_place: np.ndarray
    normal: np.ndarray
    azimuth: np.ndarray
    scalp: np.ndarray
    beard: np.ndarray
    moustache: np.ndarray
    jaw: np.ndarray
    painted: np.ndarray
    brows: np.ndarray
    face: np.ndarray
    mouth: np.ndarray
    mouth_inside: np.ndarray
    mouth_depth: np.ndarray
    covered: np.ndarray


def hairline(azimuth: np.ndarray) -> np.ndarray:
    """Height of the hairline at an azimuth in degrees from the front."""
    return np.interp(azimuth, HAIRLINE_ANGLES, HAIRLINE_HEIGHTS)


def head_azimuth(place: np.ndarray) -> np.ndarray:
    """Degrees [n] about the head's axis from the front, of places [n, 3]."""
    return np.degrees(np.arctan2(np.abs(place[:, 0] - HEAD_AXIS[0]), place[:, 2] - HEAD_AXIS[2]))


def find_regions(assets: Assets) -> Regions:
    """Paints the masks of `Regions`."""
    topology = assets.topology
    average = morphed(assets.topology.base, build(assets, AVERAGE))
    surface = topology.subdivision @ average
    normal = vertex_normals(surface, topology.triangles)
    eyes = eye_centres(topology, average)
    middle, apart = eyes.mean(0), abs(eyes[0, 0] - eyes[1, 0])
    place, cage_place = (surface - middle) / apart, (topology.base - middle) / apart
    azimuth, ears, mouth = head_azimuth(place), find_ears(assets, place), place[topology.lips > 0.5].mean(0)
    moustache, jaw, sideburns = _beard_parts(place, azimuth, ears, mouth)
    lips = np.clip(topology.lips * 1.6, 0, 1)
    below = smoothstep(0.1, -0.3, place[:, 1]) * ~ears * smoothstep(-1.9, -1.5, place[:, 1])
    inside, depth = _inside_of_mouth(assets, cage_place)
    return Regions(
        place=place,
        cage_place=cage_place,
        normal=normal,
        azimuth=azimuth,
        scalp=_scalp(place, normal, azimuth, ears),
        beard=np.maximum(np.clip(np.maximum(moustache, jaw), 0, 1) * (1 - lips), 0.8 * sideburns) * below,
        moustache=moustache,
        jaw=np.maximum(jaw, 0.6 * sideburns),
        painted=_painted_hair(place, azimuth, ears),
        brows=_about_brows(place),
        face=_front_of_face(place, normal, mouth),
        mouth=mouth,
        mouth_inside=inside,
        mouth_depth=depth,
        covered=np.stack([_covered(assets, garment.hidden, place) for garment in assets.garments]),
    )


def find_ears(assets: Assets, place: np.ndarray) -> np.ndarray:
    """[V] bool: what the targets that move the ears move far, without the temples."""
    moved = np.zeros(len(place))
    for name in ("l-ear-trans-up", "r-ear-trans-up"):
        target, lengths = assets.local[name], np.zeros(len(assets.topology.base))
        lengths[target.index] = np.linalg.norm(target.offset, axis=1)
        moved = np.maximum(moved, assets.topology.subdivision @ (lengths / lengths.max()))
    x, y, z = place.T
    return (moved > 0.55) & (np.abs(x) > 1.02) & (y < 0.22) & (z < -0.95)


def _scalp(place: np.ndarray, normal: np.ndarray, azimuth: np.ndarray, ears: np.ndarray) -> np.ndarray:
    above = smoothstep(-0.08, 0.14, place[:, 1] - hairline(azimuth))
    scalp = above * (place[:, 1] > -1.7) * ~ears * (place[:, 2] < 1.0)
    # Low on the neck only what faces backwards.
    return scalp * np.where(place[:, 1] < -0.15, smoothstep(0.05, 0.35, -normal[:, 2]), 1)


def _painted_hair(place: np.ndarray, azimuth: np.ndarray, ears: np.ndarray) -> np.ndarray:
    """[V]: the scalp with a margin, wide at the temples and behind the ears."""
    height = place[:, 1] - hairline(azimuth)
    margin = 0.25 + 0.45 * smoothstep(45, 60, azimuth) * smoothstep(150, 110, azimuth)
    return smoothstep(-margin - 0.12, -margin + 0.12, height) * (place[:, 1] > -1.7) * (place[:, 2] < 1.0) * ~ears


def _about_brows(place: np.ndarray) -> np.ndarray:
    """[V]: a band over each eye."""
    aside = np.abs(place[:, 0])
    band = np.exp(-(((place[:, 1] - 0.27 + 0.12 * (aside - 0.5) ** 2) / 0.15) ** 4))
    return band * smoothstep(0.08, 0.22, aside) * smoothstep(1.05, 0.85, aside) * (place[:, 2] > -0.7)


def _beard_parts(
    place: np.ndarray, azimuth: np.ndarray, ears: np.ndarray, mouth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moustache, jaw and sideburns, [V] each."""
    aside, above = np.abs(place[:, 0]), place[:, 1] - mouth[1]
    moustache = smoothstep(0.10, 0.2, above) * smoothstep(0.46, 0.34, above) * smoothstep(0.62, 0.45, aside)
    moustache = moustache * (place[:, 2] > mouth[2] - 0.4)
    # The upper edge climbs from the corners of the mouth over the cheeks to the ears.
    edge = above - np.clip((aside - 0.62) * 0.85, 0, 1.2) - smoothstep(0.88, 1.0, aside) * 0.35
    jaw = smoothstep(0.10, -0.14, edge) * smoothstep(-1.35, -1.05, above) * smoothstep(-0.95, -0.7, place[:, 2])
    sideburns = smoothstep(52, 66, azimuth) * smoothstep(86, 74, azimuth) * smoothstep(0.25, -0.45, place[:, 1])
    sideburns = sideburns * smoothstep(-1.25, -0.7, place[:, 1]) * smoothstep(0.78, 0.92, aside) * ~ears
    return moustache, jaw, sideburns


def _front_of_face(place: np.ndarray, normal: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    inner = (np.abs(place[:, 0]) < 0.8) & (place[:, 1] < 0.6) & (place[:, 1] - mouth[1] > -0.6)
    return np.flatnonzero(inner & (normal[:, 2] > 0.2) & (place[:, 2] > -0.6))


def _inside_of_mouth(assets: Assets, cage_place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    topology = assets.topology
    inside = topology.inner > 0.4
    lips = topology.head[(topology.lips[: len(topology.head)] > 0.5) & ~inside]
    far = cKDTree(cage_place[lips]).query(cage_place[topology.head[inside]])[0]
    return topology.head[inside], smoothstep(0.02, 0.16, far)[:, None]


def _covered(assets: Assets, hidden: np.ndarray, place: np.ndarray) -> np.ndarray:
    mask = np.zeros(len(assets.topology.base))
    mask[hidden] = 1
    return smoothstep(0.6, 1.0, assets.topology.subdivision @ mask) * (place[:, 1] < -1.6)
