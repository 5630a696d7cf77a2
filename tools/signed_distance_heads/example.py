"""Makes the example pictures in `weights/demo`: a real portrait, and a procedural head with tattoos and its true views.

    python -m tools.signed_distance_heads.example [--out DIR]        # default: weights/demo

Needs scikit-image, which `pip install '.[test]'` brings.

The portrait is NASA's of the astronaut Eileen Collins, in the public domain, as scikit-image carries it. It is cropped
as EG3D crops FFHQ: the similarity that takes four landmarks nearest to their places in a frontal crop.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from pmv_jax import cameras, images
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from tools.signed_distance_heads import decals, heads

FLAGS = Flags()
_OUT = FLAGS.out(default="weights/demo")

CROP_SIZE = 512
CROP_LANDMARKS = {
    "left_eye": (188.0, 190.0),
    "right_eye": (330.0, 190.0),
    "nose_tip": (257.0, 262.0),
    "mouth": (257.0, 325.0),
}
"""Where a frontal EG3D crop of 512 pixels has them (x, y); left and right as in the picture."""
PORTRAIT_LANDMARKS = {
    "left_eye": (203.2, 100.8),
    "right_eye": (246.8, 103.2),
    "nose_tip": (224.2, 126.4),
    "mouth": (224.3, 142.6),
}
"""Where `skimage.data.astronaut()` has them, found by eye: irises, tip, and the middle of the mouth."""

HEAD_SIZE = 128
INPUT_YAW, SHEET_YAWS = 0.3, (-0.3, 0.0, 0.3, 0.6)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares similarity from points [N, 2] to points [N, 2].

    Returns:
      [2, 3], rotation with scale, and translation: `target ~ matrix @ (x, y, 1)`.
    """
    # As complex numbers the map is a z + b: rotation and scale are one factor, and the fit is linear.
    x, y = source @ (1, 1j), target @ (1, 1j)
    (a, b), *_ = np.linalg.lstsq(np.stack([x, np.ones_like(x)], axis=-1), y, rcond=None)
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(picture: Image.Image, landmarks: dict[str, tuple[float, float]]) -> Image.Image:
    """EG3D's crop, CROP_SIZE square, of a picture whose landmarks are given in pixels.

    The crop must lie within the picture.
    """
    names = list(CROP_LANDMARKS)
    crop_to_picture = similarity(
        np.array([CROP_LANDMARKS[name] for name in names]), np.array([landmarks[name] for name in names])
    )
    corners = crop_to_picture @ np.array([[0, CROP_SIZE, 0, CROP_SIZE], [0, 0, CROP_SIZE, CROP_SIZE], [1, 1, 1, 1]])
    if corners.min() < 0 or (corners.max(axis=1) > picture.size).any():
        raise ValueError(f"the crop leaves the picture: its corners are at {corners.T.round(1).tolist()}")
    return picture.transform(
        (CROP_SIZE, CROP_SIZE), Image.Transform.AFFINE, tuple(crop_to_picture.ravel()), Image.Resampling.BICUBIC
    )


def portrait() -> Image.Image:
    from skimage import data

    return align(Image.fromarray(data.astronaut()), PORTRAIT_LANDMARKS)


def tattooed_head() -> tuple[jax.Array, heads.Decals]:
    """Parameters and decals of the example head."""
    features = {"skin_tone": 0.6, "smile": 0.8, "hair_colour": -0.8, "hair_length": -0.6, "cloth_green": 1.0}
    features |= {"age": -1.0, "beard": -1.0, "eye_colour": 1.5, "backdrop_lightness": 0.5, "hair_volume": -0.5}
    p = jnp.array([features.get(name, 0.0) for name in heads.PARAMETERS])
    return heads.normalise(p), (decals.freckles_decal(), decals.stripes_decal(), decals.text_decal("LOVE"))


@command(FLAGS)
def main() -> None:
    out = Path(_OUT.value or "weights/demo")
    out.mkdir(parents=True, exist_ok=True)
    portrait().save(out / "portrait.png", optimize=True)

    p, marks = tattooed_head()
    render = jax.jit(functools.partial(heads.render, resolution=HEAD_SIZE))
    views = [np.asarray(render(p, cameras.look_at(yaw, 0.0), decals=marks).image) for yaw in SHEET_YAWS]
    images.save_image(out / "tattoo_head.png", views[SHEET_YAWS.index(INPUT_YAW)])
    images.save_image(out / "tattoo_head_views.png", np.concatenate(views, axis=1))
    camera = [round(float(value), 8) for value in cameras.look_at(INPUT_YAW, 0.0)]
    (out / "tattoo_head_camera.json").write_text(json.dumps({"camera": camera}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
