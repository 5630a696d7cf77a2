"""Parametric signed-distance heads: endless training views and exact ground truth, in pure JAX.

A head is a smooth union of a few ellipsoids, spheres and capsules; its paint (eyes, brows, lips, beard, ...) is a
function of the 3D position; its light is baked, so that colour does not depend on the viewing direction and a
tri-plane field can represent it. Behind the head stands a smooth bowl inside the field's box, so every ray ends on a
surface.

Every function takes one parameter vector ``p [D]`` and is meant to be vmapped over heads. ``p`` is a standard normal
vector, one entry per name in ``PARAMETERS``; callers pass it through ``normalise`` where a mapping network that
discards the latent's length (StyleGAN2, EG3D) is to learn the map from ``p`` to the head.

Two frames occur:

* world: EG3D's. x right and y up as seen by the frontal camera, z towards it; everything lies in ``[-0.5, 0.5]^3``;
* head: the same axes, ``world = HEAD_SCALE * head + (0, HEAD_SHIFT_Y, 0)``. All dimensions of the face are given in it.

Points are tuples of three ``[R]`` arrays and colours too: XLA's CPU backend fuses component-wise arithmetic well and
``[R, 3]`` stacks badly.

References: sphere tracing after Hart, "Sphere tracing" (The Visual Computer, 1996); the quadratic smooth minimum and
the first-order ellipsoid distance are the usual signed-distance modelling formulas.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Vector = tuple[Array, Array, Array]
"""A point, direction or linear RGB colour: three arrays of one shape."""

PARAMETERS: tuple[str, ...] = (
    "head_width",
    "jaw_width",
    "nose_length",
    "nose_width",
    "eye_size",
    "eye_colour",
    "brow_height",
    "brow_thickness",
    "mouth_width",
    "lip_fullness",
    "smile",
    "age",
    "beard",
    "skin_tone",
    "skin_warm",
    "hair_colour",
    "hair_red",
    "hair_volume",
    "hair_length",
    "cloth_lightness",
    "cloth_warm",
    "cloth_green",
    "backdrop_lightness",
    "backdrop_warm",
)
"""Names of the entries of ``p``; larger means more of it (``hair_colour``, ``skin_tone``: dark to light)."""
NUM_PARAMETERS: int = len(PARAMETERS)

HEAD_SCALE = 1.5
HEAD_SHIFT_Y = 0.042
"""World = HEAD_SCALE * head + (0, HEAD_SHIFT_Y, 0): puts eyes, nose and mouth where EG3D's FFHQ crops have them."""

BOWL_CENTRE_Z = 0.2
BOWL_RADII = (0.48, 0.48, 0.55)
"""The backdrop: far inside of the quartic ``sum(((x - c) / r)^4) = 1``, world units. It is rounder than a box and
fuller than a sphere: every ray of a camera with |yaw| <= 0.7 and |pitch| <= 0.4 hits it, in the box, at 2.8 to 3.25."""

MARCH_STEPS = 52
MARCH_RATE = 0.92
"""Fraction of the distance stepped: the smooth unions and ellipsoids overestimate distances a little."""
MIN_STRIDE, SETTLING_STEPS = 0.003, 9
"""Shortest stride outside the surface, head units, in all but the last steps. Without it, rays that graze a silhouette
slow down to a crawl and end short of what lies behind, as dots along the outline; a stride that overshoots is taken
back by the settling steps."""
HIT_TOLERANCE = 0.0015
"""Largest distance, head units, at which a ray that has run out of steps counts as having hit the head."""

LIGHT = (0.36, 0.55, 0.754)
"""Unit vector towards the key light."""


class Surface(NamedTuple):
    """What ``R`` rays meet first."""

    ray_distance: Array
    """[R], along the unit ray, world units."""
    colour: Array
    """[R, 3], with baked light, in [-1, 1]."""
    is_head: Array
    """[R] bool: head, hair or torso (True) or backdrop (False)."""


class HeadView(NamedTuple):
    """One rendered view; depths are at pixel centres, never averaged over edges."""

    image: Array
    """[H, W, 3] in [-1, 1]."""
    z_depth: Array
    """[H, W], along the optical axis, world units."""
    ray_distance: Array
    """[H, W], along the unit ray, world units."""
    mask: Array
    """[H, W], share of the pixel that head, hair or torso cover, in [0, 1]."""


class Shape(NamedTuple):
    """Dimensions of one head, scalars in head units unless said otherwise."""

    half_width: Array
    ear_x: Array
    jaw: Array  # factor on the jaw's widths
    nose_drop: Array  # by which the nose is longer than the mean
    nose_width: Array  # factor
    eye_radius: Array  # of the eyeball
    eye_half_width: Array  # of the lid opening
    eye_half_height: Array
    brow_y: Array
    brow_half_thickness: Array
    mouth_half_width: Array
    lip_fullness: Array  # factor
    smile_curve: Array  # rise of the mouth's corners over its centre
    mouth_gap: Array  # half height of the opening between the lips
    hair_thickness: Array
    hair_drop: Array  # by which the lower hair line hangs lower than on a crop that shows the ears
    hair_slope: Array  # tilt of the lower hair line: high at the temples, low at the nape


class Decal(NamedTuple):
    """A picture on the skin, projected onto it from the front along z: it stays where it is when the camera moves."""

    texture: Array
    """[T, T, 4] colour and opacity in [0, 1], first row on top. Colour is the paint's own, before light falls on it."""
    centre: Array
    """[2], x and y in head units."""
    size: Array
    """[2], width and height in head units."""
    rotation: Array
    """[], radians counter-clockwise as seen from the front."""


Decals = tuple[Decal, ...]
"""Later ones lie over earlier ones."""


