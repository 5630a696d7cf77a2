"""What a head may wear that p does not know: glasses, hats, head scarves, an eye patch, and decals on the skin.

A generator trained on p alone cannot make these: they are what an inversion has to add. They are drawn from a seed of
their own; by default a head wears nothing.
"""

from dataclasses import dataclass

import numpy as np

HEADWEAR = ("beanie", "cap", "scarf")
DECALS = ("text", "stripes", "paint", "freckles", "star", "disc")
WORDS = ("PMV", "2K", "LOVE", "A7", "NO. 5", "JAX")
COLOURS = ((0.72, 0.07, 0.08), (0.08, 0.18, 0.62), (0.05, 0.42, 0.16), (0.90, 0.70, 0.08), (0.03, 0.03, 0.03))
COLOURS += ((0.85, 0.85, 0.82), (0.45, 0.08, 0.45), (0.95, 0.40, 0.10))  # sRGB
_OUTFITS = 3  # the stream of random numbers that outfits are drawn from, beside those of p and of cameras

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Glasses:
    """Half the width and the height of a lens in distances between the pupils; `square` 2 (an ellipse) to 5 (nearly a
    rectangle); `rim`, radius of the frame; dark lenses or none."""

    width: float
    height: float
    square: float
    rim: float
    colour: Colour
    dark: bool


@dataclass(frozen=True)
class Headwear:
    """A hat of `HEADWEAR` in a colour, with stripes of another."""

    kind: str
    colour: Colour
    stripes: Colour


@dataclass(frozen=True)
class Decal:
    """Something on the skin: a kind of `DECALS` about (x, y), in distances between the pupils from the middle of the
    eyes on the average head, of a size and turned by an angle in radians; `word` for text, `seed` for freckles."""

    kind: str
    x: float
    y: float
    size: float
    angle: float
    colour: Colour
    word: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Outfit:
    """All that a head wears; `eye_patch` is -1 or 1, the side in the picture, or None."""

    glasses: Glasses | None = None
    headwear: Headwear | None = None
    eye_patch: int | None = None
    decals: tuple[Decal, ...] = ()


NOTHING = Outfit()


def draw_outfit(seed: int, number: int) -> Outfit:
    """The outfit of head `number` of a seed: always something; a decal in three of four, each accessory in a third."""
    random = np.random.default_rng([seed, number, _OUTFITS])
    decals = tuple(draw_decal(random) for _ in range(random.integers(0, 4)))
    glasses = draw_glasses(random) if random.random() < 0.33 else None
    headwear = draw_headwear(random) if random.random() < 0.33 else None
    patch = int(random.choice([-1, 1])) if glasses is None and random.random() < 0.15 else None
    if not (decals or glasses or headwear or patch):
        glasses = draw_glasses(random)
    return Outfit(glasses, headwear, patch, decals)


def draw_glasses(random: np.random.Generator) -> Glasses:
    """Any glasses."""
    return Glasses(
        width=random.uniform(0.34, 0.43),
        height=random.uniform(0.22, 0.36),
        square=random.uniform(2.0, 4.5),
        rim=random.uniform(0.016, 0.04),
        colour=_colour(random),
        dark=random.random() < 0.25,
    )


def draw_headwear(random: np.random.Generator) -> Headwear:
    """Any hat or scarf."""
    return Headwear(str(random.choice(HEADWEAR)), _colour(random), _colour(random))


def draw_decal(random: np.random.Generator) -> Decal:
    """Any decal, anywhere on the forehead, the cheeks or the chin."""
    places = ((0.0, 0.62), (-0.62, -0.62), (0.62, -0.62), (0.0, -1.45), (0.45, 0.55), (-0.45, 0.55))
    x, y = places[random.integers(len(places))]
    return Decal(
        kind=str(random.choice(DECALS)),
        x=x + random.uniform(-0.1, 0.1),
        y=y + random.uniform(-0.08, 0.08),
        size=random.uniform(0.22, 0.42),
        angle=random.uniform(-0.5, 0.5),
        colour=_colour(random),
        word=str(random.choice(WORDS)),
        seed=int(random.integers(2**31)),
    )


def _colour(random: np.random.Generator) -> Colour:
    return COLOURS[random.integers(len(COLOURS))]
