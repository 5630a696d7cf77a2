"""The wall behind the head: an upright cylinder around the world's origin with a floor and a ceiling.

Its colours are a smooth function of six standard normal numbers, which are part of z: the network can paint whatever
stands behind the person in a photograph, in place of one mean grey. Depth is defined wherever one looks.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras

NUMBERS = 6
RADIUS, HEIGHT = 0.45, 0.47  # inside of the cube that the tri-planes span, with room for a layer of density behind

# What each number does to red, green and blue before the sigmoid: lightness, warmth, green; then lightness that grows
# upwards and to the right, and warmth that grows upwards.
_LIGHTNESS, _WARMTH, _GREEN = (1.0, 1.0, 1.0), (0.45, 0.0, -0.45), (-0.2, 0.3, -0.2)
_COLOURS = (_LIGHTNESS, _WARMTH, _GREEN, _LIGHTNESS, _LIGHTNESS, _WARMTH)
_STRENGTHS = (1.3, 1.0, 1.0, 0.9, 0.9, 0.7)


def distance(origins: Array, directions: Array) -> Array:
    """Where rays [..., 3] from outside leave the cylinder [...]; rays that miss it: where they are nearest its axis."""
    o, d = origins, directions
    a = d[..., 0] ** 2 + d[..., 2] ** 2
    b = o[..., 0] * d[..., 0] + o[..., 2] * d[..., 2]
    c = o[..., 0] ** 2 + o[..., 2] ** 2 - RADIUS**2
    side = (-b + jnp.sqrt(jnp.maximum(b**2 - a * c, 0.0))) / a
    vertical = jnp.where(jnp.abs(d[..., 1]) < 1e-6, 1e-6, d[..., 1])
    cap = (jnp.sign(vertical) * HEIGHT - o[..., 1]) / vertical
    return jnp.minimum(side, cap)


def colour(numbers: Array, points: Array) -> Array:
    """sRGB in (0, 1) [..., 3] of the backdrop with `numbers` [..., 6] at `points` [..., 3] of the wall."""
    x, y = points[..., 0] / RADIUS, points[..., 1] / HEIGHT
    one = jnp.ones_like(x)
    places = jnp.stack([one, one, one, y, x, y], axis=-1)
    effects = jnp.asarray(_STRENGTHS)[:, None] * jnp.asarray(_COLOURS)
    return jax.nn.sigmoid((numbers * places) @ effects)


def put_behind(rgb: Array, mask: Array, background: Array) -> Array:
    """A picture rendered over grey 0.5, over another background: all sRGB in [0, 1], mask [...] is coverage."""
    return rgb + (1 - mask[..., None]) * (background - 0.5)


@functools.partial(jax.jit, static_argnames=("size",))
def picture(numbers: Array, camera: Array, size: int) -> Array:
    """What a camera [25] sees of the backdrop with `numbers` [6] alone: sRGB in (0, 1) [size, size, 3]."""
    places = (jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size)), axis=-1).reshape(-1, 2) + 0.5) / size
    directions = cameras.unproject(camera, places)
    origins = jnp.broadcast_to(cameras.split(camera)[0][:3, 3], directions.shape)
    points = origins + distance(origins, directions)[:, None] * directions
    return colour(numbers, points).reshape(size, size, 3)


def photographed(rgb: np.ndarray, mask: np.ndarray, numbers: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """A head before the backdrop with `numbers` [6]: [N, N, 3] in [-1, 1], float32.

    Args:
      rgb: [N, N, 3] over grey 0.5, sRGB in [0, 1].
      mask: [N, N] coverage in [0, 1].
      numbers: [6] of the backdrop.
      camera: [25] that sees both.
    """
    behind = np.asarray(picture(jnp.asarray(numbers), jnp.asarray(camera), len(rgb)))
    return (2 * put_behind(rgb, mask, behind) - 1).clip(-1, 1).astype(np.float32)
