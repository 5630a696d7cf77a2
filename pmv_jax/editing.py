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

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jax import Array

from pmv_jax import cameras, directions, lpips_weights
from pmv_jax.config import GeneratorConfig
from pmv_jax.directions import Direction
from pmv_jax.errors import InputError, NumericalError
from pmv_jax.generator import Generator, Tree
from pmv_jax.inversion import camera_search, fitting, latent, optimisation, pseudo_views, tuning, visibility
from pmv_jax.inversion.pipeline import Inversion, StageRecord

RANGE = 3.0  # standard deviations from the average head: what 1 head in 370 lies beyond, along one direction
_ADAM_EPSILON = 1e-8  # in `fitting`
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
    return jnp.broadcast_to(camera_search.to_camera(jnp.zeros(2), config), (count, 25))


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
    """How a painting gets into the weights: tuning as in `config.JointConfig`, on targets that differ in it alone."""

    steps: int = 50
    learning_rate: float = 3e-2
    warm_up: float = 0.1
    final_rate: float = 0.05
    views_per_step: int = 2
    view_weight: float = 1.5
    emphasis: float = 8.0  # weight of painted pixels on top of the 1 of all others: they are few
    # Learning rate of what is shared by the whole head, against that of weights that have a place on the planes
    # (`BackboneConfig.spatial_maps`). A generator without such weights learns with all it has, at the full rate.
    # Measured on one head: 0.05 fits paint 0.6 dB better, and changes the rest half as much again.
    shared_rate: float = 0.0
    floor: float = 1e-6  # gradients below it hardly move a weight; plain Adam moves all weights alike, which is drift


@flax.struct.dataclass
class _Offset(Generator):
    """A generator whose parameters are given as offsets from `base` in units of `unit`: to a fit by Adam, these units
    are learning rates per weight, and, beside Adam's constant of 1e-8, the size of gradients that count."""

    base: Tree
    unit: Tree

    def with_params(self, params: Tree) -> Generator:
        moved = {
            name: jax.tree.map(lambda base, unit, offset: base + unit * offset, self.base[name], self.unit[name], part)
            for name, part in params.items()
        }
        return super().with_params(moved)


def _offset(generator: Generator, config: TextureConfig) -> tuple[_Offset, float]:
    """The generator by offsets, and the learning rate of the offsets."""
    named = jax.tree_util.tree_map_with_path(lambda path, _: "spatial_map" in str(path[-1]), generator.params)
    shared = config.shared_rate if any(jax.tree.leaves(named)) else 1.0
    scale = _ADAM_EPSILON / config.floor
    unit = jax.tree.map(lambda has_place: jnp.float32(scale * (1.0 if has_place else shared)), named)
    offset = _Offset(generator.config, generator.variables, generator.params, unit)
    return offset, config.learning_rate / scale


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
    """Tunes the weights until the painting is there from all sides, and nothing else has changed.

    Targets are the inversion's own renderings, with the painting warped in where the painted surface is seen; where it
    turns away or the painting cannot tell, nothing is asked for. All views count everywhere else, so that there is no
    drift. The code stays: moves along directions and paintings commute, but for what a move does to the surface.

    Args:
      shown: [H, W, 3], the picture that the inversion stands for.
      progress: called with steps done and of all.

    Returns:
      The inversion, and its picture with the painting.

    Raises:
      NumericalError: the loss became NaN or infinite.
    """
    config = TextureConfig() if config is None else config
    generator, ws, camera = inversion.generator, jnp.asarray(inversion.ws), jnp.asarray(inversion.camera)
    around = pseudo_views.view_cameras(camera, inversion.config.pseudo_views, generator.config)
    if not np.array_equal(painting.camera, inversion.camera):
        around = around.at[-1].set(camera)  # the input's view is to be held as well
    everyone = jnp.concatenate([jnp.asarray(painting.camera)[None], around])
    views, amounts = _targets(generator, ws, jnp.asarray(painting.image), jnp.asarray(painting.mask), everyone, config)

    loss, side_by_side = inversion.config.loss, fitting.views_at_once(config.views_per_step)
    lpips = lpips_weights.configured(loss) if loss.uses_lpips else None
    offset, rate = _offset(generator, config)
    plan = tuning.views_plan(dataclasses.replace(config, learning_rate=rate))
    std = latent.statistics(generator, camera).std
    state = fitting.start(jnp.array(ws), jax.tree.map(jnp.zeros_like, generator.params))
    key, losses = jax.random.key(inversion.config.seed), np.zeros(0, np.float32)
    fixed = {"loss_config": loss, "views_at_once": side_by_side}
    begun = time.monotonic()
    run = lambda state, n: fitting.run(state, offset, views, plan, std, lpips, key, n, **fixed)  # noqa: E731
    chunks = optimisation.in_chunks(run, state, losses, config.steps)
    for state, losses in chunks:  # noqa: B007
        if not np.isfinite(losses).all():
            raise NumericalError("the texture edit's loss is not finite; is the painting in [-1, 1]?")
        if progress:
            progress(len(losses), config.steps)
    name = f"texture_{sum(stage.name.startswith('texture') for stage in inversion.stages) + 1}"
    record = StageRecord(name, time.monotonic() - begun, losses)
    painted = dataclasses.replace(
        inversion,
        generator=generator.with_params(offset.with_params(state.variables["params"]).params),
        stages=(*inversion.stages, record),
        pseudo_views=None,
    )
    return painted, _paint_shown(inversion, painting, shown)


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
) -> tuple[fitting.Views, Array]:
    """What is fitted, and how much of the painting is in each pixel [V, H, W]."""
    rendered = pseudo_views.render(generator, ws, views)
    colour, amount, unsure = _carry(image, mask, rendered["ray_distance"], views)
    share = amount[..., None]
    targets = share * colour + (1 - share) * rendered["image"]
    return fitting.Views(views, targets, 1 - unsure + config.emphasis * amount), amount
