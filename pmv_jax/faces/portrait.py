"""One face of a photograph, ready for a generator: which one, its crop, and its camera."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pmv_jax.cameras import FFHQ_FOCAL
from pmv_jax.errors import InputError
from pmv_jax.faces import alignment, pose, search
from pmv_jax.faces.detection import Face

AMBIGUOUS = 0.7  # a second face of more than this share of the largest one's size may be the one that is meant
SMALLEST_CROP = 48  # pixels of the photograph; below this an eye is one or two pixels
LARGEST_ODDITY = 1.6  # of a pose; photographs of faces have 0.3 to 1.1
_GO_ON = "or --force to go on all the same"


@dataclass(frozen=True)
class Portrait:
    """One face of a photograph.

    Attributes:
      faces: all that were found, the largest first; none where the landmarks were given.
      chosen: index into `faces`.
      landmarks: [5, 2], in pixels of the photograph.
      frame: of the crop, see `alignment`.
      is_crop: the photograph is the crop already, and is not resampled.
      pose: what the landmarks say of the crop's camera.
    """

    faces: tuple[Face, ...]
    chosen: int
    landmarks: np.ndarray
    frame: np.ndarray
    is_crop: bool
    pose: pose.Pose

    @property
    def is_ambiguous(self) -> bool:
        """Whether another face is nearly as large."""
        return len(self.faces) > 1 and self.faces[1].size > AMBIGUOUS * self.faces[0].size

    @property
    def resampled(self) -> np.ndarray | None:
        """The frame [2, 3] for `alignment.cut` and `alignment.coverage`: None where the photograph is the crop."""
        return None if self.is_crop else self.frame

    def crop(self, picture: Image.Image, resolution: int) -> np.ndarray:
        """[resolution, resolution, 3] float32 in [-1, 1] of the photograph that this was made from."""
        return alignment.cut(picture, self.resampled, resolution)

    def facts(self) -> dict[str, Any]:
        """For a JSON file: what was found, and how to get from the crop back into the photograph."""
        return {
            "landmarks": self.landmarks.round(3).tolist(),
            "crop_to_photo": self.frame.tolist(),
            "photo_is_crop": self.is_crop,
            "faces": [[round(side, 1) for side in face.box] for face in self.faces],
            "face": self.chosen + 1,
            "camera": self.pose.camera.tolist(),
            "yaw": self.pose.yaw,
            "pitch": self.pose.pitch,
            "roll": self.pose.roll,
            "residual": self.pose.residual,
            "oddity": self.pose.oddity,
        }


def from_detection(
    picture: Image.Image, name: str, face: int | None = None, *, force: bool = False, **family: Any
) -> Portrait:
    """Finds the faces of a photograph and takes one.

    Args:
      picture: mode RGB, or F in [0, 255].
      name: of its file, for messages.
      face: which one, counted from 1 for the largest; None is the largest.
      force: do not refuse what is implausible.
      family: `pivot`, `radius`, `focal`, `yaw_range` of the generator's cameras, see `from_landmarks`.

    Raises:
      InputError: no such face, or one that `from_landmarks` refuses.
    """
    rgb = picture if picture.mode == "RGB" else picture.convert("L").convert("RGB")
    found = search.find(rgb)
    faces = found.faces
    if not faces:
        raise InputError(
            f"image {name}: no face found; give its landmarks with --landmarks, its camera with --camera, or --noalign "
            "to take the central square and search for the camera"
        )
    chosen = 0 if face is None else face - 1
    if chosen >= len(faces):
        count = "1 face was" if len(faces) == 1 else f"{len(faces)} faces were"
        raise InputError(f"--face {face}: {count} found in {name}; give 1 for the largest, up to {len(faces)}")
    if found.note:
        warnings.warn(f"image {name}: {found.note}", stacklevel=2)
    return from_landmarks(picture, name, faces[chosen].landmarks, faces, chosen, force=force, **family)


def from_landmarks(
    picture: Image.Image,
    name: str,
    landmarks: np.ndarray,
    faces: tuple[Face, ...] = (),
    chosen: int = 0,
    *,
    force: bool = False,
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.2),
    radius: float = 2.7,
    focal: float = FFHQ_FOCAL,
    yaw_range: float = 0.6,
) -> Portrait:
    """Crop and camera of the face with given landmarks [5, 2].

    Args:
      picture: mode RGB, or F in [0, 255].
      name: of its file, for messages.
      landmarks: [5, 2] in pixels: eyes, tip of the nose, corners of the mouth, left ones first.
      faces: all that were found in the picture, if any were looked for.
      chosen: index of this one among them.
      force: do not refuse what is implausible.
      pivot, radius, focal: of the cameras that the generator was trained with.
      yaw_range: how far to the side it has seen heads, in radians.

    Raises:
      InputError: without `force`, a face that is tiny, implausible, or turned too far.
    """
    width, height = picture.size
    frame = alignment.frame_of(landmarks)
    if (landmarks.mean(0) < 0).any() or (landmarks.mean(0) > picture.size).any():
        raise InputError(f"image {name}: the landmarks lie outside of its {width}x{height} pixels")
    is_crop = alignment.is_aligned(picture, frame)
    if is_crop:
        frame = alignment.whole(picture)
    found = pose.estimate(alignment.apply(alignment.invert(frame), landmarks), pivot=pivot, radius=radius, focal=focal)
    problem = None
    if alignment.side(frame) < SMALLEST_CROP:
        problem = (
            f"the face's crop is {alignment.side(frame):.0f} pixels wide, too few to tell faces apart; "
            f"give a larger picture, another --face, {_GO_ON}"
        )
    elif found.oddity > LARGEST_ODDITY:
        problem = (
            f"the landmarks fit no face (residual {100 * found.residual:.1f} % of the crop); "
            f"give better ones with --landmarks, the camera with --camera, {_GO_ON}"
        )
    elif abs(found.yaw) > yaw_range:
        problem = (
            f"the head is turned by {abs(np.degrees(found.yaw)):.0f} degrees, and the generator knows "
            f"{np.degrees(yaw_range):.0f} (camera.yaw_range); give a more frontal picture, {_GO_ON}"
        )
    if problem and not force:
        raise InputError(f"image {name}: {problem}")
    return Portrait(faces, chosen, landmarks, frame, is_crop, found)
