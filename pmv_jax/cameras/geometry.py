"""Cameras as EG3D has them: 25 numbers, row-major 4x4 cam2world and 3x3 intrinsics normalised by the image size.

Camera axes are OpenCV's (x right, y down, z forward); the world has y up and the face towards +z. Pixel (i, j) of an
N x N image has its centre at ((j + 0.5) / N, (i + 0.5) / N). Everything here is pure and takes leading batch axes.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array

FFHQ_FOCAL = 4.2647  # EG3D's FFHQ crops, in units of the image size: a field of view of 13.4 degrees

# Compiled whole: outside of other compiled functions each of their small steps would be compiled by itself, which takes
# tenths of a second.
_whole = functools.partial(jax.jit, inline=True)


def split(camera: Array) -> tuple[Array, Array]:
    """camera [..., 25] -> cam2world [..., 4, 4], intrinsics [..., 3, 3]."""
    return camera[..., :16].reshape(*camera.shape[:-1], 4, 4), camera[..., 16:].reshape(*camera.shape[:-1], 3, 3)


def join(cam2world: Array, intrinsics: Array) -> Array:
    """Inverse of `split`: cam2world [..., 4, 4], intrinsics [..., 3, 3] -> camera [..., 25]."""
    shape = cam2world.shape[:-2]
    return jnp.concatenate([cam2world.reshape(*shape, 16), intrinsics.reshape(*shape, 9)], axis=-1)


def intrinsics_from_focal(focal: Array | float) -> Array:
    """focal [...] in units of the image size -> [..., 3, 3] with the principal point in the middle."""
    focal = jnp.asarray(focal, jnp.float32)[..., None, None]
    return focal * jnp.diag(jnp.array([1.0, 1.0, 0.0])) + jnp.array([[0.0, 0, 0.5], [0, 0, 0.5], [0, 0, 1]])


def intrinsics_from_fov(fov_degrees: Array | float) -> Array:
    """Field of view [...] in degrees -> [..., 3, 3], as EG3D's `FOV_to_intrinsics` with its rounded constants.

    focal = 1 / (tan(fov * 3.14159 / 360) * 1.414)
    """
    return intrinsics_from_focal(1 / (jnp.tan(jnp.asarray(fov_degrees, jnp.float32) * 3.14159 / 360) * 1.414))


@_whole
def look_at(
    yaw: Array | float,
    pitch: Array | float,
    *,
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.2),
    radius: float = 2.7,
    focal: float = FFHQ_FOCAL,
) -> Array:
    """Camera on a sphere around the world's origin, looking at `pivot` without roll (EG3D `LookAtPoseSampler`).

    Args:
      yaw, pitch: [...] radians from the frontal view. EG3D's horizontal and vertical means are pi / 2 plus these. As
        there, `pitch` moves the cosine of the polar angle linearly, so it is an angle only to first order.
      pivot: world point in the middle of the picture.
      radius: distance of the camera from the origin.
      focal: in units of the image size.

    Returns:
      [..., 25].
    """
    yaw, pitch = jnp.broadcast_arrays(jnp.asarray(yaw, jnp.float32), jnp.asarray(pitch, jnp.float32))
    vertical = jnp.clip(jnp.pi / 2 + pitch, 1e-5, jnp.pi - 1e-5)
    polar = jnp.arccos(1 - 2 * vertical / jnp.pi)
    azimuth = jnp.pi / 2 - yaw
    x, y, z = jnp.sin(polar) * jnp.cos(azimuth), jnp.cos(polar), jnp.sin(polar) * jnp.sin(azimuth)
    return look_from(radius * jnp.stack([x, y, z], axis=-1), jnp.asarray(pivot, jnp.float32), focal)


def look_from(position: Array, target: Array, focal: Array | float = FFHQ_FOCAL) -> Array:
    """Camera at `position` [..., 3] looking at `target` [..., 3], world y up -> [..., 25]; focal [...] in units of
    the image size."""
    forward = _unit(target - position)
    right = -_unit(jnp.cross(jnp.array([0.0, 1.0, 0.0]), forward))
    down = _unit(jnp.cross(forward, right))
    rotation = jnp.stack([right, down, forward], axis=-1)
    top = jnp.concatenate([rotation, position[..., None]], axis=-1)
    bottom = jnp.broadcast_to(jnp.array([[0.0, 0, 0, 1]]), (*top.shape[:-2], 1, 4))
    intrinsics = jnp.broadcast_to(intrinsics_from_focal(focal), (*top.shape[:-2], 3, 3))
    return join(jnp.concatenate([top, bottom], axis=-2), intrinsics)


@_whole
def yaw_pitch(camera: Array) -> tuple[Array, Array]:
    """Yaw and pitch [...] of the position of a camera [..., 25]: inverse of `look_at` for any radius and pivot."""
    position = split(camera)[0][..., :3, 3]
    x, y, z = jnp.moveaxis(_unit(position), -1, 0)
    return jnp.arctan2(x, z), -y * jnp.pi / 2


@_whole
def rolled(camera: Array, roll: Array | float) -> Array:
    """Turns cameras [..., 25] about their optical axes: by `roll` [...] radians, the picture turns clockwise."""
    cam2world, intrinsics = split(camera)
    cos, sin = jnp.cos(roll), jnp.sin(roll)
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    rows = [[cos, sin, zero, zero], [-sin, cos, zero, zero], [zero, zero, one, zero], [zero, zero, zero, one]]
    turn = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    return join(jnp.matmul(cam2world, turn, precision="highest"), intrinsics)


@_whole
def mirrored(camera: Array) -> Array:
    """The camera that sees the mirror image of the world, in the plane x = 0, as this one sees the world, with left and
    right of the picture exchanged.

    Args:
      camera: [..., 25].

    Returns:
      [..., 25].
    """
    cam2world, intrinsics = split(camera)
    flip = jnp.array([-1.0, 1.0, 1.0, 1.0])
    intrinsics = intrinsics.at[..., 0, 2].set(1 - intrinsics[..., 0, 2])
    return join(flip[:, None] * cam2world * flip, intrinsics)


@_whole
def roll_of(camera: Array) -> Array:
    """Roll [...] of cameras [..., 25], in radians: what `rolled` has turned a camera of `look_at` by."""
    cam2world, _ = split(camera)
    return jnp.arctan2(cam2world[..., 1, 0], -cam2world[..., 1, 1])


def pixel_centres(size: int) -> Array:
    """[size, size, 2]: x and y of every pixel's centre, in (0, 1)."""
    centres = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    x, y = jnp.meshgrid(centres, centres)
    return jnp.stack([x, y], axis=-1)


