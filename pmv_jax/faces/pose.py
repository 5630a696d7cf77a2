"""The camera of an aligned crop from its five landmarks: perspective-n-point against EG3D's own mean face.

Five points of a face that is not the mean face do not fix a pose by themselves: a long nose looks like a head that
leans back, a smile like one that nods. So the face may differ from the mean, within what faces do, and among all poses
and faces that explain the landmarks the likeliest is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras
from pmv_jax.traces import kept

MEAN_LANDMARKS = np.array(
    [
        [-0.31148657, 0.29036078, 0.13377953],
        [0.30979887, 0.28972036, 0.13179526],
        [0.00325350, -0.04617932, 0.55244243],
        [-0.25216928, -0.38133916, 0.22405732],
        [0.24846620, -0.38128236, 0.22235769],
    ]
)
"""Eyes, tip of the nose, corners of the mouth of the Basel face model's mean face, as Deep3DFaceRecon aligns with it
(its `similarity_Lm3D_all.mat`): x right in the picture, y up, z towards the camera; one unit is 100 mm."""
WORLD_SCALE, WORLD_SHIFT = 0.27, (0.0, 0.006, 0.161)
"""From there to EG3D's world (its `dataset_preprocessing/ffhq/3dface2idr_mat.py`)."""

_MILLIMETRE = WORLD_SCALE / 100
_NOSE_SETBACK = 6.0
"""Millimetres by which the point that detectors call the tip of the nose lies behind the tip: people mark it a little
up the bridge, in the middle of the nose's silhouette. Measured with MTCNN against a dense face mesh on 13 faces; with
the tip itself, a head that is turned by 26 degrees is taken for one turned by 22."""

# How faces differ from the mean face, the same on both sides, as standard deviations in millimetres. Anthropometric
# surveys (L. G. Farkas, "Anthropometry of the Head and Face", 1994) have 2 to 4 mm for each of these distances in
# faces at rest; a smile pulls the corners of the mouth outwards, up and back by 5 to 10 mm.
_VARIATION = np.zeros((6, 5, 3))
_VARIATION[0, [0, 1], 0] = (-2.0, 2.0)  # eyes apart
_VARIATION[1, 2, 1] = 2.5  # nose up
_VARIATION[2, 2, 2] = 3.0  # and out
_VARIATION[3, [3, 4], 0] = (-6.0, 6.0)  # corners of the mouth apart
_VARIATION[4, [3, 4], 1] = 7.0  # up
_VARIATION[5, [3, 4], 2] = 6.0  # and out

_NOISE = 0.008  # of a landmark, in crop sizes; the scatter of MTCNN's over shifted squares is two thirds of that
_SPREAD = np.array([0.6, 0.3, 0.05, 0.04, 0.03, 0.03])
"""Standard deviations of yaw, pitch and roll (radians) in photographs that were aligned, and of the crop itself: the
logarithm of its scale, and its shift."""
_STARTS = np.array([-0.7, 0.0, 0.7])  # yaws
_STEPS = 20


@dataclass(frozen=True)
class Pose:
    """What landmarks say of the camera.

    Attributes:
      camera: [25], of the family that the generator was trained with, but turned about its axis by `roll`.
      yaw, pitch: as in `cameras.look_at`.
      roll: radians; positive if the head leans clockwise in the picture.
      residual: root mean square distance of the landmarks from the likeliest face's, in crop sizes.
      oddity: root mean square of all that had to be assumed, in standard deviations: about 0.5 in a photograph of a
        face; above 2, these are no five landmarks of a face.
    """

    camera: np.ndarray
    yaw: float
    pitch: float
    roll: float
    residual: float
    oddity: float


def mean_landmarks() -> np.ndarray:
    """The mean face's landmarks [5, 3] in EG3D's world, as detectors see them, and the same on both sides."""
    mirrored = MEAN_LANDMARKS[[1, 0, 2, 4, 3]] * (-1, 1, 1)
    points = WORLD_SCALE * (MEAN_LANDMARKS + mirrored) / 2 + WORLD_SHIFT
    points[2, 2] -= _NOSE_SETBACK * _MILLIMETRE
    return points


def estimate(
    landmarks: np.ndarray,
    *,
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.2),
    radius: float = 2.7,
    focal: float = cameras.FFHQ_FOCAL,
) -> Pose:
    """The likeliest camera for landmarks [5, 2] in an aligned crop, in crop sizes: (0, 0) is its upper left corner.

    Args:
      landmarks: [5, 2], eyes, tip of the nose, corners of the mouth, left ones first.
      pivot, radius, focal: of the cameras that the generator was trained with, see `cameras.look_at`.
    """
    fit, residual, oddity = _fit(jnp.asarray(landmarks, jnp.float32), jnp.array(pivot), radius, focal)
    yaw, pitch, roll = (float(angle) for angle in fit[:3])
    camera = cameras.rolled(cameras.look_at(yaw, pitch, pivot=pivot, radius=radius, focal=focal), roll)
    return Pose(np.asarray(camera), yaw, pitch, roll, float(residual), float(oddity))


@kept
def _fit(landmarks: Array, pivot: Array, radius: float, focal: float) -> tuple[Array, Array, Array]:
    mean, variation = jnp.asarray(mean_landmarks()), jnp.asarray(_VARIATION * _MILLIMETRE)

    def residuals(x: Array) -> Array:
        """Everything that should be zero, in standard deviations: landmarks [10], pose and crop [6], face [6]."""
        (yaw, pitch, roll, scale, right, down), face = x[:6], x[6:]
        camera = cameras.rolled(cameras.look_at(yaw, pitch, pivot=pivot, radius=radius, focal=focal), roll)
        points, _ = cameras.project(camera, mean + jnp.tensordot(face, variation, 1))
        placed = 0.5 + jnp.exp(scale) * (points - 0.5) + jnp.stack([right, down])
        return jnp.concatenate([((placed - landmarks) / _NOISE).ravel(), x[:6] / _SPREAD, face])

    def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        x, damping = carry  # Levenberg and Marquardt
        r, jacobian = residuals(x), jax.jacfwd(residuals)(x)
        normal = jacobian.T @ jacobian
        moved = x - jnp.linalg.solve(normal + damping * jnp.diag(jnp.diag(normal)), jacobian.T @ r)
        better = jnp.sum(residuals(moved) ** 2) < jnp.sum(r**2)
        return (jnp.where(better, moved, x), jnp.where(better, damping / 4, damping * 4)), None

    def descend(yaw: Array) -> tuple[Array, Array]:
        (x, _), _ = jax.lax.scan(step, (jnp.zeros(12).at[0].set(yaw), jnp.array(1e-2)), length=_STEPS)
        return x, residuals(x)

    xs, rs = jax.vmap(descend)(jnp.asarray(_STARTS))
    best = jnp.argmin(jnp.sum(rs**2, axis=1))
    errors = _NOISE * rs[best, :10].reshape(5, 2)
    return xs[best], jnp.sqrt(jnp.mean(jnp.sum(errors**2, -1))), jnp.sqrt(jnp.mean(rs[best] ** 2))
