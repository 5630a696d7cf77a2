"""Stage 3: pseudo-views. What an input shows is warped, what all hide is the generator's (HFGI3D 3.2 and 3.3).

Of several photographs, which the paper has not, each pixel shows the one that sees its point from the most similar
direction, as in view-dependent texture mapping (P. Debevec, Y. Yu, G. Borshukov, EGSR 1998).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig, PseudoViewConfig
from pmv_jax.inversion import backdrop, completion, fit_stage, masks, outline, tuned_weights, view_fitting, visibility
from pmv_jax.inversion.stage import Draft, Photograph
from pmv_jax.inversion.view_fitting import Views
from pmv_jax.inversion.visibility import Warp
from pmv_jax.models import frames
from pmv_jax.models.completer import Completion
from pmv_jax.models.generator import Generator
from pmv_jax.traces import kept

_GOLDEN_ANGLE = math.pi * (3 - 5**0.5)
_EDGE = 0.05  # width by which what was observed grows over depth edges, in units of the image's size
_ASYMMETRY = 2.0  # times as far apart may surfaces be where one is the mirror image: no face is symmetric
_SAME_SURFACE = 0.02  # difference of depths up to which two generators show the same surface; a head is 0.45 wide
_RIM = 0.04  # width around the head that no backdrop fills, in units of the image's size: hair reaches further
_UNSEEN = 1e-6  # visibility below which nobody sees a point
_BLEND_ANGLE = 0.1  # radians: photographs whose directions differ from a pseudo-view's by as much are blended


class PseudoViews(NamedTuple):
    """V auxiliary views of the inputs' head.

    Attributes:
      cameras: [V, 25].
      warp: [V, H, W, 3], the inputs as seen from there; meaningless where not visible.
      visibility: [V, H, W] in [0, 1], softened for blending.
      blend: [V, H, W, 3], warp where visible, generator elsewhere: the tuning targets.
      weight: [V, H, W], how much each pixel counts in the joint loss.
      distances: [N + V, n, n], ray distances of the tuned generator's surface, in the N inputs and in the views.
      told: what a completer tells of the views; None where there is none, or no backdrop.
      limits: [V, n, n], how far back heads may reach in the views; None where there is no backdrop.
    """

    cameras: Array
    warp: Array
    visibility: Array
    blend: Array
    weight: Array
    distances: Array
    told: Completion | None = None
    limits: Array | None = None


def added(draft: Draft) -> Draft:
    """The same, with pseudo-views of the head as it was tuned so far."""
    tuned, untuned = _merged(draft.generator, draft.params), _merged(draft.generator, draft.untuned)
    ws = view_fitting.w_plus(draft.code, draft.generator)
    around = view_cameras(draft.photographs[0].camera, draft.config.pseudo_views, draft.generator.config)
    photographs, told = draft.photographs, completion.of_views(draft, around)
    if told is not None:
        photographs, told = completion.agreed(photographs, told, around, draft.generator.config)
    made = make(tuned, untuned, ws, photographs, told, config=draft.config.pseudo_views)
    return draft.replace(photographs=photographs, pseudo_views=made)


def targets(draft: Draft) -> Views:
    """What the joint tuning fits: the photographs, then the pseudo-views, held to what a completer tells of them."""
    made = draft.pseudo_views
    views = _after_inputs(fit_stage.inputs_alone(draft), made, inputs=len(draft.photographs))
    if made.told is None or views.outline is None or views.surface is None:
        return views
    return completion.held(views, made.told, made.cameras, made.limits, config=draft.generator.config)


@functools.partial(jax.jit, static_argnames="inputs")
def _after_inputs(alone: Views, made: PseudoViews, *, inputs: int) -> Views:
    ours = {"cameras": made.cameras, "images": made.blend, "weights": made.weight}
    joined = {name: jnp.concatenate([getattr(alone, name)[:inputs], views]) for name, views in ours.items()}
    return alone._replace(distances=made.distances, **joined)


@functools.partial(jax.jit, static_argnames=("config", "generator_config"), inline=True)
def view_cameras(camera: Array, config: PseudoViewConfig, generator_config: GeneratorConfig) -> Array:
    """Cameras around the frontal one, at an input's focal length.

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
    photographs: tuple[Photograph, ...],
    told: Completion | None = None,
    *,
    config: PseudoViewConfig,
) -> PseudoViews:
    """Pseudo-views from the geometry of a tuned generator.

    They are rendered by the programs that render everything else, so that these are compiled once.

    What an input shows well is warped, the rest is the generator's: of the tuned one, as in the released code (`fill`
    "tuned"), or of both. With "both", what is seen edge-on is the tuned generator's, and what is never seen is the
    untuned one's: tuning on one view has left its marks there, and nothing held it back. But only where both have the
    same surface, or the outline of one head would be drawn beside that of the other. With "mirror", the inputs come
    before both. Their mirror images do on the head: the other half of a face tells more of a hidden one than any
    generator (facial symmetry as a prior: Yin et al., "3D GAN Inversion with Facial Symmetry Prior", CVPR 2023). Beside
    it the first one's backdrop does, where the generator has one: it goes on behind the head. With "completed" a
    completer says where the head ends and the backdrop begins, and what colour it has where no mirror image is likely;
    without one it is "mirror".

    Args:
      tuned: after stage 2.
      untuned: before it.
      ws: pivot [num_ws, w_dim].
      photographs: the N inputs, with camera and weights: what is not to be believed is not seen. Of those with a
        matte no other view shows what the geometry has on the wrong side of the matte's outline.
      told: by a completer, of these very views; None without.
      config: which views, and how they are blended.
    """
    around = view_cameras(photographs[0].camera, config, tuned.config)
    everyone = np.concatenate([*(np.asarray(photograph.camera)[None] for photograph in photographs), around])
    planes = tuned.planes(ws)
    rendered = frames.render(tuned, planes, ws, everyone)
    surface = _surface(tuned, planes, everyone, config.depth_detail) if config.depth_detail else None
    backed = config.fill in outline.OF_THE_INPUT and photographs[0].head_limit is not None
    limits = outline.head_limits(untuned, around) if backed else None
    told = None if limits is None else told
    if surface is not None and told is not None:
        surface = completion.corrected(surface, photographs, told, everyone, limits, config=tuned.config)
    asked = config.fill != "tuned" and told is None  # the untuned generator: a completer leaves nothing to it
    other = frames.render(untuned, untuned.planes(ws), ws, around) if asked else None
    # Without what has no part in it, which would make it another program.
    seen = tuple(photograph.replace(guess=None, glance=None, estimate=None, pose=None) for photograph in photographs)
    return blended(seen, everyone, rendered, surface, other, limits, told, config=config)