class Accessories(NamedTuple):
    """Things worn, with a geometry of their own. Switches are arrays, so that one compiled program serves all heads."""

    glasses: Array
    """[] 1: thin glasses without lenses; 0: none."""
    glasses_size: Array
    """[2], half width and half height of a rim, head units."""
    glasses_colour: Array
    """[3] in [0, 1], as all colours here the material's own, before light falls on it."""
    patch: Array
    """[] 1: a patch with a strap over the eye on the right of the picture; -1: on the left; 0: none."""
    patch_colour: Array
    """[3]"""
    scarf: Array
    """[] 1: a chequered scarf around the neck; 0: none."""
    scarf_colours: Array
    """[2, 3]"""
    scarf_checks: Array
    """[2], number of checks around the neck and around the cloth's roll."""


class Palette(NamedTuple):
    """Colours of one head: tuples of three scalars in [0, 1], and paint strengths in [0, 1]."""

    skin: Vector
    lips: Vector
    iris: Vector
    hair: Vector
    cloth: Vector
    backdrop: Vector
    beard: Array
    age: Array


class Distances(NamedTuple):
    """Signed distances to the parts of the head, head units, [R] each."""

    skin: Array
    cloth: Array
    hair: Array
    worn: tuple[Array, ...] = ()
    """Glasses, patch and scarf, where accessories are given; far away where their switch is off."""

    @property
    def nearest(self) -> Array:
        """[R], distance to their union."""
        nearest = jnp.minimum(jnp.minimum(self.skin, self.cloth), self.hair)
        for distance in self.worn:
            nearest = jnp.minimum(nearest, distance)
        return nearest


# --- Parameters -----------------------------------------------------------------------------------------------------


def normalise(p: Array) -> Array:
    """Scale ``p [D]`` to a root mean square of 1 (as StyleGAN2 scales z before its mapping network)."""
    return p * jax.lax.rsqrt(jnp.mean(jnp.square(p)) + 1e-8)


def sample_parameters(key: Array, n: int) -> Array:
    """Draw ``n`` normalised parameter vectors, ``[n, D]``."""
    return jax.vmap(normalise)(jax.random.normal(key, (n, NUM_PARAMETERS)))


def _soft_clip(p: Array) -> dict[str, Array]:
    """Named parameters as scalars, softly limited to (-2, 2)."""
    values = 2.0 * jnp.tanh(0.5 * p)
    return {name: values[i] for i, name in enumerate(PARAMETERS)}


def head_shape(p: Array) -> Shape:
    """Dimensions of the head ``p [D]``."""
    q = _soft_clip(p)
    half_width = 0.1220 * (1 + 0.05 * q["head_width"])
    mouth = 0.0400 * (1 + 0.10 * q["mouth_width"] + 0.05 * q["smile"])
    return Shape(
        half_width=half_width,
        # Hair that hangs over the ears presses them to the head: they would poke through it.
        ear_x=half_width + 0.0055 - 0.0175 * jax.nn.sigmoid(5.0 * (q["hair_length"] - 0.6)),
        jaw=1 + 0.09 * q["jaw_width"],
        nose_drop=0.0045 * q["nose_length"],
        nose_width=1 + 0.15 * q["nose_width"],
        eye_radius=0.0295 * (1 + 0.05 * q["eye_size"]),
        eye_half_width=0.0280 * (1 + 0.06 * q["eye_size"]),
        eye_half_height=0.0135 * (1 + 0.14 * q["eye_size"]),
        brow_y=0.0600 + 0.0050 * q["brow_height"],
        brow_half_thickness=0.0062 * (1 + 0.28 * q["brow_thickness"]),
        mouth_half_width=mouth,
        lip_fullness=1 + 0.19 * q["lip_fullness"],
        # In proportion to the mouth's width: a wide smile on a narrow mouth would bend into a fish's.
        smile_curve=mouth * (0.16 + 0.17 * q["smile"]),
        mouth_gap=0.0026 * jax.nn.softplus(2.0 * q["smile"] - 1.0),
        hair_thickness=0.0190 + 0.0050 * q["hair_volume"],
        hair_drop=0.115 * jax.nn.softplus(1.6 * q["hair_length"] - 0.8) / 1.6,
        hair_slope=0.80 * jax.nn.sigmoid(0.9 - 1.8 * q["hair_length"]),
    )


def _grade(dark: tuple, light: tuple, t: Array) -> Vector:
    """Colour between two, interpolated in log space (as pigments mix) at ``t`` in [0, 1]."""
    return tuple(jnp.exp((1 - t) * jnp.log(a) + t * jnp.log(b)) for a, b in zip(dark, light, strict=True))


def palette(p: Array) -> Palette:
    """Colours of the head ``p [D]``."""
    q = _soft_clip(p)
    age = jax.nn.sigmoid(2.0 * (q["age"] - 0.7))
    warm = q["skin_warm"]
    skin = _grade((0.33, 0.205, 0.145), (0.97, 0.83, 0.745), jax.nn.sigmoid(0.8 + 1.15 * q["skin_tone"]))
    skin = (skin[0] * (1 + 0.025 * warm), skin[1] * (1 - 0.010 * warm), skin[2] * (1 - 0.055 * warm))
    hair = _grade((0.060, 0.045, 0.042), (0.90, 0.75, 0.50), jax.nn.sigmoid(1.3 * q["hair_colour"] - 0.1))
    red = jax.nn.sigmoid(1.3 * q["hair_red"])
    hair = (hair[0] * (0.93 + 0.36 * red), hair[1] * (1.04 - 0.16 * red), hair[2] * (1.10 - 0.50 * red))
    hair = _mix(hair, (0.70, 0.70, 0.71), 0.75 * age * age)
    light = 0.16 + 0.50 * jax.nn.sigmoid(1.2 * q["cloth_lightness"])
    cloth_warm, cloth_green = 0.45 * jnp.tanh(0.8 * q["cloth_warm"]), 0.35 * jnp.tanh(0.8 * q["cloth_green"])
    grey = 0.30 + 0.50 * jax.nn.sigmoid(1.2 * q["backdrop_lightness"])
    tint = 0.16 * jnp.tanh(0.8 * q["backdrop_warm"])
    return Palette(
        skin=skin,
        lips=_mix(skin, (0.66, 0.19, 0.21), 0.46),
        iris=_mix((0.21, 0.115, 0.06), (0.30, 0.53, 0.68), jax.nn.sigmoid(1.5 * q["eye_colour"] - 0.4)),
        hair=hair,
        cloth=(light * (1 + cloth_warm), light * (1 + cloth_green), light * (1 - cloth_warm)),
        backdrop=(grey * (1 + tint), grey, grey * (1 - tint)),
        beard=jax.nn.sigmoid(2.6 * (q["beard"] - 0.7)),
        age=age,
    )


