"""Identity of faces: similarity of their embeddings by any ONNX network that the user supplies, such as ArcFace.

Needs the extra `pmv_jax[onnx]` (onnxruntime). No network is shipped: those in common use may not be passed on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chex
import numpy as np
from PIL import Image

from pmv_jax.errors import InputError, require

CROP = (0.066, 0.0, 0.949, 0.883)
"""Left, top, right, bottom of a frontal EG3D crop's part, in units of its side, that brings its eyes, at (188, 190) and
(330, 190) of 512, closest to where ArcFace's 112-pixel template has them, (38.3, 51.7) and (73.5, 51.5)."""
_DEFAULT_SIDE = 112  # of networks that take any


class IdentityModel:
    """An embedding network: one input of RGB pixels in [-1, 1], [1, 3, h, w] or [1, h, w, 3], one vector out."""

    def __init__(self, session: Any) -> None:
        """session: an `onnxruntime.InferenceSession` or what behaves like one."""
        self._session = session
        (first, *others), outputs = session.get_inputs(), session.get_outputs()
        if others or len(first.shape) != 4 or 3 not in (first.shape[1], first.shape[3]) or not outputs:
            raise InputError(
                f"its inputs are {[list(node.shape) for node in session.get_inputs()]}; "
                "needed is one of [1, 3, height, width] or [1, height, width, 3]"
            )
        self._input, self._output = first.name, outputs[0].name
        self._channels_first = first.shape[1] == 3
        height, width = first.shape[2:] if self._channels_first else first.shape[1:3]
        self._size = tuple(side if isinstance(side, int) else _DEFAULT_SIDE for side in (width, height))

    def embed(self, image: np.ndarray) -> np.ndarray:
        """The embedding of a face.

        Args:
          image: [H, W, 3] in [-1, 1], cropped as EG3D crops faces.

        Returns:
          Unit vector [D].
        """
        chex.assert_shape(image, (None, None, 3))
        height, width, _ = image.shape
        box = (CROP[0] * width, CROP[1] * height, CROP[2] * width, CROP[3] * height)
        channels = [
            np.asarray(Image.fromarray(channel).resize(self._size, Image.Resampling.BILINEAR, box=box))
            for channel in np.moveaxis(np.asarray(image, np.float32), -1, 0)
        ]
        pixels = np.stack(channels, axis=0 if self._channels_first else -1)
        vector = np.ravel(self._session.run([self._output], {self._input: pixels[None]})[0]).astype(np.float64)
        return vector / max(np.linalg.norm(vector), 1e-12)

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """How much faces are those of the same person.

        Args:
          a, b: images [V, H, W, 3] in [-1, 1], compared pair by pair.

        Returns:
          Cosines [V] between their embeddings.
        """
        return np.array([self.embed(x) @ self.embed(y) for x, y in zip(a, b, strict=True)])


def load_identity_model(path: str | Path) -> IdentityModel:
    """Opens an ONNX file.

    Args:
      path: of a network that embeds faces.

    Raises:
      InputError: onnxruntime is not installed; no such file; or it is no network that embeds pictures.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"identity model {path}: no such file; give a face-embedding network as ONNX, such as ArcFace, "
            "or do without the identity metric"
        )
    onnxruntime = require("onnxruntime", "onnx", "the identity metric")
    try:
        return IdentityModel(onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]))
    except InputError as error:
        raise InputError(f"identity model {path}: {error}") from error
    except Exception as error:  # onnxruntime raises its own types, none of them public
        raise InputError(f"identity model {path}: is no ONNX network that can be run ({error})") from error
