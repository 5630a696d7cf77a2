"""Heads with known truth to measure inversions by: all pictures, depths and visibility are computed from seeds.

The heads are procedural ones that no generator has been trained on, and each wears what the demo generator cannot make
(`OUTFITS`). One view is the input; twelve more, up to 0.6 rad to the sides and 0.3 up and down, are only compared with.
Choices are made on the `dev` split; `test` has other seeds and is for reporting.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras
from pmv_jax.errors import InputError
from pmv_jax.evaluation.comparison import Reference
from tools.signed_distance_heads import decals, heads

FIRST_SEEDS = {"dev": 20_000, "test": 30_000}
"""Training draws its heads otherwise (tools/train_demo_generator.py), from a continuous distribution."""
HEADS = 24

INPUT_YAWS = (0.0, 0.2, -0.4, -0.2, 0.4)
YAW_JITTER, PITCH_JITTER = 0.05, 0.08
_HALF = ((-0.6, 0.0), (-0.5, 0.3), (-0.45, -0.2), (-0.3, 0.1), (-0.15, -0.3), (0.0, 0.2))
NOVEL_ANGLES = (*_HALF, *((-yaw, -pitch) for yaw, pitch in _HALF))
"""Yaw and pitch of the twelve novel cameras, radians; the same for all heads."""

OUTFITS = (
    ("text", "stripes"),
    ("freckles", "glasses"),
    ("paint",),
    ("birthmarks", "scarf"),
    ("stickers", "text"),
    ("patch", "freckles"),
    ("stripes", "glasses"),
    ("paint", "scarf"),
    ("text", "birthmarks", "glasses"),
    ("stickers", "freckles"),
    ("patch", "stripes", "scarf"),
    ("paint", "text"),
)
"""What the heads of a split wear, in turn. Their number and that of INPUT_YAWS have no common factor."""

OCCLUSION_TOLERANCE = 0.012
"""World units by which a ray may end before the point it aims at: the marches' own error, stretched on slanted
surfaces. What occludes a point at no more distance than this is taken for the point's own surface."""

SLOTS = 4
"""Decals of every head, empty ones included: with a fixed number one compiled program renders all heads."""


@dataclass(frozen=True)
class Case:
    """One head with its input camera.

    Attributes:
      name: of the case, unique over the splits.
      seed: of the head, of its outfit's details and of the camera's jitter.
      outfit: what it wears.
      yaw, pitch: of the input camera, radians.
    """

    name: str
    seed: int
    outfit: tuple[str, ...]
    yaw: float
    pitch: float


@dataclass(frozen=True)
class Truth:
    """All that is known of a head from V = 13 views; view 0 is the input.

    Attributes:
      cameras: [V, 25].
      image: [V, H, W, 3] in [-1, 1].
      mask: [V, H, W] share of the pixel that the head covers.
      z_depth: [V, H, W] at pixel centres.
      visible: [V, H, W] bool, whether the surface at the pixel's centre is seen in the input (view 0: everywhere).
      coarse_z_depth: [V, h, w] at the centres of coarser pixels, for comparison with a volume renderer's depth.
      coarse_head: [V, h, w] bool, head (True) or backdrop at the same places.
    """

    cameras: np.ndarray
    image: np.ndarray
    mask: np.ndarray
    z_depth: np.ndarray
    visible: np.ndarray
    coarse_z_depth: np.ndarray
    coarse_head: np.ndarray

    @property
    def reference(self) -> Reference:
        """As `pmv_jax.evaluation.comparison` takes it."""
        z_depth = np.where(self.coarse_head, self.coarse_z_depth, np.nan)
        return Reference(self.cameras, self.image, self.visible, self.mask > 0.5, z_depth)


def cases(split: str, count: int = HEADS) -> tuple[Case, ...]:
    """The first `count` cases of a split.

    Raises:
      InputError: there is no such split, or it has fewer cases.
    """
    if split not in FIRST_SEEDS:
        raise InputError(f"--split {split}: no such split; choose one of {', '.join(FIRST_SEEDS)}")
    if not 1 <= count <= HEADS:
        raise InputError(f"--heads {count}: each split has {HEADS} heads; choose 1 to {HEADS}")
    return tuple(_case(split, index) for index in range(count))


