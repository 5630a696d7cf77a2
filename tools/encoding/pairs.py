"""Heads from two sides: a photograph, what another view finds of it by what an encoder sees, and what that view shows.

The photograph is aligned, as those are whose head is to be turned, and its camera known but for a little.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from pmv_jax import cameras
from pmv_jax.cameras import poses, yaw_pitch
from pmv_jax.inversion import completion
from pmv_jax.models.encoder import MIRRORED, Encoder
from tools.encoding import backdrops
from tools.encoding.examples import (
    Placement,
    Random,
    Source,
    covered,
    degraded,
    distance_to_pivot,
    placed_layer,
    placed_relief,
    random_placement,
)
from tools.training import backdrop as wall
from tools.training.data import Heads
from tools.training.network import NETWORK
from tools.training.pixels import decode_depth

_POSE_ERROR = 0.02  # of yaw and pitch, radians: standard deviation


class Pair(NamedTuple):
    """What a view is given, and the truth about it.

    Attributes:
      seen: [n, n, SEEN_CHANNELS], `completion.seen_from` of the photograph.
      matte: [n, n] in [0, 1].
      relief: [n, n], as of `models.completer.Completion`; NaN where there is no surface, or its edge.
      colour: [n, n, 3] in [-1, 1], of the head alone.
    """

    seen: np.ndarray
    matte: np.ndarray
    relief: np.ndarray
    colour: np.ndarray


class Pairs:
    """Draws pairs from the heads of shards, which have several views of each.

    Args:
      heads, pictures: see `examples.Source`.
      encoder: that looks at the photographs.
      size: of the other views, pixels a side.
    """

    def __init__(self, heads: Sequence[Heads], pictures: backdrops.Pictures, encoder: Encoder, size: int) -> None:
        self._source = Source(heads, pictures, encoder.config.resolution)
        self._encoder, self._size = encoder, size

    def draw(self, random: Random, count: int) -> list[Pair]:
        """So many pairs."""
        image, pose, camera, *truth = (
            np.stack(x) for x in zip(*(self._two_sides(random) for _ in range(count)), strict=True)
        )
        seen = np.asarray(_seen(self._encoder, image, pose, camera, self._size), np.float16)
        return [Pair(*each) for each in zip(seen, *truth, strict=True)]

    def refresh(self) -> int:
        """Takes in heads that have come since; how many there are."""
        return self._source.refresh()

    def _two_sides(self, random: Random) -> tuple[np.ndarray, ...]:
        """A photograph [h, h, 3] and its pose [5], about; a camera [25], and matte, relief and colour from there."""
        shot, other = self._source.shots(random, 2)
        placement, side = random_placement(random, aligned=True), self._source.side
        layer = placed_layer(shot, placement, side)
        other_layer = placed_layer(other, Placement(), self._size)
        # Both in the same light: toned as one picture.
        tones = np.concatenate([layer[..., :3].reshape(-1, 3), other_layer[..., :3].reshape(-1, 3)])
        tones = backdrops.toned(tones, random)
        own, colour = (
            x.reshape(n, n, 3) for x, n in zip(np.split(tones, [side * side]), (side, self._size), strict=True)
        )
        numbers = random.standard_normal(wall.NUMBERS).astype(np.float32)
        back, _ = self._source.backdrop(shot.camera, numbers, placement, random)
        image = own * layer[..., 3:] + np.clip(back, 0, 1) * (1 - layer[..., 3:])
        image = 2 * degraded(covered(image, random), random).clip(0, 1) - 1
        pose = np.array([*(float(x) for x in yaw_pitch(shot.camera)), *placement[:3]], np.float32)
        pose[:2] += random.normal(0, _POSE_ERROR, 2)
        z_depth = decode_depth(*np.moveaxis(other.pixels[..., 4:].astype(np.float32), -1, 0))
        relief = placed_relief(z_depth, distance_to_pivot(other.camera, NETWORK), Placement(), self._size)
        pictures = image, other_layer[..., 3], relief, 2 * colour - 1
        camera = np.asarray(other.camera, np.float32)
        if random.random() < 0.5:
            pictures = tuple(x[:, ::-1] for x in pictures)
            pose, camera = pose * np.float32(MIRRORED[:5]), np.asarray(cameras.mirrored(camera))
        image, *truth = (np.ascontiguousarray(x, np.float32) for x in pictures)
        return image, pose, camera, *truth


@functools.partial(jax.jit, static_argnames="size")
def _seen(encoder: Encoder, images: Array, known: Array, around: Array, size: int) -> Array:
    """[N, size, size, SEEN_CHANNELS]: photographs [N, h, h, 3] of poses [N, 5] as cameras [N, 25] find them."""

    def one(image: Array, pose: Array, camera: Array) -> Array:
        glance = encoder(image)
        maps = glance.matte, glance.relief, glance.relief_width
        return completion.seen_from(camera[None], image, *maps, poses.to_camera(pose, NETWORK), NETWORK, size)[0]

    return jax.lax.map(lambda each: one(*each), (images, known, around))
