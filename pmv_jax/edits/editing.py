"""Edits of a finished inversion: its code moved along directions of w, and textures painted into its 3D.

A latent edit keeps the tuned weights, which carry what the generator's own codes cannot say of this head, and moves the
code (HFGI3D section 4.4, after PTI).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.ndimage
from jax import Array

from pmv_jax import cameras
from pmv_jax.cameras import poses
from pmv_jax.config import GeneratorConfig, LossConfig
from pmv_jax.edits import directions
from pmv_jax.edits.directions import Direction
from pmv_jax.errors import InputError, NumericalError
from pmv_jax.inversion import adam_loop, latent, losses, pseudo_views, view_fitting, visibility
from pmv_jax.inversion.image_run import StageRecord
from pmv_jax.inversion.result import Inversion
from pmv_jax.models.generator import Generator, Tree

RANGE = 3.0  # standard deviations from the average head: what 1 head in 370 lies beyond, along one direction
_RENDERING = ("decoder", "superresolution")  # the weights that make pictures of planes
_SMALLEST_CHANGE = 12 / 127.5  # of a channel that counts as paint
_SMALLEST_SPOT = 3  # pixels
_LARGEST_NOISE = 8 / 127.5  # that a lossy format makes
_LARGEST_SHARE = 0.6  # of the pixels that can have been painted over
_LARGEST_SHIFT = 4  # pixels, by which an edited picture is tried to have been shifted


def fingerprint(generator: Generator) -> str:
    """Tells generators apart whose w differ; tuning leaves it as it is."""
    return hashlib.sha256(np.asarray(generator.w_avg, np.float32).tobytes()).hexdigest()[:16]


def frontal(config: GeneratorConfig, count: int) -> Array:
    """The frontal camera of those that a generator was trained with, `count` times [count, 25]."""
    return jnp.broadcast_to(poses.to_camera(jnp.zeros(2), config), (count, 25))


# ---------------------------------------------------------------------------------------------------------------------
# Latent edits
# ---------------------------------------------------------------------------------------------------------------------


class Move(NamedTuple):
    """A direction, and how far along it."""

    direction: Direction
    strength: float


class Position(NamedTuple):
    """Where a head lies along a direction, before and after: standard deviations of random heads from their mean."""

    before: float
    after: float

    @property
    def leaves_range(self) -> bool:
        """Whether the edit goes where the generator has hardly been trained."""
        return abs(self.after) > max(RANGE, abs(self.before))


def move(inversion: Inversion, moves: Sequence[Move]) -> Inversion:
    """The inversion with its code moved; its tuned weights and camera stay."""
    num_ws = inversion.generator.config.num_ws
    change = sum((m.strength * directions.step(m.direction, num_ws) for m in moves), np.zeros_like(inversion.ws))
    return dataclasses.replace(inversion, ws=inversion.ws + change)


def positions(
    generator: Generator, before: np.ndarray, after: np.ndarray, moved: Sequence[Direction]
) -> list[Position]:
    """Where codes [num_ws, w_dim] lie along each of the directions, against random heads of the generator."""
    if not moved:
        return []
    num_ws = generator.config.num_ws
    samples = np.asarray(_random_codes(generator), np.float64)
    found = []
    for direction in moved:
        normal = directions.scorer(direction, num_ws).astype(np.float64)
        scores = samples @ normal.sum(0)  # all rows of a random head are the same
        place = [float((np.sum(normal * ws) - scores.mean()) / scores.std()) for ws in (before, after)]
        found.append(Position(*place))
    return found


@jax.jit
def _random_codes(generator: Generator) -> Array:
    return latent.random_codes(generator, frontal(generator.config, 1)[0])


# ---------------------------------------------------------------------------------------------------------------------
# Textures painted into the 3D
# ---------------------------------------------------------------------------------------------------------------------


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
    """How a painting gets into a head, by Adam: into its tri-planes, as an offset of them in units of their standard
    deviation, and for what is finer than they are, into the weights that render them."""

    steps: int = 80
    planes_rate: float = 0.05  # learning rate of the planes' offset
    weights_rate: float = 0.03  # of the decoder's and the super-resolution's weights
    warm_up: float = 0.1  # share of the steps
    final_rate: float = 0.05  # share of the learning rates that is left at the end
    views_per_step: int = 2  # random ones, beside the painted one
    view_weight: float = 1.5  # of their mean loss, against the painted view's
    emphasis: float = 8.0  # weight of painted pixels on top of the 1 of all others: they are few
    # Adam's epsilon: what has smaller gradients hardly moves, where plain Adam moves all alike: that would be drift, on
    # all that is not painted. The planes' is for a plane of one texel; the more there are, the less each one counts.
    planes_floor: float = 1.6
    weights_floor: float = 1e-5


def changed_region(
    before: np.ndarray, edited: np.ndarray, mask: np.ndarray | None = None, name: str = "the edited picture"
) -> np.ndarray:
    """Where a picture was painted over.

    A pixel counts as painted if a channel differs by more than `_SMALLEST_CHANGE`, or by more than a lossy format
    changes all of the picture. Specks do not count; small gaps inside do, where paint and skin are alike.

    Args:
      before, edited: [H, W, 3] in [-1, 1].
      mask: [H, W] bool, where alone it can have been; it is then taken as it is.
      name: of the edited picture, for messages.

    Returns:
      [H, W] in [0, 1], 1 where painted, falling to 0 within two pixels.

    Raises:
      InputError: nothing differs, nearly everything does, or the picture was shifted.
    """
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


def paint(
    inversion: Inversion,
    painting: Painting,
    shown: np.ndarray,
    config: TextureConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Inversion, np.ndarray]:
    """Tunes the head until the painting is there from all sides, and nothing else has changed.

    Targets are the inversion's own renderings, with the painting warped in where the painted surface is seen; where it
    turns away or the painting cannot tell, nothing is asked for. All views count everywhere else, so that there is no
    drift. What is tuned is an offset of the tri-planes, which becomes a parameter of the generator
    (`BackboneConfig.plane_map`): unlike the weights of the backbone's convolutions, a texel has a place, and changes
    nothing beyond. With it are tuned the few weights that make pictures of planes. The code stays: moves along
    directions and paintings commute, but for what a move does to the surface.

    Args:
      shown: [H, W, 3], the picture that the inversion stands for.
      progress: called with steps done and of all.

    Returns:
      The inversion, and its picture with the painting.

    Raises:
      NumericalError: the loss became NaN or infinite.
    """
    config = TextureConfig() if config is None else config
    generator, ws, camera = _with_plane_map(inversion.generator), jnp.asarray(inversion.ws), inversion.camera
    around = pseudo_views.view_cameras(jnp.asarray(camera), inversion.config.pseudo_views, generator.config)
    if not np.array_equal(painting.camera, camera):
        around = around.at[-1].set(camera)  # the input's view is to be held as well
    everyone = jnp.concatenate([jnp.asarray(painting.camera)[None], around])
    views, _ = _targets(generator, ws, jnp.asarray(painting.image), jnp.asarray(painting.mask), everyone, config)

    loss = inversion.config.loss
    network = losses.load_network(loss)
    planes = _planes(generator, ws)
    variables = {"offset": jnp.zeros_like(planes), "weights": {name: generator.params[name] for name in _RENDERING}}
    start = adam_loop.start(jax.tree.map(jnp.array, variables), _adam(config, variables))
    key, begun = jax.random.key(inversion.config.seed), time.monotonic()

    def run(state: adam_loop.FitState, steps: int) -> tuple[adam_loop.FitState, Array]:
        return _tune(state, generator, ws, planes, views, network, key, steps, config=config, loss_config=loss)

    for state, values in adam_loop.in_chunks(run, start, np.zeros(0, np.float32), config.steps):  # noqa: B007
        if not np.isfinite(values).all():
            raise NumericalError("the texture edit's loss is not finite; is the painting in [-1, 1]?")
        if progress:
            progress(len(values), config.steps)
    name = f"texture_{sum(stage.name.startswith('texture') for stage in inversion.stages) + 1}"
    record = StageRecord(name, time.monotonic() - begun, values)
    tuned = generator.with_params({**generator.params, **state.variables["weights"]})
    painted = dataclasses.replace(
        inversion,
        generator=_add_to_planes(tuned, state.variables["offset"] * jnp.std(planes)),
        stages=(*inversion.stages, record),
        pseudo_views=None,
    )
    return painted, _paint_shown(inversion, painting, shown)


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


@jax.jit
def _planes(generator: Generator, ws: Array) -> Array:
    return generator.planes(ws)


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
    views: view_fitting.Views,
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
        def loss(variables: Tree, view: view_fitting.Views, scale: Array) -> Array:
            tuned = generator.with_params({**generator.params, **variables["weights"]})
            image = tuned.render_view(planes + unit * variables["offset"], ws, view.cameras)["image"]
            return scale * losses.image_loss(image, view.images, loss_config, view.weights, network)

        others = 1 + jax.random.permutation(key, len(views.cameras) - 1)[:count]
        chosen = jax.tree.map(lambda x: x[jnp.append(0, others)], views)
        parts = jax.lax.map(lambda one: jax.value_and_grad(loss)(variables, *one), (chosen, scales))
        value, grads = jax.tree.map(lambda part: part.sum(0), parts)
        return (value, value), grads

    return adam_loop.run(value_and_grad, _adam(config, state.variables), state, key, steps)


def _paint_shown(inversion: Inversion, painting: Painting, shown: np.ndarray) -> np.ndarray:
    """The picture that the inversion stands for, with a painting on any view carried into it."""
    own = np.array_equal(painting.camera, inversion.camera)
    if own:
        return np.asarray(painting.image)
    both = jnp.asarray(np.stack([painting.camera, inversion.camera]))
    distance = jnp.asarray(inversion.render(both)["ray_distance"])
    colour, amount, _ = _carry(jnp.asarray(painting.image), jnp.asarray(painting.mask), distance, both)
    amount = np.asarray(amount[1])[..., None]
    return amount * np.asarray(colour[1]) + (1 - amount) * shown


@jax.jit
def _carry(image: Array, mask: Array, ray_distance: Array, views: Array) -> tuple[Array, Array, Array]:
    """A painting [H, W, 3], [H, W] on the first of the views [V, 25] in all of them: colour [V, H, W, 3], how much of
    it is seen [V, H, W], and where it lies but is not well seen [V, H, W]."""
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
    generator: Generator, ws: Array, image: Array, mask: Array, views: Array, config: TextureConfig
) -> tuple[view_fitting.Views, Array]:
    """What is fitted, and how much of the painting is in each pixel [V, H, W]."""
    rendered = pseudo_views.render(generator, ws, views)
    colour, amount, unsure = _carry(image, mask, rendered["ray_distance"], views)
    share = amount[..., None]
    targets = share * colour + (1 - share) * rendered["image"]
    return view_fitting.Views(views, targets, 1 - unsure + config.emphasis * amount), amount