# --- Distances: p is a point, c a centre; all in head units ----------------------------------------------------------


def _length(x: Array, y: Array, z: Array) -> Array:
    return jnp.sqrt(x * x + y * y + z * z + 1e-12)


def _sphere(p: Vector, c: tuple, radius: Array | float) -> Array:
    return _length(p[0] - c[0], p[1] - c[1], p[2] - c[2]) - radius


def _ellipsoid(p: Vector, c: tuple, radii: tuple) -> Array:
    """First-order distance ``k (k - 1) / |grad|`` with ``k`` the scaled norm: exact near the surface."""
    a, b, d = ((p[i] - c[i]) / radii[i] for i in range(3))
    k = _length(a, b, d)
    return k * (k - 1.0) / _length(a / radii[0], b / radii[1], d / radii[2])


def _capsule(p: Vector, a: tuple, b: tuple, radius_a: Array | float, radius_b: Array | float) -> Array:
    """Segment from ``a`` to ``b`` with a radius that changes linearly."""
    axis = tuple(b[i] - a[i] for i in range(3))
    q = tuple(p[i] - a[i] for i in range(3))
    h = jnp.clip(sum(u * v for u, v in zip(q, axis, strict=True)) / sum(v * v for v in axis), 0.0, 1.0)
    return _length(*(u - v * h for u, v in zip(q, axis, strict=True))) - (radius_a + (radius_b - radius_a) * h)


def _smooth_min(a: Array, b: Array, k: float) -> Array:
    """Minimum that rounds the crease over a width ``k`` (quadratic)."""
    h = jnp.maximum(k - jnp.abs(a - b), 0.0)
    return jnp.minimum(a, b) - h * h * (0.25 / k)


def _smooth_max(a: Array, b: Array, k: float) -> Array:
    h = jnp.maximum(k - jnp.abs(a - b), 0.0)
    return jnp.maximum(a, b) + h * h * (0.25 / k)


EYE_X, EYE_Y, EYE_Z = 0.0535, 0.0220, 0.1120
"""Centre of the eyeball on the right of the picture; the other is its mirror image."""
MOUTH_Y, MOUTH_Z = -0.0770, 0.1390
NOSE_TIP_Y, NOSE_TIP_Z, NOSE_TIP_RADIUS = -0.0300, 0.1640, 0.0170
EAR_Y, EAR_Z = 0.0060, -0.0140
COLLAR = (0.0, -0.190, 0.020)
COLLAR_RADIUS = 0.078


def _mouth_coordinates(s: Shape, x: Array, y: Array) -> tuple[Array, Array]:
    """(across in units of the half width, height over the smile's curve)."""
    u = x / s.mouth_half_width
    # Beyond the corners the curve goes on straight: a parabola would carry the lips' ends up into the cheeks.
    bend = jnp.where(jnp.abs(u) < 1.0, u * u, 2.0 * jnp.abs(u) - 1.0)
    return u, y - MOUTH_Y - s.smile_curve * (bend - 0.35)


def _skin_distance(s: Shape, p: Vector) -> Array:
    """Face, ears and neck; ``p`` has x folded to x >= 0."""
    x, y, z = p
    d = _ellipsoid(p, (0.0, 0.046, -0.012), (s.half_width, 0.150, 0.153))
    d = _smooth_min(d, _ellipsoid(p, (0.0, -0.046, 0.034), (0.096 * s.jaw, 0.106, 0.106)), 0.06)
    d = _smooth_min(d, _sphere(p, (0.055 * s.jaw, -0.070, 0.025), 0.038), 0.06)
    d = _smooth_min(d, _sphere(p, (0.0, -0.123, 0.099), 0.033), 0.05)
    d = _smooth_min(d, _sphere(p, (0.053, -0.024, 0.092), 0.041), 0.04)
    d = _smooth_min(d, _capsule(p, (0.0, 0.052, 0.134), (0.070, 0.049, 0.106), 0.012, 0.010), 0.04)
    d = _smooth_max(d, -_ellipsoid(p, (EYE_X, EYE_Y + 0.002, 0.166), (0.034, 0.022, 0.026)), 0.03)
    drop = s.nose_drop
    nose = _capsule(
        p,
        (0.0, 0.044, 0.128),
        (0.0, NOSE_TIP_Y - drop, NOSE_TIP_Z + 0.8 * drop),
        0.0105,
        NOSE_TIP_RADIUS * (0.5 + 0.5 * s.nose_width),
    )
    d = _smooth_min(d, nose, 0.028)
    d = _smooth_min(d, _sphere(p, (0.0195 * s.nose_width, -0.0340 - drop, 0.147), 0.0130 * s.nose_width), 0.014)
    ear = _ellipsoid(p, (s.ear_x, EAR_Y, EAR_Z), (0.013, 0.037, 0.025))
    ear = _smooth_max(ear, -_sphere(p, (s.ear_x + 0.018, EAR_Y + 0.004, EAR_Z + 0.010), 0.0135), 0.010)
    d = _smooth_min(d, ear, 0.012)
    _, height = _mouth_coordinates(s, x, y)
    lip = (x, height, z - MOUTH_Z + 5.0 * x * x)
    width, gap = s.mouth_half_width, s.mouth_gap
    d = _smooth_min(d, _ellipsoid(lip, (0.0, 0.0070 + gap, 0.0), (width, 0.0085 * s.lip_fullness, 0.010)), 0.012)
    lower = _ellipsoid(lip, (0.0, -0.0080 - gap, 0.0), (0.85 * width, 0.0100 * s.lip_fullness, 0.011))
    d = _smooth_min(d, lower, 0.012)
    d = _smooth_min(d, _sphere(p, (EYE_X, EYE_Y, EYE_Z), s.eye_radius), 0.006)
    return _smooth_min(d, _capsule(p, (0.0, -0.09, -0.035), (0.0, -0.30, -0.060), 0.058, 0.069), 0.03)


