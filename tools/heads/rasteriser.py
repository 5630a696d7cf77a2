"""Rasteriser of textured triangles and hair strands into a buffer of samples, on one core, compiled by Numba.

Numba, and not a hand-compiled C file, because it installs from its wheel, compiles itself where it runs and is kept
up with Python; and not a renderer for graphics cards, because fifty thousand strands that are thinner than a sample
need rules of their own (`draw_strands`), and no display or driver should be needed. It takes 1.1 times what a C twin
took for a head and 1.5 times for a view (README.md has the figures). The first call compiles for half a minute and
stores what it compiled beside this file.

Buffers hold, per sample: the depth of what is nearest, which primitive it is (triangles first, then the segments of
strands; -1: nothing) and where on it. Samples are at (x + 0.5, y + 0.5). What is half transparent is dithered: a share
of samples is opaque.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

FAR = np.float32(1e9)
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32)  # ordered dither
_LOW = 0xFFFFFFFF
_GOLDEN = np.float32(0.618034)  # steps of it are spread evenly over [0, 1), however many there are
_SRGB = np.arange(256, dtype=np.float64) / 255
SRGB_TABLE = np.where(_SRGB <= 0.04045, _SRGB / 12.92, ((_SRGB + 0.055) / 1.055) ** 2.4).astype(np.float32)

compiled = njit(cache=True, fastmath=True, error_model="numpy", nogil=True)


class Textures(NamedTuple):
    """Images of a scene in one pool.

    Attributes:
      pool: [bytes] uint8, RGBA, rows from the top.
      start: [n] int64, where each begins in the pool.
      size: [n, 2] int32, width and height.
      cutout: [n] bool, whether alpha is opacity (else it is free for the material's use).
      shown: [n, 2] float32, the share of noise in [0, 1) for which samples are kept; (0, 1) is all. Textures whose
        shares complement one another fade into one another.
    """

    pool: np.ndarray
    start: np.ndarray
    size: np.ndarray
    cutout: np.ndarray
    shown: np.ndarray


class Samples(NamedTuple):
    """A buffer of samples: `depth` [H, W] float32, `primitive` [H, W] int32, `place` [H, W, 2] float32 (weights of the
    first two corners of a triangle; or how far along a segment, and nothing)."""

    depth: np.ndarray
    primitive: np.ndarray
    place: np.ndarray


class Strands(NamedTuple):
    """Hair: `points` [S, P, 3] float32, `radius` [S] in world units, `label` [S] int32, stable: it seeds dither."""

    points: np.ndarray
    radius: np.ndarray
    label: np.ndarray


def empty_samples(height: int, width: int) -> Samples:
    """Nothing anywhere."""
    depth = np.full((height, width), FAR, np.float32)
    return Samples(depth, np.full((height, width), -1, np.int32), np.zeros((height, width, 2), np.float32))


def one_texture() -> Textures:
    """A single opaque texel, for drawing without textures."""
    whole = np.array([[0, 1]], np.float32)
    return Textures(
        np.full(4, 255, np.uint8), np.zeros(1, np.int64), np.ones((1, 2), np.int32), np.zeros(1, bool), whole
    )


@compiled
def scramble(x):
    """A hash of 32 bits; any integer in."""
    x = x & _LOW
    x ^= x >> 16
    x = (x * 0x7FEB352D) & _LOW
    x ^= x >> 15
    x = (x * 0x846CA68B) & _LOW
    return x ^ (x >> 16)


@compiled
def _texels(textures, which, u, v):
    """Where the four texels about (u, v) begin in the pool, and how far (u, v) is between them."""
    width, height = textures.size[which, 0], textures.size[which, 1]
    x, y = u * width - np.float32(0.5), (1 - v) * height - np.float32(0.5)
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    left, right = min(max(x0, 0), width - 1), min(max(x0 + 1, 0), width - 1)
    upper, lower = min(max(y0, 0), height - 1), min(max(y0 + 1, 0), height - 1)
    start = textures.start[which]
    a, b = start + 4 * (upper * width + left), start + 4 * (upper * width + right)
    c, d = start + 4 * (lower * width + left), start + 4 * (lower * width + right)
    return a, b, c, d, x - x0, y - y0


@compiled
def texture_alpha(textures, which, u, v):
    """Alpha at (u, v), v upwards, between texels; [0, 1]."""
    a, b, c, d, x, y = _texels(textures, which, u, v)
    pool = textures.pool
    upper = pool[a + 3] * (1 - x) + pool[b + 3] * x
    lower = pool[c + 3] * (1 - x) + pool[d + 3] * x
    return (upper * (1 - y) + lower * y) * np.float32(1 / 255)


@compiled
def texture_colour(textures, which, u, v):
    """Linear colour at (u, v): texels are decoded, then blended."""
    a, b, c, d, x, y = _texels(textures, which, u, v)
    pool = textures.pool
    wa, wb, wc, wd = (1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y
    red = SRGB_TABLE[pool[a]] * wa + SRGB_TABLE[pool[b]] * wb + SRGB_TABLE[pool[c]] * wc + SRGB_TABLE[pool[d]] * wd
    a, b, c, d = a + 1, b + 1, c + 1, d + 1
    green = SRGB_TABLE[pool[a]] * wa + SRGB_TABLE[pool[b]] * wb + SRGB_TABLE[pool[c]] * wc + SRGB_TABLE[pool[d]] * wd
    a, b, c, d = a + 1, b + 1, c + 1, d + 1
    blue = SRGB_TABLE[pool[a]] * wa + SRGB_TABLE[pool[b]] * wb + SRGB_TABLE[pool[c]] * wc + SRGB_TABLE[pool[d]] * wd
    return red, green, blue


@compiled
def _kept(textures, which, u, v, x, y, pattern):
    """Whether a sample of a half transparent texture is opaque. `pattern` shifts the dither."""
    low, high = textures.shown[which, 0], textures.shown[which, 1]
    if low > 0 or high < 1:
        noise = ((scramble(x * 7919 + scramble(y + 12345)) & 0xFFFF) + np.float32(0.5)) / np.float32(65536)
        if noise < low or noise >= high:
            return False
    if textures.cutout[which]:
        threshold = _BAYER[(y + ((pattern >> 2) & 3)) & 3, (x + (pattern & 3)) & 3]
        return texture_alpha(textures, which, u, v) >= (threshold + np.float32(0.5)) / np.float32(16)
    return True


@compiled
def _span(low, high, count):
    """First and last sample centre in [low, high], within 0 .. count - 1."""
    return min(max(int(np.ceil(low - 0.5)), 0), count), min(max(int(np.floor(high - 0.5)), -1), count - 1)


@compiled
def draw_triangles(samples, screen, triangles, uv, material, textures, perspective):
    """Draws triangles into `samples`.

    Args:
      samples: `Samples`, changed in place.
      screen: [V, 3] float32, x and y in samples, depth.
      triangles, uv, material: [T, 3] int32, [T, 6] float32, [T] int32 (a texture; less than 0 is not drawn).
      textures: `Textures`.
      perspective: whether depth is to be interpolated as in a pinhole camera (else linearly).
    """
    height, width = samples.depth.shape
    one = np.float32(1)
    for t in range(len(triangles)):
        which = material[t]
        if which < 0:
            continue
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        x0, x1 = _span(min(ax, bx, cx), max(ax, bx, cx), width)
        y0, y1 = _span(min(ay, by, cy), max(ay, by, cy), height)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if x1 < x0 or y1 < y0 or abs(area) < 1e-12:
            continue
        scale = one / area
        za, zb, zc = screen[a, 2], screen[b, 2], screen[c, 2]
        plain = not textures.cutout[which] and textures.shown[which, 0] <= 0 and textures.shown[which, 1] >= 1
        pattern = scramble(t // 2 + 977)  # both triangles of a quad dither alike
        for y in range(y0, y1 + 1):
            py = np.float32(y + 0.5)
            for x in range(x0, x1 + 1):
                px = np.float32(x + 0.5)
                u = ((bx - px) * (cy - py) - (cx - px) * (by - py)) * scale
                v = ((cx - px) * (ay - py) - (ax - px) * (cy - py)) * scale
                w = one - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                if perspective:
                    z = one / (u / za + v / zb + w / zc)
                    u, v = u / za * z, v / zb * z
                    w = one - u - v
                else:
                    z = u * za + v * zb + w * zc
                if z >= samples.depth[y, x]:
                    continue
                if not plain:
                    s = uv[t, 0] * u + uv[t, 2] * v + uv[t, 4] * w
                    r = uv[t, 1] * u + uv[t, 3] * v + uv[t, 5] * w
                    if not _kept(textures, which, s, r, x, y, pattern):
                        continue
                samples.depth[y, x] = z
                samples.primitive[y, x] = t
                samples.place[y, x, 0], samples.place[y, x, 1] = u, v


@compiled
def taper(along):
    """Radius of a strand at `along` its length, 0 to 1, of the radius at its root."""
    return 1 - 0.85 * along**2


@compiled
def _draw_segment(samples, first, last, wide, seed, primitive):
    """One segment from `first` to `last` (x, y, depth), `wide` samples across; walked along its longer axis."""
    height, width = samples.depth.shape
    dx, dy = last[0] - first[0], last[1] - first[1]
    flat = abs(dx) > abs(dy)
    p0, p1 = (first[0], last[0]) if flat else (first[1], last[1])
    q0, q1 = (first[1], last[1]) if flat else (first[0], last[0])
    z0, z1 = first[2], last[2]
    # Extent on the shorter axis: wider where the segment is slanted.
    extent = min(wide * np.sqrt(dx * dx + dy * dy) / max(abs(p1 - p0), np.float32(1e-6)), 3 * wide)
    turned = p1 < p0
    if turned:
        p0, p1, q0, q1, z0, z1 = p1, p0, q1, q0, z1, z0
    i0, i1 = _span(p0, p1, width if flat else height)
    across = height if flat else width
    chance = np.float32(seed & 0xFFFF) / np.float32(65536)
    for i in range(i0, i1 + 1):
        t = min(max((i + np.float32(0.5) - p0) / max(p1 - p0, np.float32(1e-6)), np.float32(0)), np.float32(1))
        q, z = q0 + (q1 - q0) * t, z0 + (z1 - z0) * t
        if extent < 1:  # its coverage is the share of its samples that are drawn, evenly along it
            if (chance + i * _GOLDEN) % 1 >= extent:
                continue
            j0 = j1 = int(np.floor(q))
        else:
            j0, j1 = int(np.ceil(q - extent / 2 - 0.5)), int(np.floor(q + extent / 2 - 0.5))
        for j in range(max(j0, 0), min(j1, across - 1) + 1):
            y, x = (j, i) if flat else (i, j)
            if z < samples.depth[y, x]:
                samples.depth[y, x] = z
                samples.primitive[y, x] = primitive
                samples.place[y, x, 0] = 1 - t if turned else t


@compiled
def draw_strands(samples, screen, strands, scale, perspective, first_primitive):
    """Draws strands of hair into `samples`: ribbons that face the camera, never thinner than what their width covers.

    Args:
      samples: `Samples`, changed in place.
      screen: [S, P, 3] float32, points in samples and depth.
      strands: `Strands`; of its points nothing is used but `screen`.
      scale: samples per world unit, at depth 1 if `perspective`.
      first_primitive: number of the first segment; strand s has P - 1 of them.
    """
    height, width = samples.depth.shape
    count, points = screen.shape[:2]
    for s in range(count):
        for k in range(points - 1):
            a, b = screen[s, k], screen[s, k + 1]
            if (
                max(a[0], b[0]) < -2
                or min(a[0], b[0]) > width + 2
                or max(a[1], b[1]) < -2
                or min(a[1], b[1]) > height + 2
            ):
                continue
            wide = np.float32(2 * strands.radius[s] * scale * taper((k + 0.5) / (points - 1)))
            wide = wide / a[2] if perspective else wide
            seed = scramble(strands.label[s] * 131 + k)
            _draw_segment(
                samples, (a[0], a[1], a[2]), (b[0], b[1], b[2]), wide, seed, first_primitive + s * (points - 1) + k
            )


@compiled
def visibility(depth_map, points, bias, falloff, seen):
    """How much light reaches points behind a depth map: 1 before it, exp(-falloff (distance - bias)) behind it.

    Args:
      depth_map: [N, N] float32, depth of what is nearest to the light.
      points: [n, 3] float32, x and y in samples of the map, depth.
      bias: distance behind the surface that still counts as on it.
      seen: [n] float32, the answer: the mean over the four samples about each point; 1 outside the map.
    """
    height, width = depth_map.shape
    for i in range(len(points)):
        x, y = points[i, 0] - np.float32(0.5), points[i, 1] - np.float32(0.5)
        x0, y0 = int(np.floor(x)), int(np.floor(y))
        fx, fy = x - x0, y - y0
        total = np.float32(0)
        for dy in range(2):
            for dx in range(2):
                weight = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
                light = np.float32(1)
                if 0 <= x0 + dx < width and 0 <= y0 + dy < height:
                    behind = points[i, 2] - depth_map[y0 + dy, x0 + dx] - bias
                    if behind > 0:
                        light = np.exp(-behind * falloff)
                total += weight * light
        seen[i] = total
