"""How hair and beard are worn: p -> colours, lengths, combing, curls. Lengths are in distances between the pupils."""

from dataclasses import dataclass

import numpy as np

from tools.heads.curves import lerp, log_lerp, ramp, sigmoid, smoothstep

BLOND, BLACK = (0.44, 0.285, 0.15), (0.0135, 0.0088, 0.0066)
GREY_HAIR = np.array([0.40, 0.39, 0.38])
CROPPED, PAST_THE_SHOULDERS = 0.09, 4.6
STRAND_RADIUS = 0.00050  # world units


@dataclass(frozen=True)
class HairColour:
    """Linear colours [3]; grey 0 to 1; `variation` of lightness between strands; `sheen`, strength of highlights."""

    hair: np.ndarray
    beard: np.ndarray
    brows: np.ndarray
    grey: float
    variation: float
    sheen: float


@dataclass(frozen=True)
class HairStyle:
    """Scalp hair.

    Attributes:
      side, back, top, front: lengths.
      volume: of the layers in which strands lie on one another.
      wave, curl, coil: amplitudes, wide to narrow.
      coily: 0 (falls) to 1 (stands off the scalp).
      parting: where it is, in distances between the pupils from the middle; `parting_back` combs it backwards.
      comb_side, comb_back: away from the parting, away from the face.
      lift, gravity: how strands leave the scalp, how they fall.
      recede, bald, density: of the hairline, of the crown, share of strands kept.
      scalp_shade: how much of the hair's colour the scalp has.
      mess, frizz, clumps: disorder.
    """

    side: float
    back: float
    top: float
    front: float
    volume: float
    wave: float
    curl: float
    coil: float
    coily: float
    parting: float
    parting_back: float
    comb_side: float
    comb_back: float
    lift: float
    gravity: float
    recede: float
    bald: float
    density: float
    scalp_shade: float
    mess: float
    frizz: float
    clumps: float


@dataclass(frozen=True)
class BeardStyle:
    """`full` 0 to 1; lengths and densities of jaw and moustache; half the width of the chin's beard; stubble 0 to 1."""

    full: float
    jaw: float
    jaw_density: float
    moustache: float
    moustache_density: float
    width: float
    stubble: float


def describe_colour(x: tuple, age: float, african: float, asian: float) -> HairColour:
    """`latent.Latent.hair` and the person -> colours of hair, beard and brows."""
    dark = sigmoid(2.0 * x.darkness + 5.0 * (african + 0.8 * asian) - 0.7)
    red = sigmoid(3.0 * (x.red - 0.9)) * (1 - dark)
    colour = log_lerp(BLOND, BLACK, dark) * lerp(np.ones(3), np.array([1.25, 0.72, 0.5]), red)
    colour = colour * np.exp(np.array([0.10, 0.02, -0.08]) * x.red)
    grey = sigmoid(9 * (age - 0.60) + 1.7 * x.grey - 1.2)
    hair = np.clip(lerp(colour, GREY_HAIR, 0.9 * grey**2), 0.006, 0.6)
    return HairColour(
        hair=hair,
        beard=np.clip(hair * np.array([1.10, 0.94, 0.86]), 0.006, 0.5),
        brows=np.clip(lerp(colour, 0.25, 0.4 * grey) ** 1.15 * 0.55, 0.005, 0.12),
        grey=grey,
        variation=0.6 * np.exp(0.4 * x.contrast),
        sheen=np.exp(0.25 * x.contrast),
    )


def describe_hair(x: tuple, gender: float, age: float, african: float) -> HairStyle:
    """`latent.Latent.hair` and the person -> the style of the hair."""
    coily = sigmoid(7 * (african - 0.50) + 2.0 * x.coil)
    long = sigmoid(1.9 * x.length + 2.4 * (0.5 - gender) - 0.15)
    side = float(np.exp(lerp(np.log(CROPPED), np.log(PAST_THE_SHOULDERS), long) - 1.5 * coily * long))
    short = smoothstep(1.3, 0.35, side)
    fringe = sigmoid(2.5 * x.fringe - 1.6)  # 1: cut above the eyes
    bald = gender * sigmoid(3.2 * x.thinning - 4.2 + 3.0 * age)
    top = side * np.exp(short * (0.55 + 0.45 * x.top)) + 0.5 * (1 - short)
    front = lerp(top, min(top, 1.05 + 0.10 * x.top), fringe) * np.exp(0.18 * x.fringe * short)
    cropped = smoothstep(0.5, 0.1, side)
    lift = lerp(lerp(0.72, 0.62, short), 0.9, smoothstep(0.4, 0.1, side)) * np.exp(0.25 * x.lift)
    return HairStyle(
        side=side,
        back=side * np.exp(0.35 * x.back + 0.25 * short),
        top=top * (1 - 0.8 * bald),
        front=front * (1 - 0.8 * bald),
        volume=0.42 * np.exp(0.35 * x.volume) + 0.1 * (1 - short),
        wave=0.05 * ramp(x.wave, 3) * (1 - coily),
        curl=0.055 * ramp(x.curl - 0.25, 3) * (1 - 0.7 * coily),
        coil=0.075 * coily,
        coily=coily,
        parting=0.42 * x.parting,
        parting_back=(1 - fringe) * smoothstep(0.3, 1.2, top),
        comb_side=lerp(lerp(0.45, 1.3, 1 - short), 0.2, fringe * short) + 0.25 * x.comb_side,
        comb_back=lerp(0.75 * np.tanh(1.3 * x.comb_back), 0.25 + 0.3 * x.comb_back, 1 - short) - 0.5 * fringe,
        lift=lift * (1 - coily) + 1.5 * coily,
        gravity=lerp(1.1, lerp(0.35, 0.12, cropped), short) * (1 - coily),
        recede=0.10 * x.hairline + 0.04 + 0.30 * gender * age * sigmoid(2 * x.hairline),
        bald=1.3 * bald,
        density=1.05 - 0.45 * bald,
        scalp_shade=0.85 * (1 - 0.85 * bald),
        mess=0.8 * np.exp(0.3 * x.mess),
        frizz=0.03 * np.exp(0.5 * x.mess),
        clumps=float(np.clip(lerp(0.36, 0.22, short) + 0.10 * x.clumps + 0.45 * coily, 0, 0.85)),
    )


def describe_beard(x: tuple, gender: float) -> BeardStyle:
    """`latent.Latent.beard` -> the style of the beard; women have none."""
    full = gender**2 * sigmoid(2.6 * x.fullness - 2.1)
    moustache = gender**2 * sigmoid(2.4 * (0.75 * x.fullness + 0.6 * x.moustache) - 1.5)
    stubble = gender**2 * (0.10 + 0.7 * sigmoid(2.2 * x.stubble - 1.4)) * (1 - full) + full
    return BeardStyle(
        full=full,
        jaw=full * 0.20 * np.exp(0.6 * x.fullness),
        jaw_density=1.4 * smoothstep(0.05, 0.5, full),
        moustache=0.14 * moustache,
        moustache_density=1.5 * smoothstep(0.05, 0.5, moustache),
        width=0.45 + 1.1 * sigmoid(2.5 * x.width + 1.2),
        stubble=float(np.clip(stubble, 0, 1)),
    )
