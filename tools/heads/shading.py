"""Colours of the samples of a scene: skin, eyes, cloth, teeth, brows and strands under a key light and what was baked.

Highlights are computed as seen from the front, so that the colour of a point does not depend on the view: what is
trained or warped across views may take it for matte.
"""

from typing import NamedTuple

import numpy as np

from tools.heads.rasteriser import compiled, scramble, texture_alpha, texture_colour

SKIN, EYE, CLOTH, TEETH, BROW = range(5)  # kinds of material

_PI = np.float32(np.pi)
# Offsets of the eight taps of the shadow filter, on a disc.
_DISC = np.array(
    [
        (-0.94, -0.34),
        (0.94, -0.77),
        (-0.09, -0.93),
        (0.34, 0.29),
        (-0.38, 0.28),
        (0.53, -0.26),
        (-0.7, 0.69),
        (0.44, 0.9),
    ],
    np.float32,
)
_SKIN_WRAP = (0.35, 0.1225, 0.063)  # how far light creeps round into the shade under skin: farthest in red


class Surface(NamedTuple):
    """Triangles of a scene, ready for shading.

    Attributes:
      attributes: [V, 12] float32, position, normal, soft normal (for light under the skin), irradiance / pi.
      triangles, uv, material: [T, 3], [T, 6], [T] as drawn.
      kind: [textures] int32, SKIN, EYE, ...
    """

    attributes: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    material: np.ndarray
    kind: np.ndarray


class Hair(NamedTuple):
    """Strands, ready for shading: `points` and `irradiance` [S, P, 3], `colour` [S, 3], `label` [S] and how many of the
    strands are scalp hair (the rest are a beard, which shines less)."""

    points: np.ndarray
    irradiance: np.ndarray
    colour: np.ndarray
    label: np.ndarray
    scalp: int


class Lamp(NamedTuple):
    """The key light with its shadow map, and the window that eyes mirror. Vectors are tuples of three."""

    direction: tuple
    colour: tuple
    shadow_map: np.ndarray
    shadow_matrix: np.ndarray  # [3, 4]: world -> x and y in samples of the map, depth
    blur: float  # of shadows, in samples of the map
    window_direction: tuple
    window_colour: tuple


class Look(NamedTuple):
    """Constants of the materials. `viewer` is where highlights are seen from; `eyes` are two centres, [2, 3]."""

    viewer: tuple
    gloss: float
    roughness: float
    sheen: float
    brows: tuple
    eyes: np.ndarray


