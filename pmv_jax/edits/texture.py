"""Paintings carried into 3D: what was painted over one view of a head is then on the head, from all sides.

What was painted is found by `changed_region`, and put on the head by `apply_painting`.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.ndimage
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import LossConfig
from pmv_jax.errors import InputError, NumericalError
from pmv_jax.inversion import adam_loop, losses, pseudo_views, visibility
from pmv_jax.inversion.image_run import StageRecord
from pmv_jax.inversion.result import Inversion
from pmv_jax.inversion.view_fitting import Views
from pmv_jax.models.generator import Generator, Tree

Progress = Callable[[int, int], None]  # steps done, of all

_RENDERING = ("decoder", "superresolution")  # the weights that make pictures of planes
_SMALLEST_CHANGE = 12 / 127.5  # of a channel that counts as paint
_SMALLEST_SPOT = 3  # pixels
_LARGEST_NOISE = 8 / 127.5  # that a lossy format makes
_LARGEST_SHARE = 0.6  # of the pixels that can have been painted over
_LARGEST_SHIFT = 4  # pixels by which an edited picture may be found to have been shifted


class Painting(NamedTuple):
    """One view of a head, painted over.

    Attributes:
      image: [H, W, 3] in [-1, 1].
      mask: [H, W] in [0, 1], where it was painted over.
      camera: [25].
    """

    image: np.ndarray
    mask: np.ndarray
    camera: np.ndarray


@dataclasses.dataclass(frozen=True)
class TextureConfig:
    """How a painting is fitted by Adam: in the head's tri-planes, as an offset in units of their standard deviation,
    and, for what is finer than they are, in the weights that render them."""

    steps: int = 80
    planes_rate: float = 0.05  # learning rate of the planes' offset
    weights_rate: float = 0.03  # of the decoder's and the super-resolution's weights
    warm_up: float = 0.1  # share of the steps
    final_rate: float = 0.05  # share of the learning rates that is left at the end
    views_per_step: int = 2  # random ones, beside the painted one
    view_weight: float = 1.5  # of their mean loss, against the painted view's
    emphasis: float = 8.0  # weight of painted pixels on top of the 1 of all others: they are few
    # Adam's epsilon. What has smaller gradients hardly moves; plain Adam would move everything alike, and all that is
    # not painted would drift. The planes' is for a plane of one texel: the more there are, the less each one counts.
    planes_floor: float = 1.6
    weights_floor: float = 1e-5


def changed_region(
    before: np.ndarray, edited: np.ndarray, mask: np.ndarray | None = None, name: str = "the edited picture"
) -> np.ndarray:
    """Where a picture was painted over.

    A pixel counts as painted if a channel differs by more than `_SMALLEST_CHANGE`, or by more than a lossy format
    changes all of the picture. Specks do not count; small gaps inside do, where paint and skin are alike.

    Args:
      before, edited: the picture without and with paint, [H, W, 3] in [-1, 1].
      mask: [H, W] bool, where it was painted over, if that is known; nothing else is then looked at.
      name: of the edited picture, for messages.

    Returns:
      [H, W] in [0, 1], 1 where painted, falling to 0 within two pixels.

    Raises:
      InputError: nothing differs, nearly everything does, or the picture was shifted.
    """
    chex.assert_equal_shape((before, edited))
    chex.assert_shape(before, (None, None, 3))
    difference = np.abs(np.asarray(edited, np.float32) - before).max(-1)
    if mask is None:
        noise = 1.4826 * float(np.median(difference))  # of a lossy format: most of the picture is as it was
        painted = difference > max(_SMALLEST_CHANGE, 5 * min(noise, _LARGEST_NOISE))
        labels, count = scipy.ndimage.label(painted, np.ones((3, 3)))
        sizes = scipy.ndimage.sum_labels(painted, labels, np.arange(count + 1))
        painted = (sizes >= _SMALLEST_SPOT)[labels] & painted
        painted |= scipy.ndimage.binary_closing(painted, np.ones((3, 3)))
        _check_aligned(before, edited, painted, name)
    else:
        painted = mask
    if not painted.any():
        raise InputError(f"{name}: does not differ from what it was painted over; paint something on it")
    grown = scipy.ndimage.binary_dilation(painted, np.ones((3, 3)))
    return np.maximum(painted, scipy.ndimage.gaussian_filter(grown.astype(np.float32), 0.7)).astype(np.float32)


def _check_aligned(before: np.ndarray, edited: np.ndarray, painted: np.ndarray, name: str) -> None:
    """Raises InputError where the picture has been shifted, or is another one."""
    robust = lambda a, b: float(np.mean(np.minimum(np.abs(a - b), 0.2)))  # noqa: E731
    reach = _LARGEST_SHIFT
    inner = (slice(reach, -reach),) * 2
    errors = {
        (down, right): robust(np.roll(edited, (-down, -right), (0, 1))[inner], before[inner])
        for down in range(-reach, reach + 1)
        for right in range(-reach, reach + 1)
    }
    best = min(errors, key=errors.__getitem__)
    if best != (0, 0) and errors[best] < 0.5 * errors[0, 0]:
        raise InputError(
            f"{name}: is shifted by {best[1]} pixels to the right and {best[0]} down; paint over the picture as it is"
        )
    if painted.mean() > _LARGEST_SHARE:
        raise InputError(
            f"{name}: differs from what it was to be painted over in {painted.mean():.0%} of its pixels; "
            "is it another picture? If not, give --mask"
        )


def apply_painting(
    inversion: Inversion,
    painting: Painting,
    shown: np.ndarray,
    config: TextureConfig | None = None,
    progress: Progress | None = None,
) -> tuple[Inversion, np.ndarray]:
    """Tunes the head until the painting is there from all sides, and nothing else has changed.

    Targets are the inversion's own renderings, with the painting warped in where the painted surface is seen; where it
    turns away, or the painting does not tell, nothing is asked for. All views count everywhere else, so that nothing
    drifts. What is tuned is an offset of the tri-planes, which becomes a parameter of the generator
    (`BackboneConfig.plane_map`): unlike the weights of the backbone's convolutions, a texel has a place, and changes
    nothing beyond it. The few weights that make pictures of planes are tuned with it. The code stays: moves along
    directions and paintings commute, but for what a move does to the surface.

    Args:
      inversion: the head.
      painting: one of its views, painted over.
      shown: [H, W, 3] in [-1, 1], the picture that the inversion stands for.
      config: how it is fitted; None takes the defaults.
      progress: called with the number of steps done and of all.

    Returns:
      The inversion with the painting, and the picture that it then stands for [H, W, 3].

    Raises:
      NumericalError: the loss became NaN or infinite.
    """
    chex.assert_equal_shape((painting.image, shown))
    chex.assert_shape(painting.mask, shown.shape[:2])
    chex.assert_shape(painting.camera, (25,))
    config = TextureConfig() if config is None else config
    begun = time.monotonic()
    generator = _with_plane_map(inversion.generator)
    planes = generator.planes(jnp.asarray(inversion.ws))
    variables, losses = _fit(inversion, generator, planes, painting, config, progress)
    name = f"texture_{sum(stage.name.startswith('texture') for stage in inversion.stages) + 1}"
    tuned = generator.with_params({**generator.params, **variables["weights"]})
    painted = dataclasses.replace(
        inversion,
        generator=_add_to_planes(tuned, variables["offset"] * jnp.std(planes)),
        stages=(*inversion.stages, StageRecord(name, time.monotonic() - begun, losses)),
        pseudo_views=None,
    )
    return painted, _shown_with_painting(inversion, painting, shown)


def _fit(
    inversion: Inversion,
    generator: Generator,
    planes: Array,
    painting: Painting,
    config: TextureConfig,
    progress: Progress | None,
) -> tuple[Tree, np.ndarray]:
    """The planes' offset and the rendering weights that show the painting, and the losses [steps]."""
    ws, camera = jnp.asarray(inversion.ws), inversion.camera
    around = pseudo_views.view_cameras(jnp.asarray(camera), inversion.config.pseudo_views, generator.config)
    if not np.array_equal(painting.camera, camera):
        around = around.at[-1].set(camera)  # the input's view is to be held as well
    everyone = jnp.concatenate([jnp.asarray(painting.camera)[None], around])
    image, mask = jnp.asarray(painting.image), jnp.asarray(painting.mask)
    views = _targets(generator, planes, ws, image, mask, everyone, config=config)
    loss = inversion.config.loss
    network = losses.load_network(loss)
    variables = {"offset": jnp.zeros_like(planes), "weights": {name: generator.params[name] for name in _RENDERING}}
    start = adam_loop.start(jax.tree.map(jnp.array, variables), _adam(config, variables))
    key = jax.random.key(inversion.config.seed)

    def run(state: adam_loop.FitState, steps: int) -> tuple[adam_loop.FitState, Array]:
        return _tune(state, generator, ws, planes, views, network, key, steps, config=config, loss_config=loss)

    for state, values in adam_loop.in_chunks(run, start, np.zeros(0, np.float32), config.steps):  # noqa: B007
        if not np.isfinite(values).all():
            raise NumericalError("the texture edit's loss is not finite; is the painting in [-1, 1]?")
        if progress:
            progress(len(values), config.steps)
    return state.variables, values


