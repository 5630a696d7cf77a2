"""What the assets hold, by name, and what must be known of each thing to choose it: who a skin was painted from, ..."""

from typing import NamedTuple

import numpy as np

from tools.heads.curves import unit


class SkinSheet(NamedTuple):
    """One painted skin: `male` and `dark` are 1 or -1, `age` is on the scale of `Person.age`."""

    name: str
    male: float
    dark: float
    age: float


class Garment(NamedTuple):
    """One garment; `favour` is what it has ahead of the others when one is chosen."""

    name: str
    favour: float


YOUNG, MIDDLE_AGED, OLD = 0.08, 0.45, 0.85

SKINS = (
    SkinSheet("middleage_darkskinned_male", 1, 1, MIDDLE_AGED),
    SkinSheet("middleage_lightskinned_female_2", -1, -1, MIDDLE_AGED),
    SkinSheet("middleage_lightskinned_male", 1, -1, MIDDLE_AGED),
    SkinSheet("middleage_lightskinned_male_2", 1, -1, MIDDLE_AGED),
    SkinSheet("old_darkskinned_male", 1, 1, OLD),
    SkinSheet("young_darkskinned_male", 1, 1, YOUNG),
    SkinSheet("young_lightskinned_female_2", -1, -1, YOUNG),
    SkinSheet("young_lightskinned_female_3", -1, -1, YOUNG),
    SkinSheet("young_lightskinned_male", 1, -1, YOUNG),
    SkinSheet("young_lightskinned_male_2", 1, -1, YOUNG),
    SkinSheet("young_lightskinned_male_3", 1, -1, YOUNG),
)
GARMENTS = (
    Garment("female_casualsuit01", 0.0),
    Garment("male_casualsuit03", 0.2),
    Garment("male_casualsuit06", 0.5),
    Garment("male_elegantsuit01", 0.5),
    Garment("male_worksuit01", -0.3),
)
BROWS = tuple(f"eyebrow{number}" for number in ("001", "002", "004", "005", "008", "011", "012"))
LASHES = "eyelashes02"
IRISES = ("brown", "brownlight", "green", "grey", "blue", "lightblue", "bluegreen")  # brown first, the rest by hue

# Where each sheet and each brow lies in the small space in which p chooses: any directions that are spread do.
SKIN_PLACES = unit(np.random.RandomState(5).randn(len(SKINS), 3))
BROW_PLACES = unit(np.random.RandomState(3).randn(len(BROWS), 2))
_ANGLES = np.arange(len(GARMENTS)) * 2 * np.pi / len(GARMENTS)
GARMENT_PLACES = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
