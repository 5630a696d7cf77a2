"""What a photograph hides, by a completer: outline, surface and colour of pseudo-views before there is a head.

The surface that the encoder sees in a photograph is carried into each view point by point, and so is its mirror image
in the plane of symmetry. `models.completer` makes a whole of both. So what pseudo-views show beside the warp is held by
heads that were seen from all sides, in place of a generator which may know no such hair.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig
from pmv_jax.inversion import fusion, masks, outline, surface, visibility
from pmv_jax.inversion.stage import Draft, Photograph
from pmv_jax.inversion.view_fitting import Views
from pmv_jax.models.completer import DEPTH_UNIT, Completer, Completion
from pmv_jax.traces import kept

_SAME_SURFACE = 0.03  # depth up to which points that fall into a pixel are of one surface, in units of the world
_SPREAD = 0.56  # width of the Gaussian that carries light and tone beyond a seam, in units of the image's size
_SAME_THING = 0.4  # colours that differ by as much, root mean square, are hardly of the same thing in other light
_FEW = 0.02  # share of a neighbourhood from which on it tells anything of that
_LIKENESS = 0.25  # standard deviation of a mirror image's colour from the right one, where the completer has no doubt


def of_views(draft: Draft, around: Array) -> Completion | None:
    """What the completer tells of views [V, 25]: of several photographs by the one from the most similar direction.

    Returns:
      None without a completer, a photograph with a matte, or a recipe that wants it (`pseudo_views.fill`).
    """
    known = [x for x in draft.photographs if x.has_surface]
    if draft.encoder is None or draft.encoder.completer is None or not known:
        return None
    if draft.config.pseudo_views.fill != "completed":
        return None
    told = [told_by(draft.encoder.completer, x, around, config=draft.generator.config) for x in known]
    return told[0] if len(told) == 1 else _nearest(told, jnp.stack([x.camera for x in known]), around)


@kept(static_argnames=("config",))
def told_by(completer: Completer, photograph: Photograph, around: Array, *, config: GeneratorConfig) -> Completion:
    """What a completer tells of other views.

    Args:
      completer: the generator's.
      photograph: with a glance, a matte and a camera.
      around: cameras of the views [V, 25].
      config: of the generator.
    """
    glance = photograph.glance
    side = len(glance.relief)
    matte = photograph.matte * photograph.weights
    image, matte = (
        jax.image.resize(x, (side, side, *x.shape[2:]), "linear", antialias=True) for x in (photograph.image, matte)
    )
    layers = image, matte, glance.relief, glance.relief_width
    return completer(seen_from(around, *layers, photograph.camera, config, completer.config.resolution))


@jax.jit
def _nearest(told: list[Completion], inputs: Array, around: Array) -> Completion:
    places, views = (cameras.split(x)[0][:, :3, 2] for x in (inputs, around))  # directions of sight
    best = jnp.argmax(views @ places.T, axis=1)
    return jax.tree.map(lambda *x: jnp.stack(x)[best, jnp.arange(len(best))], *told)


def agreed(
    photographs: tuple[Photograph, ...], told: Completion, around: Array, config: GeneratorConfig
) -> tuple[tuple[Photograph, ...], Completion]:
    """Photographs, and what a completer tells of views, on one surface (`fusion`).

    Args:
      photographs: the reliefs of those with a glance and a matte move.
      told: of the views.
      around: their cameras [V, 25].
      config: of the generator.

    Returns:
      The photographs, and what is told, whose maps have the resolution of a glance then.
    """
    seen = tuple(map(surface.told, photographs))
    reliefs, told = _on_one_surface(tuple(filter(None, seen)), told, around, config=config)
    moved = iter(reliefs)
    photographs = tuple(
        own if maps is None else own.replace(glance=own.glance._replace(relief=next(moved)))
        for own, maps in zip(photographs, seen, strict=True)
    )
    return photographs, told


@kept(static_argnames=("config",))
def _on_one_surface(
    seen: tuple[tuple[Array, ...], ...], told: Completion, around: Array, *, config: GeneratorConfig
) -> tuple[Array, Completion]:
    """What `agreed` computes, of N photographs as of `surface.told`: their reliefs [N, n, n], and what is told."""
    side, inputs = len(seen[0][0]), len(seen)
    told = jax.tree.map(lambda x: jax.image.resize(x, (len(x), side, side, *x.shape[3:]), "linear"), told)
    relief, width, matte, views = (jnp.stack(x) for x in zip(*seen, strict=True))
    matte = jax.image.resize(matte, relief.shape, "linear", antialias=True)
    relief, width, matte, views = (
        jnp.concatenate(x)
        for x in ((relief, told.relief), (width, told.relief_width), (matte, told.matte), (views, around))
    )
    _, pivot = jax.vmap(cameras.project, (0, None))(views, jnp.asarray(config.camera_pivot)[None])
    relief = fusion.fused(pivot[..., None] + relief, width, matte, views) - pivot[..., None]
    return relief[:inputs], told._replace(relief=relief[inputs:])


def seen_from(
    around: Array,
    image: Array,
    matte: Array,
    relief: Array,
    width: Array,
    camera: Array,
    config: GeneratorConfig,
    size: int,
) -> Array:
    """A photograph's surface as other views find it, what a completer is given.

    Args:
      around: cameras of the views [V, 25].
      image: [h, h, 3] in [-1, 1], the photograph.
      matte: [h, h] in [0, 1]; what is less than half the head's is not carried.
      relief, width: [h, h], see `models.encoder.Glance`.
      camera: [25] of the photograph.
      config: of the generator: the pivot.
      size: of the views, pixels a side.

    Returns:
      [V, size, size, SEEN_CHANNELS], float32: of the photograph, then of its mirror image, whether a pixel was hit in
      {0, 1}, and the relief, the colour and the relief's width there (0 elsewhere; lengths in DEPTH_UNIT); everywhere
      by how many radians the view is turned from the photograph, and from the front.
    """
    pivot = jnp.asarray(config.camera_pivot)
    depth = surface.z_depth(relief, camera, config)
    layers = jnp.concatenate([image, width[..., None] / DEPTH_UNIT], axis=-1)
    upright = visibility.points(depth, camera), layers, matte
    flipped = tuple(x[:, ::-1] for x in (depth, layers, matte))
    mirrored = visibility.points(flipped[0], cameras.mirrored(camera)), *flipped[1:]
    own_yaw, _ = cameras.yaw_pitch(camera)

    def view(other: Array) -> Array:
        yaw, _ = cameras.yaw_pitch(other)
        turn = jnp.stack([yaw - own_yaw, yaw])
        hit = [_scattered(*side, other, pivot, size) for side in (upright, mirrored)]
        return jnp.concatenate([*hit, jnp.broadcast_to(turn, (size, size, 2))], axis=-1)

    return jax.vmap(view)(around)


def _scattered(points: Array, layers: Array, matte: Array, view: Array, pivot: Array, size: int) -> Array:
    """Points [h, h, 3] with `layers` [h, h, C] in the pixels of a view: hit, relief, layers, [size, size, 2 + C]; of
    those that fall into one pixel the mean over the foremost surface."""
    place, depth = cameras.project(view, points.reshape(-1, 3))
    _, middle = cameras.project(view, pivot[None])
    column, row = jnp.floor(size * place).astype(jnp.int32).T
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    pixel = jnp.where(inside & (matte.reshape(-1) > 0.5), row * size + column, size * size)  # out of bounds: dropped
    nearest = jnp.full(size * size, jnp.inf).at[pixel].min(depth, mode="drop")
    foremost = depth < nearest.at[pixel].get(mode="fill", fill_value=-jnp.inf) + _SAME_SURFACE
    relief = (depth - middle) / DEPTH_UNIT
    values = jnp.concatenate([jnp.ones_like(depth)[:, None], relief[:, None], layers.reshape(len(depth), -1)], axis=-1)
    total = jnp.zeros((size * size, values.shape[-1])).at[pixel].add(foremost[:, None] * values, mode="drop")
    count = total[:, :1]
    return jnp.concatenate([count > 0, total[:, 1:] / jnp.maximum(count, 1)], axis=-1).reshape(size, size, -1)


@kept(static_argnames=("config",))
def corrected(
    z_depth: Array,
    photographs: tuple[Photograph, ...],
    told: Completion,
    everyone: Array,
    limits: Array,
    *,
    config: GeneratorConfig,
) -> Array:
    """The depths that a warp goes by: those of the generator's head, but where encoder and completer are sure of
    others. So no hair is carried that hangs where they say is backdrop, and none is missing.

    Args:
      z_depth: [N + V, m, m] of the head as it was tuned so far, in N photographs and V views.
      photographs: N of them; one without glance, matte and backdrop keeps its own.
      told: of the views.
      everyone: cameras [N + V, 25].
      limits: [V, n, n], `outline.head_limits` of the views.
      config: of the generator.

    Returns:
      [N + V, m, m].
    """

    def one(own: Array, relief: Array, width: Array, matte: Array, limit: Array, camera: Array) -> Array:
        relief, width, matte, limit = (jax.image.resize(x, own.shape, "linear") for x in (relief, width, matte, limit))
        is_head = matte > 0.5
        sure = jnp.where(is_head, matte * surface.belief(width), 1 - matte)
        there = jnp.where(is_head, surface.z_depth(relief, camera, config), limit + outline.CLEARANCE)
        return jnp.where(sure > 0.5, there, own)

    count = len(photographs)
    inputs = list(z_depth[:count])
    for i, each in enumerate(photographs):
        if each.has_surface and each.head_limit is not None:
            maps = each.glance.relief, each.glance.relief_width, each.matte * each.weights, each.head_limit
            inputs[i] = one(inputs[i], *maps, everyone[i])
    maps = told.relief, told.relief_width, told.matte, limits
    return jnp.concatenate([jnp.stack(inputs), jax.vmap(one)(z_depth[count:], *maps, everyone[count:])])


@kept(static_argnames=("config",))
def held(views: Views, told: Completion, around: Array, limits: Array, *, config: GeneratorConfig) -> Views:
    """Views of which the last V are held to the outline and the surface that a completer tells of them.

    Args:
      views: with an outline and a surface.
      told: of the V pseudo-views.
      around: [V, 25], their cameras.
      limits: [V, n, n], `outline.head_limits` of these.
      config: of the generator.
    """
    sides = jax.vmap(functools.partial(surface.placed, config=config))(
        told.relief, told.relief_width, told.matte, around
    )
    sure = jnp.square(2 * told.matte - 1)
    lines = jax.vmap(outline.drawn)(told.matte, sure, limits, around)

    def put(old: Array, new: Array) -> Array:
        return old.at[-len(around) :].set(new)

    return views._replace(
        surface=jax.tree.map(put, views.surface, sides), outline=jax.tree.map(put, views.outline, lines)
    )


def filled(told: Completion, mirror: Array, share: Array, behind: Array) -> tuple[Array, Array]:
    """What is hidden: the head as the completer has it, before the backdrop; and in place of its colours those of the
    mirror image, which are sharp, as far as they are likely to be the right ones.

    Args:
      told: of V views.
      mirror: [V, H, W, 3], what the photograph's mirror image shows.
      share: [V, H, W, 1] in [0, 1], where it does.
      behind: [V, H, W, 3], the backdrop.

    Returns:
      [V, H, W, 3], and the share of the mirror image in it [V, H, W].
    """

    coarse, size = told.matte.shape[-1], mirror.shape[1]
    seen, _ = _means(mirror, share, coarse)
    off = jnp.mean(jnp.square(seen - told.colour), axis=-1)
    likely = jnp.exp(-0.5 * off / jnp.square(told.colour_width + _LIKENESS))
    share = share * _resized((likely * told.matte)[..., None], size)
    head = share * mirror + (1 - share) * _resized(told.colour, size)
    matte = _resized(told.matte[..., None], size)
    return matte * head + (1 - matte) * behind, (matte * share)[..., 0]


def lit(fill: Array, warp: Array, visible: Array, matte: Array) -> Array:
    """What is filled in, in the light of what is seen: moved by how far both differ where both are known, evenly, so
    that no seam is left between the halves of a face.

    A normalised convolution of the differences (H. Knutsson and C.-F. Westin, CVPR 1993), in place of the membrane of
    Poisson image editing (P. Perez et al., SIGGRAPH 2003), which would carry what single pixels at the seam have.

    Args:
      fill: [V, H, W, 3], what is filled in; it is defined everywhere.
      warp: [V, H, W, 3], what is seen.
      visible: [V, H, W] in [0, 1], where.
      matte: [V, n, n] in [0, 1], of the head: nothing else is moved, and nothing else tells by how much.

    Returns:
      [V, H, W, 3].
    """
    both = (visible > 0.5).astype(fill.dtype)[..., None]
    off, share = _means(warp - fill, both, matte.shape[-1])
    alike = jnp.exp(-0.5 * jnp.mean(jnp.square(off / _SAME_THING), axis=-1))
    weight = jnp.where(matte > 0.9, share[..., 0] * alike, 0)[..., None]
    layers = jnp.concatenate([weight * off, weight], axis=-1)
    spread = jax.vmap(jax.vmap(lambda x: masks.blurred(x, _SPREAD), -1, -1))(layers)
    moved = matte[..., None] * spread[..., :3] / (spread[..., 3:] + _FEW)
    return fill + _resized(moved, fill.shape[1])


def _means(values: Array, share: Array, side: int) -> tuple[Array, Array]:
    """Means of [V, H, W, C] over larger pixels [V, side, side, C], of what has a share [V, H, W, 1]; and that share of
    each."""
    total = _resized(share, side)
    return _resized(share * values, side) / jnp.maximum(total, 1e-3), total


def _resized(x: Array, side: int) -> Array:
    """[V, h, w, C] as [V, side, side, C]; smaller ones are of means."""
    return jax.image.resize(x, (len(x), side, side, x.shape[-1]), "linear", antialias=True)