def _cloth_distance(p: Vector) -> Array:
    torso = _ellipsoid(p, (0.0, -0.365, -0.060), (0.300, 0.165, 0.130))
    return _smooth_max(torso, -_sphere(p, COLLAR, COLLAR_RADIUS), 0.02)


def _hair_distance(s: Shape, x: Array, p: Vector) -> Array:
    """Cap and hanging hair, cut off along a tilted plane and opened for the face; ``x`` is signed, ``p`` folded."""
    _, y, z = p
    t = s.hair_thickness
    d = _ellipsoid(p, (0.0, 0.053, -0.022), (s.half_width + t, 0.148 + t, 0.154 + t))
    hanging = _ellipsoid(p, (0.0, -0.060, -0.050), (s.half_width + 0.012 + t, 0.235, 0.100 + t))
    d = _smooth_min(d, hanging, 0.04)
    # Moving this plane down is all that hair length does, so silhouettes change little and smoothly.
    lower = (0.040 - s.hair_drop - y + s.hair_slope * (z - EAR_Z)) * jax.lax.rsqrt(1.0 + s.hair_slope * s.hair_slope)
    d = _smooth_max(d, lower, 0.03)
    scaled = s.half_width / 0.1220
    face = _ellipsoid((x + 0.012, y, z), (0.0, -0.030, 0.165), (0.097 * scaled, 0.142, 0.140))
    throat = _ellipsoid(p, (0.0, -0.190, 0.130), (0.092 * scaled, 0.150, 0.150))
    return _smooth_max(d, -_smooth_min(face, throat, 0.03), 0.050)


GLASSES_Z, GLASSES_SLANT, GLASSES_RADIUS = 0.1660, 0.22, 0.0036
"""Foremost point of the rims, their fall towards the sides, and the radius of the wire."""
SCARF_Z, SCARF_RADIUS, SCARF_ROLL, SCARF_FLATTENING = -0.030, 0.085, 0.022, 0.55
_FAR = 1.0


def _glasses_distance(s: Shape, a: Accessories, p: Vector) -> Array:
    """Rims, bridge and temples; ``p`` has x folded to x >= 0."""
    x, y, z = p
    half_width, half_height = a.glasses_size[0], a.glasses_size[1]
    corner = 0.8 * jnp.minimum(half_width, half_height)
    u, v = jnp.abs(x - EYE_X) - (half_width - corner), jnp.abs(y - EYE_Y) - (half_height - corner)
    outline = _length(jnp.maximum(u, 0.0), jnp.maximum(v, 0.0), 0.0) + jnp.minimum(jnp.maximum(u, v), 0.0) - corner
    d = _length(outline, z - GLASSES_Z + GLASSES_SLANT * x, 0.0) - GLASSES_RADIUS
    inner, outer = EYE_X - half_width, EYE_X + half_width
    height = EYE_Y + 0.25 * half_height
    bridge = ((0.0, height + 0.003, GLASSES_Z), (inner, height, GLASSES_Z - GLASSES_SLANT * inner))
    temple = ((outer, height, GLASSES_Z - GLASSES_SLANT * outer), (s.ear_x + 0.004, height, EAR_Z + 0.004))
    for start, end in (bridge, temple):
        d = jnp.minimum(d, _capsule(p, start, end, GLASSES_RADIUS, GLASSES_RADIUS))
    return d


def _patch_distance(a: Accessories, p: Vector, head: Array) -> Array:
    """The patch, and a strap that lies on the ``head``, at the distances given, and rises to the other side."""
    x, y, z = p
    across, up = jnp.where(a.patch < 0, -x, x) - EYE_X, y - EYE_Y
    patch = _ellipsoid((across, up, z), (0.002, -0.002, 0.112), (0.045, 0.037, 0.046))
    strap = _smooth_max(head - 0.0035, jnp.abs(0.37 * across + 0.93 * (up - 0.012)) - 0.0060, 0.003)
    return jnp.minimum(patch, strap)


def _scarf_coordinates(p: Vector) -> tuple[Array, Array]:
    """(out from, above) the ring that runs in the middle of the roll: low in front, high in the nape."""
    x, y, z = p
    back = z - SCARF_Z
    return jnp.sqrt(x * x + back * back + 1e-12) - SCARF_RADIUS, SCARF_FLATTENING * (y + 0.178 + 0.30 * back)


def _worn_distances(s: Shape, a: Accessories, p: Vector, folded: Vector, head: Array) -> tuple[Array, ...]:
    glasses = jnp.where(a.glasses > 0, _glasses_distance(s, a, folded), _FAR)
    patch = jnp.where(a.patch != 0, _patch_distance(a, p, head), _FAR)
    out, above = _scarf_coordinates(p)
    return glasses, patch, jnp.where(a.scarf > 0, _length(out, above, 0.0) - SCARF_ROLL, _FAR)


