"""What stands behind the head, where the head hides it or the frame ends: what other views may see of it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy import ndimage

from pmv_jax.inversion import visibility

_MARGIN = 0.5  # of the canvas on each side, in units of the picture's size
_FADING = 0.6  # of the picture's own colours, twice as far from where they are known
# Of the fit's two halves. In colour, see `_levels`: residuals up to which the first is one of squares, and beyond which
# nothing counts in the second. World units squared: how stiff each is against steep slopes through a corner alone.
_SHARP, _FAR = 0.06, 0.2
_STIFF, _SUPPLE = 0.06, 2e-4
_ROUNDS = 12
_BRIGHTEST = 0.98  # of colours in [-1, 1]: beyond it they would have no level


class Backdrop(NamedTuple):
    """The backdrop of one photograph.

    Attributes:
      camera: [25] of the photograph.
      centre: [2], x and y of the world in the middle of what is known.
      slopes: [3, 3], level of each colour there, and how it changes along x and y of the world: what goes on for ever.
      rest: [H + 2 m, W + 2 m, 3], what is left of the picture, in the middle of a canvas, m being half its size.
    """

    camera: Array
    centre: Array
    slopes: Array
    rest: Array


def continued(image: Array, known: Array, camera: Array, z_depth: Array) -> Backdrop:
    """A backdrop that goes on behind the head and beyond the frame, smooth where it is not known.

    Colours that change evenly along x and y of the world are fitted to what is known. In the world, since a backdrop is
    a thing: along it a colour changes only so far. A hat that was taken for backdrop does not count: first by least
    absolute residuals and stiffly, then by Geman and McClure's function of them, which lets go of what is far off. What
    is left of the picture fades away from where it is known, by pull and push: it is averaged to ever coarser pictures,
    and filled in from these (S. Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4).

    Args:
      image: [H, H, 3] in [-1, 1].
      known: [H, H] in [0, 1], where the image shows the backdrop and is to be believed.
      camera: [25] of the image.
      z_depth: [h, h] of the backdrop in it, in front of which the head stands.
    """
    size = image.shape[0]
    places = visibility.points(visibility.resized(z_depth, size), camera)[..., :2]
    centre = jnp.einsum("hw,hwi->i", known, places) / jnp.maximum(known.sum(), 1e-6)
    terms = _terms(places, centre)
    slopes = _slopes(_levels(image), terms, known)
    smooth = jnp.tanh(_sum(terms, slopes))
    margin = round(_MARGIN * size)
    around = ((margin, margin), (margin, margin))
    rest = jnp.pad((image - smooth) * known[..., None], (*around, (0, 0)))
    return Backdrop(camera, centre, slopes, _filled(rest, jnp.pad(known, around)[..., None]))


def seen_from(backdrop: Backdrop, z_depth: Array, view: Array) -> Array:
    """A backdrop in another view of the scene.

    Args:
      backdrop: of a photograph.
      z_depth: [h, h] of the backdrop in the view.
      view: [25], the view's camera.

    Returns:
      [H, H, 3]; beyond the canvas nothing but what changes evenly is left.
    """
    size = round(backdrop.rest.shape[0] / (1 + 2 * _MARGIN))
    depth = visibility.resized(z_depth, size)
    terms = _terms(visibility.points(depth, view)[..., :2], backdrop.centre)
    x, y, _ = visibility.reproject(view, backdrop.camera, depth.reshape(-1), size)
    places = jnp.stack([(place + _MARGIN) * size - 0.5 for place in (y, x)])
    look_up = jax.vmap(lambda channel: ndimage.map_coordinates(channel, places, order=1, mode="nearest"), -1, -1)
    return jnp.tanh(_sum(terms, backdrop.slopes)) + look_up(backdrop.rest).reshape(size, size, -1)


def _levels(colour: Array) -> Array:
    """Colours in [-1, 1] as numbers without bounds: what grows evenly in these stays a colour."""
    return jnp.arctanh(jnp.clip(colour, -_BRIGHTEST, _BRIGHTEST))


def _terms(places: Array, centre: Array) -> Array:
    """What colours change by at x and y of the world [..., 2]: 1, x and y from the centre, [..., 3]."""
    return jnp.concatenate([jnp.ones_like(places[..., :1]), places - centre], axis=-1)


def _sum(terms: Array, slopes: Array) -> Array:
    """Levels [..., 3]."""
    return jnp.matmul(terms, slopes, precision="highest")


def _slopes(levels: Array, terms: Array, known: Array) -> Array:
    """[3, 3] by which `terms` [H, W, 3] come nearest to `levels` [H, W, 3] where these are known: iteratively
    reweighted least squares."""

    def refit(done: int, slopes: Array) -> Array:
        distance = jnp.linalg.norm(levels - _sum(terms, slopes), axis=-1)
        first = done < _ROUNDS // 2
        trust = jnp.where(first, 1 / jnp.maximum(distance, _SHARP), (1 + (distance / _FAR) ** 2) ** -2)
        weighted = (known * trust)[..., None] * terms
        square = jnp.einsum("hwi,hwj->ij", weighted, terms, precision="highest")
        stiffness = jnp.where(first, _STIFF, _SUPPLE) * square[0, 0] * jnp.array([0.0, 1.0, 1.0])
        stiff = square + jnp.diag(stiffness + 1e-6)
        return jnp.linalg.solve(stiff, jnp.einsum("hwi,hwc->ic", weighted, levels, precision="highest"))

    return jax.lax.fori_loop(0, _ROUNDS, refit, jnp.zeros((3, levels.shape[-1])))


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
