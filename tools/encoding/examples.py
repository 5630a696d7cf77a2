"""Pictures as photographs are, with what an encoder is to say of them.

Rendered heads are turned, scaled and shifted in their pictures, set before backdrops of all kinds, toned, blurred,
covered in part, and pressed into JPEG.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pmv_jax.cameras import yaw_pitch
from pmv_jax.config import GeneratorConfig
from pmv_jax.models.encoder import MIRRORED
from tools.encoding import backdrops
from tools.training import backdrop as wall
from tools.training.data import Heads
from tools.training.network import NETWORK
from tools.training.pixels import decode_depth

Random = np.random.Generator

STORED = 128  # side of a head before it is placed: a little more than the network takes, for scaling

_ROLL, _SHIFT, _SCALE = 0.15, 0.07, 0.16  # of a head that is roughly aligned: standard deviations
_ALIGNED = 0.4  # share of heads that are as near to the crop as landmarks bring them: a tenth of that
_NEIGHBOUR_SHIFT = 0.4


class Example(NamedTuple):
    """A picture and the truth about it.

    Attributes:
      image: [n, n, 3] in [-1, 1].
      pose: [6], as of `Glance`.
      code: [D].
      known: [D] bool: which numbers of the code the picture can tell.
      matte: [n, n] in [0, 1].
      relief: [n, n], as of `Glance`; NaN where there is no surface, or its edge.
    """

    image: np.ndarray
    pose: np.ndarray
    code: np.ndarray
    known: np.ndarray
    matte: np.ndarray
    relief: np.ndarray


class Placement(NamedTuple):
    """How a head's picture is set into another: turned clockwise by `roll` radians, larger by `exp(log_scale)`, then
    shifted to the right and down, in picture sizes."""

    roll: float = 0.0
    right: float = 0.0
    down: float = 0.0
    log_scale: float = 0.0

    def apply(self, picture: Image.Image, side: int) -> Image.Image:
        """A square picture as it is placed in one of `side` pixels. What it cuts off goes on with its border."""
        size = picture.width
        margin = size // 2
        pad = [(margin, margin), (margin, margin)] + [(0, 0)] * (np.ndim(picture) - 2)
        wide = Image.fromarray(np.pad(np.asarray(picture), pad, mode="edge"))
        back = np.exp(-self.log_scale) * size / side
        cos, sin = back * np.cos(self.roll), back * np.sin(self.roll)
        linear = np.array([[cos, sin], [-sin, cos]])
        middle = side * np.array([0.5 + self.right, 0.5 + self.down])
        offset = size / 2 + margin - linear @ middle
        matrix = (*linear[0], offset[0], *linear[1], offset[1])
        return wide.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


class Shot(NamedTuple):
    """One view of a head: its latent `p` [D], `camera` [25], and `pixels` [N, N, 6] (`tools.training.pixels`)."""

    p: np.ndarray
    camera: np.ndarray
    pixels: np.ndarray


class Source:
    """Draws examples from the heads of shards.

    Args:
      heads: sets of rendered ones, each drawn from as often as the others; there may come more while this is used.
      pictures: pieces of which serve as backdrops.
      side: of the examples, pixels.
    """

    def __init__(self, heads: Sequence[Heads], pictures: backdrops.Pictures, side: int) -> None:
        self._heads, self._pictures, self.side = tuple(heads), pictures, side

    def draw(self, random: Random) -> Example:
        """One example."""
        (shot,) = self.shots(random, 1)
        yaw, pitch = (float(x) for x in yaw_pitch(shot.camera))
        numbers = random.standard_normal(wall.NUMBERS).astype(np.float32)
        code = np.concatenate([shot.p, numbers])
        known = np.ones(len(code), bool)
        placement = random_placement(random)
        layer = placed_layer(shot, placement, self.side)
        back, painted = self.backdrop(shot.camera, numbers, placement, random)
        known[-wall.NUMBERS :] = painted
        colour, coverage = backdrops.toned(layer[..., :3], random, 0.5), layer[..., 3:]
        z_depth = decode_depth(*np.moveaxis(shot.pixels[..., 4:].astype(np.float32), -1, 0))
        relief = placed_relief(z_depth, distance_to_pivot(shot.camera, NETWORK), placement, self.side)
        if random.random() < 0.2 and not known[-1]:  # hard to tell apart: a backdrop in the head's own colours
            back = back - back.mean((0, 1)) + (colour * coverage).sum((0, 1)) / (coverage.sum() + 1)
        image = colour * coverage + np.clip(back, 0, 1) * (1 - coverage)
        image = as_photographed(covered(image, random), random)
        pose = np.array([yaw, pitch, *placement], np.float32)
        if random.random() < 0.3:  # mirrored: another head, whose numbers nobody knows
            image, coverage, relief = image[:, ::-1], coverage[:, ::-1], relief[:, ::-1]
            pose = pose * np.float32(MIRRORED)
            known[:] = False
        image = (2 * image.clip(0, 1) - 1).astype(np.float32)
        return Example(image, pose, code, known, *map(np.ascontiguousarray, (coverage[..., 0], relief)))

    def refresh(self) -> int:
        """Takes in heads that have come since; how many there are."""
        return sum(heads.refresh() for heads in self._heads)

    def batch(self, random: Random, count: int) -> Example:
        """`count` examples, stacked."""
        return stack([self.draw(random) for _ in range(count)])

    def shots(self, random: Random, count: int) -> list[Shot]:
        """So many views of any head, none twice."""
        heads = self._heads[random.integers(len(self._heads))]
        head, views = random.integers(len(heads)), random.permutation(heads.camera.shape[1])[:count]
        return [Shot(heads.p[head], heads.camera[head, view], heads.view(head, view)) for view in views]

    def backdrop(
        self, camera: np.ndarray, numbers: np.ndarray, placement: Placement, random: Random
    ) -> tuple[np.ndarray, bool]:
        """What stands behind a head that is seen by `camera` and then placed, [n, n, 3]; and whether it is the backdrop
        that the generator paints by those numbers, of which the picture tells."""
        if random.random() < 0.3:
            picture = Image.fromarray((255 * np.asarray(wall.picture(numbers, camera, STORED))).astype(np.uint8))
            return np.asarray(placement.apply(picture, self.side), np.float32) / 255, True
        return backdrops.draw(self.side, self._pictures, lambda: self._neighbour(random), random), False

    def _neighbour(self, random: Random) -> np.ndarray:
        roll, log_scale = random.normal(0, (0.1, 0.2))
        shift = random.choice([-1, 1]) * random.uniform(_NEIGHBOUR_SHIFT, 1), random.uniform(-0.4, 0.4)
        return placed_layer(*self.shots(random, 1), Placement(roll, *shift, log_scale), self.side)


def placed_layer(shot: Shot, placement: Placement, side: int) -> np.ndarray:
    """A head's own colour, and its coverage, as it is placed, [side, side, 4] in [0, 1]."""
    pixels = np.asarray(shot.pixels[..., :4], np.float32)
    alpha = np.maximum(pixels[..., 3:] / 255, 1e-2)
    alone = np.clip((pixels[..., :3] - 127.5 * (1 - alpha)) / alpha, 0, 255)
    picture = Image.fromarray(np.concatenate([alone, pixels[..., 3:]], axis=-1).astype(np.uint8))
    picture = picture.resize((STORED, STORED), Image.Resampling.BOX)
    return np.asarray(placement.apply(picture, side), np.float32) / 255