def part_distances(s: Shape, p: Vector, accessories: Accessories | None = None) -> Distances:
    """Signed distances [R] of the points ``p``, both in head units, to skin, cloth, hair and what is worn."""
    x, y, z = p
    folded = (jnp.sqrt(x * x + 1e-8), y, z)
    d = Distances(_skin_distance(s, folded), _cloth_distance(folded), _hair_distance(s, x, folded))
    if accessories is None:
        return d
    return d._replace(worn=_worn_distances(s, accessories, p, folded, jnp.minimum(d.skin, d.hair)))


def signed_distance(p: Array, points: Array, accessories: Accessories | None = None) -> Array:
    """Distance [R] from world ``points [R, 3]`` to the head ``p [D]`` (without backdrop), world units."""
    head = tuple(jnp.moveaxis(_to_head(points), -1, 0))
    return HEAD_SCALE * part_distances(head_shape(p), head, accessories).nearest


def _to_head(points: Array) -> Array:
    return (points - jnp.array([0.0, HEAD_SHIFT_Y, 0.0])) / HEAD_SCALE


def landmarks(p: Array) -> dict[str, Array]:
    """World positions [3] on the surface of the head ``p [D]``; left and right as in the frontal picture."""
    s = head_shape(p)
    zero = jnp.zeros(())
    nose_radius = NOSE_TIP_RADIUS * (0.5 + 0.5 * s.nose_width)
    _, mouth_height = _mouth_coordinates(s, zero, zero)
    eye = (zero + EYE_X, zero + EYE_Y, EYE_Z + s.eye_radius)
    ear = (s.ear_x + 0.012, zero + EAR_Y, zero + EAR_Z - 0.006)
    points = {
        "left_eye": (-eye[0], eye[1], eye[2]),
        "right_eye": eye,
        "nose_tip": (zero, NOSE_TIP_Y - s.nose_drop, NOSE_TIP_Z + 0.8 * s.nose_drop + nose_radius),
        "mouth": (zero, -mouth_height, zero + MOUTH_Z + 0.010),
        "left_ear": (-ear[0], ear[1], ear[2]),
        "right_ear": ear,
    }
    return {k: HEAD_SCALE * jnp.stack(v) + jnp.array([0.0, HEAD_SHIFT_Y, 0.0]) for k, v in points.items()}


# --- Paint ----------------------------------------------------------------------------------------------------------


def _step(low: float | Array, high: float | Array, x: Array) -> Array:
    """Cubic step from 0 at ``low`` to 1 at ``high``; the ramp's width is what keeps painted edges from aliasing."""
    t = jnp.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _spot(*scaled: Array) -> Array:
    """Gaussian of coordinates given in units of its width."""
    return jnp.exp(-sum(v * v for v in scaled))


def _mix(a: Vector, b: Vector, amount: Array | float) -> Vector:
    return tuple(u + (v - u) * amount for u, v in zip(a, b, strict=True))


def _tint(a: Vector, factors: tuple, amount: Array | float) -> Vector:
    return tuple(u * (1.0 + (f - 1.0) * amount) for u, f in zip(a, factors, strict=True))


EDGE = 0.0016
"""Half width of a painted edge, head units (one pixel of a 256-pixel view is 0.0030)."""


def _paint_complexion(s: Shape, c: Palette, p: Vector, colour: Vector) -> Vector:
    """Blush, nostrils, lines of age, beard; ``p`` folded."""
    x, y, z = p
    front = _step(0.04, 0.09, z)
    drop = s.nose_drop
    colour = _tint(colour, (1.05, 0.86, 0.85), 0.65 * front * _spot((x - 0.060) / 0.028, (y + 0.032) / 0.028))
    colour = _tint(colour, (1.03, 0.90, 0.89), 0.60 * front * _spot(x / 0.020, (y + 0.030 + drop) / 0.018))
    colour = _tint(colour, (0.90, 0.82, 0.80), 0.45 * front * _spot((x - EYE_X) / 0.036, (y - EYE_Y) / 0.024))
    nostril = _spot((x - 0.0098 * s.nose_width) / 0.0056, (y + 0.0438 + drop) / 0.0040) * _step(0.135, 0.147, z)
    colour = _tint(colour, (0.30, 0.24, 0.22), 0.85 * nostril)
    # The fold from the nose's wing to beside the mouth's corner, and the bags under the eyes.
    along = jnp.clip((-0.030 - y) / 0.050, 0.0, 1.0)
    fold = _spot((x - 0.0250 - 0.026 * along) / 0.0045, (jnp.abs(y + 0.055) / 0.026) ** 2) * front
    bag = _spot((x - EYE_X) / 0.024, (y - EYE_Y + 0.0240) / 0.0050) * front
    colour = _tint(colour, (0.72, 0.66, 0.64), c.age * (0.75 * fold + 0.55 * bag) + 0.12 * fold)
    low = 1.0 - _step(-0.076, -0.040, y - 0.9 * jnp.maximum(x - 0.050, 0.0))
    beard = low * _step(-0.190, -0.165, y) * _step(-0.015, 0.025, z)
    return _mix(colour, _tint(c.hair, (0.85, 0.85, 0.85), 1.0), 0.85 * c.beard * beard)