@kept(static_argnames=("config",))
def blended(
    photographs: tuple[Photograph, ...],
    everyone: Array,
    rendered: dict[str, Array],
    surface: Array | None,
    other: dict[str, Array] | None,
    limits: Array | None = None,
    told: Completion | None = None,
    *,
    config: PseudoViewConfig,
) -> PseudoViews:
    """Pseudo-views from what generators show of the head; other arguments as of `make`.

    Args:
      everyone: cameras [N + V, 25], the inputs' and those of the views.
      rendered: what these see of the tuned generator's head, `Generator.render`'s image and ray_distance.
      surface: [N + V, m, m], median z-depths of the same; None takes those of `rendered`.
      other: as `rendered`, of the untuned generator, in the views [V] alone; None where nothing is left to it.
      limits: [V, n, n], `outline.head_limits` of the views, for a first photograph that has its own; None fills nothing
        with its backdrop.
      told: of the views; it fills nothing without `limits`.
    """
    inputs = len(photographs)
    around = everyone[inputs:]
    raw_z_depth = cameras.ray_distance_to_z_depth(rendered["ray_distance"], everyone)
    z_depth = raw_z_depth if surface is None else surface
    views = z_depth[inputs:], around
    softened = jax.vmap(functools.partial(masks.soften, erode=config.erode, blur=config.blur))
    warped = _seen(photographs, z_depth[:inputs], *views, config)
    visible = softened(warped.visibility)
    fill, mirror = rendered["image"][inputs:], jnp.zeros_like(visible)
    if other is not None:
        other_z_depth = cameras.ray_distance_to_z_depth(other["ray_distance"], around)
        share = jax.vmap(_untouched)(warped.observed, raw_z_depth[inputs:], other_z_depth)[..., None]
        fill = share * other["image"] + (1 - share) * fill
    if config.fill in outline.OF_THE_INPUT:
        others = tuple(map(_mirrored, photographs, z_depth[:inputs]))
        tolerant = dataclasses.replace(config, depth_tolerance=min(1.0, _ASYMMETRY * config.depth_tolerance))
        reflected = _seen(others, z_depth[:inputs, :, ::-1], *views, tolerant)
        mirror = softened(reflected.visibility)
        share = mirror[..., None]
        fill = share * reflected.colour + (1 - share) * fill
        if limits is not None:
            behind, beside = _backdrop(photographs[0], z_depth[0], *views, limits)
            if told is None:
                beside = jax.vmap(functools.partial(masks.soften, erode=_RIM, blur=config.blur))(beside)
                mirror = (1 - beside) * mirror
                fill = beside[..., None] * behind + (1 - beside[..., None]) * fill
            else:
                fill, mirror = completion.filled(told, reflected.colour, share, behind)
                fill = completion.lit(fill, warped.colour, visible, told.matte)
    mask = visible[..., None]
    blend = mask * warped.colour + (1 - mask) * jnp.clip(fill, -1, 1)
    made_up = mirror * config.mirror_weight + (1 - mirror) * config.hidden_weight
    weight = visible + made_up * (1 - visible)
    return PseudoViews(around, warped.colour, visible, blend, weight, rendered["ray_distance"], told, limits)