def stack(examples: list[Any]) -> Any:
    """Named tuples as one with a leading axis."""
    return type(examples[0])(*(np.stack(part) for part in zip(*examples, strict=True)))


def random_placement(random: Random, aligned: bool = False) -> Placement:
    """Where in its picture a head is, which somebody or something has aligned, well or, unless that is wanted,
    roughly."""
    narrow = 0.1 if aligned or random.random() < _ALIGNED else 1.0
    roll, right, down, scale = narrow * random.normal(0, (_ROLL, _SHIFT, _SHIFT, _SCALE))
    return Placement(roll, right, down, scale)


def distance_to_pivot(camera: np.ndarray, family: GeneratorConfig) -> float:
    """Of a camera [25] that looks at it."""
    return float(np.linalg.norm(np.reshape(camera[:16], (4, 4))[:3, 3] - family.camera_pivot))


def placed_relief(z_depth: np.ndarray, pivot: float, placement: Placement, side: int) -> np.ndarray:
    """The relief of `Example` [side, side], float32, from the picture that is placed: its z-depths [N, N], 0 for none,
    and that of the pivot."""
    there = z_depth > 0
    relief = np.where(there, np.exp(placement.log_scale) * (z_depth - pivot), 0)

    def placed(x: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(np.float32(x)).resize((STORED, STORED), Image.Resampling.BOX)
        return np.asarray(placement.apply(picture, side))

    share = placed(there)
    return np.where(share > 0.99, placed(relief) / np.maximum(share, 1e-3), np.nan).astype(np.float32)


def covered(image: np.ndarray, random: Random) -> np.ndarray:
    """Sometimes something stands before the head: hands, a microphone, a bar of text."""
    if random.random() > 0.15:
        return image
    image, (height, width) = image.copy(), (random.uniform(0.05, 0.35, 2) * len(image)).astype(int)
    top, left = random.integers(0, len(image) - height), random.integers(0, len(image) - width)
    image[top : top + height, left : left + width] = random.uniform(0, 1, 3)
    return image


def as_photographed(image: np.ndarray, random: Random) -> np.ndarray:
    """Light, loss of colour, focus, noise, and JPEG."""
    image = backdrops.toned(image.clip(0, 1), random, 0.6)
    if random.random() < 0.08:
        image = np.repeat(image.mean(-1, keepdims=True), 3, -1)
    return degraded(image, random)


def degraded(image: np.ndarray, random: Random) -> np.ndarray:
    """Focus, noise, and JPEG."""
    if random.random() < 0.3:
        image = backdrops.blurred(image, random.uniform(0.3, 1.5))
    image = image + random.normal(0, random.uniform(0, 0.03), image.shape)
    if random.random() < 0.3:
        file = io.BytesIO()
        eight_bit = Image.fromarray((255 * image.clip(0, 1)).astype(np.uint8))
        eight_bit.save(file, "JPEG", quality=int(random.integers(25, 90)))
        image = np.asarray(Image.open(file), np.float32) / 255
    return image
