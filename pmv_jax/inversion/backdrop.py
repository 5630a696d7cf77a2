"""What stands behind the head, where the head hides it or the frame ends: what other views may see of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy import ndimage

from pmv_jax.inversion import visibility

_MARGIN = 0.5  # of the canvas on each side, in units of the picture's size


def continued(image: Array, known: Array) -> Array:
    """A backdrop behind the head and beyond the frame, smooth where it is not known.

    Pull and push: colours are averaged to ever coarser pictures, and what is unknown in a finer one is filled in from
    the coarser (S. Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4).

    Args:
      image: [H, W, 3].
      known: [H, W] in [0, 1], where the image shows the backdrop and is to be believed.

    Returns:
      A canvas [H + 2 m, W + 2 m, 3] with the picture in its middle, m being half its size.
    """
    margin = round(_MARGIN * image.shape[0])
    around = ((margin, margin), (margin, margin))
    return _filled(jnp.pad(image * known[..., None], (*around, (0, 0))), jnp.pad(known, around)[..., None])


def _filled(sums: Array, weight: Array) -> Array:
    """Colours [h, w, 3], times their weight [h, w, 1] in [0, 1], as colours that are known everywhere."""
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
    return weight * colour + (1 - weight) * doubled[: size[0], : size[1]]


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
