"""EG3D's crop of a face, from five landmarks, and the way back into the photograph.

A crop is a `frame` [2, 3]: the similarity from the crop's unit square, (0, 0) its upper left corner, to pixels of the
photograph, whose corner is (0, 0) and whose first pixel's centre (0.5, 0.5). For `cut` and `coverage` None is the
photograph's central square, taken as it is.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from pmv_jax.errors import InputError
from pmv_jax.faces.pose import MEAN_LANDMARKS
from pmv_jax.images import to_square

# EG3D scales a photograph such that one unit of Deep3DFaceRecon's mean face is 300 pixels of a picture of which it cuts
# the central 700 (`crop_images.py`: rescale_factor, center_crop_size).
UNIT = 300 / 700

# How far a crop may be off and is yet left as it is, rather than resampled: in crop sizes, as a ratio, in radians.
# Crops by other landmarks than ours, and by other rules of thumb, lie within this.
SHIFT_TOLERANCE, SCALE_TOLERANCE, ANGLE_TOLERANCE = 0.06, 0.08, np.radians(4)

_BLUR = 1 / 48  # of the crop's side, in what is made up beyond the photograph's border
_FADE = 0.3  # of the crop's side, from the border to where nothing but one colour is left
_LARGEST = 2048  # pixels, of the supersampled crop


def frame_of(landmarks: np.ndarray) -> np.ndarray:
    """EG3D's crop for landmarks [5, 2] in pixels of the photograph -> frame [2, 3].

    First the face is turned upright (`upright_angle`). Then the mean face's landmarks are fitted to the photograph's
    by an affine camera, least squares in each image axis: the crop's middle is where it sees the origin, and the
    crop's size follows from the mean length of its two rows (Deep3DFaceRecon `util/preprocess.py`, `POS`).

    Raises:
      InputError: points that are not finite, coincide, or lie in another order than eyes, nose, mouth corners.
    """
    check(landmarks)
    angle = upright_angle(landmarks)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    model = np.concatenate([MEAN_LANDMARKS, np.ones((5, 1))], axis=1)
    fit, *_ = np.linalg.lstsq(model, landmarks @ turn, rcond=None)
    side = np.linalg.norm(fit[:3], axis=0).mean() / UNIT
    axes = side * turn
    return np.concatenate([axes, (turn @ fit[3] - axes @ (0.5, 0.5))[:, None]], axis=1)


def check(landmarks: np.ndarray) -> None:
    """Refuses what cannot be the landmarks [5, 2] of a face.

    Raises:
      InputError: see `frame_of`.
    """
    form = "five x, y points in pixels: the eyes, the tip of the nose, the mouth's corners, the left of a pair first"
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise InputError(f"landmarks must be finite, {form}")
    left, right, nose, *mouth = landmarks @ (1, 1j)
    across, down = right - left, np.mean(mouth) - (left + right) / 2
    if abs(across) < 2 or abs(down) < 2:
        raise InputError(f"landmarks lie on top of each other; give {form}")
    upright = down / across  # with the eyes' line as the unit: below it is +1j
    height = ((nose - (left + right) / 2) / down).real  # of the nose: 0 at the eyes, 1 at the mouth
    if upright.imag < 0.3 or ((mouth[1] - mouth[0]) / across).real < 0.1 or not 0 < height < 1:
        raise InputError(f"landmarks are in no order that a face has; give {form}")


def upright_angle(landmarks: np.ndarray) -> float:
    """By how much, clockwise in radians, a face with landmarks [5, 2] is tilted in its picture.

    FFHQ's rule (NVlabs/ffhq-dataset `download_ffhq.py`): the line between the eyes, and the line from between the eyes
    to the mouth turned by 90 degrees, count by their lengths.
    """
    left, right, _, *mouth = landmarks @ (1, 1j)
    return float(np.angle((right - left) - 1j * (np.mean(mouth) - (left + right) / 2)))


def apply(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [N, 2] of the crop's unit square -> of the photograph."""
    return points @ frame[:, :2].T + frame[:, 2]


