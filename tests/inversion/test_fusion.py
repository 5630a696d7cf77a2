"""Depths of several views that are made to agree, on surfaces known in closed form."""

import jax
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.cameras import look_at
from pmv_jax.inversion import fusion, visibility
from tests import rendered_spheres

SIZE, COUNT = 32, 5
VIEWS = np.asarray(look_at(np.linspace(-0.5, 0.5, COUNT), np.linspace(0.1, -0.1, COUNT)))
SPHERE = np.zeros(rendered_spheres.NUMBERS)


def sphere() -> tuple[np.ndarray, np.ndarray]:
    """Depths and masks [K, n, n]; depths of 0 where there is none."""
    _, mask, z_depth = zip(*(rendered_spheres.render(SPHERE, view, SIZE) for view in VIEWS), strict=True)
    return np.float32(z_depth), np.float32(mask)


def fused(z_depth, mask, width=0.01):
    width = np.broadcast_to(np.float32(width), mask.shape)
    return np.asarray(jax.jit(fusion.fused)(z_depth, width, mask, VIEWS))


def distances(z_depth: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """Of each view's points from the sphere's centre."""
    points = [np.asarray(visibility.points(z, view)) for z, view in zip(z_depth, VIEWS, strict=True)]
    return [np.linalg.norm(x[m > 0], axis=-1) for x, m in zip(points, mask, strict=True)]


def inner(mask: np.ndarray) -> np.ndarray:
    """Where the surface is not seen edge-on."""
    return mask * np.float32([np.abs(np.indices((SIZE, SIZE)) - SIZE / 2 + 0.5).max(0) < SIZE / 6])


def test_what_agrees_stays():
    z_depth, mask = sphere()
    apart = np.abs(fused(z_depth, mask) - z_depth)[inner(mask) > 0]
    assert apart.max() < 3e-3  # a chord between two pixels of a ball of radius 0.2


def test_views_that_err_each_in_its_way_meet_in_the_middle():
    z_depth, mask = sphere()
    errors = np.float32([0.02, -0.02, 0.01, -0.02, 0.01])[:, None, None]
    before, after = (distances(z, inner(mask)) for z in (z_depth + errors, fused(z_depth + errors, mask)))
    spread = [np.std([x.mean() for x in each]) for each in (before, after)]
    assert spread[1] < 0.2 * spread[0]
    np.testing.assert_allclose(np.concatenate(after).mean(), 0.2, atol=0.004)


def test_the_sure_ones_decide():
    z_depth, mask = sphere()
    z_depth[1:] += 0.02
    width = np.full(mask.shape, 0.02, np.float32)
    width[0] = 0.001
    off = (fused(z_depth, mask, width) - sphere()[0])[inner(mask) > 0]
    assert np.abs(off).mean() < 2e-3


@pytest.mark.parametrize("what", ["far", "no head"])
def test_other_surfaces_have_no_say(what):
    """A view that sees something else there, or that has no head there."""
    z_depth, mask = sphere()
    others, own = mask.copy(), z_depth.copy()
    if what == "far":
        own[1:] -= 0.1
    else:
        own[1:] -= 0.02
        others[1:] = 0.4
    np.testing.assert_allclose(fused(own, others)[0][mask[0] > 0], z_depth[0][mask[0] > 0], atol=3e-3)


def test_it_is_what_every_pixel_has_by_itself(monkeypatch):
    """Against the mean written out, for one round of a few pixels; what nobody knows stays."""
    rng = np.random.default_rng(0)
    z_depth = np.float32(2.7 + 0.02 * rng.normal(size=(COUNT, 8, 8)))
    width, matte = np.float32(rng.uniform(0.01, 0.05, z_depth.shape)), np.float32(rng.uniform(size=z_depth.shape))

    def by_hand(k, row, column):
        pixel = (np.array([column, row]) + 0.5) / 8
        sight = np.asarray(cameras.unproject(VIEWS[k], pixel[None]))[0]
        point = np.asarray(cameras.split(VIEWS[k])[0])[:3, 3] + z_depth[k, row, column] * sight
        say = total = 0.0
        for other in range(COUNT):
            place, depth = (np.asarray(x)[0] for x in cameras.project(VIEWS[other], point[None]))
            x, y = 8 * place - 0.5
            for i in range(8):
                for j in range(8):
                    share = max(0, 1 - abs(x - j)) * max(0, 1 - abs(y - i))
                    off = z_depth[other, i, j] - depth
                    near = max(0, 1 - (off / 0.05) ** 2) ** 2
                    sure = matte[other, i, j] / width[other, i, j] ** 2 if matte[other, i, j] > 0.5 else 0
                    say, total = say + share * near * sure, total + share * near * sure * off
        return z_depth[k, row, column] + (total / say if say else 0)

    monkeypatch.setattr(fusion, "_ROUNDS", 1)
    once = np.asarray(fusion.fused(z_depth, width, matte, VIEWS))
    for pixel in [(0, 4, 4), (2, 0, 7), (4, 6, 1), (1, 3, 5)]:
        np.testing.assert_allclose(once[pixel], by_hand(*pixel), atol=2e-5)
    np.testing.assert_array_equal(fusion.fused(z_depth, width, 0 * matte, VIEWS), z_depth)
