"""Beards and moustaches: strands that lean along the skin and bend down, shorter towards the sideburns."""

import numpy as np

from tools.heads.curves import smoothstep, unit
from tools.heads.groom import STRAND_RADIUS, BeardStyle
from tools.heads.hair import POINTS
from tools.heads.roots import Beard
from tools.heads.shape import PUPILS

CRIMP = ((22, 0), (19, 3), (25, 4))  # of each axis: waves per length, and which random number shifts them


def grow_beard(
    beard: Beard, style: BeardStyle, surface: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points [BEARD_STRANDS, POINTS, 3] in world units and radii [BEARD_STRANDS], 0 for strands that are not there."""
    roots, normal = beard.roots.on(surface), unit(beard.roots.on(normals))
    random = beard.roots.random
    length = _lengths(beard, style)
    start, bend = _directions(beard, normal)
    along = np.linspace(0, 1, POINTS)[None, :, None]
    points = start[:, None] * along + 0.5 * (bend - start)[:, None] * along**2
    points = roots[:, None] + points * (length * PUPILS)[:, None, None]
    distance = along[..., 0] * length[:, None]
    crimp = np.stack([np.sin(distance * turns + 40 * random[:, column, None]) for turns, column in CRIMP], -1)
    points = points + 0.010 * PUPILS * crimp * np.minimum(1, distance * 3)[..., None]
    return points, STRAND_RADIUS * _kept(beard, style) * smoothstep(0.015, 0.04, length)


def _lengths(beard: Beard, style: BeardStyle) -> np.ndarray:
    """[n], in distances between the pupils: longest under the chin, short at the sideburns."""
    x, y, _ = beard.roots.place.T
    chin = np.exp(-((x / 0.4) ** 2)) * smoothstep(-0.5, -0.9, beard.chin)
    length = style.moustache * beard.moustache + style.jaw * beard.jaw * (1 + 0.7 * chin)
    return length * (0.5 + 0.7 * beard.roots.random[:, 0]) * smoothstep(0.0, -0.75, y) ** 0.5


def _directions(beard: Beard, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In which strands leave the skin and where they bend to, [n, 3] each: down, a moustache to the sides."""
    x, random = beard.roots.place[:, 0], beard.roots.random
    down = np.stack([np.tanh(x / 0.3) * (0.12 + 0.7 * beard.moustache), -np.ones_like(x), np.full_like(x, 0.25)], 1)
    down = unit(down - normal * (down * normal).sum(1, keepdims=True))
    start = unit(normal * 0.45 + down + 0.5 * (random[:, 1:4] - 0.5))
    return start, unit(normal * 0.05 + down * 0.8 + np.array([0, -0.5, 0]) + 0.6 * (random[:, 2:5] - 0.5))


def _kept(beard: Beard, style: BeardStyle) -> np.ndarray:
    """[n] in [0, 1]: by the density of the beard, and within its width at the chin."""
    wide = smoothstep(style.width + 0.12, style.width - 0.12, np.abs(beard.roots.place[:, 0]))
    moustache = beard.moustache > 0.3
    density = style.moustache_density * moustache + style.jaw_density * ~moustache
    density = density * beard.beard**1.5 * wide  # thins out towards the edges
    return smoothstep(-0.05, 0.05, density - beard.roots.random[:, 5] - 0.02)
