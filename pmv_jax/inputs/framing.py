"""Where the head is in a photograph that nobody has cropped, as an encoder sees it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from pmv_jax.faces import alignment
from pmv_jax.models.encoder import Glance

_ROUNDS = 4  # of looking and cropping: far off, an encoder knows the direction better than the distance
# Standard deviations of roll (radians), shifts (crop sizes) and logarithm of scale, beyond which it saw no head.
_SURE = (0.1, 0.04, 0.04, 0.12)


def frame_of(picture: Image.Image, encoder: Callable[[np.ndarray], Glance], resolution: int) -> np.ndarray | None:
    """EG3D's crop of a photograph, from looking at its central square and, again and again, at the better crop.

    Args:
      picture: mode RGB, or F in [0, 255].
      encoder: gives the glance at a picture [n, n, 3].
      resolution: of the pictures to look at.

    Returns:
      A frame [2, 3], see `faces.alignment`; None where the encoder is not sure of a head.
    """
    frame = alignment.whole(picture)
    for _ in range(_ROUNDS):
        glance = encoder(alignment.cut(picture, frame, resolution))
        frame = moved(frame, np.asarray(glance.pose, np.float64))
    return None if (np.asarray(glance.pose_width)[2:] > _SURE).any() else frame


def moved(frame: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The frame [2, 3] of a crop in which a head of the pose [6] that it has in `frame` is upright, in its place, and
    of its size."""
    _, _, roll, right, down, log_scale = pose
    cos, sin = np.exp(log_scale) * np.cos(roll), np.exp(log_scale) * np.sin(roll)
    turn = np.array([[cos, -sin], [sin, cos]])
    corner = (0.5 + right, 0.5 + down) - turn @ (0.5, 0.5)
    return np.concatenate([frame[:, :2] @ turn, (frame[:, :2] @ corner + frame[:, 2])[:, None]], axis=1)
