"""Moves along directions, and where heads lie along them."""

import dataclasses

import numpy as np
import pytest

from pmv_jax.edits import latent
from pmv_jax.edits.directions import Direction
from tests import small_inversion


def test_positions_count_standard_deviations():
    inversion = small_inversion.make()
    generator = inversion.generator
    codes = np.asarray(latent._random_codes(generator), np.float64)
    vector = np.random.default_rng(0).standard_normal(codes.shape[1])
    score = codes @ vector / (vector @ vector)
    middle = np.tile(codes.mean(0), (generator.config.num_ws, 1))
    direction = Direction("a", vector * score.std())
    inversion = dataclasses.replace(inversion, ws=middle)
    after = latent.move(inversion, [latent.Move(direction, 2.5)])
    [place] = latent.positions(generator, middle, after.ws, [direction])
    assert place.before == pytest.approx(0, abs=1e-3) and place.after == pytest.approx(2.5, rel=1e-3)
    assert not place.leaves_range and latent.Position(0, -3.1).leaves_range
    assert not latent.Position(5, 4).leaves_range  # on its way back