@compiled
def dot(a, b):
    """Of tuples of three."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def _unit(a):
    scale = 1 / np.sqrt(dot(a, a) + np.float32(1e-12))
    return a[0] * scale, a[1] * scale, a[2] * scale


@compiled
def _add(a, b, k):
    """a + k b."""
    return a[0] + k * b[0], a[1] + k * b[1], a[2] + k * b[2]


@compiled
def _lit(lamp, p, bias, blur, falloff, seed):
    """Share of the key light that reaches p: eight taps of the shadow map on a disc, turned by chance."""
    m, shadow_map = lamp.shadow_matrix, lamp.shadow_map
    x = m[0, 0] * p[0] + m[0, 1] * p[1] + m[0, 2] * p[2] + m[0, 3]
    y = m[1, 0] * p[0] + m[1, 1] * p[1] + m[1, 2] * p[2] + m[1, 3]
    z = m[2, 0] * p[0] + m[2, 1] * p[1] + m[2, 2] * p[2] + m[2, 3] - bias
    angle = (seed & 0xFFFF) * np.float32(2 * np.pi / 65536)
    cosine, sine = np.cos(angle) * blur, np.sin(angle) * blur
    height, width = shadow_map.shape
    total = np.float32(0)
    for k in range(8):
        i = int(np.floor(x + _DISC[k, 0] * cosine - _DISC[k, 1] * sine))
        j = int(np.floor(y + _DISC[k, 0] * sine + _DISC[k, 1] * cosine))
        light = np.float32(1)
        if 0 <= i < width and 0 <= j < height:
            behind = z - shadow_map[j, i]
            if behind > 0:
                light = np.exp(-behind * np.float32(falloff))
        total += light
    return total * np.float32(0.125)


@compiled
def _microfacets(nh, nv, nl, vh, roughness, reflectance):
    """GGX distribution, Smith shadowing (Schlick's k), Schlick's Fresnel. https://doi.org/10.2312/EGWR/EGSR07/195-206"""
    alpha = roughness * roughness
    a2, k = alpha * alpha, alpha / 2
    spread = nh * nh * (a2 - 1) + 1
    distribution = a2 / (_PI * spread * spread + 1e-9)
    shadowing = 1 / ((nv * (1 - k) + k) * (nl * (1 - k) + k) * 4 + 1e-6)
    miss = 1 - vh
    fresnel = reflectance + (1 - reflectance) * miss * miss * miss * miss * miss
    return distribution * shadowing * fresnel


@compiled
def _skin(lamp, look, colour, shine, p, normal, soft, irradiance, view, seed):
    """Wrapped diffuse light, reddest at the terminator; two lobes of highlight; a sheen at grazing angles."""
    light = lamp.direction
    lit = _lit(lamp, _add(p, normal, np.float32(0.006)), 0.003, lamp.blur, 400.0, seed)
    sharp, blurred = dot(normal, light), dot(soft, light)
    red = max(0.3 * sharp + 0.7 * blurred + _SKIN_WRAP[0], 0) / (1 + _SKIN_WRAP[0]) ** 2
    green = max(0.7 * sharp + 0.3 * blurred + _SKIN_WRAP[1], 0) / (1 + _SKIN_WRAP[1]) ** 2
    blue = max(sharp + _SKIN_WRAP[2], 0) / (1 + _SKIN_WRAP[2]) ** 2
    roughness, gloss = look.roughness * (1.15 - 0.3 * shine), look.gloss * (0.15 + 0.95 * shine)
    half = _unit(_add(light, view, 1))
    nv = dot(normal, view)
    mirrored = np.float32(0)
    if sharp > 0:
        nh, vh, bound = max(dot(normal, half), 0), max(dot(view, half), 0), max(nv, 0.05)
        broad = _microfacets(nh, bound, sharp, vh, roughness, 0.028)
        narrow = _microfacets(nh, bound, sharp, vh, 0.6 * roughness, 0.028)
        mirrored = gloss * (0.75 * broad + 0.25 * narrow) * sharp * lit * _PI
    graze = 1 - max(nv, 0)
    sheen = 0.9 * gloss * (0.02 + 0.14 * graze * graze * graze * graze * graze)
    key, e = lamp.colour, irradiance
    return (
        colour[0] * (e[0] + key[0] * red * lit**0.75) + mirrored * key[0] + sheen * e[0],
        colour[1] * (e[1] + key[1] * green * lit) + mirrored * key[1] + sheen * e[1],
        colour[2] * (e[2] + key[2] * blue * lit**1.1) + mirrored * key[2] + sheen * e[2],
    )


@compiled
def _eye(lamp, look, colour, p, normal, irradiance, view, seed):
    """An eyeball, lit as a sphere, under a cornea that mirrors the key light, a window and the sky."""
    lit = _lit(lamp, _add(p, normal, np.float32(0.004)), 0.003, lamp.blur, 400.0, seed)
    centre = look.eyes[1 if p[0] > 0 else 0]
    out = _unit((p[0] - centre[0], p[1] - centre[1], p[2] - centre[2]))
    diffuse = 0.72 * lit * max(0, (dot(out, lamp.direction) + 0.25) / 1.25)
    ray = _add((-view[0], -view[1], -view[2]), out, 2 * dot(out, view))
    sun = 0.55 * (0.25 + 0.75 * lit) / (1 + np.exp(-(dot(ray, lamp.direction) - 0.983) * 420))
    window = 0.16 / (1 + np.exp(-(dot(ray, lamp.window_direction) - 0.978) * 320))
    sky = 0.025 * max(0, 0.5 + 0.5 * ray[1])
    key, pane, e = lamp.colour, lamp.window_colour, irradiance
    return (
        colour[0] * (0.78 * e[0] + key[0] * diffuse) + sun * key[0] + window * pane[0] + sky * e[0],
        colour[1] * (0.78 * e[1] + key[1] * diffuse) + sun * key[1] + window * pane[1] + sky * e[1],
        colour[2] * (0.78 * e[2] + key[2] * diffuse) + sun * key[2] + window * pane[2] + sky * e[2],
    )


@compiled
def _matte(lamp, kind, look, colour, p, normal, irradiance, seed):
    """Cloth, teeth and brows."""
    lit = _lit(lamp, _add(p, normal, np.float32(0.004)), 0.003, lamp.blur, 400.0, seed)
    facing = dot(normal, lamp.direction)
    ambient, glow = 1.0, 0.0
    if kind == CLOTH:
        direct = max(0, facing) * lit
    elif kind == BROW:
        direct = (0.35 + 0.65 * abs(facing)) * lit
        colour = look.brows
    else:  # teeth: light comes through, and wet they shine a little
        direct, ambient, glow = 0.6 * max(0, (facing + 0.3) / 1.3) * lit, 0.8, 0.02
    key, e = lamp.colour, irradiance
    return (
        colour[0] * (ambient * e[0] + key[0] * direct) + glow * e[0],
        colour[1] * (ambient * e[1] + key[1] * direct) + glow * e[1],
        colour[2] * (ambient * e[2] + key[2] * direct) + glow * e[2],
    )


@compiled
def _on_triangle(surface, textures, lamp, look, t, u, v, seed):
    """Colour at (u, v) of triangle t."""
    w = 1 - u - v
    a, b, c = surface.triangles[t, 0], surface.triangles[t, 1], surface.triangles[t, 2]
    A, B, C = surface.attributes[a], surface.attributes[b], surface.attributes[c]
    p = (A[0] * u + B[0] * v + C[0] * w, A[1] * u + B[1] * v + C[1] * w, A[2] * u + B[2] * v + C[2] * w)
    n = (A[3] * u + B[3] * v + C[3] * w, A[4] * u + B[4] * v + C[4] * w, A[5] * u + B[5] * v + C[5] * w)
    e = (A[9] * u + B[9] * v + C[9] * w, A[10] * u + B[10] * v + C[10] * w, A[11] * u + B[11] * v + C[11] * w)
    normal, view = _unit(n), _unit(_add(look.viewer, p, -1))
    uv, which = surface.uv[t], surface.material[t]
    s, r = uv[0] * u + uv[2] * v + uv[4] * w, uv[1] * u + uv[3] * v + uv[5] * w
    colour = texture_colour(textures, which, s, r)
    kind = surface.kind[which]
    if kind == SKIN:
        q = (A[6] * u + B[6] * v + C[6] * w, A[7] * u + B[7] * v + C[7] * w, A[8] * u + B[8] * v + C[8] * w)
        shine = texture_alpha(textures, which, s, r)
        return _skin(lamp, look, colour, shine, p, normal, _unit(q), e, view, seed)
    if kind == EYE:
        return _eye(lamp, look, colour, p, normal, e, view, seed)
    return _matte(lamp, kind, look, colour, p, normal, e, seed)


@compiled
def _tangent(points, k, f):
    """Of a strand at f along its segment k: blended with the next segment's, so that highlights do not break."""
    a, b = points[k], points[k + 1]
    along = _unit((b[0] - a[0], b[1] - a[1], b[2] - a[2]))
    if k + 2 >= len(points):
        return along
    c = points[k + 2]
    following = _unit((c[0] - b[0], c[1] - b[1], c[2] - b[2]))
    return _unit(
        _add((along[0] * (1 - 0.5 * f), along[1] * (1 - 0.5 * f), along[2] * (1 - 0.5 * f)), following, 0.5 * f)
    )


@compiled
def _on_strand(hair, lamp, look, s, k, f, seed):
    """Kajiya-Kay diffuse light, Marschner's two highlights (https://doi.org/10.1145/882262.882345) without azimuth."""
    points = hair.points[s]
    a, b = points[k], points[k + 1]
    p = (a[0] + (b[0] - a[0]) * f, a[1] + (b[1] - a[1]) * f, a[2] + (b[2] - a[2]) * f)
    ea, eb = hair.irradiance[s, k], hair.irradiance[s, k + 1]
    e = (ea[0] + (eb[0] - ea[0]) * f, ea[1] + (eb[1] - ea[1]) * f, ea[2] + (eb[2] - ea[2]) * f)
    tangent = _tangent(points, k, f)
    view = _unit(_add(look.viewer, p, -1))
    along_light = min(max(dot(tangent, lamp.direction), -1), 1)
    along_view = min(max(dot(tangent, view), -1), 1)
    across = np.sqrt(max(0, 1 - along_light * along_light))
    lit = _lit(lamp, p, 0.004, 0.7 * lamp.blur, 90.0, seed)
    light_angle, view_angle = np.arcsin(along_light), np.arcsin(along_view)
    mean, cosine = 0.5 * (light_angle + view_angle), np.cos(0.5 * (light_angle - view_angle))
    chance = scramble(hair.label[s] * 2654435761 + 7)  # strands differ: where they shine, and how much
    tilt, strength = ((chance & 0xFFFF) / 65536 - 0.5) * 0.16, 0.7 + 0.6 * ((chance >> 16) / 65536)
    first = strength * np.exp(-0.5 * ((mean + 0.06 + tilt) / 0.065) ** 2)  # off the surface: the light's colour
    second = strength * np.exp(-0.5 * ((mean - 0.10 + tilt) / 0.17) ** 2)  # through the strand: its own colour
    sheen = look.sheen * (1.0 if s < hair.scalp else 0.5)
    shine = sheen * lit * across / (cosine * cosine + 0.1)
    key, colour = lamp.colour, hair.colour[s]
    glint, tinted, diffuse, sky = (
        0.042 * first * shine,
        0.34 * second * shine,
        0.75 * across * lit,
        0.0025 * sheen * strength,
    )
    return (
        colour[0] * (e[0] + key[0] * (diffuse + tinted)) + key[0] * glint + sky * e[0],
        colour[1] * (e[1] + key[1] * (diffuse + tinted)) + key[1] * glint + sky * e[1],
        colour[2] * (e[2] + key[2] * (diffuse + tinted)) + key[2] * glint + sky * e[2],
    )


@compiled
def _developed(x):
    """Linear light -> linear light in [0, 1): a film's shoulder, so that highlights do not clip at once."""
    x = max(x, 0) * 1.05
    return min(x * (1 + x / 4) / (1 + 0.62 * x), 1)


@compiled
def shade(samples, surface, textures, hair, lamp, look, factor, image, mask):
    """Colours all samples and averages them over pixels of `factor` x `factor`.

    Args:
      samples: `Samples` of [N factor, N factor].
      image, mask: [N, N, 3] and [N, N] float32, zeros on entry: sums of linear colours and coverage in [0, 1].
    """
    height, width = samples.depth.shape
    triangles, segments = len(surface.triangles), hair.points.shape[1] - 1
    share = np.float32(1.0 / (factor * factor))
    for y in range(height):
        for x in range(width):
            t = samples.primitive[y, x]
            if t < 0:
                continue
            seed = scramble(y * width + x)
            u, v = samples.place[y, x, 0], samples.place[y, x, 1]
            if t < triangles:
                colour = _on_triangle(surface, textures, lamp, look, t, u, v, seed)
            else:
                s, k = (t - triangles) // segments, (t - triangles) % segments
                colour = _on_strand(hair, lamp, look, s, k, u, seed)
            row, column = y // factor, x // factor
            mask[row, column] += share
            for channel in range(3):
                image[row, column, channel] += share * _developed(colour[channel])
