"""The heads that benchmarks invert: seeds by split, input cameras, and what each wears. All is computed from seeds.

No generator has been trained on them, and each wears what p does not know (`OUTFITS`). One view is the input; twelve
more, up to 0.6 rad to the sides and 0.3 up and down, are only compared with. Choices are made on the `dev` split;
`test` has other seeds and is for reporting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pmv_jax import cameras
from pmv_jax.errors import InputError
from tools.heads import latent
from tools.heads.curves import srgb_from_linear
from tools.heads.description import describe
from tools.heads.outfit import COLOURS, WORDS, Colour, Decal, Headwear, Outfit, draw_glasses, draw_headwear
from tools.training import backdrop

SEEDS = {"dev": 20_000, "test": 30_000}
HEADS = 24
PAINTED = 12  # of a split, the first ones: those whose texture is edited

INPUT_YAWS = (0.0, 0.2, -0.4, -0.2, 0.4)
YAW_JITTER, PITCH_JITTER = 0.05, 0.08
_HALF = ((-0.6, 0.0), (-0.5, 0.3), (-0.45, -0.2), (-0.3, 0.1), (-0.15, -0.3), (0.0, 0.2))
NOVEL_ANGLES = (*_HALF, *((-yaw, -pitch) for yaw, pitch in _HALF))
"""Yaw and pitch of the twelve novel cameras, radians; the same for all heads."""
TURN = 0.3  # radians to both sides of a painted view

OUTFITS = (
    ("text", "stripes"),
    ("freckles", "glasses"),
    ("paint", "hat"),
    ("stickers", "scarf"),
    ("text", "hat"),
    ("patch", "freckles"),
    ("stripes", "glasses"),
    ("paint",),
    ("text", "freckles", "glasses"),
    ("stickers",),
    ("patch", "stripes", "scarf"),
    ("paint", "text"),
)
"""What the heads of a split wear, in turn. Their number and that of INPUT_YAWS have no common factor."""

CONTRAST = 0.2  # of ink and skin, as sRGB luminance
_CAMERA, _OUTFIT, _BACKDROP, _PAINTING = range(4, 8)  # streams of random numbers; tools/heads has those before
_LUMINANCE = np.array([0.3, 0.6, 0.1])


@dataclass(frozen=True)
class Case:
    """One head with its input camera.

    Attributes:
      name: unique over the splits.
      seed, number: of the head, as in `tools.heads.latent.sample`.
      kinds: what it wears.
      yaw, pitch: of the input camera, radians.
    """

    name: str
    seed: int
    number: int
    kinds: tuple[str, ...]
    yaw: float
    pitch: float

    @property
    def p(self) -> np.ndarray:
        """[128] of the head."""
        return latent.sample(self.seed, self.number)

    @property
    def backdrop(self) -> np.ndarray:
        """[6] of the wall behind it."""
        return self.random(_BACKDROP).standard_normal(backdrop.NUMBERS)

    @property
    def cameras(self) -> np.ndarray:
        """[13, 25], the input's first."""
        yaw, pitch = np.array([(self.yaw, self.pitch), *NOVEL_ANGLES], np.float32).T
        return np.asarray(cameras.look_at(yaw, pitch))

    @property
    def painted_cameras(self) -> np.ndarray:
        """[3, 25]: the painted view, within 0.25 rad of the frontal one, and TURN to both sides of it."""
        yaw = 0.5 * self.yaw + np.array([0.0, -TURN, TURN])
        return np.asarray(cameras.look_at(yaw, np.full(3, self.pitch)))

    def random(self, stream: int) -> np.random.Generator:
        """Random numbers of this case for one purpose."""
        return np.random.default_rng([self.seed, self.number, stream])


def cases(split: str, count: int = HEADS) -> tuple[Case, ...]:
    """The first `count` cases of a split.

    Raises:
      InputError: there is no such split, or it has fewer cases.
    """
    if split not in SEEDS:
        raise InputError(f"--split {split}: no such split; choose one of {', '.join(SEEDS)}")
    if not 1 <= count <= HEADS:
        raise InputError(f"--heads {count}: each split has {HEADS} heads; choose 1 to {HEADS}")
    return tuple(_case(split, number) for number in range(count))


def _case(split: str, number: int) -> Case:
    seed = SEEDS[split]
    yaw, pitch = np.random.default_rng([seed, number, _CAMERA]).uniform(-1, 1, 2) * (YAW_JITTER, PITCH_JITTER)
    return Case(
        name=f"{split}-{number:02}",
        seed=seed,
        number=number,
        kinds=OUTFITS[number % len(OUTFITS)],
        yaw=INPUT_YAWS[number % len(INPUT_YAWS)] + float(yaw),
        pitch=float(pitch),
    )