def _paint_mouth(s: Shape, c: Palette, p: Vector, colour: Vector) -> Vector:
    x, y, z = p
    u, height = _mouth_coordinates(s, x, y)
    arch = jnp.maximum(1.0 - u * u, 0.0)
    front = _step(0.07, 0.09, z)
    gap = s.mouth_gap * arch
    top = (0.0115 * s.lip_fullness * (1.0 - 0.20 * _spot(u / 0.18))) * arch + gap
    bottom = -(0.0135 * s.lip_fullness * arch + gap)
    lips = _step(-EDGE, EDGE, top - height) * _step(-EDGE, EDGE, height - bottom) * _step(0.0, 0.12, arch) * front
    colour = _mix(colour, c.lips, 0.95 * lips)
    colour = _tint(colour, (0.86, 0.82, 0.82), 0.7 * lips * _step(-0.001, 0.003, height))
    opening = _step(-EDGE, EDGE, gap + 0.0009 - jnp.abs(height)) * _step(0.0, 0.15, arch) * front
    teeth = _step(0.0012, 0.0040, gap)
    inside = tuple(a + (b - a) * teeth for a, b in zip((0.26, 0.09, 0.09), (0.92, 0.90, 0.86), strict=True))
    return _mix(colour, inside, 0.9 * opening)


def _paint_eyes(s: Shape, c: Palette, x_signed: Array, p: Vector, colour: Vector) -> Vector:
    x, y, z = p
    across = x - EYE_X
    u = across / s.eye_half_width
    v = y - EYE_Y - 0.06 * across
    almond = jnp.maximum(1.0 - u * u, 0.0)
    upper, lower = s.eye_half_height * almond, -0.70 * s.eye_half_height * almond
    front = _step(0.085, 0.100, z)
    inside = front * _step(0.0, 0.10, almond)
    crease = _spot((v - 1.15 * upper - 0.0075) / 0.0028) * _step(0.0, 0.30, almond) * front
    colour = _tint(colour, (0.66, 0.60, 0.58), 0.75 * crease)
    radius = jnp.sqrt(across * across + (v - 0.0010) ** 2 + 1e-12)
    eye = _tint((0.93, 0.92, 0.91), (0.70, 0.70, 0.72), _step(-0.007, 0.0, v - upper))
    iris_radius = 0.0128
    rim = (radius / iris_radius) ** 2
    eye = _mix(eye, tuple(k * (1.20 - 0.60 * rim) for k in c.iris), 1.0 - _step(-EDGE, EDGE, radius - iris_radius))
    eye = _mix(eye, (0.03, 0.03, 0.03), 1.0 - _step(-EDGE, EDGE, radius - 0.0056))
    # The highlight sits on the light's side of both eyes, hence the signed x.
    towards_light = jnp.sign(x_signed) * across - 0.0040
    eye = _mix(eye, (1.0, 1.0, 1.0), 1.0 - _step(0.0018, 0.0042, _length(towards_light, v - 0.0055, 0.0)))
    open_ = _step(-EDGE, EDGE, upper - v) * _step(-EDGE, EDGE, v - lower) * inside
    colour = _mix(colour, eye, open_)
    lashes = _spot((v - upper - 0.0006) / 0.0028) * _step(-0.02, 0.15, almond) * front
    colour = _mix(colour, (0.06, 0.045, 0.045), 0.92 * lashes)
    return _tint(colour, (0.50, 0.44, 0.42), 0.55 * _spot((v - lower) / 0.0018) * inside)


def _paint_brows(s: Shape, c: Palette, p: Vector, colour: Vector) -> Vector:
    x, y, z = p
    u = (x - EYE_X - 0.001) / 0.0370
    centre = s.brow_y + 0.0012 * u - 0.0070 * u * u
    half = s.brow_half_thickness * (1.0 - 0.50 * _step(-0.3, 1.0, u))
    brow = _step(-0.0020, 0.0020, half - jnp.abs(y - centre)) * (1.0 - _step(0.86, 1.06, jnp.abs(u)))
    return _mix(colour, _tint(c.hair, (0.62, 0.62, 0.62), 1.0), 0.85 * brow * _step(0.05, 0.08, z))


def _cover(below: Array, above: Array) -> Array:
    """1 on the upper part's surface, fading out on the lower's: mixed on the upper it would show as a bright seam."""
    return _step(-2.0 * EDGE, 0.0, below - above)


def albedo(s: Shape, c: Palette, p: Vector, d: Distances) -> Vector:
    """Unlit colour of the points ``p`` (head units) on a head's surface, given their distances to its parts."""
    x, y, z = p
    folded = (jnp.abs(x), y, z)
    skin = tuple(jnp.broadcast_to(k, x.shape) for k in c.skin)
    skin = _paint_complexion(s, c, folded, skin)
    skin = _paint_mouth(s, c, folded, skin)
    skin = _paint_eyes(s, c, x, folded, skin)
    skin = _paint_brows(s, c, folded, skin)
    # Faint locks, fixed in space: strands that moved with a parameter would be out of a small network's reach.
    locks = 0.96 + 0.09 * jnp.sin(18.0 * jnp.arctan2(x + 0.012, z + 0.03) + 8.0 * y)
    gloss = 0.22 * _spot((y - 0.140) / 0.030)
    hair = tuple(k * (locks + gloss) for k in c.hair)
    rim = _sphere(p, COLLAR, COLLAR_RADIUS)
    cloth = _tint(c.cloth, (0.82, 0.82, 0.82), 1.0 - _step(0.009, 0.013, rim))
    colour = _mix(skin, cloth, _cover(d.skin, d.cloth))
    return _mix(colour, hair, _cover(jnp.minimum(d.skin, d.cloth), d.hair))


def _scarf_colour(a: Accessories, p: Vector) -> Vector:
    """Gingham: bands around the roll and along it, half each."""
    out, above = _scarf_coordinates(p)
    around, along = jnp.arctan2(p[0], p[2] - SCARF_Z), jnp.arctan2(above, out)
    bands = [
        _step(-0.3, 0.3, jnp.sin(n * angle + 0.4)) for n, angle in zip(a.scarf_checks, (around, along), strict=True)
    ]
    return _mix(tuple(a.scarf_colours[0]), tuple(a.scarf_colours[1]), 0.5 * (bands[0] + bands[1]))