def _case(split: str, index: int) -> Case:
    seed = FIRST_SEEDS[split] + index
    yaw, pitch = np.random.default_rng(seed).uniform(-1, 1, 2) * (YAW_JITTER, PITCH_JITTER)
    return Case(
        name=f"{split}-{index:02}",
        seed=seed,
        outfit=OUTFITS[index % len(OUTFITS)],
        yaw=INPUT_YAWS[index % len(INPUT_YAWS)] + float(yaw),
        pitch=float(pitch),
    )


def parameters(case: Case) -> Array:
    """[D] of the case's head."""
    return heads.sample_parameters(jax.random.key(case.seed), 1)[0]


def case_cameras(case: Case) -> np.ndarray:
    """[13, 25], the input's first."""
    yaw, pitch = np.array([(case.yaw, case.pitch), *NOVEL_ANGLES], np.float32).T
    return np.asarray(cameras.look_at(yaw, pitch))


def case_accessories(case: Case) -> heads.Accessories:
    """Accessories of the case's outfit."""
    random = np.random.default_rng([case.seed, 2])
    light, dark = random.permutation(_CLOTHS)[:2]
    values = heads.Accessories(
        glasses="glasses" in case.outfit,
        glasses_size=(random.uniform(0.031, 0.037), random.uniform(0.022, 0.030)),
        glasses_colour=_WIRES[random.integers(len(_WIRES))],
        patch=random.choice([-1, 1]) * ("patch" in case.outfit),
        patch_colour=_PATCHES[random.integers(len(_PATCHES))],
        scarf="scarf" in case.outfit,
        scarf_colours=(light, dark),
        scarf_checks=(random.integers(9, 15), random.integers(3, 6)),
    )
    return heads.Accessories(*(jnp.asarray(value, jnp.float32) for value in values))


def case_decals(case: Case) -> heads.Decals:
    """Decals of the case's outfit, filled up to SLOTS with empty ones."""
    random = np.random.default_rng([case.seed, 1])
    side = int(random.choice([-1, 1]))
    marks = [decal for item in case.outfit if item in _DECALS for decal in _DECALS[item](random, side, case.outfit)]
    assert len(marks) <= SLOTS, case
    return (*marks, *(SLOTS - len(marks)) * (decals.empty_decal(),))


@functools.lru_cache(maxsize=32)
def truth(case: Case, resolution: int = 128, coarse_resolution: int = 64) -> Truth:
    """Renders a case; about a second a view on two CPU cores."""
    views = case_cameras(case)
    head = parameters(case), case_decals(case), case_accessories(case)
    rendered = [jax.tree.map(np.asarray, _view(*head, view, views[0], resolution, coarse_resolution)) for view in views]
    image, mask, z_depth, visible, coarse_z_depth, coarse_head = map(np.stack, zip(*rendered, strict=True))
    visible[0] = True
    return Truth(views, image, mask, z_depth, visible, coarse_z_depth, coarse_head)


@functools.partial(jax.jit, static_argnames=("resolution", "coarse_resolution"))
def _view(
    p: Array,
    marks: heads.Decals,
    worn: heads.Accessories,
    camera: Array,
    input_camera: Array,
    resolution: int,
    coarse_resolution: int,
) -> tuple[Array, ...]:
    """What `Truth` holds of one view, in its order."""
    view = heads.render(p, camera, resolution, decals=marks, accessories=worn)
    visible = visibility(p, worn, view.z_depth, camera, input_camera)
    origins, directions = cameras.rays(camera, coarse_resolution)
    distance, head = heads.march(p, origins, directions, worn)
    shape = (coarse_resolution, coarse_resolution)
    coarse = cameras.ray_distance_to_z_depth(distance.reshape(shape), camera)
    return view.image, view.mask, view.z_depth, visible, coarse, head.reshape(shape)


def visibility(p: Array, worn: heads.Accessories, z_depth: Array, camera: Array, input_camera: Array) -> Array:
    """[H, W] bool: the surface point of each pixel lies in the input's picture, and a ray from there ends at it.

    Args:
      p, worn: the head.
      z_depth: [H, W] of the view.
      camera, input_camera: [25] of the view and of the input.
    """
    size = z_depth.shape[0]
    directions = cameras.unproject(camera, cameras.pixel_centres(size).reshape(-1, 2))
    points = cameras.split(camera)[0][:3, 3] + z_depth.reshape(-1, 1) * directions
    where, _ = cameras.project(input_camera, points)
    inside = jnp.all((where > 0) & (where < 1), axis=-1)
    origin = cameras.split(input_camera)[0][:3, 3]
    offset = points - origin
    length = jnp.linalg.norm(offset, axis=-1)
    reached, _ = heads.march(p, jnp.broadcast_to(origin, offset.shape), offset / length[:, None], worn)
    return (inside & (reached > length - OCCLUSION_TOLERANCE)).reshape(size, size)