def _with_plane_map(generator: Generator) -> Generator:
    """The same generator, with a parameter to be added to its planes; zero, if there was none."""
    config = generator.config
    if config.backbone.plane_map:
        return generator
    size, channels = config.backbone.plane_resolution, 3 * config.backbone.plane_channels
    config = dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, plane_map=True))
    return _set_plane_map(generator.replace(config=config), jnp.zeros((size, size, channels)))


def _set_plane_map(generator: Generator, plane_map: Array) -> Generator:
    params = generator.params
    synthesis = {**params["backbone"]["synthesis"], "plane_map": plane_map}
    return generator.with_params({**params, "backbone": {**params["backbone"], "synthesis": synthesis}})


def _add_to_planes(generator: Generator, offset: Array) -> Generator:
    """Adds [3, H, W, C] to what `Generator.planes` gives, whatever the code."""
    side_by_side = offset.transpose(1, 2, 0, 3).reshape(*offset.shape[1:3], -1)
    return _set_plane_map(generator, generator.params["backbone"]["synthesis"]["plane_map"] + side_by_side)


def _adam(config: TextureConfig, variables: Tree) -> optax.GradientTransformation:
    """Each of the two parts has its rate and its epsilon."""
    texels = variables["offset"][0, ..., 0].size
    warm_up = round(config.warm_up * config.steps)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0 if warm_up else 1.0, 1.0, warm_up, config.steps, config.final_rate
    )

    def adam(rate: float, epsilon: float) -> optax.GradientTransformation:
        return optax.adam(lambda step: rate * schedule(step), eps=epsilon)

    parts = {
        "offset": adam(config.planes_rate, config.planes_floor / texels),
        "weights": adam(config.weights_rate, config.weights_floor),
    }
    return optax.partition(parts, {name: name for name in parts})


