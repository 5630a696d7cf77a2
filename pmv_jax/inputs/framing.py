"""Where the head is in a photograph that nobody has cropped, as an encoder sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pmv_jax.faces import alignment

if TYPE_CHECKING:
    from pmv_jax.models.encoder import Encoder, Glance

_ROUNDS = 4  # of looking and cropping: far off, an encoder knows the direction better than the distance
# Standard deviations of roll (radians), shifts (crop sizes) and logarithm of scale, beyond which it saw no head.
_SURE = (0.07, 0.025, 0.025, 0.07)


def frame_of(picture: Image.Image, encoder: Encoder) -> np.ndarray | None:
    """EG3D's crop of a photograph, from looking at its central square and, again and again, at the better crop.

    Args:
      picture: mode RGB, or F in [0, 255].
      encoder: looks at the crops.

    Returns:
      A frame [2, 3], see `faces.alignment`; None where the encoder is not sure of a head.
    """
    frame = alignment.whole(picture)
    for _ in range(_ROUNDS):
        glance = encoder(alignment.cut(picture, frame, encoder.config.resolution))
        frame = moved(frame, np.asarray(glance.pose, np.float64))
    return frame if _is_sure(glance) else None


def matte_of(image: np.ndarray, encoder: Encoder) -> np.ndarray | None:
    """What of a crop [H, W, 3] in [-1, 1] is head, hair or clothes, [H, W] in [0, 1]; None if no head is seen."""
    glance = encoder(image)
    if not _is_sure(glance):
        return None
    matte = Image.fromarray(np.asarray(glance.matte, np.float32))
    return np.clip(np.asarray(matte.resize(image.shape[1::-1], Image.Resampling.BICUBIC)), 0, 1)


def _is_sure(glance: Glance) -> bool:
    return bool((np.asarray(glance.pose_width)[2:] < _SURE).all())


def moved(frame: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The frame [2, 3] of a crop in which a head of the pose [6] that it has in `frame` is upright, in its place, and
    of its size."""
    _, _, roll, right, down, log_scale = pose
    cos, sin = np.exp(log_scale) * np.cos(roll), np.exp(log_scale) * np.sin(roll)
    turn = np.array([[cos, -sin], [sin, cos]])
    corner = (0.5 + right, 0.5 + down) - turn @ (0.5, 0.5)
    return np.concatenate([frame[:, :2] @ turn, (frame[:, :2] @ corner + frame[:, 2])[:, None]], axis=1)
