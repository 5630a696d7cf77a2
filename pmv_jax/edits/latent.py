"""Moves of a head along directions in the generator's latent space.

A move keeps the tuned weights, which hold what no latent code of the generator can say about this head, and changes the
code alone (HFGI3D section 4.4, after PTI).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax.cameras import poses
from pmv_jax.config import GeneratorConfig
from pmv_jax.edits import directions
from pmv_jax.edits.directions import Direction
from pmv_jax.inversion import latent
from pmv_jax.inversion.result import Inversion
from pmv_jax.models.generator import Generator

TRAINED_RANGE = 3.0  # standard deviations from the average head: what 1 head in 370 lies beyond, along one direction


class Move(NamedTuple):
    """A direction, and how far to go along it: its strength, 1 for the direction's own unit."""

    direction: Direction
    strength: float


class Position(NamedTuple):
    """Where a head lies along a direction before and after a move, in standard deviations of random heads."""

    before: float
    after: float

    @property
    def leaves_range(self) -> bool:
        """Whether the move leads to where the generator has hardly been trained."""
        return abs(self.after) > max(TRAINED_RANGE, abs(self.before))


def move(inversion: Inversion, moves: Sequence[Move]) -> Inversion:
    """The inversion with its code moved; its tuned weights and its camera stay.

    Args:
      inversion: the head.
      moves: all of them are made; their order does not matter.
    """
    num_ws = inversion.generator.config.num_ws
    change = sum((m.strength * directions.step(m.direction, num_ws) for m in moves), np.zeros_like(inversion.ws))
    return dataclasses.replace(inversion, ws=inversion.ws + change)


def positions(
    generator: Generator, before: np.ndarray, after: np.ndarray, moved: Sequence[Direction]
) -> list[Position]:
    """Where a head lies along directions, compared with random heads of the generator.

    Args:
      generator: that the codes belong to.
      before, after: w_plus [num_ws, w_dim].
      moved: the directions.

    Returns:
      A position for each direction.
    """
    chex.assert_shape((before, after), (generator.config.num_ws, generator.config.w_dim))
    if not moved:
        return []
    samples = np.asarray(_random_codes(generator), np.float64)
    found = []
    for direction in moved:
        normal = directions.scorer(direction, generator.config.num_ws).astype(np.float64)
        scores = samples @ normal.sum(0)  # all rows of a random head are the same
        place = [float((np.sum(normal * ws) - scores.mean()) / scores.std()) for ws in (before, after)]
        found.append(Position(*place))
    return found


def fingerprint(generator: Generator) -> str:
    """16 hexadecimal digits that identify the latent space of directions; tuning leaves them as they are."""
    return hashlib.sha256(np.asarray(generator.w_avg, np.float32).tobytes()).hexdigest()[:16]


def frontal(config: GeneratorConfig, count: int) -> Array:
    """The frontal camera of those that a generator was trained with, `count` times: [count, 25]."""
    return jnp.broadcast_to(poses.to_camera(jnp.zeros(2), config), (count, 25))


@jax.jit
def _random_codes(generator: Generator) -> Array:
    return latent.random_codes(generator, frontal(generator.config, 1)[0])
