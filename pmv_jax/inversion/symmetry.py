"""Where a head has its plane of symmetry: the pose and the surface that an encoder saw, moved until face and mirror
image meet.

An encoder tells pose and depth each by itself, and on photographs both are off by more than on the heads that it was
trained with. What pseudo-views show of the hidden half is the mirror image in that plane: where that is off, noses and
mouths come out twice. A point of a face whose depth is right has its mirror image on the face as well, and looks like
it there but for the light (S. Wu, C. Rupprecht, A. Vedaldi, "Unsupervised Learning of Probably Symmetric Deformable 3D
Objects from Images in the Wild", CVPR 2020, who learn depth from that alone).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator as Coroutine
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.scipy import ndimage

from pmv_jax import cameras
from pmv_jax.cameras.poses import to_camera
from pmv_jax.config import GeneratorConfig
from pmv_jax.inversion import masks, surface, visibility
from pmv_jax.inversion.stage import Draft, EachPhotograph, Photograph, StageRequest, Tree
from pmv_jax.traces import kept

_STEPS, _RATE = 150, 0.05
_KNOTS = 24  # a side, between which the surface moves smoothly
_KNOT = 0.01  # what a knot moves by for one, in units of the world
# What symmetry tells of a pose, yaw, roll and the shift to the right, and how far these may be off. Of pitch and the
# shift down it tells nothing.
_POSE_WIDTHS = (0.1, 0.0, 0.04, 0.008, 0.0)
_TOLERANCES = 0.06, 0.03  # depth by which a point's image may miss the face, at first and in the end, world units
_MISSED = 0.9  # what a point costs whose mirror image is nowhere on the face; colours without any likeness cost 1.4
_LEAST_WIDTH = 0.004  # of a depth, in units of the world
_LOOKS = 0.05, 0.125  # width of the Gaussians under which pictures are compared, in units of the image's size
_AROUND = 0.5  # and of the neighbourhood whose light and contrast they are freed from
_FLIP = (-1.0, 1.0, 1.0)  # the plane of symmetry is x = 0


class _Movable(NamedTuple):
    """What is fitted, of order one: the surface's knots [K, K], and the pose [5], which has no part if it is given."""

    knots: Array
    pose: Array


@dataclasses.dataclass(frozen=True)
class Symmetry(EachPhotograph):
    """Camera and surface of a photograph, made symmetric: a row of the method, in no steps. A camera that is given
    stays."""

    name: str = "symmetry"

    def look(self, name: str, draft: Draft, photograph: Photograph) -> Coroutine[StageRequest, Tree, Photograph]:
        """See `EachPhotograph.look`."""
        told = surface.told(photograph)
        if told is None:
            return photograph
        camera, pose, relief = fitted(photograph.image, *told, photograph.pose, config=draft.generator.config)
        return photograph.replace(camera=camera, pose=pose, glance=photograph.glance._replace(relief=relief))
        yield  # a coroutine, like all stages


@kept(static_argnames=("config",))
def fitted(
    image: Array,
    relief: Array,
    width: Array,
    matte: Array,
    camera: Array,
    pose: Array | None,
    *,
    config: GeneratorConfig,
) -> tuple[Array, Array | None, Array]:
    """Pose and surface by which a face comes nearest to its mirror image, with a pull towards what they were.

    Args:
      image: [H, W, 3] in [-1, 1].
      relief, width: [n, n], see `models.encoder.Glance`.
      matte: [H, W] in [0, 1], of the head.
      camera: [25].
      pose: [5], the same camera as of `cameras.poses`, where it may be moved; None where it stays.
      config: of the generator: its cameras and their pivot.

    Returns:
      Camera, pose and relief.
    """
    side = len(relief)
    matte = jax.image.resize(matte, (side, side), "linear", antialias=True)
    image = jax.image.resize(image, (side, side, 3), "linear", antialias=True)
    head = (matte > 0.5).astype(image.dtype)
    looks = _without_light(image, head)
    sure = head * surface.belief(width)
    mean = lambda x: jnp.sum(sure * x) / jnp.maximum(jnp.sum(sure), 1)  # noqa: E731
    width = jnp.maximum(width, _LEAST_WIDTH)
    widths = jnp.asarray(_POSE_WIDTHS)

    def moved(by: _Movable) -> tuple[Array, Array]:
        found = camera if pose is None else to_camera(pose + widths * by.pose, config)
        return found, _KNOT * jax.image.resize(by.knots, (side, side), "cubic")

    def loss(by: _Movable, tolerance: Array) -> Array:
        found, offset = moved(by)
        missed = mean(_apart(found, relief + offset, head, looks, tolerance, config))
        bent = sum(jnp.mean(jnp.square(jnp.diff(by.knots, axis=axis))) for axis in (0, 1))
        return missed + 0.04 * mean(jnp.square(offset / width)) + 0.08 * bent + 0.03 * jnp.sum(jnp.square(by.pose))

    optimiser = optax.adam(optax.cosine_decay_schedule(_RATE, _STEPS))

    def step(i: Array, state: tuple[_Movable, Any]) -> tuple[_Movable, Any]:
        by, moments = state
        first, last = _TOLERANCES
        gradient = jax.grad(loss)(by, first * (last / first) ** (i / _STEPS))
        updates, moments = optimiser.update(gradient, moments, by)
        return optax.apply_updates(by, updates), moments

    start = _Movable(jnp.zeros((_KNOTS, _KNOTS)), jnp.zeros(5))
    by, _ = jax.lax.fori_loop(0, _STEPS, step, (start, optimiser.init(start)))
    found, offset = moved(by)
    return found, None if pose is None else pose + widths * by.pose, relief + offset


def _apart(camera: Array, relief: Array, head: Array, looks: Array, tolerance: Array, config: GeneratorConfig) -> Array:
    """How far each point of a surface [n, n] is from where its mirror image should be, in place and look, [n, n]."""
    depth = surface.z_depth(relief, camera, config)
    points = visibility.points(depth, camera) * jnp.asarray(_FLIP)
    place, image_depth = cameras.project(camera, points)
    layers = jnp.concatenate([depth[..., None], head[..., None], looks], axis=-1)
    where = [len(relief) * place[..., axis] - 0.5 for axis in (1, 0)]
    there = jax.vmap(lambda layer: ndimage.map_coordinates(layer, where, order=1, mode="nearest"), -1, -1)(layers)
    inside = jnp.all((place > 0) & (place < 1), axis=-1) & (there[..., 1] > 0.5)
    off = there[..., 0] - image_depth
    near = inside * jnp.exp(-0.5 * jnp.square(off / tolerance))
    unlike = jnp.sqrt(jnp.mean(jnp.square(there[..., 2:] - looks), axis=-1) + 1e-3)
    return _MISSED + near * (unlike + 0.5 * jnp.abs(off) / tolerance - _MISSED)


def _without_light(image: Array, head: Array) -> Array:
    """What a head [n, n] looks like, finely and coarsely, [n, n, 6]: differences from the colours around, in units of
    their spread there."""
    blurred = lambda x, width: jax.vmap(lambda layer: masks.blurred(layer, width), -1, -1)(x)  # noqa: E731
    head = head[..., None]
    share = blurred(head, _AROUND) + 1e-3

    def freed(width: float) -> Array:
        colour = blurred(image, width)
        off = colour - blurred(head * colour, _AROUND) / share
        spread = blurred(head * jnp.square(off), _AROUND) / share
        return head * off / jnp.sqrt(jnp.mean(spread, axis=-1, keepdims=True) + 0.01)

    return jnp.concatenate([freed(width) for width in _LOOKS], axis=-1)