def _paint_accessories(a: Accessories, p: Vector, d: Distances, colour: Vector) -> Vector:
    below = d._replace(worn=()).nearest
    materials = tuple(a.glasses_colour), tuple(a.patch_colour), _scarf_colour(a, p)
    for distance, material in zip(d.worn, materials, strict=True):
        colour = _mix(colour, material, _cover(below, distance))
        below = jnp.minimum(below, distance)
    return colour


def _paint_decal(decal: Decal, p: Vector, normal: Vector, colour: Vector) -> Vector:
    """Lays a decal over the colour of surface points; it fades out where the surface turns away from the front."""
    x, y = p[0] - decal.centre[0], p[1] - decal.centre[1]
    cos, sin = jnp.cos(decal.rotation), jnp.sin(decal.rotation)
    side = decal.texture.shape[0]
    column = ((cos * x + sin * y) / decal.size[0] + 0.5) * side - 0.5
    row = ((sin * x - cos * y) / decal.size[1] + 0.5) * side - 0.5
    # Colours are interpolated times opacity: a transparent texel's colour must not bleed in.
    opacity = decal.texture[..., 3]
    layers = [decal.texture[..., i] * opacity for i in range(3)] + [opacity]
    *paint, cover = (jax.scipy.ndimage.map_coordinates(layer, (row, column), order=1) for layer in layers)
    amount = _step(0.10, 0.30, normal[2])
    return tuple(u * (1.0 - amount * cover) + amount * v for u, v in zip(colour, paint, strict=True))


def shade(s: Shape, c: Palette, p: Vector, decals: Decals = (), accessories: Accessories | None = None) -> Vector:
    """Lit colour in [0, 1] of surface points ``p`` (head units): wrapped key light, sky light, occlusion, shine."""
    d = part_distances(s, p, accessories)
    colour = albedo(s, c, p, d)
    normal = _normal(s, p, accessories)
    if decals:
        painted = colour
        for decal in decals:
            painted = _paint_decal(decal, p, normal, painted)
        bare = (1.0 - _cover(d.skin, d.cloth)) * (1.0 - _cover(jnp.minimum(d.skin, d.cloth), d.hair))
        colour = _mix(colour, painted, bare)
    if accessories is not None:
        colour = _paint_accessories(accessories, p, d, colour)
    reach = 0.035
    probe = tuple(a + reach * n for a, n in zip(p, normal, strict=True))
    occlusion = jnp.clip(0.40 + 0.60 * part_distances(s, probe, accessories).nearest / reach, 0.0, 1.0)
    towards = sum(n * k for n, k in zip(normal, LIGHT, strict=True))
    sky = 0.5 + 0.5 * normal[1]
    light = (0.45 + 0.17 * sky) * occlusion + 0.58 * jnp.maximum(0.82 * towards + 0.18, 0.0) * (0.45 + 0.55 * occlusion)
    # Shine as seen from straight ahead, whatever the camera: a view-dependent one could not be baked.
    shine = jnp.maximum(2.0 * towards * normal[2] - LIGHT[2], 0.0) ** 8 * occlusion
    hair, cloth = _cover(jnp.minimum(d.skin, d.cloth), d.hair), _cover(d.skin, d.cloth)
    strength = 0.05 * (1.0 - cloth) * (1.0 - hair) + 0.09 * hair
    return tuple(jnp.clip(k * light + strength * shine, 0.0, 1.0) for k in colour)


def _normal(s: Shape, p: Vector, accessories: Accessories | None) -> Vector:
    """Unit gradient of the distance, from four taps at the corners of a tetrahedron."""
    taps = jnp.array([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]])
    size = 0.0015
    # One stacked evaluation, since four separate ones would be compiled four times, and a reduction, since XLA would
    # fuse slices of the stack, that is repeat the evaluation, into all that uses the normal.
    values = part_distances(s, tuple(p[i] + size * taps[:, i, None] for i in range(3)), accessories).nearest
    gradient = tuple(jnp.sum(taps[:, i, None] * values, axis=0) for i in range(3))
    inverse = jax.lax.rsqrt(sum(g * g for g in gradient) + 1e-12)
    return tuple(g * inverse for g in gradient)


# --- Rays -----------------------------------------------------------------------------------------------------------


def _bowl_distance(origin: Vector, direction: Vector) -> Array:
    """Ray distance [R] to the far side of the bowl, world units.

    Along a ray the quartic is a convex polynomial; Newton's iteration from beyond its larger root descends to it
    monotonically, and five to seven steps give single precision.
    """
    centre = (0.0, 0.0, BOWL_CENTRE_Z)
    a = tuple((o - c) / r for o, c, r in zip(origin, centre, BOWL_RADII, strict=True))
    b = tuple(d / r for d, r in zip(direction, BOWL_RADII, strict=True))
    nearest = -sum(u * v for u, v in zip(a, b, strict=True)) / sum(v * v for v in b)

    def newton(t: Array) -> Array:
        x = tuple(u + t * v for u, v in zip(a, b, strict=True))
        value = sum(k**4 for k in x) - 1.0
        slope = sum(4.0 * v * k**3 for k, v in zip(x, b, strict=True))
        # A ray that misses has no root: it stays near its closest approach.
        return jnp.clip(t - value / jnp.maximum(slope, 1e-3), nearest, nearest + 0.8)

    t = nearest + 0.8
    for _ in range(7):
        t = newton(t)
    return t


