"""From where heads are seen: cameras of EG3D about a head, drawn for data or in a row for sheets."""

import numpy as np

from pmv_jax.cameras import FFHQ_FOCAL, look_at

YAW, PITCH = 0.75, 0.35  # radians to either side, uniformly
SHEET_YAWS = (-0.7, -0.35, 0.0, 0.35, 0.7)
_CAMERAS = 1  # the stream of random numbers that cameras are drawn from, beside the one of p


def draw_cameras(seed: int, number: int, count: int, focal: float = FFHQ_FOCAL) -> np.ndarray:
    """Cameras [count, 25] float32 of head `number` of a seed. A shorter focal length than EG3D's frames wider."""
    random = np.random.default_rng([seed, number, _CAMERAS])
    yaws, pitches = random.uniform(-YAW, YAW, count), random.uniform(-PITCH, PITCH, count)
    return np.asarray(look_at(yaws, pitches, focal=focal), np.float32)


def camera_row(yaws: tuple[float, ...] = SHEET_YAWS, focal: float = FFHQ_FOCAL) -> np.ndarray:
    """Cameras [len(yaws), 25] at eye level."""
    return np.asarray(look_at(np.array(yaws), np.zeros(len(yaws)), focal=focal), np.float32)
