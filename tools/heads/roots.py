"""Roots of hair: fixed places on the skin, the same for all heads, so that strands move with p and never jump."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from tools.heads.assets import Assets
from tools.heads.meshes import at_points, triangle_areas
from tools.heads.regions import Regions, hairline, head_azimuth

SCALP_STRANDS, BEARD_STRANDS, GUIDES = 36000, 14000, 1000
FOLLOWED = 3  # guides that a strand is a mean of
LOCK_SHARE = 0.6  # of how strands differ in lightness


@dataclass(frozen=True)
class Roots:
    """`triangles` [n, 3] and `weights` [n, 3] on the surface; `place` [n, 3] on the average head; `random` [n, k] in
    [0, 1), fixed, for what differs between strands."""

    triangles: np.ndarray
    weights: np.ndarray
    place: np.ndarray
    random: np.ndarray

    def on(self, vertices: np.ndarray) -> np.ndarray:
        """Values [V, ...] of the surface at the roots."""
        return at_points(vertices, self.triangles, self.weights)


@dataclass(frozen=True)
class Scalp:
    """Roots of scalp hair: which of them are guides [GUIDES], the guides that each follows, with weights [n, FOLLOWED];
    azimuth [n] in degrees and height over the hairline [n]."""

    roots: Roots
    guides: np.ndarray
    followed: np.ndarray
    shares: np.ndarray
    azimuth: np.ndarray
    above: np.ndarray


@dataclass(frozen=True)
class Beard:
    """Roots of a beard: the regions `moustache`, `jaw`, `beard` [n] at the roots; `chin` [n], height over the mouth."""

    roots: Roots
    moustache: np.ndarray
    jaw: np.ndarray
    beard: np.ndarray
    chin: np.ndarray


def strand_shades(scalp: Scalp) -> np.ndarray:
    """[SCALP_STRANDS + BEARD_STRANDS, 3] in [0, 1), fixed: how the colours of strands differ.

    Lightness, the first, differs between locks more than within them: pixels see locks, and single strands are noise.
    """
    shades = np.random.RandomState(5).rand(SCALP_STRANDS + BEARD_STRANDS, 3)
    lock = np.random.RandomState(6).rand(GUIDES)[scalp.followed[:, 0]]
    shades[:SCALP_STRANDS, 0] = LOCK_SHARE * lock + (1 - LOCK_SHARE) * shades[:SCALP_STRANDS, 0]
    return shades


def _scatter(
    assets: Assets, place: np.ndarray, density: np.ndarray, count: int, seed: int, random: np.ndarray
) -> Roots:
    """Roots by a density per vertex [V] and area, on the average head."""
    topology, generator = assets.topology, np.random.RandomState(seed)
    chance = density[topology.triangles].mean(1) * triangle_areas(place, topology.triangles)
    chosen = generator.choice(len(topology.triangles), count, p=chance / chance.sum())
    weights = generator.dirichlet([1, 1, 1], count)
    triangles = topology.triangles[chosen]
    return Roots(triangles, weights, at_points(place, triangles, weights), random)


def _spread(place: np.ndarray, count: int) -> np.ndarray:
    """Numbers [count] of places [n, 3] that are far from one another: the farthest point is added each time."""
    chosen, distance = [0], np.full(len(place), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, ((place - place[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(distance.argmax()))
    return np.array(chosen)


def plant_scalp(assets: Assets, regions: Regions) -> Scalp:
    """Roots and guides of scalp hair."""
    random = np.random.RandomState(11).rand(SCALP_STRANDS, 8)
    roots = _scatter(assets, regions.place, regions.scalp**1.5, SCALP_STRANDS, 1, random)
    guides = _spread(roots.place, GUIDES)
    distance, followed = cKDTree(roots.place[guides]).query(roots.place, k=FOLLOWED)
    shares = 1 / (distance + 0.02) ** 2
    azimuth = head_azimuth(roots.place)
    return Scalp(
        roots=roots,
        guides=guides,
        followed=followed,
        shares=shares / shares.sum(1, keepdims=True),
        azimuth=azimuth,
        above=roots.place[:, 1] - hairline(azimuth),
    )


def plant_beard(assets: Assets, regions: Regions) -> Beard:
    """Roots of a beard."""
    random = np.random.RandomState(12).rand(BEARD_STRANDS, 6)
    roots = _scatter(assets, regions.place, regions.beard**1.3, BEARD_STRANDS, 2, random)
    moustache, jaw, beard = (roots.on(region) for region in (regions.moustache, regions.jaw, regions.beard))
    return Beard(roots, moustache, jaw, beard, roots.place[:, 1] - regions.mouth[1])
