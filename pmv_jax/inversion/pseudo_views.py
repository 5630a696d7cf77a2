"""Stage 3: pseudo-views. What the input shows is warped, what it hides is the generator's (HFGI3D 3.2 and 3.3)."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig, PseudoViewConfig
from pmv_jax.generator import Generator
from pmv_jax.inversion.visibility import warp_to_view


class PseudoViews(NamedTuple):
    """V auxiliary views of the input's head.

    Attributes:
      cameras: [V, 25].
      warp: [V, H, W, 3], the input as seen from there; meaningless where not visible.
      visibility: [V, H, W] in [0, 1], softened for blending.
      blend: [V, H, W, 3], warp where visible, generator elsewhere: the tuning targets.
      weight: [V, H, W], how much each pixel counts in the joint loss.
    """

    cameras: Array
    warp: Array
    visibility: Array
    blend: Array
    weight: Array


def view_cameras(camera: Array, config: PseudoViewConfig, generator_config: GeneratorConfig) -> Array:
    """[V, 25]: an ellipse over yaw and pitch around the input camera or the frontal one, at the input's focal length.

    The released code has yaw 0.35 sin and pitch 0.25 cos - 0.05 around the frontal view, whatever the input's camera.
    Here every second camera lies half way in, so that the space between is filled too.
    """
    phase = 2 * jnp.pi * jnp.arange(config.count) / config.count
    radius = jnp.where(jnp.arange(config.count) % 2 == 1, config.inner_radius, 1.0)
    yaw = radius * config.yaw_range * jnp.sin(phase)
    pitch = radius * config.pitch_range * jnp.cos(phase) + config.pitch_offset
    if config.centre == "input":
        centre_yaw, centre_pitch = cameras.yaw_pitch(camera)
        yaw, pitch = yaw + centre_yaw, pitch + centre_pitch
    views = cameras.look_at(yaw, pitch, pivot=generator_config.camera_pivot, radius=generator_config.camera_radius)
    return views.at[:, 16:].set(camera[16:])


@functools.partial(jax.jit, static_argnames=("config",))
def make(generator: Generator, ws: Array, image: Array, camera: Array, *, config: PseudoViewConfig) -> PseudoViews:
    """Pseudo-views from the geometry of a tuned generator.

    Args:
      generator: after stage 2.
      ws: pivot [num_ws, w_dim].
      image, camera: the input [H, W, 3], [25].
    """
    targets = view_cameras(camera, config, generator.config)
    everyone = jnp.concatenate([camera[None], targets])
    planes = generator.planes(ws)
    # One view at a time: memory for one, and the loop costs nothing beside a rendering.
    rendered = jax.lax.map(lambda c: generator.render_view(planes, ws, c), everyone)
    z_depth = cameras.ray_distance_to_z_depth(rendered["ray_distance"], everyone)
    warp, seen = jax.vmap(lambda z, c: warp_to_view(image, z_depth[0], camera, z, c))(z_depth[1:], targets)
    visibility = jax.vmap(lambda mask: soften(mask, config.erode, config.blur))(seen)
    mask = visibility[..., None]
    blend = mask * warp + (1 - mask) * jnp.clip(rendered["image"][1:], -1, 1)
    weight = visibility + config.hidden_weight * (1 - visibility)
    return PseudoViews(targets, warp, visibility, blend, weight)


def soften(mask: Array, erode: float, blur: float) -> Array:
    """Erodes a mask [H, W] and blurs its edge; widths in units of the image's size, zero for none.

    Erosion keeps clear of depth edges, where the warp is least certain; outside of the image counts as visible. The
    blur lies inside: nothing hidden becomes visible by it.
    """
    size = mask.shape[0]
    radius = round(erode * size / 2)
    if radius:
        mask = -jax.lax.reduce_window(-mask, -jnp.inf, jax.lax.max, (2 * radius + 1,) * 2, (1, 1), "SAME")
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
