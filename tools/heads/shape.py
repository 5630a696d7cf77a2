"""The shape of a head: morph targets and identity modes on the control cage, and its place before the cameras.

World: y up, the face towards +z, in the space of EG3D's cameras (pivot (0, 0, 0.2), radius 2.7). Heads are framed by
the face at rest: the middle of the eyes is always at the same place, so that pictures are framed as EG3D's of FFHQ.
"""

from collections.abc import Iterable

import numpy as np

from pmv_jax.cameras import FFHQ_FOCAL
from tools.heads.assets import Assets, Target, Topology
from tools.heads.curves import ramp
from tools.heads.description import Description, Person

PUPILS = 0.1626  # distance between the pupils in world units, on average: 136 pixels of 512
EYES_Z = 0.2
CAMERA_RADIUS = 2.7
EYES_Y = (256 - 190) / 512 * (CAMERA_RADIUS - EYES_Z) / FFHQ_FOCAL  # eyes at y = 190 of 512 from the front
IDENTITY_SPREAD = 0.85  # of a standard deviation of the scanned modes
EYES_TO_LIPS = 0.95  # on average, in distances between the pupils

Weighted = tuple[Target, float]

# Features: (stem, positive end, negative end, gain) of the targets of each; stems with 'lr-' are used on both sides.
FEATURES = {
    "nose_width": [
        ("nose-scale-horiz", "incr", "decr", 0.32),
        ("nose-nostrils-width", "incr", "decr", 0.3),
        ("nose-width2", "incr", "decr", 0.2),
    ],
    "nose_size": [("nose-scale-vert", "incr", "decr", 0.22), ("nose-scale-depth", "incr", "decr", 0.22)],
    "nose_hump": [
        ("nose-hump", "incr", "decr", 0.28),
        ("nose-curve", "convex", "concave", 0.3),
        ("nose-greek", "incr", "decr", 0.25),
    ],
    "nose_tip": [("nose-point", "up", "down", 0.45), ("nose-base", "up", "down", 0.35)],
    "eye_size": [("lr-eye-scale", "incr", "decr", 0.2), ("lr-eye-height2", "incr", "decr", 0.22)],
    "eye_tilt": [("lr-eye-corner2", "up", "down", 0.45), ("lr-eye-corner1", "down", "up", 0.2)],
    "eye_fold": [("lr-eye-epicanthus", "in", "out", 0.4), ("lr-eye-eyefold", "down", "up", 0.4)],
    "eye_spacing": [("lr-eye-trans", "out", "in", 0.2), ("lr-eye-push1", "out", "in", 0.15)],
    "brow_height": [("eyebrows-trans", "up", "down", 0.4), ("eyebrows-angle", "up", "down", 0.4)],
    "mouth_width": [("mouth-scale-horiz", "incr", "decr", 0.45)],
    "lip_fullness": [
        ("mouth-lowerlip-volume", "incr", "decr", 0.4),
        ("mouth-upperlip-volume", "incr", "decr", 0.4),
        ("mouth-scale-vert", "incr", "decr", 0.25),
    ],
    "jaw": [("chin-width", "incr", "decr", 0.5), ("chin-bones", "incr", "decr", 0.4)],
    "chin": [("chin-prominent", "incr", "decr", 0.4), ("chin-height", "incr", "decr", 0.35)],
    "cheeks": [("lr-cheek-volume", "incr", "decr", 0.4), ("lr-cheek-bones", "decr", "incr", 0.35)],
    "ears": [
        ("lr-ear-wing", "incr", "decr", 0.35),
        ("lr-ear-scale", "incr", "decr", 0.3),
        ("lr-ear-lobe", "incr", "decr", 0.4),
    ],
    "asymmetry": [
        ("asym-jaw-1", "l", "r", 0.25),
        ("asym-mouth-1", "l", "r", 0.18),
        ("asym-nose-1", "l", "r", 0.18),
        ("asym-brown-1", "l", "r", 0.2),
        ("asym-eye-1", "l", "r", 0.12),
    ],
}
CHEEKS = {"cheek-volume-incr": 0.55, "cheek-trans-up": 0.20}  # of both sides, with a full smile
FEATURE_MEANS = {"eye_size": 1.1, "brow_height": 0.6}  # larger eyes and higher brows than the base mesh's


