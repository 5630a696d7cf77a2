"""How far apart two faces are, by dlib's ResNet: below 0.6 two pictures show one person (dlib's documentation).

Network and landmarks come from the package `face_recognition_models` (public domain), dlib itself from `dlib-bin`; the
extra `pmv_jax[identity]` installs both. Only the data files of the first are used: its code needs an old setuptools.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import chex
import numpy as np
from PIL import Image

from pmv_jax import images

SAME_PERSON = 0.6  # distance below which dlib calls two pictures one person
_SIDE = 256  # pixels that a picture is scaled to: faces of EG3D's crops are found at this size
_CHIP = 150  # pixels of the network's input
_FACE = (38, 50, 218, 230)  # where the face of an EG3D crop is, in a picture of `_SIDE`, when none is detected there
MODELS = "face_recognition_models"  # the package with the two files
_EMBEDDING, _LANDMARKS = "dlib_face_recognition_resnet_model_v1.dat", "shape_predictor_5_face_landmarks.dat"


class DlibIdentity:
    """dlib's face embedding, with the detector and the five landmarks that its input is aligned by."""

    def __init__(self, dlib: Any, models: Path) -> None:
        """The module, and the directory of its `.dat` files."""
        self._dlib = dlib
        self._detect = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(models / _LANDMARKS))
        self._network = dlib.face_recognition_model_v1(str(models / _EMBEDDING))

    def embed(self, image: np.ndarray) -> np.ndarray:
        """The embedding of the largest face in a picture cropped as EG3D crops faces.

        Args:
          image: [H, W, 3] in [-1, 1].

        Returns:
          [128]; distances between embeddings are Euclidean.
        """
        chex.assert_shape(image, (None, None, 3))
        scaled = Image.fromarray(images.to_uint8(image)).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        pixels = np.asarray(scaled)
        found = self._detect(pixels, 1)
        face = max(found, key=lambda box: box.area()) if found else self._dlib.rectangle(*_FACE)
        chip = self._dlib.get_face_chip(pixels, self._landmarks(pixels, face), _CHIP)
        return np.array(self._network.compute_face_descriptor(chip))

    def distances(self, image: np.ndarray, others: np.ndarray) -> np.ndarray:
        """How far faces are from one: [V], for an image [H, W, 3] and others [V, H, W, 3] in [-1, 1]."""
        own = self.embed(image)
        return np.array([np.linalg.norm(self.embed(other) - own) for other in others])


@functools.cache
def installed() -> DlibIdentity | None:
    """The network of the extra `pmv_jax[identity]`; None where it is not installed."""
    models = importlib.util.find_spec(MODELS)  # finds a package without importing it
    if models is None or models.origin is None or importlib.util.find_spec("dlib") is None:
        return None
    import dlib

    return DlibIdentity(dlib, Path(models.origin).parent / "models")
