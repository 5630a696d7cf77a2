"""Head and backdrop of a photograph, where a matte tells them apart: what the losses and the warp make of it.

Generators of heads have a backdrop, which they paint a photograph's background on. A rendered pixel is the head's where
its ray ends clearly before that. The untuned generator's average head says where the backdrop stands, since tuning may
have glued hair onto the backdrop of any other; behind the head it is taken to go on smoothly.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator as Coroutine

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras
from pmv_jax.inversion import latent
from pmv_jax.inversion.losses import Outline
from pmv_jax.inversion.stage import Draft, EachPhotograph, Photograph, StageRequest, Tree
from pmv_jax.meshes.backdrop import backdrop_depth
from pmv_jax.models.generator import Generator

CLEARANCE = 0.1  # of a head before the backdrop, world units; ears are 0.25 before that of the demo generator
OF_THE_INPUT = "mirror", "completed"
"""Values of `pseudo_views.fill` by which the input fills in what it hides, behind which stands its backdrop."""
_EDGE = 0.02  # width around the outline in which no pixel is believed, in units of the image's size


@dataclasses.dataclass(frozen=True)
class FindBackdrop(EachPhotograph):
    """Where the backdrop begins, for mattes and mirror images: a row of the method, in no steps."""

    name: str = "backdrop"

    def look(self, name: str, draft: Draft, photograph: Photograph) -> Coroutine[StageRequest, Tree, Photograph]:
        """See `EachPhotograph.look`."""
        recipe = draft.config
        if photograph.matte is None and not (recipe.joint.steps and recipe.pseudo_views.fill in OF_THE_INPUT):
            return photograph
        # Of all that says where the surface is, this is compiled anyway.
        limits = head_limits(draft.generator, photograph.camera[None])
        return photograph if limits is None else photograph.replace(head_limit=jnp.asarray(limits[0]))
        yield  # a coroutine, like all stages


def head_limits(generator: Generator, views: Array) -> np.ndarray | None:
    """How far back heads may reach in views [V, 25]: `head_limit` of the average head in each, [V, n, n]; None if there
    is a view without a backdrop."""
    seen = latent.average_head(generator, views)
    limits = list(map(head_limit, np.asarray(cameras.ray_distance_to_z_depth(seen["ray_distance"], views))))
    return None if any(limit is None for limit in limits) else np.stack(limits)


def head_limit(z_depth: np.ndarray) -> np.ndarray | None:
    """How far back a view's head may reach, all over the view.

    Args:
      z_depth: [n, n] of the view.

    Returns:
      z-depths [n, n]: the backdrop's, less a clearance, by a parabolic surface through what is seen of it; None if
      there is no backdrop.
    """
    seen = z_depth > backdrop_depth(z_depth)
    if np.count_nonzero(seen) < 16:
        return None
    y, x = np.mgrid[-1 : 1 : 1j * len(z_depth), -1 : 1 : 1j * len(z_depth)]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    surface = terms @ np.linalg.lstsq(terms[seen], z_depth[seen], rcond=None)[0]
    return np.float32(np.clip(surface, z_depth[seen].min(), z_depth[seen].max()) - CLEARANCE)


def of_inputs(draft: Draft, room: int) -> Outline | None:
    """What the inputs' renderings are held to, with room for pseudo-views, which have no outline: of weight 0.

    Returns:
      Arrays [N + room, n, n]; None without a matte and a backdrop, or a weight for it in the recipe.
    """
    known = tuple(
        None if one.matte is None or one.head_limit is None else (one.matte, one.weights, one.head_limit, one.camera)
        for one in draft.photographs
    )
    if not any(known) or not draft.config.loss.outline_weight:
        return None
    return _padded(known, side=draft.generator.config.rendering.neural_resolution, room=room)


@functools.partial(jax.jit, static_argnames=("side", "room"))
def _padded(known: tuple[tuple[Array, ...] | None, ...], *, side: int, room: int) -> Outline:
    """Outlines by matte, weights, head limit [side, side] and camera, of weight 0 where these are None."""
    nothing = jnp.zeros((side, side))
    each = [Outline(nothing, nothing, nothing) if own is None else drawn(*own) for own in known]
    return Outline(*(jnp.pad(jnp.stack(x), ((0, room), (0, 0), (0, 0))) for x in zip(*each, strict=True)))


def drawn(matte: Array, weights: Array, limit: Array, camera: Array) -> Outline:
    """The outline by a matte and its weights [h, h], a head limit [n, n] and the view's camera [25]."""
    matte, weights = (jax.image.resize(x, limit.shape, "linear") for x in (matte, weights))
    return Outline(matte, weights, cameras.z_depth_to_ray_distance(limit, camera))


def head(z_depth: Array, limit: Array, size: int) -> Array:
    """Where the head is, and not the backdrop.

    Args:
      z_depth: [h, w] of a view, of the surface.
      limit: [n, n], `head_limit` of the view.
      size: side of what is returned.

    Returns:
      [size, size], 1 there and 0 elsewhere.
    """
    before = z_depth < jax.image.resize(limit, z_depth.shape, "linear")
    return jax.image.resize(before.astype(jnp.float32), (size, size), "nearest")


def agreement(matte: Array, z_depth: Array, limit: Array) -> Array:
    """Where a pixel and all around it is head by the matte and by the surface, or backdrop by both.

    Elsewhere colours lie on the wrong surface, or on two, and no other view may show them.

    Args:
      matte: [H, W] in [0, 1].
      z_depth, limit: see `head`.

    Returns:
      [H, W], 1 there and 0 elsewhere.
    """
    solid = head(z_depth, limit, len(matte))
    drawn = jnp.where(matte > 0.5, 1.0, 0.0)
    window = (2 * round(_EDGE * matte.shape[0] / 2) + 1,) * 2

    def all_around(mask: Array) -> Array:
        return jax.lax.reduce_window(mask, jnp.inf, jax.lax.min, window, (1, 1), "SAME")

    return jnp.maximum(all_around(jnp.minimum(drawn, solid)), all_around(1 - jnp.maximum(drawn, solid)))