def morphed(cage: np.ndarray, parts: Iterable[Weighted]) -> np.ndarray:
    """A cage [C, 3] with weighted targets added."""
    cage = cage.copy()
    for target, weight in parts:
        if weight:
            cage[target.index] += weight * target.offset
    return cage


def build(assets: Assets, person: Person) -> list[Weighted]:
    """Targets of gender, age, ancestry and weight: products of the weights along each."""
    genders = {"female": 1 - person.gender, "male": person.gender}
    ages = {"young": 1 - person.age, "old": person.age}
    ancestries = {"african": person.african, "asian": person.asian, "caucasian": person.caucasian}
    heavy = 2 * person.weight - 1
    weights = {"minweight": max(0, -heavy), "averageweight": 1 - abs(heavy), "maxweight": max(0, heavy)}
    parts = []
    for gender, a in genders.items():
        for age, b in ages.items():
            parts += [(assets.macro[f"{name}-{gender}-{age}"], a * b * c) for name, c in ancestries.items()]
            stem = f"universal-{gender}-{age}-averagemuscle"
            parts += [(assets.macro[f"{stem}-{name}"], a * b * c) for name, c in weights.items()]
    return parts


def features(assets: Assets, local: tuple) -> list[Weighted]:
    """Targets of the nose, the eyes, ...: `latent.Latent.features`, in standard deviations."""
    parts = []
    for name, value in local._asdict().items():
        for stem, positive, negative, gain in FEATURES[name]:
            weight = (value + FEATURE_MEANS.get(name, 0)) * gain
            for side in ("l-", "r-") if stem.startswith("lr-") else ("",):
                target = side + stem.removeprefix("lr-")
                parts.append((assets.local[f"{target}-{positive}"], _one_side(weight)))
                parts.append((assets.local[f"{target}-{negative}"], _one_side(-weight)))
    return parts


def smiling_cheeks(assets: Assets, smile: float) -> list[Weighted]:
    """Targets of the cheeks, which a smile swells and lifts more than the expression targets do."""
    return [(assets.local[f"{side}-{name}"], gain * smile) for name, gain in CHEEKS.items() for side in ("l", "r")]


def _one_side(weight: float) -> float:
    """max(0, weight) with its corner rounded, and 0 at 0: both ends of a feature are there for small weights."""
    return ramp(weight, 12) - ramp(0, 12) * np.exp(-((6 * weight) ** 2))


def eye_centres(topology: Topology, cage: np.ndarray) -> np.ndarray:
    """[2, 3], of a cage."""
    return np.stack([cage[eye].mean(0) for eye in topology.eyes])


def shape_head(assets: Assets, inside: tuple[np.ndarray, np.ndarray], description: Description) -> np.ndarray:
    """The cage [C, 3] of a head in the world.

    Args:
      inside: `Regions.mouth_inside` and `mouth_depth`.
    """
    topology = assets.topology
    cage = morphed(topology.base, [*build(assets, description.person), *features(assets, description.local)])
    cage = cage + IDENTITY_SPREAD * np.tensordot(description.identity, assets.identity, 1)
    middle, scale = framing(topology, cage)  # of the face at rest, so that expressions do not move the head
    expression = description.expression
    moved = [(assets.expression[name], weight) for name, weight in expression.weights.items()]
    cage = morphed(cage, [*moved, *smiling_cheeks(assets, expression.smile)])
    # What is inside the mouth is pulled in, so that it never comes through the skin.
    vertices, depth = inside
    centre = cage[vertices].mean(0) + np.array([0, 0, -0.02])
    cage[vertices] += depth * 0.38 * (centre - cage[vertices])
    return (cage - middle) * scale + np.array([0, EYES_Y, EYES_Z])


def framing(topology: Topology, cage: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle of the eyes [3] and the factor to world units: by half from eye to eye, by half from eyes to lips."""
    eyes = eye_centres(topology, cage)
    middle = eyes.mean(0)
    lips = (topology.subdivision @ cage)[topology.lips > 0.5].mean(0)
    size = 0.5 * (np.linalg.norm(eyes[0] - eyes[1]) + abs(middle[1] - lips[1]) / EYES_TO_LIPS)
    return middle, 1.06 * PUPILS / size
