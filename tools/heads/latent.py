"""The latent p of a head: 128 numbers, each with a group and a name, drawn from N(0, I).

A head is a smooth function of p. Every number passes a soft limit, so that no draw is a monster, and every choice is
soft: skins, brows and irises blend. Data are drawn with p of unit root mean square, because that is how the mapping
network of the generator normalises its z: the length of p would be lost on it.
"""

from collections import namedtuple

import numpy as np

LIMIT = 1.7  # of each number, in standard deviations: tanh approaches it

GROUPS: dict[str, tuple[str, ...]] = {
    "identity": tuple(f"mode_{i}" for i in range(36)),
    "features": (
        *("nose_width", "nose_size", "nose_hump", "nose_tip", "eye_size", "eye_tilt", "eye_fold", "eye_spacing"),
        *("brow_height", "mouth_width", "lip_fullness", "jaw", "chin", "cheeks", "ears", "asymmetry"),
    ),
    "person": ("gender", "age", "african", "asian", "caucasian", "weight"),
    "expression": (
        *("smile", "mouth_open", "teeth", "brow_raise", "inner_brow", "lids", "squint", "pucker"),
        *("press", "corners", "smile_tilt", "mouth_side", "one_brow", "sneer", "gaze_x", "gaze_y"),
    ),
    "skin": (
        *("tone", "hue", "place_x", "place_y", "place_z", "blush", "freckles", "moles"),
        *("blotches", "sockets", "lip_paint", "gloss"),
    ),
    "brows": ("shape_x", "shape_y", "density"),
    "eyes": ("darkness", "hue"),
    "hair": (
        *("length", "top", "back", "fringe", "volume", "wave", "curl", "coil", "parting", "comb_side"),
        *("comb_back", "lift", "hairline", "thinning", "mess", "clumps", "darkness", "red", "contrast", "grey"),
    ),
    "beard": ("fullness", "moustache", "width", "stubble"),
    "clothes": ("garment_x", "garment_y", "lightness", "warmth", "green"),
    "light": ("azimuth", "elevation", "strength", "warmth", "fill_azimuth", "fill", "rim", "exposure"),
}
SIZE = sum(len(names) for names in GROUPS.values())
_STARTS = np.cumsum([0, *(len(names) for names in GROUPS.values())]).tolist()
SLICES = {group: slice(start, stop) for group, start, stop in zip(GROUPS, _STARTS[:-1], _STARTS[1:], strict=True)}

Latent = namedtuple("Latent", GROUPS)
_GROUP_TYPES = {group: namedtuple(group.capitalize(), names) for group, names in GROUPS.items()}


def index(group: str, name: str) -> int:
    """Place in p of one named number; `index("hair", "length")` is 91."""
    return SLICES[group].start + GROUPS[group].index(name)


def split(p: np.ndarray) -> Latent:
    """p [128] as named numbers behind their soft limit: `split(p).hair.length`, in (-1.7, 1.7)."""
    p = np.asarray(p, np.float64)
    if p.shape != (SIZE,):
        raise ValueError(f"a head needs {SIZE} numbers, not an array of shape {p.shape}")
    limited = LIMIT * np.tanh(p / LIMIT)
    return Latent(*(_GROUP_TYPES[group](*limited[place].tolist()) for group, place in SLICES.items()))


def sample(seed: int, number: int) -> np.ndarray:
    """p [128] float32 of unit root mean square: head `number` of a seed, whatever the number of heads."""
    p = np.random.default_rng([seed, number]).standard_normal(SIZE).astype(np.float32)
    return p / np.sqrt(np.mean(p * p))
