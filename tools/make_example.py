"""Makes the example pictures in `weights/demo`: a real portrait, and a rendered head with tattoos and its true views.

    python -m tools.make_example --assets DIR [--out DIR]        # default: weights/demo

The assets are found by --assets or PMV_HEADS_ASSETS (tools/heads/README.md says how to make them).

The portrait is NASA's of the astronaut Eileen Collins, in the public domain, as scikit-image carries it. It is cropped
as EG3D crops FFHQ: the similarity that takes four landmarks nearest to their places in a frontal crop.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pmv_jax import cameras, images
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from tools.heads import latent
from tools.heads.assets import assets_directory
from tools.heads.head import Studio
from tools.heads.outfit import Decal, Outfit
from tools.heads.rendering import render
from tools.training import backdrop

FLAGS = Flags()
_ASSETS = FLAGS.string("assets", None, "Directory of the assets. Default: PMV_HEADS_ASSETS.")
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

HEAD_SIZE = 256
INPUT_YAW, SHEET_YAWS = 0.3, (-0.3, 0.0, 0.3, 0.6)
HEAD = (40_000, 0)  # seed and number, of no training and no benchmark
CHANGES = {
    ("hair", "fringe"): -1.0,
    ("hair", "length"): -0.5,
    ("beard", "fullness"): -1.0,
    ("expression", "smile"): 0.8,
}
TATTOOS = (
    Decal("freckles", -0.45, -0.45, 0.3, 0.0, (0.45, 0.24, 0.15), seed=1),
    Decal("freckles", 0.0, -0.35, 0.3, 0.0, (0.45, 0.24, 0.15), seed=2),
    Decal("stripes", 0.58, -0.5, 0.30, 0.1, (0.72, 0.07, 0.08)),
    Decal("text", 0.0, 0.55, 0.30, 0.0, (0.08, 0.18, 0.62), word="LOVE"),
)
BACKDROP = (0.6, 0.5, -0.3, 0.4, 0.3, 0.0)


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


def head() -> np.ndarray:
    """p [128] of the example head, of unit root mean square as all heads of the training."""
    p = latent.sample(*HEAD)
    for name, value in CHANGES.items():
        p[latent.index(*name)] = value
    return p / np.sqrt(np.mean(p * p))


def views(studio: Studio) -> list[np.ndarray]:
    """The example head from SHEET_YAWS, [N, N, 3] in [-1, 1] each."""
    scene, pictures = studio.head(head(), Outfit(decals=TATTOOS)), []
    for yaw in SHEET_YAWS:
        camera = cameras.look_at(yaw, 0.0)
        view = render(scene, np.asarray(camera), HEAD_SIZE)
        pictures.append(backdrop.photographed(view.rgb, view.mask, np.array(BACKDROP), camera))
    return pictures


@command(FLAGS)
def main() -> None:
    out = Path(_OUT.value or "weights/demo")
    made = views(Studio.load(assets_directory(_ASSETS.value)))
    out.mkdir(parents=True, exist_ok=True)
    portrait().save(out / "portrait.png", optimize=True)
    images.save_image(out / "tattoo_head.png", made[SHEET_YAWS.index(INPUT_YAW)])
    images.save_image(out / "tattoo_head_views.png", np.concatenate(made, axis=1))
    camera = [round(float(value), 8) for value in cameras.look_at(INPUT_YAW, 0.0)]
    (out / "tattoo_head_camera.json").write_text(json.dumps({"camera": camera}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