def _seen(
    photographs: Sequence[Photograph], own: Array, z_depth: Array, around: Array, config: PseudoViewConfig
) -> Warp:
    """What N photographs of z-depths [N, h, w] show of views of z-depths [V, h, w], with a leading axis V."""
    each = zip(photographs, own, strict=True)
    warps = [_warped(photograph, depth, z_depth, around, config) for photograph, depth in each]
    if len(warps) == 1:
        return warps[0]
    return _nearest(warps, jnp.stack([photograph.camera for photograph in photographs]), z_depth, around)


def _mirrored(photograph: Photograph, z_depth: Array) -> Photograph:
    """A photograph, of z-depth [h, w], of the mirrored head and nothing else: what stands beside a head has no mirror
    image on its other side."""
    weights, limit = photograph.weights, photograph.head_limit
    if limit is not None:
        weights = weights * outline.head(z_depth, limit, len(weights))
    left = {"image": photograph.image, "weights": weights, "matte": photograph.matte, "head_limit": limit}
    right = {name: None if x is None else x[:, ::-1] for name, x in left.items()}
    return photograph.replace(camera=cameras.mirrored(photograph.camera), **right)


def _backdrop(photograph: Photograph, own: Array, z_depth: Array, around: Array, limits: Array) -> tuple[Array, Array]:
    """The backdrop of a photograph of z-depth [h, w], continued to where it shows none, as views of z-depths [V, h, w]
    have it behind the head [V, H, W, 3]; and where they see it [V, H, W], nowhere if the photograph does not."""
    size = len(photograph.weights)
    head = outline.head(own, photograph.head_limit, size)
    if photograph.matte is not None:
        head = jnp.maximum(head, photograph.matte > 0.5)
    known = photograph.weights * (1 - masks.dilate(head, _EDGE))
    own_wall, walls = photograph.head_limit + outline.CLEARANCE, limits + outline.CLEARANCE
    behind = backdrop.continued(photograph.image, known, photograph.camera, own_wall)
    colour = jax.vmap(functools.partial(backdrop.seen_from, behind))(walls, around)
    seen = 1 - jax.vmap(functools.partial(outline.head, size=size))(z_depth, limits)
    return colour, seen * jnp.any(known > 0)