# --- What the heads wear ----------------------------------------------------------------------------------------------

_WORDS = ("LOVE", "HOPE", "JAX", "3D", "MOM", "1984", "NO", "ROCK", "KAI", "ACE")
_PAINTS = ((0.75, 0.08, 0.06), (0.05, 0.20, 0.65), (0.05, 0.50, 0.22), (0.92, 0.90, 0.88), (0.95, 0.70, 0.08))


def _colour(random: np.random.Generator) -> decals.Colour:
    return _PAINTS[random.integers(len(_PAINTS))]


# Each draws its decals for one side of the face (1: right in the picture), so that text on the other stays readable.


def _text(random: np.random.Generator, side: int, outfit: tuple[str, ...]) -> list[heads.Decal]:
    word = _WORDS[random.integers(len(_WORDS))]
    forehead_is_free = not {"birthmarks", "stickers", "patch"} & set(outfit)
    if forehead_is_free and random.random() < 0.5:
        return [decals.text_decal(word, (random.uniform(-0.01, 0.01), 0.085), random.uniform(0.09, 0.12))]
    return [decals.text_decal(word, (-0.062 * side, -0.045), 0.060, random.uniform(-0.4, 0.4))]


def _stripes(random: np.random.Generator, side: int, outfit: tuple[str, ...]) -> list[heads.Decal]:
    tilt, colour = random.uniform(-0.3, 0.3), _colour(random)
    return [decals.stripes_decal(random.integers(2, 5), (0.066 * side, -0.030), rotation=tilt, colour=colour)]


def _freckles(random: np.random.Generator, side: int, outfit: tuple[str, ...]) -> list[heads.Decal]:
    return [decals.freckles_decal(int(random.integers(2**31)), int(random.integers(40, 90)))]


def _paint(random: np.random.Generator, side: int, outfit: tuple[str, ...]) -> list[heads.Decal]:
    colour, second = (_PAINTS[index] for index in random.permutation(len(_PAINTS))[:2])
    return [decals.paint_decal(colour, second, side)]


_PLACES = ((0.066, -0.035), (0.040, 0.092), (-0.035, 0.088), (0.022, -0.118))
"""For birthmarks and stickers: x, which is mirrored with the side, and y in head units."""


def _birthmarks(random: np.random.Generator, side: int, outfit: tuple[str, ...]) -> list[heads.Decal]:
    places = random.permutation(_PLACES)[: random.integers(2, 4)] * (side, 1)
    seeds = random.integers(2**31, size=len(places))
    return [
        decals.birthmark_decal(int(seed), tuple(place), random.uniform(0.03, 0.06))
        for seed, place in zip(seeds, places, strict=True)
    ]


def _stickers(random: np.random.Generator, side: int, outfit: tuple[str, ...]) -> list[heads.Decal]:
    places = random.permutation(_PLACES)[:3] * (side, 1)
    return [
        decals.sticker_decal(
            kind, tuple(place), random.uniform(0.038, 0.050), random.uniform(-0.5, 0.5), _colour(random)
        )
        for kind, place in zip(decals.STICKERS, places, strict=True)
    ]


_DECALS = {
    "text": _text,
    "stripes": _stripes,
    "freckles": _freckles,
    "paint": _paint,
    "birthmarks": _birthmarks,
    "stickers": _stickers,
}

_WIRES = ((0.05, 0.05, 0.06), (0.70, 0.52, 0.15), (0.55, 0.06, 0.06), (0.10, 0.20, 0.45))
_PATCHES = ((0.03, 0.03, 0.03), (0.30, 0.16, 0.08), (0.45, 0.05, 0.08))
_CLOTHS = ((0.80, 0.10, 0.10), (0.90, 0.88, 0.82), (0.10, 0.22, 0.60), (0.95, 0.75, 0.15), (0.08, 0.40, 0.25))