def invert(frame: np.ndarray) -> np.ndarray:
    """The similarity [2, 3] from the photograph to the crop's unit square."""
    inverse = np.linalg.inv(frame[:, :2])
    return np.concatenate([inverse, -inverse @ frame[:, 2:]], axis=1)


def side(frame: np.ndarray) -> float:
    """Side of the crop that a frame [2, 3] cuts, in pixels of the photograph."""
    return float(np.linalg.norm(frame[:, 0]))


def whole(picture: Image.Image) -> np.ndarray:
    """The frame [2, 3] of the picture's central square."""
    width, height = picture.size
    length = min(width, height)
    return np.array([[length, 0.0, (width - length) // 2], [0.0, length, (height - length) // 2]])


def is_aligned(picture: Image.Image, frame: np.ndarray) -> bool:
    """Whether a picture is, nearly, the very crop that `frame` [2, 3] would cut from it."""
    width, height = picture.size
    if width != height:
        return False
    middle = apply(frame, np.array([[0.5, 0.5]]))[0] / width - 0.5
    angle = np.arctan2(frame[1, 0], frame[0, 0])
    return bool(
        np.abs(middle).max() < SHIFT_TOLERANCE
        and abs(np.log(side(frame) / width)) < SCALE_TOLERANCE
        and abs(angle) < ANGLE_TOLERANCE
    )


def cut(picture: Image.Image, frame: np.ndarray | None, resolution: int) -> np.ndarray:
    """Resamples the crop, antialiased.

    What lies beyond the photograph's border is its mirror image, blurred, fading to its median colour with the
    distance (as FFHQ pads, but no pixel of the photograph itself is blurred).

    Args:
      picture: mode RGB, or F in [0, 255].
      frame: [2, 3], see the module.
      resolution: side of the result.

    Returns:
      [resolution, resolution, 3] float32 in [-1, 1].
    """
    if frame is None:
        return to_square(picture, resolution)
    # Shrunk by a whole factor first, then turned with at least as many samples as pixels are left, then filtered.
    size = resolution * max(1, min(_LARGEST // resolution, int(np.ceil(side(frame) / resolution))))
    factor = max(1, int(side(frame) / size))
    pixels, corner = _surroundings(picture, frame, factor)
    local = (frame - np.array([[0, 0, corner[0]], [0, 0, corner[1]]])) / factor
    local[:, :2] /= size
    channels = []
    for channel in np.moveaxis(pixels, -1, 0):
        turned = Image.fromarray(channel).transform(
            (size, size), Image.Transform.AFFINE, tuple(local.ravel()), Image.Resampling.BICUBIC
        )
        channels.append(np.asarray(turned.resize((resolution, resolution), Image.Resampling.LANCZOS)))
    result = np.stack(channels * (3 // len(channels)), axis=-1)
    return np.clip(result / 127.5 - 1, -1, 1).astype(np.float32)


def coverage(picture: Image.Image, frame: np.ndarray | None, resolution: int) -> np.ndarray:
    """How far the pixels of a crop are the picture's, not made up by `cut`: [resolution, resolution] in [0, 1], where
    `frame` [2, 3] says where the crop lies in the picture.

    A pixel at the photograph's border counts by the distance of its centre from it, in pixels of the crop.
    """
    if frame is None:
        return np.ones((resolution, resolution), np.float32)
    centres = (np.arange(resolution) + 0.5) / resolution
    points = apply(frame, np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2))
    inside = np.minimum(points, np.array(picture.size) - points).min(1) * resolution / side(frame)
    return np.clip(0.5 + inside, 0, 1).astype(np.float32).reshape(resolution, resolution)


def paste_back(photo: Image.Image, crop: np.ndarray, frame: np.ndarray, feather: float = 0.05) -> Image.Image:
    """The photograph with a crop of it, perhaps changed, put back.

    Args:
      photo: mode RGB.
      crop: [N, N, 3] in [-1, 1].
      frame: [2, 3], where the crop was cut.
      feather: width of the soft edge, in crop sizes.
    """
    count = len(crop)
    ramp = np.minimum(np.arange(count) + 0.5, count - np.arange(count) - 0.5) / (feather * count)
    weight = np.clip(np.minimum(ramp[:, None], ramp[None]), 0, 1)
    layers = np.concatenate([127.5 * (crop + 1), 255 * weight[..., None]], axis=-1)
    layers = Image.fromarray(np.rint(np.clip(layers, 0, 255)).astype(np.uint8), "RGBA")
    length = int(np.ceil(side(frame)))
    if length < count:
        layers = layers.resize((length, length), Image.Resampling.LANCZOS)
    back = invert(frame) * layers.width
    placed = layers.transform(photo.size, Image.Transform.AFFINE, tuple(back.ravel()), Image.Resampling.BICUBIC)
    result = photo.copy()
    result.paste(placed.convert("RGB"), mask=placed.getchannel("A"))
    return result


def _surroundings(picture: Image.Image, frame: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture that a crop needs, shrunk by a whole factor and made up where the picture ends.

    Returns:
      [h, w, C] float32 in [0, 255], and the place [2] of its corner in the picture.
    """
    corners = apply(frame, np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]]))
    border = 4 * factor  # what bicubic and Lanczos filters look at
    low = np.floor(corners.min(0) - border).astype(int)
    high = np.ceil(corners.max(0) + border).astype(int)
    inner_low, inner_high = np.maximum(low, 0), np.minimum(high, picture.size)
    if (inner_high - inner_low < 1).any():
        raise InputError("landmarks lie outside the picture; give them in its pixels")
    part = picture.crop((*inner_low.tolist(), *inner_high.tolist()))
    if factor > 1:
        part = part.reduce(factor)
    pixels = np.stack([np.asarray(channel.convert("F")) for channel in part.split()], axis=-1)
    before = np.ceil((inner_low - low) / factor).astype(int)
    after = np.ceil((high - inner_high) / factor).astype(int)
    padded = _extend(pixels, before, after, side(frame) / factor)
    return padded, inner_low - before * factor


def _extend(pixels: np.ndarray, before: np.ndarray, after: np.ndarray, crop_side: float) -> np.ndarray:
    """[h, w, C] with `before` and `after` [2] (x, y) more pixels made up on its sides."""
    if not before.any() and not after.any():
        return pixels
    pads = ((before[1], after[1]), (before[0], after[0]), (0, 0))
    padded = np.pad(pixels, pads, mode="reflect" if min(pixels.shape[:2]) > 1 else "edge")
    distances = [np.maximum(b - np.arange(n), np.arange(n) - (n - 1 - a)).clip(0)
                 for n, b, a in zip(padded.shape[:2], before[::-1], after[::-1], strict=True)]  # fmt: skip
    distance = np.hypot(distances[0][:, None], distances[1][None])[..., None].astype(np.float32) / crop_side
    blurred = _blur(padded, max(1.0, _BLUR * crop_side))
    padded += (blurred - padded) * np.clip(distance / (2 * _BLUR), 0, 1)
    median = np.median(pixels[:: max(1, len(pixels) // 256), :: max(1, pixels.shape[1] // 256)], axis=(0, 1))
    return padded + (median - padded) * np.clip(distance / _FADE, 0, 1)


def _blur(pixels: np.ndarray, width: float) -> np.ndarray:
    """A low-pass filter: down to one sample in `width` pixels, and up again."""
    height, length = pixels.shape[:2]
    small = (max(1, round(length / width)), max(1, round(height / width)))
    channels = [
        Image.fromarray(channel).resize(small, Image.Resampling.BOX).resize((length, height), Image.Resampling.BICUBIC)
        for channel in np.moveaxis(pixels, -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)