@functools.partial(jax.jit, static_argnames=("config", "loss_config"), donate_argnames=("state",))
def _tune(
    state: adam_loop.FitState,
    generator: Generator,
    ws: Array,
    planes: Array,
    views: Views,
    network: Tree | None,
    key: Array,
    steps: Array,
    *,
    config: TextureConfig,
    loss_config: LossConfig,
) -> tuple[adam_loop.FitState, Array]:
    """`steps` steps; each sees the painted view, the first, and `views_per_step` random others."""
    count = config.views_per_step
    scales = jnp.array([1.0] + [config.view_weight / count] * count)
    unit = jnp.std(planes)

    def value_and_grad(variables: Tree, step: Array, key: Array) -> tuple[tuple[Array, Array], Tree]:
        def loss(variables: Tree, view: Views, scale: Array) -> Array:
            tuned = generator.with_params({**generator.params, **variables["weights"]})
            image = tuned.render(planes + unit * variables["offset"], ws, view.cameras)["image"]
            return scale * losses.image_loss(image, view.images, loss_config, view.weights, network)

        others = 1 + jax.random.permutation(key, len(views.cameras) - 1)[:count]
        chosen = jax.tree.map(lambda x: x[jnp.append(0, others)], views)
        parts = jax.lax.map(lambda one: jax.value_and_grad(loss)(variables, *one), (chosen, scales))
        value, grads = jax.tree.map(lambda part: part.sum(0), parts)
        return (value, value), grads

    return adam_loop.run(value_and_grad, _adam(config, state.variables), state, key, steps)


def _shown_with_painting(inversion: Inversion, painting: Painting, shown: np.ndarray) -> np.ndarray:
    """The picture that the inversion stands for [H, W, 3], with a painting on any view carried into it."""
    if np.array_equal(painting.camera, inversion.camera):
        return np.asarray(painting.image)
    both = np.stack([painting.camera, inversion.camera])
    distance = inversion.render(both)["ray_distance"]
    colour, amount, _ = _warp_painting(painting.image, painting.mask, distance, both)
    share = np.asarray(amount[1])[..., None]
    return share * np.asarray(colour[1]) + (1 - share) * shown


@jax.jit
def _warp_painting(image: Array, mask: Array, ray_distance: Array, views: Array) -> tuple[Array, Array, Array]:
    """A painting on the first of some views, as it is seen in all of them.

    Args:
      image, mask: the painting, [H, W, 3] and [H, W].
      ray_distance: [V, n, n] of the surface that it is on.
      views: cameras [V, 25].

    Returns:
      Colour [V, H, W, 3], how much of it is seen [V, H, W], and how much lies there but is not well seen [V, H, W].
    """
    depth = cameras.ray_distance_to_z_depth(ray_distance, views)
    layers = jnp.concatenate([image, mask[..., None]], axis=-1)
    warped = jax.vmap(lambda z, c: visibility.warp(layers, depth[0], views[0], z, c))(depth[1:], views[1:])
    colour = jnp.concatenate([image[None], warped.colour[..., :3]])
    here = jnp.concatenate([mask[None], warped.colour[..., 3]])
    ones = jnp.ones_like(mask)[None]
    seen, observed = (jnp.concatenate([ones, x]) for x in (warped.visibility, warped.observed))
    return colour, here * seen, here * jnp.maximum(observed - seen, 0.0)


@functools.partial(jax.jit, static_argnames=("config",))
def _targets(
    generator: Generator, planes: Array, ws: Array, image: Array, mask: Array, views: Array, *, config: TextureConfig
) -> Views:
    """What is fitted: the head as rendered from views [V, 25], with the painting [H, W, 3], [H, W] on the first."""
    rendered = jax.lax.map(lambda view: generator.render(planes, ws, view), views)
    colour, amount, unsure = _warp_painting(image, mask, rendered["ray_distance"], views)
    share = amount[..., None]
    targets = share * colour + (1 - share) * rendered["image"]
    return Views(views, targets, 1 - unsure + config.emphasis * amount)
