"""Image quality, whole or under a mask: PSNR, SSIM, MS-SSIM; errors of depth, of normals, of masks.

Images are [H, W, C] in [-1, 1] (a dynamic range of 2). All functions return a scalar, and can be jitted and vmapped;
those of images can be differentiated.
"""

from __future__ import annotations

import chex
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pmv_jax import cameras
from pmv_jax.models.ops import halve

_RANGE = 2.0
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2


def psnr(a: Array, b: Array) -> Array:
    """Peak signal-to-noise ratio of images [H, W, C] in dB, 10 log10(4 / MSE). Infinite for equal images."""
    chex.assert_equal_shape((a, b))
    return 10 * jnp.log10(_RANGE**2 / jnp.mean((a - b) ** 2))


def believed(image: np.ndarray, made: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """An image [H, W, C] that is nowhere wrong where it was made up, for metrics of a rendering of the rest.

    Args:
      image: [H, W, C].
      made: the rendering [H, W, C]; where the image was made up, it is the truth.
      weights: [H, W] in [0, 1], the share of each pixel that is photograph.

    Returns:
      The image to compare `made` with, and the mean of the weights: what was made up must have no share in the mean
      error, so that `psnr` is to be raised by 10 log10 of it, which is negative.
    """
    return made + weights[..., None] * (image - made), max(float(weights.mean()), 1e-6)


def ssim(a: Array, b: Array) -> Array:
    """Structural similarity of images a, b [H, W, C], at most 1.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", 2004, eq. 13: Gaussian
    window of 11x11 pixels with sigma 1.5, only where it lies inside the image; the mean over pixels and channels.

    Raises:
      ValueError: a side is shorter than the window.
    """
    luminance, contrast_structure = _ssim_maps(a, b)
    return jnp.mean(luminance * contrast_structure)


def ms_ssim(a: Array, b: Array) -> Array:
    """Multi-scale structural similarity of images a, b [H, W, C], at most 1.

    Wang, Simoncelli, Bovik, "Multi-scale structural similarity", 2003, eq. 7.

    Each scale halves the image by averaging 2x2 pixels. Contrast and structure count at every scale, luminance at the
    coarsest. Five scales need 176 pixels; a smaller image gets as many as leave its coarsest at least one window wide
    (four for 128 pixels), with the weights of those scaled to add up to 1. Values are then not comparable with those
    of larger images.

    Raises:
      ValueError: a side is shorter than the window.
    """
    side = min(a.shape[0], a.shape[1])
    scales = max(1, sum(side >> scale >= _WINDOW for scale in range(len(_SCALE_WEIGHTS))))
    weights = jnp.array(_SCALE_WEIGHTS[:scales]) / sum(_SCALE_WEIGHTS[:scales])
    factors = []
    for scale in range(scales):
        luminance, contrast_structure = _ssim_maps(a, b)
        last = scale == scales - 1
        factors.append(jnp.mean(luminance * contrast_structure if last else contrast_structure, axis=(0, 1)))
        a, b = halve(a), halve(b)
    # Anticorrelated images have negative factors, of which no real power exists; the floor keeps gradients finite too.
    return jnp.mean(jnp.prod(jnp.maximum(jnp.stack(factors), 1e-6) ** weights[:, None], axis=0))


def _ssim_maps(a: Array, b: Array) -> tuple[Array, Array]:
    """Luminance and contrast-structure terms of SSIM [H - 10, W - 10, C]."""
    chex.assert_rank((a, b), 3)
    chex.assert_equal_shape((a, b))
    if min(a.shape[0], a.shape[1]) < _WINDOW:
        raise ValueError(f"SSIM needs images of at least {_WINDOW}x{_WINDOW} pixels, not {a.shape[0]}x{a.shape[1]}")
    mean_a, mean_b, aa, bb, ab = _blur(jnp.stack([a, b, a * a, b * b, a * b]))
    variance_a, variance_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    contrast_structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return luminance, contrast_structure


def _blur(x: Array) -> Array:
    """Gaussian window over axes 1 and 2 of [N, H, W, C], without padding."""
    offsets = jnp.arange(_WINDOW) - _WINDOW // 2
    window = jnp.exp(-(offsets**2) / (2 * _SIGMA**2))
    window = window / jnp.sum(window)
    channels = x.shape[-1]
    for shape in ((_WINDOW, 1), (1, _WINDOW)):
        kernel = jnp.tile(window.reshape(*shape, 1, 1), (1, 1, 1, channels))
        x = lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=channels,
            precision=lax.Precision.HIGHEST,
        )  # fmt: skip
    return x


def masked_psnr(a: Array, b: Array, mask: Array) -> Array:
    """PSNR of images a, b [H, W, C] over the pixels of mask [H, W] (bool) only; NaN if it is empty."""
    chex.assert_shape(mask, a.shape[:2])
    mask = mask[..., None]
    squared = jnp.sum(jnp.where(mask, (a - b) ** 2, 0.0)) / (a.shape[-1] * jnp.sum(mask))
    return 10 * jnp.log10(_RANGE**2 / squared)


def masked_ssim(a: Array, b: Array, mask: Array) -> Array:
    """SSIM of images a, b [H, W, C], averaged over the windows whose middle lies in mask [H, W] (bool); NaN if there is
    none.

    The windows themselves are whole, so what surrounds the mask within five pixels counts too.
    """
    luminance, contrast_structure = _ssim_maps(a, b)
    border = _WINDOW // 2
    mask = mask[border:-border, border:-border, None]
    values = jnp.where(mask, luminance * contrast_structure, 0.0)
    return jnp.sum(values) / (a.shape[-1] * jnp.sum(mask))


def masked_rmse(a: Array, b: Array, mask: Array) -> Array:
    """Root of the mean squared difference of a and b [H, W] over mask [H, W] (bool), in their unit; NaN if it is empty.

    Meant for z-depths as they are: neither scale nor offset is fitted.
    """
    chex.assert_equal_shape((a, b, mask))
    return jnp.sqrt(jnp.sum(jnp.where(mask, (a - b) ** 2, 0.0)) / jnp.sum(mask))


def normal_angle(a: Array, b: Array, camera: Array, mask: Array) -> Array:
    """Mean angle in degrees between the surface normals of z-depths a, b [h, w] seen by one camera [25].

    Normals are those of central differences. They count where a pixel and its four neighbours lie in mask [h, w]
    (bool); NaN if there is none.
    """
    chex.assert_equal_shape((a, b, mask))
    chex.assert_shape(camera, (25,))
    cosine = jnp.sum(_normals(a, camera) * _normals(b, camera), axis=-1)
    inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    angle = jnp.rad2deg(jnp.arccos(jnp.clip(cosine, -1.0, 1.0)))
    return jnp.sum(jnp.where(inner, angle, 0.0)) / jnp.sum(inner)


def _normals(z_depth: Array, camera: Array) -> Array:
    """Unit normals [h - 2, w - 2, 3] of the surface at z_depth [h, w], from central differences."""
    size = z_depth.shape[0]
    directions = cameras.unproject(camera, cameras.pixel_centres(size).reshape(-1, 2)).reshape(size, size, 3)
    points = z_depth[..., None] * directions
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    normal = jnp.cross(across, down)
    return normal / jnp.maximum(jnp.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)


def iou(a: Array, b: Array) -> Array:
    """Intersection over union of two masks [H, W] (bool); NaN if both are empty."""
    chex.assert_equal_shape((a, b))
    return jnp.sum(a & b) / jnp.sum(a | b)