def _warped(photograph: Photograph, own: Array, z_depth: Array, around: Array, config: PseudoViewConfig) -> Warp:
    """A photograph of the z-depth `own` [h, w] as views of z-depths [V, h, w] find it, with a leading axis V."""
    weights, limits = photograph.weights, {"tolerance": config.depth_tolerance, "steepest": config.steepest}
    if photograph.matte is not None and photograph.head_limit is not None:
        weights = weights * outline.agreement(photograph.matte, own, photograph.head_limit)
    layers = jnp.concatenate([weights[..., None] * photograph.image, weights[..., None]], axis=-1)
    warp = jax.vmap(lambda z, c: visibility.warp(layers, own, photograph.camera, z, c, **limits))(z_depth, around)
    believed = warp.colour[..., 3]
    colour = warp.colour[..., :3] / jnp.maximum(believed, 1e-6)[..., None]  # what is not believed tints nothing
    return Warp(colour, believed * warp.visibility, believed * warp.observed)


def _nearest(warps: Sequence[Warp], inputs: Array, z_depth: Array, around: Array) -> Warp:
    """Of each pixel the photograph that sees its point, and from the most similar direction; of those that see it as
    well from about as similar ones the mean, so that there is no seam. What is seen half as well as by another, or
    less, has no part: hidden points are never shown, however similar the direction.

    Args:
      warps: of the N photographs, with a leading axis V.
      inputs: [N, 25], their cameras.
      z_depth: [V, h, w] of the pseudo-views.
      around: [V, 25], their cameras.
    """
    size = warps[0].visibility.shape[-1]
    angles = jax.vmap(lambda z, c: angles_between(visibility.resized(z, size), c, inputs))(z_depth, around)
    colours, visible, observed = (jnp.stack(parts) for parts in zip(*warps, strict=True))
    best = visible.max(0)
    gate = jnp.clip(2 * (visible + _UNSEEN) / (best + _UNSEEN) - 1, 0, 1)
    likeness = -jnp.square(jnp.moveaxis(angles, 1, 0) / _BLEND_ANGLE) / 2
    share = jax.nn.softmax(likeness + jnp.log(gate), axis=0)
    return Warp(jnp.sum(share[..., None] * colours, axis=0), best, observed.max(0))


def angles_between(z_depth: Array, camera: Array, others: Array) -> Array:
    """Angles between the lines of sight of a camera and of others.

    Args:
      z_depth: [H, W] of the camera's view.
      camera: [25].
      others: [N, 25].

    Returns:
      [N, H, W], radians, at the point that each pixel of the view shows.
    """
    own, *places = (cameras.split(x)[0][:3, 3] for x in (camera, *others))
    points = visibility.points(z_depth, camera)
    sight = points - own

    def angle(place: Array) -> Array:
        line = points - place
        return jnp.arctan2(jnp.linalg.norm(jnp.cross(sight, line), axis=-1), jnp.sum(sight * line, axis=-1))

    return jnp.stack([angle(place) for place in places])


def _surface(generator: Generator, planes: Array, cameras: np.ndarray, detail: int) -> np.ndarray:
    """Median z-depth of views [V, 25], finer than raw pictures by the factor `detail`, view by view."""
    size = detail * generator.config.rendering.neural_resolution
    return np.stack(jax.device_get([generator.z_depth(planes, camera, size) for camera in cameras]))


def _untouched(observed: Array, z_depth: Array, other_z_depth: Array) -> Array:
    """Share of the other generator in what is hidden [H, W]: where nothing was observed [H, W], and the surfaces are
    the same, by their depths [h, w]."""
    same = jnp.clip(1.5 - jnp.abs(z_depth - other_z_depth) / _SAME_SURFACE, 0.0, 1.0)
    same = jax.image.resize(-masks.dilate(-same, _EDGE / 2), observed.shape, "bilinear")
    return same * (1 - masks.dilate(observed, _EDGE))


_merged = jax.jit(tuned_weights.merged)
