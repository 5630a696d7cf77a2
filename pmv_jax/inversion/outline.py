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
from pmv_jax.inversion.stage import Draft, StageRequest, Tree
from pmv_jax.meshes.backdrop import backdrop_depth

_CLEARANCE = (
    0.1  # of a head before the backdrop, in units of the world; ears are 0.25 before that of the demo generator
)
_EDGE = 0.02  # width around the outline in which no pixel is believed, in units of the image's size


@dataclasses.dataclass(frozen=True)
class FindBackdrop:
    """Where the backdrop begins, if there is a matte: a row of the method, in no steps."""

    name: str = "backdrop"

    def run(self, draft: Draft) -> Coroutine[StageRequest, Tree, Draft]:
        """See `stage.Stage.run`."""
        if draft.matte is None:
            return draft
        # Of all that says where the surface is, this is compiled anyway.
        seen = latent.average_head(draft.generator, draft.camera)
        limit = head_limit(np.asarray(cameras.ray_distance_to_z_depth(seen["ray_distance"], draft.camera)))
        return draft if limit is None else draft.replace(head_limit=jnp.asarray(limit))
        yield  # a coroutine, like all stages


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
    return np.float32(np.clip(surface, z_depth[seen].min(), z_depth[seen].max()) - _CLEARANCE)


def of_input(draft: Draft, room: int) -> Outline | None:
    """What the input's rendering is held to, with room for pseudo-views, which have no outline: of weight 0.

    Returns:
      Arrays [1 + room, n, n]; None without a matte, a backdrop, or a weight for it in the recipe.
    """
    if draft.matte is None or draft.head_limit is None or not draft.config.loss.outline_weight:
        return None
    return _padded(draft.matte, draft.weights, draft.head_limit, draft.camera, room=room)


@functools.partial(jax.jit, static_argnames="room")
def _padded(matte: Array, weights: Array | None, limit: Array, camera: Array, *, room: int) -> Outline:
    matte = jax.image.resize(matte, limit.shape, "linear")
    weight = jnp.ones_like(matte) if weights is None else jax.image.resize(weights, limit.shape, "linear")
    others = ((0, room), (0, 0), (0, 0))
    own = matte, weight, cameras.z_depth_to_ray_distance(limit, camera)
    return Outline(*(jnp.pad(x[None], others) for x in own))


def agreement(matte: Array, z_depth: Array, limit: Array) -> Array:
    """Where a pixel and all around it is head by the matte and by the surface, or backdrop by both.

    Elsewhere colours lie on the wrong surface, or on two, and no other view may show them.

    Args:
      matte: [H, W] in [0, 1].
      z_depth: [h, w] of the same view, of the surface.
      limit: [n, n], `head_limit` of the view.

    Returns:
      [H, W], 1 there and 0 elsewhere.
    """
    before = z_depth < jax.image.resize(limit, z_depth.shape, "linear")
    head = jax.image.resize(before.astype(jnp.float32), matte.shape, "nearest")
    drawn = jnp.where(matte > 0.5, 1.0, 0.0)
    window = (2 * round(_EDGE * matte.shape[0] / 2) + 1,) * 2

    def all_around(mask: Array) -> Array:
        return jax.lax.reduce_window(mask, jnp.inf, jax.lax.min, window, (1, 1), "SAME")

    return jnp.maximum(all_around(jnp.minimum(drawn, head)), all_around(1 - jnp.maximum(drawn, head)))
