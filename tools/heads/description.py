"""What a head looks like, in the units of its makers: the smooth map from p to build, skin, hair, clothes and light.

Nothing here needs the assets. Attributes are correlated on purpose, as they are in people: the length of hair with
gender, coils and tone with ancestry, grey with age. Lengths of hair are in distances between the pupils, colours are
linear light.
"""

from dataclasses import dataclass

import numpy as np

from tools.heads import catalogue, latent
from tools.heads.curves import lerp, log_lerp, pruned, ramp, sigmoid, smoothstep, softmax
from tools.heads.expression import Expression, express
from tools.heads.groom import BeardStyle, HairColour, HairStyle, describe_beard, describe_colour, describe_hair
from tools.heads.light import Light, describe_light

DARKEST_SKIN, LIGHTEST_SKIN = (0.115, 0.056, 0.033), (0.70, 0.425, 0.315)


@dataclass(frozen=True)
class Person:
    """Build: gender 0 (female) to 1, age 0 (25) to 1 (about 80), three ancestries that sum to 1, weight 0 to 1."""

    gender: float
    age: float
    african: float
    asian: float
    caucasian: float
    weight: float


@dataclass(frozen=True)
class Skin:
    """`tones` and `details` are weights of `catalogue.SKINS`: the wide colours of one mix of sheets under the pores and
    wrinkles of another; colours [3] are linear; the rest are strengths about 0 to 1."""

    tones: np.ndarray
    details: np.ndarray
    tone: np.ndarray
    blush: float
    freckles: float
    moles: float
    blotches: float
    sockets: float
    lip_tint: np.ndarray
    lip_strength: float
    gloss: float
    roughness: float


@dataclass(frozen=True)
class Features:
    """What is stuck on: weights of `catalogue.BROWS` and `catalogue.IRISES`, opacities of brows and lashes."""

    brows: np.ndarray
    brow_opacity: float
    lash_opacity: float
    irises: np.ndarray


@dataclass(frozen=True)
class Clothes:
    """Weights of `catalogue.GARMENTS` and the factor [3] on their colours."""

    garments: np.ndarray
    tint: np.ndarray


@dataclass(frozen=True)
class Description:
    """A head before anything is built. `identity` [36] and `features` [16] are what p has, behind its soft limit."""

    person: Person
    identity: np.ndarray
    local: tuple
    expression: Expression
    skin: Skin
    features: Features
    colour: HairColour
    hair: HairStyle
    beard: BeardStyle
    clothes: Clothes
    light: Light


def describe(p: np.ndarray) -> Description:
    """p [128] -> what the head looks like. Smooth, deterministic, without assets."""
    x = latent.split(p)
    person = describe_person(x.person)
    lightness = skin_lightness(person, x.skin.tone)
    origin = (person.african, person.asian)
    return Description(
        person=person,
        identity=np.array(x.identity),
        local=x.features,
        expression=express(x.expression),
        skin=describe_skin(x.skin, x.person.gender, person, lightness),
        features=describe_features(x.brows, x.eyes, person),
        colour=describe_colour(x.hair, person.age, *origin),
        hair=describe_hair(x.hair, person.gender, person.age, person.african),
        beard=describe_beard(x.beard, person.gender),
        clothes=describe_clothes(x.clothes),
        light=describe_light(x.light),
    )


def describe_person(x: tuple) -> Person:
    """Gender has two humps; ancestries blend by softmax."""
    african, asian, caucasian = softmax(2.4 * np.array([x.african, x.asian, x.caucasian])).tolist()
    return Person(
        gender=sigmoid(3.2 * x.gender),
        age=0.02 + 0.90 * sigmoid(2.0 * x.age - 1.0),
        african=african,
        asian=asian,
        caucasian=caucasian,
        weight=float(np.clip(0.47 + 0.13 * x.weight, 0.1, 0.9)),
    )


def skin_lightness(person: Person, tone: float) -> float:
    """From the darkest skin, 0, to the lightest, 1."""
    t = 0.84 - 0.70 * person.african - 0.10 * person.asian + 0.15 * tone
    return t - ramp(t - 0.97, 20) + ramp(0.03 - t, 20)


def describe_skin(x: tuple, gender: float, person: Person, lightness: float) -> Skin:
    """`gender` is the number of p, which has no humps, in (-1.7, 1.7)."""
    _, male, dark, age = (np.array(column) for column in zip(*catalogue.SKINS, strict=True))
    fitness = 1.9 * male * np.tanh(2 * gender) + 1.5 * dark * np.tanh(3 * (0.42 - lightness))
    fitness += -2.2 * ((age - person.age) / 0.35) ** 2 - 0.5 * (dark > 0) * (age > 0.7)
    tones = fitness + 1.6 * catalogue.SKIN_PLACES @ [x.place_x, x.place_y, x.place_z]
    details = fitness + 1.6 * catalogue.SKIN_PLACES @ [x.place_y, -x.place_z, -x.place_x]
    paint = (1 - person.gender) * sigmoid(2.2 * x.lip_paint - 0.5)
    hue = np.exp(np.array([0, 0.04, -0.07]) * x.hue * 0.6)
    return Skin(
        tones=pruned(softmax(1.5 * tones), 0.06),
        details=pruned(softmax(1.5 * details), 0.06),
        tone=log_lerp(DARKEST_SKIN, LIGHTEST_SKIN, lightness) * hue,
        blush=0.30 * ramp(x.blush + 0.3, 3) * (0.4 + 0.6 * lightness),
        freckles=0.8 * ramp(x.freckles - 0.5, 4) * smoothstep(0.4, 0.7, lightness),
        moles=0.4 * ramp(x.moles - 0.2, 4),
        blotches=0.9 * np.exp(0.5 * x.blotches),
        sockets=0.22 * ramp(x.sockets + 0.2 + person.age, 3),
        lip_tint=lerp(np.array([1.0, 0.72, 0.76]), np.array([0.98, 0.50, 0.55]), paint),
        lip_strength=lerp(0.3, 0.8, paint),
        gloss=0.68 * np.exp(0.25 * x.gloss),
        roughness=0.50 - 0.03 * x.gloss,
    )


def describe_features(brows: tuple, eyes: tuple, person: Person) -> Features:
    """Brown eyes by ancestry; the others lie on a circle of hues."""
    hues = np.array([0.0, 1.2, 2.4, 3.3, 4.3, 5.3])  # of `catalogue.IRISES` but the first
    brown = sigmoid(1.6 * eyes.darkness + 6 * (person.african + person.asian) - 1.0)
    others = softmax(3.0 * np.cos(hues - 1.7 * eyes.hue))
    places = catalogue.BROW_PLACES @ [brows.shape_x, brows.shape_y]
    return Features(
        brows=pruned(softmax(3.0 * places), 0.10),
        brow_opacity=0.85 * np.exp(0.22 * brows.density) * lerp(0.85, 1.05, person.gender),
        lash_opacity=lerp(0.75, 0.4, person.gender),
        irises=np.concatenate([[brown], (1 - brown) * others]),
    )


def describe_clothes(x: tuple) -> Clothes:
    """One garment, or a mix of two in 4 % of heads."""
    favour = np.array([garment.favour for garment in catalogue.GARMENTS])
    places = catalogue.GARMENT_PLACES @ [x.garment_x, x.garment_y]
    warm, green = np.array([0.28, -0.03, -0.28]), np.array([-0.10, 0.13, -0.10])
    return Clothes(
        garments=pruned(softmax(45.0 * (places + 0.6 * favour)), 0.2),
        tint=np.exp(0.35 * x.lightness - 0.45 + warm * x.warmth + green * x.green),
    )
