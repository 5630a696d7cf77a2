"""The surface of a head as an encoder sees it in a photograph: what the geometry of the fits is held to.

One view fixes no geometry, and a generator's prior fixes it only as far as the prior knows such hair or such a hat. An
encoder that has seen the depth of many heads from the same side knows more of that side than a code can say.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig
from pmv_jax.inversion.losses import Surface
from pmv_jax.inversion.stage import Draft, Photograph

_BELIEVED = 0.04  # a depth of this standard deviation, in units of the world, is half believed


def of_inputs(draft: Draft, room: int) -> Surface | None:
    """What the inputs' renderings are held to, with room for pseudo-views, of which nobody knows it: of weight 0.

    Returns:
      Arrays [N + room, n, n]; None without an encoder, a matte, or a weight for it in the recipe.
    """
    known = tuple(map(told, draft.photographs))
    if not any(known) or not draft.config.loss.surface_weight:
        return None
    return _padded(known, config=draft.generator.config, room=room)


def told(photograph: Photograph) -> tuple[Array, Array, Array, Array] | None:
    """What an encoder tells of a photograph's surface: relief and width [n, n], how far it covers each pixel of the
    photograph [H, W], and the camera [25]; None where it tells nothing."""
    if not photograph.has_surface:
        return None
    glance, matte = photograph.glance, photograph.matte * photograph.weights
    return glance.relief, glance.relief_width, matte, photograph.camera


@functools.partial(jax.jit, static_argnames=("config", "room"))
def _padded(known: tuple[tuple[Array, ...] | None, ...], *, config: GeneratorConfig, room: int) -> Surface:
    nothing = jnp.zeros((config.rendering.neural_resolution,) * 2)
    each = [Surface(nothing, nothing) if own is None else placed(*own, config=config) for own in known]
    return Surface(*(jnp.pad(jnp.stack(x), ((0, room), (0, 0), (0, 0))) for x in zip(*each, strict=True)))


def placed(relief: Array, width: Array, matte: Array, camera: Array, *, config: GeneratorConfig) -> Surface:
    """A relief and its width [h, h], as of `models.encoder.Glance`, in front of a camera [25]; believed as far as the
    matte [h, h] covers it and the width is small."""
    side = config.rendering.neural_resolution
    relief, width, matte = (jax.image.resize(x, (side, side), "linear") for x in (relief, width, matte))
    distance = cameras.z_depth_to_ray_distance(z_depth(relief, camera, config), camera)
    return Surface(distance, matte * belief(width))


def z_depth(relief: Array, camera: Array, config: GeneratorConfig) -> Array:
    """Depths [h, h] of a `relief` [h, h] before a `camera` [25] of the generator with this `config`."""
    _, pivot = cameras.project(camera, jnp.asarray(config.camera_pivot)[None])
    return pivot + relief


def belief(width: Array) -> Array:
    """How far a depth of standard deviation `width`, in units of the world, is believed, in [0, 1]."""
    return 1 / (1 + jnp.square(width / _BELIEVED))