def unproject(camera: Array, pixels: Array) -> Array:
    """World directions [..., N, 3] through image points [N, 2] or [..., N, 2], of unit depth along the optical axis.

    A point's z-depth times this, plus the camera's position, is the point.
    """
    cam2world, intrinsics = split(camera)
    fx, skew, cx = (intrinsics[..., 0, i, None] for i in range(3))
    fy, cy = intrinsics[..., 1, 1, None], intrinsics[..., 1, 2, None]
    y = (pixels[..., 1] - cy) / fy
    x = (pixels[..., 0] - cx - skew * y) / fx
    local = jnp.stack([x, y, jnp.ones_like(x)], axis=-1)
    return jnp.einsum("...ij,...nj->...ni", cam2world[..., :3, :3], local, precision="highest")


@_whole
def project(camera: Array, points: Array) -> tuple[Array, Array]:
    """World points [..., N, 3] -> image points [..., N, 2] (inside the image: (0, 1)) and z-depths [..., N]."""
    cam2world, intrinsics = split(camera)
    offset = points - cam2world[..., None, :3, 3]
    local = jnp.einsum("...ji,...nj->...ni", cam2world[..., :3, :3], offset, precision="highest")
    image = jnp.einsum("...ij,...nj->...ni", intrinsics, local, precision="highest")
    return image[..., :2] / image[..., 2:], local[..., 2]


def rays(camera: Array, size: int) -> tuple[Array, Array]:
    """Origins and unit directions [..., size * size, 3] through all pixel centres, row by row (EG3D `RaySampler`)."""
    directions = _unit(unproject(camera, pixel_centres(size).reshape(-1, 2)))
    origins = jnp.broadcast_to(split(camera)[0][..., None, :3, 3], directions.shape)
    return origins, directions


@_whole
def ray_distance_to_z_depth(ray_distance: Array, camera: Array) -> Array:
    """Distance along unit rays [..., h, w] -> depth along the optical axis [..., h, w] (square images).

    The renderer composites the first, unprojection needs the second; they differ by the cosine of the ray's angle,
    1.4 % in the corner of an FFHQ crop.
    """
    return ray_distance / _stretch(camera, ray_distance.shape[-1])


@_whole
def z_depth_to_ray_distance(z_depth: Array, camera: Array) -> Array:
    """Inverse of `ray_distance_to_z_depth`: [..., h, w] of cameras [..., 25] -> [..., h, w]."""
    return z_depth * _stretch(camera, z_depth.shape[-1])


def _stretch(camera: Array, size: int) -> Array:
    directions = unproject(camera, pixel_centres(size).reshape(-1, 2))
    return jnp.linalg.norm(directions, axis=-1).reshape(*camera.shape[:-1], size, size)


def _unit(x: Array) -> Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
