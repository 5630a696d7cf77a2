"""What stands behind the head, where the head hides it or the frame ends: what other views may see of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy import ndimage

from pmv_jax.inversion import visibility

_MARGIN = 0.5  # of the canvas on each side, in units of the picture's size
_FADING = 0.6  # of the picture's own colours, twice as far from where they are known
_SHARP = 0.03  # of colour: residuals up to which the fit is one of squares
_STIFF = 0.03  # against steep planes through what is known in a corner alone
_ROUNDS = 12


def continued(image: Array, known: Array) -> Array:
    """A backdrop behind the head and beyond the frame, smooth where it is not known.

    A plane of colours is fitted to what is known, by least absolute residuals: a hat that was taken for backdrop does
    not count. What is left of the picture fades away from where it is known, by pull and push: it is averaged to ever
    coarser pictures, and filled in from these (S. Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4).

    Args:
      image: [H, W, 3].
      known: [H, W] in [0, 1], where the image shows the backdrop and is to be believed.

    Returns:
      A canvas [H + 2 m, W + 2 m, 3] with the picture in its middle, m being half its size.
    """
    margin = round(_MARGIN * image.shape[0])
    around = ((margin, margin), (margin, margin))
    smooth = _plane(image, known)
    rest = jnp.pad((image - smooth) * known[..., None], (*around, (0, 0)))
    return jnp.pad(smooth, (*around, (0, 0)), mode="edge") + _filled(rest, jnp.pad(known, around)[..., None])


def _plane(image: Array, known: Array) -> Array:
    """Colours [H, W, 3] that change evenly over the picture, nearest to those that are known by the sum of distances:
    iteratively reweighted least squares."""
    y, x = jnp.meshgrid(*(jnp.linspace(-1, 1, length) for length in image.shape[:2]), indexing="ij")
    terms = jnp.stack([jnp.ones_like(x), x, y], axis=-1)

    def refit(_: int, fitted: Array) -> Array:
        distance = jnp.linalg.norm(image - fitted, axis=-1)
        weighted = (known / jnp.maximum(distance, _SHARP))[..., None] * terms
        square = jnp.einsum("hwi,hwj->ij", weighted, terms, precision="highest")
        stiff = square + jnp.diag(jnp.array([0.0, _STIFF, _STIFF])) * square[0, 0] + 1e-6 * jnp.eye(3)
        return terms @ jnp.linalg.solve(stiff, jnp.einsum("hwi,hwc->ic", weighted, image, precision="highest"))

    return jax.lax.fori_loop(0, _ROUNDS, refit, jnp.zeros_like(image))


def _filled(sums: Array, weight: Array) -> Array:
    """Colours [h, w, 3], times their weight [h, w, 1] in [0, 1], as colours that fade to zero where that is zero."""
    colour = sums / jnp.maximum(weight, 1e-6)
    size = sums.shape[:2]
    if max(size) == 1:
        return colour
    even = tuple((0, length % 2) for length in size)

    def pull(x: Array) -> Array:
        padded = jnp.pad(x, (*even, (0, 0)))
        return padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, -1).sum((1, 3))

    coarse, coarse_weight = pull(sums), pull(weight)
    share = jnp.minimum(coarse_weight, 1.0) / jnp.maximum(coarse_weight, 1e-6)
    coarser = _filled(coarse * share, coarse_weight * share)
    doubled = jax.image.resize(coarser, (2 * coarser.shape[0], 2 * coarser.shape[1], 3), "linear")
    return weight * colour + (1 - weight) * _FADING * doubled[: size[0], : size[1]]


def seen_from(canvas: Array, camera: Array, z_depth: Array, view: Array) -> Array:
    """A picture's canvas, as `continued` makes it, in another view of the scene.

    Args:
      canvas: [H + 2 m, W + 2 m, 3].
      camera: [25] of the picture.
      z_depth: [h, w] of the view, of what it sees of the backdrop.
      view: [25], the view's camera.

    Returns:
      [H, W, 3]; beyond the canvas its border.
    """
    size = round(canvas.shape[0] / (1 + 2 * _MARGIN))
    depth = visibility.resized(z_depth, size).reshape(-1)
    x, y, _ = visibility.reproject(view, camera, depth, size)
    places = jnp.stack([(place + _MARGIN) * size - 0.5 for place in (y, x)])
    look_up = jax.vmap(lambda channel: ndimage.map_coordinates(channel, places, order=1, mode="nearest"), -1, -1)
    return look_up(canvas).reshape(size, size, -1)