def _march(s: Shape, origin: Vector, direction: Vector, accessories: Accessories | None) -> tuple[Array, Array]:
    """Sphere-trace world rays to the nearest of head and backdrop: (ray distance [R], is head [R])."""
    limit = _bowl_distance(origin, direction) / HEAD_SCALE
    start = (origin[0] / HEAD_SCALE, (origin[1] - HEAD_SHIFT_Y) / HEAD_SCALE, origin[2] / HEAD_SCALE)

    def distance(t: Array) -> Array:
        point = tuple(o + t * d for o, d in zip(start, direction, strict=True))
        return part_distances(s, point, accessories).nearest

    def advance(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        t, _ = state
        gap = distance(t)
        stride = jnp.where((gap > 0.0) & (i < MARCH_STEPS - SETTLING_STEPS), MIN_STRIDE, -jnp.inf)
        return jnp.minimum(t + jnp.maximum(MARCH_RATE * gap, stride), limit), gap

    closest = -sum(o * d for o, d in zip(start, direction, strict=True))
    t = jnp.maximum(closest - 0.45, 0.0)
    # The gap is carried because evaluating it after the loop lets XLA fuse, that is repeat, it into each of the many
    # distances that shading takes at the surface point: ten times slower on a CPU.
    t, gap = jax.lax.fori_loop(0, MARCH_STEPS, advance, (t, jnp.ones_like(t)))
    is_head = (gap < HIT_TOLERANCE) & (t < limit)
    return jnp.where(is_head, t, limit) * HEAD_SCALE, is_head


def march(p: Array, origins: Array, directions: Array, accessories: Accessories | None = None) -> tuple[Array, Array]:
    """As `trace`, without colours: ray distance [R], world units, and whether each ray ends on the head [R]."""
    return _march(head_shape(p), tuple(origins.T), tuple(directions.T), accessories)


def _backdrop_colour(c: Palette, y: Array) -> Vector:
    """Vertical gradient over world height ``y``."""
    light = 1.0 + 0.30 * jnp.clip(y, -0.5, 0.5)
    return tuple(jnp.clip(k * light, 0.0, 1.0) for k in c.backdrop)


def trace(
    p: Array, origins: Array, directions: Array, decals: Decals = (), accessories: Accessories | None = None
) -> Surface:
    """First surface along rays.

    Args:
      p: [D] head parameters.
      origins: [R, 3] world units.
      directions: [R, 3] unit vectors.
      decals: pictures on the skin, later ones over earlier ones.
      accessories: what the head wears; None is nothing.

    Returns:
      The surface met by each ray: every ray meets the head or the backdrop.
    """
    shape, colours = head_shape(p), palette(p)
    origin, direction = tuple(origins.T), tuple(directions.T)
    distance, is_head = _march(shape, origin, direction, accessories)
    return _shade_hits(shape, colours, origin, direction, distance, is_head, decals, accessories)


def _shade_hits(
    s: Shape,
    c: Palette,
    origin: Vector,
    direction: Vector,
    distance: Array,
    is_head: Array,
    decals: Decals,
    accessories: Accessories | None,
) -> Surface:
    """Colours of the points at ``distance`` along world rays."""
    world = tuple(o + distance * d for o, d in zip(origin, direction, strict=True))
    head = (world[0] / HEAD_SCALE, (world[1] - HEAD_SHIFT_Y) / HEAD_SCALE, world[2] / HEAD_SCALE)
    lit, backdrop = shade(s, c, head, decals, accessories), _backdrop_colour(c, world[1])
    colour = jnp.stack([jnp.where(is_head, a, b) for a, b in zip(lit, backdrop, strict=True)], axis=-1)
    return Surface(distance, 2.0 * colour - 1.0, is_head)


def _pixel_rays(camera: Array, resolution: int) -> tuple[Array, Array, Array]:
    """Rays through the pixel centres ``(i + 0.5) / N`` of a camera [25].

    Returns:
      origins [N*N, 3], unit directions [N*N, 3], and [N*N] the cosine between each ray and the optical axis.
    """
    cam2world, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    centres = (jnp.arange(resolution) + 0.5) / resolution
    v, u = jnp.meshgrid(centres, centres, indexing="ij")
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    x = (u - intrinsics[0, 2] - intrinsics[0, 1] * y) / intrinsics[0, 0]
    local = jnp.stack([x, y, jnp.ones_like(x)], axis=-1).reshape(-1, 3)
    cosine = jax.lax.rsqrt(jnp.sum(local * local, axis=-1))
    directions = (local * cosine[:, None]) @ cam2world[:3, :3].T
    return jnp.broadcast_to(cam2world[:3, 3], directions.shape), directions, cosine


def render(
    p: Array,
    camera: Array,
    resolution: int,
    supersampling: int = 2,
    decals: Decals = (),
    accessories: Accessories | None = None,
) -> HeadView:
    """Render one head.

    Args:
      p: [D] head parameters.
      camera: [25] EG3D camera: row-major cam2world (x right, y down, z forward), then normalised intrinsics.
      resolution: pixels a side (static).
      supersampling: colour and mask average ``supersampling^2`` rays a pixel (static).
      decals, accessories: as in ``trace``.

    Returns:
      The view, ``resolution`` square.
    """
    n, k = resolution, supersampling
    shape, colours = head_shape(p), palette(p)
    origins, directions, cosine = _pixel_rays(camera, n)
    fine_origins, fine_directions, _ = _pixel_rays(camera, n * k)
    # Fine rays need not pass through the pixels' centres, where depth is wanted: march both sets, shade the fine one.
    distance, is_head = _march(
        shape,
        tuple(jnp.concatenate([origins, fine_origins]).T),
        tuple(jnp.concatenate([directions, fine_directions]).T),
        accessories,
    )
    centre, fine = distance[: n * n].reshape(n, n), distance[n * n :]
    fine_rays = tuple(fine_origins.T), tuple(fine_directions.T)
    surface = _shade_hits(shape, colours, *fine_rays, fine, is_head[n * n :], decals, accessories)
    image = surface.colour.reshape(n, k, n, k, 3).mean(axis=(1, 3))
    mask = surface.is_head.astype(jnp.float32).reshape(n, k, n, k).mean(axis=(1, 3))
    return HeadView(image, centre * cosine.reshape(n, n), centre, mask)
