"""Estimated cameras as poses of five numbers: what a search answers with, and what the latent stage refines.

A pose [5] is yaw and pitch (radians) of the cameras that the generator was trained with, roll, which turns the picture
clockwise (radians), and two shifts, which move what it shows to the right and down, in picture sizes.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig

PACE = (1.0, 1.0, 0.3, 0.2, 0.2)
"""How far each number goes at a step for a radian of yaw: a crop is right about roll and shifts to begin with."""


@functools.partial(jax.jit, inline=True)
def of_camera(camera: Array) -> Array:
    """Pose [5] of a camera [25] that looks at the head's middle."""
    return jnp.stack([*cameras.yaw_pitch(camera), cameras.roll_of(camera), jnp.zeros(()), jnp.zeros(())])


@functools.partial(jax.jit, static_argnames="config", inline=True)
def to_camera(pose: Array, config: GeneratorConfig) -> Array:
    """Pose [..., 2] (yaw and pitch alone) or [..., 5] -> camera [..., 25]."""
    camera = cameras.look_at(
        pose[..., 0],
        pose[..., 1],
        pivot=config.camera_pivot,
        radius=config.camera_radius,
        focal=config.camera_focal,
    )
    if pose.shape[-1] == 2:
        return camera
    cam2world, intrinsics = cameras.split(cameras.rolled(camera, pose[..., 2]))
    distance = jnp.linalg.norm(cam2world[..., :3, 3] - jnp.asarray(config.camera_pivot), axis=-1, keepdims=True)
    shift = pose[..., 3:] * distance / config.camera_focal  # world units, along the camera's first two axes
    position = cam2world[..., :3, 3] - jnp.einsum("...ij,...j->...i", cam2world[..., :3, :2], shift)
    return cameras.join(cam2world.at[..., :3, 3].set(position), intrinsics)