# ---------------------------------------------------------------------------------------------------------------------
# What the heads wear. Places and sizes: see `tools.heads.outfit.Decal`
# ---------------------------------------------------------------------------------------------------------------------


def outfit(case: Case) -> Outfit:
    """All that a case's head wears. Text is on the other side of the face than stripes and paint."""
    random = case.random(_OUTFIT)
    side = int(random.choice([-1, 1]))
    marks = [decal for kind in case.kinds if kind in _DECALS for decal in _DECALS[kind](random, side, case)]
    return Outfit(
        glasses=draw_glasses(random) if "glasses" in case.kinds else None,
        headwear=_headwear(random, case.kinds),
        eye_patch=side if "patch" in case.kinds else None,
        decals=tuple(marks),
    )


def painting(case: Case) -> Decal:
    """What is painted on a case's bare head where texture edits are measured: a star, a word or stripes."""
    random = case.random(_PAINTING)
    cheek = 0.5 * int(random.choice([-1, 1]))
    colour, tilt = _ink(random, case), random.uniform(-0.3, 0.3)
    if case.number % 3 == 0:
        return Decal("star", cheek, -0.5, 0.26, tilt, colour)
    if case.number % 3 == 1:
        return Decal("text", 0.0, 0.55, 0.30, 0.3 * tilt, colour, word="JAX")
    return Decal("stripes", cheek, -0.5, 0.28, tilt, colour)


def inks(case: Case) -> list[Colour]:
    """Colours that can be told from the skin of a case's head."""
    skin = srgb_from_linear(describe(case.p).skin.tone) @ _LUMINANCE
    return [colour for colour in COLOURS if abs(np.array(colour) @ _LUMINANCE - skin) > CONTRAST]


def _ink(random: np.random.Generator, case: Case) -> Colour:
    possible = inks(case)
    return possible[random.integers(len(possible))]


def _headwear(random: np.random.Generator, kinds: tuple[str, ...]) -> Headwear | None:
    wanted = {"scarf": ("scarf",), "hat": ("beanie", "cap")}
    for kind, headwear in wanted.items():
        if kind in kinds:
            drawn = draw_headwear(random)
            return Headwear(str(random.choice(headwear)), drawn.colour, drawn.stripes)
    return None


# Each draws its decals for one side of the face (1: right in the picture).


def _text(random: np.random.Generator, side: int, case: Case) -> list[Decal]:
    word, colour = str(random.choice(WORDS)), _ink(random, case)
    forehead_is_free = not {"patch", "stickers", "hat"} & set(case.kinds)
    if forehead_is_free and random.random() < 0.5:
        return [Decal("text", random.uniform(-0.1, 0.1), 0.55, random.uniform(0.28, 0.34), 0.0, colour, word)]
    return [Decal("text", -0.55 * side, -0.6, 0.22, random.uniform(-0.4, 0.4), colour, word)]


def _stripes(random: np.random.Generator, side: int, case: Case) -> list[Decal]:
    return [Decal("stripes", 0.58 * side, -0.5, 0.30, random.uniform(-0.3, 0.3), _ink(random, case))]


def _freckles(random: np.random.Generator, side: int, case: Case) -> list[Decal]:
    return [Decal("freckles", 0.0, -0.35, 0.6, 0.0, _ink(random, case), seed=int(random.integers(2**31)))]


def _paint(random: np.random.Generator, side: int, case: Case) -> list[Decal]:
    tilt, seed = random.uniform(-0.4, 0.4), int(random.integers(2**31))
    return [Decal("paint", 0.4 * side, -0.45, random.uniform(0.6, 0.75), tilt, _ink(random, case), seed=seed)]


def _stickers(random: np.random.Generator, side: int, case: Case) -> list[Decal]:
    places = random.permutation([(0.6, -0.5), (0.4, 0.55), (-0.35, 0.5), (0.2, -1.45)])[:3] * (side, 1)
    return [
        Decal(kind, float(x), float(y), random.uniform(0.2, 0.28), random.uniform(-0.5, 0.5), _ink(random, case))
        for kind, (x, y) in zip(("star", "disc", "star"), places, strict=True)
    ]


_DECALS: dict[str, Callable[[np.random.Generator, int, Case], list[Decal]]] = {
    "text": _text,
    "stripes": _stripes,
    "freckles": _freckles,
    "paint": _paint,
    "stickers": _stickers,
}
