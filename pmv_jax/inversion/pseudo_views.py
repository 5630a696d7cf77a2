"""Stage 3: pseudo-views. What the input shows is warped, what it hides is the generator's (HFGI3D 3.2 and 3.3)."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig, PseudoViewConfig
from pmv_jax.inversion import fit_stage, outline, tuned_weights, view_fitting, visibility
from pmv_jax.inversion.stage import Draft
from pmv_jax.inversion.view_fitting import Views
from pmv_jax.models import frames
from pmv_jax.models.generator import Generator

_GOLDEN_ANGLE = math.pi * (3 - 5**0.5)
_EDGE = 0.05  # width by which what was observed grows over depth edges, in units of the image's size
_SAME_SURFACE = 0.02  # difference of depths up to which two generators show the same surface; a head is 0.45 wide


class PseudoViews(NamedTuple):
    """V auxiliary views of the input's head.

    Attributes:
      cameras: [V, 25].
      warp: [V, H, W, 3], the input as seen from there; meaningless where not visible.
      visibility: [V, H, W] in [0, 1], softened for blending.
      blend: [V, H, W, 3], warp where visible, generator elsewhere: the tuning targets.
      weight: [V, H, W], how much each pixel counts in the joint loss.
      distances: [1 + V, n, n], ray distances of the surface that the warp went by, in the input and in the views.
    """

    cameras: Array
    warp: Array
    visibility: Array
    blend: Array
    weight: Array
    distances: Array


def added(draft: Draft) -> Draft:
    """The same, with pseudo-views of the head as it was tuned so far."""
    tuned, untuned = _merged(draft.generator, draft.params), _merged(draft.generator, draft.untuned)
    ws = view_fitting.w_plus(draft.code, draft.generator)
    weights = np.ones(draft.image.shape[:2], np.float32) if draft.weights is None else draft.weights
    known = {"matte": None if draft.head_limit is None else draft.matte, "limit": draft.head_limit}
    made = make(tuned, untuned, ws, draft.image, weights, draft.camera, **known, config=draft.config.pseudo_views)
    return draft.replace(pseudo_views=made)


def targets(draft: Draft) -> Views:
    """What the joint tuning fits: the input, then the pseudo-views."""
    return _after_input(fit_stage.input_alone(draft), draft.pseudo_views)


@jax.jit
def _after_input(alone: Views, made: PseudoViews) -> Views:
    views = zip(alone[:3], (made.cameras, made.blend, made.weight), strict=True)
    return Views(*(jnp.concatenate([own[:1], ours]) for own, ours in views), made.distances, alone.outline)


@functools.partial(jax.jit, static_argnames=("config", "generator_config"), inline=True)
def view_cameras(camera: Array, config: PseudoViewConfig, generator_config: GeneratorConfig) -> Array:
    """Cameras around the frontal one, at the input's focal length.

    The released code's "ellipse" has yaw 0.35 sin and pitch 0.25 cos - 0.05 around the frontal view. A "disc" fills
    the ellipse evenly, by the golden angle, so that the views between are covered too.

    Args:
      camera: [25] of the input.
      config: how many, how far apart.
      generator_config: the pivot that they look at, and their distance from it.

    Returns:
      [V, 25].
    """
    index = jnp.arange(config.count)
    if config.pattern == "disc":
        radius, phase = jnp.sqrt((index + 0.5) / config.count), _GOLDEN_ANGLE * index
    else:
        radius, phase = 1.0, 2 * jnp.pi * index / config.count
    yaw = radius * config.yaw_range * jnp.sin(phase)
    pitch = radius * config.pitch_range * jnp.cos(phase) + config.pitch_offset
    views = cameras.look_at(yaw, pitch, pivot=generator_config.camera_pivot, radius=generator_config.camera_radius)
    return views.at[:, 16:].set(camera[16:])


def make(
    tuned: Generator,
    untuned: Generator,
    ws: Array,
    image: Array,
    weights: Array,
    camera: Array,
    matte: Array | None = None,
    limit: Array | None = None,
    *,
    config: PseudoViewConfig,
) -> PseudoViews:
    """Pseudo-views from the geometry of a tuned generator.

    They are rendered by the programs that render everything else, so that these are compiled once.

    What the image shows well is warped, the rest is the generator's: of the tuned one, as in the released code (`fill`
    "tuned"), or of both. With "both", what the image shows edge-on is the tuned generator's, and what it never shows is
    the untuned one's: tuning on one view has left its marks there, and nothing held it back. But only where both have
    the same surface, or the outline of one head would be drawn beside that of the other.

    Args:
      tuned: after stage 2.
      untuned: before it.
      ws: pivot [num_ws, w_dim].
      image: the input [H, W, 3] in [-1, 1].
      weights: [H, W] in [0, 1], how far each of its pixels is to be believed; what is not is not seen.
      camera: [25] of the input.
      matte: [H, W] in [0, 1], the share of each pixel that is head: no other view shows what the geometry has on the
        wrong side of its outline. None where that is not known.
      limit: [n, n], how far back the head may reach in the input, `outline.head_limit`; with a matte.
      config: which views, and how they are blended.
    """
    around = view_cameras(camera, config, tuned.config)
    everyone = np.concatenate([np.asarray(camera)[None], around])
    planes = tuned.planes(ws)
    rendered = frames.render(tuned, planes, ws, everyone)
    surface = _surface(tuned, planes, everyone, config.depth_detail) if config.depth_detail else None
    other = frames.render(untuned, untuned.planes(ws), ws, around) if config.fill == "both" else None
    return blended(image, weights, everyone, rendered, surface, other, matte, limit, config=config)


@functools.partial(jax.jit, static_argnames=("config",))
def blended(
    image: Array,
    weights: Array,
    everyone: Array,
    rendered: dict[str, Array],
    surface: Array | None,
    other: dict[str, Array] | None,
    matte: Array | None,
    limit: Array | None,
    *,
    config: PseudoViewConfig,
) -> PseudoViews:
    """Pseudo-views from what generators show of the head; other arguments as of `make`.

    Args:
      everyone: cameras [1 + V, 25], the input's and those of the views.
      rendered: what these see of the tuned generator's head, `Generator.render`'s image and ray_distance.
      surface: [1 + V, m, m], median z-depths of the same; None takes those of `rendered`.
      other: as `rendered`, of the untuned generator, in the views [V] alone; None for `fill` "tuned".
    """
    camera, around = everyone[0], everyone[1:]
    raw_z_depth = cameras.ray_distance_to_z_depth(rendered["ray_distance"], everyone)
    z_depth = raw_z_depth if surface is None else surface
    if matte is not None:
        weights = weights * outline.agreement(matte, z_depth[0], limit)
    limits = {"tolerance": config.depth_tolerance, "steepest": config.steepest}
    layers = jnp.concatenate([weights[..., None] * image, weights[..., None]], axis=-1)
    warped = jax.vmap(lambda z, c: visibility.warp(layers, z_depth[0], camera, z, c, **limits))(z_depth[1:], around)
    believed = warped.colour[..., 3]
    colour = warped.colour[..., :3] / jnp.maximum(believed, 1e-6)[..., None]  # what is not believed tints nothing
    warped = visibility.Warp(colour, believed * warped.visibility, believed * warped.observed)
    visible = jax.vmap(lambda mask: soften(mask, config.erode, config.blur))(warped.visibility)
    fill = rendered["image"][1:]
    if other is not None:
        other_z_depth = cameras.ray_distance_to_z_depth(other["ray_distance"], around)
        share = jax.vmap(_untouched)(warped.observed, raw_z_depth[1:], other_z_depth)[..., None]
        fill = share * other["image"] + (1 - share) * fill
    mask = visible[..., None]
    blend = mask * warped.colour + (1 - mask) * jnp.clip(fill, -1, 1)
    weight = visible + config.hidden_weight * (1 - visible)
    return PseudoViews(around, warped.colour, visible, blend, weight, rendered["ray_distance"])


def _surface(generator: Generator, planes: Array, cameras: np.ndarray, detail: int) -> np.ndarray:
    """Median z-depth of views [V, 25], finer than raw pictures by the factor `detail`, view by view."""
    size = detail * generator.config.rendering.neural_resolution
    return np.stack(jax.device_get([generator.z_depth(planes, camera, size) for camera in cameras]))


def soften(mask: Array, erode: float, blur: float) -> Array:
    """Erodes a mask and blurs its edge.

    Erosion keeps clear of depth edges, where the warp is least certain; outside of the image counts as visible. The
    blur lies inside: nothing hidden becomes visible by it.

    Args:
      mask: [H, W] in [0, 1].
      erode, blur: widths in units of the image's size, zero for none.

    Returns:
      [H, W], nowhere larger than `mask`.
    """
    size = mask.shape[0]
    mask = -_dilate(-mask, erode)
    sigma = blur * size / 6
    if sigma > 0.2:
        reach = max(1, round(3 * sigma))
        kernel = jnp.exp(-0.5 * jnp.square(jnp.arange(-reach, reach + 1) / sigma))
        kernel = kernel / kernel.sum()
        padded = jnp.pad(mask, reach, mode="edge")
        blurred = jax.vmap(lambda row: jnp.convolve(row, kernel, "valid"))(padded)
        blurred = jax.vmap(lambda column: jnp.convolve(column, kernel, "valid"), in_axes=1, out_axes=1)(blurred)
        mask = jnp.minimum(mask, blurred)
    return mask


def _untouched(observed: Array, z_depth: Array, other_z_depth: Array) -> Array:
    """Share of the other generator in what is hidden [H, W]: where nothing was observed [H, W], and the surfaces are
    the same, by their depths [h, w]."""
    same = jnp.clip(1.5 - jnp.abs(z_depth - other_z_depth) / _SAME_SURFACE, 0.0, 1.0)
    same = jax.image.resize(-_dilate(-same, _EDGE / 2), observed.shape, "bilinear")
    return same * (1 - _dilate(observed, _EDGE))


def _dilate(mask: Array, width: float) -> Array:
    """Largest value of [H, W] in a square window of the given width, in units of the image's size."""
    radius = round(width * mask.shape[0] / 2)
    return jax.lax.reduce_window(mask, -jnp.inf, jax.lax.max, (2 * radius + 1,) * 2, (1, 1), "SAME")


_merged = jax.jit(tuned_weights.merged)
