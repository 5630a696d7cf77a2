"""Stage 0, when no camera is given: the generator is asked which camera, and which head, make such a picture.

It draws heads and cameras at random and renders them small; then pose and code are regressed on what the pictures look
like (kernel ridge regression on oriented gradients), and read off for the photograph. A round of refinement does the
same with heads and cameras drawn around the estimate, as far as it may still be off. Regression answers with the mean
of all heads and cameras that look like the photograph, where a descent stops at one of them: a turned face and another
head's frontal one are hard to tell apart by the difference of pixels.

Where an encoder or landmarks have said what the camera is, the first draw is around that camera already.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator as Coroutine
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax.cameras.poses import of_camera, to_camera
from pmv_jax.config import CameraSearchConfig
from pmv_jax.inversion import adam_loop, latent
from pmv_jax.inversion.adam_loop import FitState
from pmv_jax.inversion.stage import Draft, EachPhotograph, Photograph, StageRequest
from pmv_jax.models.encoder import Glance
from pmv_jax.models.generator import Generator
from pmv_jax.traces import kept

# How far cameras are drawn around an estimate, standard deviations: the roll in radians, shifts in picture sizes, and
# around the camera that landmarks tell yaw and pitch, radians. Landmarks know roll and shift 20 times as well.
_ROLL_WIDTH = 0.02
_SHIFT_WIDTH = 0.01
_GUESS_WIDTHS = np.float32(0.05) * np.float32([1.0, 1.0, 0.05, 0.05, 0.05])
_VIEWS = 4  # cameras of each head that is drawn

_BANDWIDTH = 0.3  # of the Gaussian kernel: times the squared distance, in mean squared distances from the mean
_RIDGE = 0.01
_BINS = 8  # directions of gradients
_UNKNOWN = 1e-3  # weight of a small picture's pixel below which it is not known at all
_WINDOW = 0.5  # standard deviation of the window around the face, in half picture sizes


class Estimate(NamedTuple):
    """What is known of a picture: a draw of heads and cameras comes from it, and a regression makes a narrower one.

    Attributes:
      pose: [5], see `cameras.poses`.
      pose_width: [5], standard deviations.
      code: w [w_dim].
      code_width: [], in standard deviations of random codes.
    """

    pose: Array
    pose_width: Array
    code: Array
    code_width: Array


@jax.jit
def random_codes(generator: Generator) -> Array:
    """The random codes [N, w_dim] that draws are made of."""
    return latent.random_codes(generator, to_camera(jnp.zeros(2), generator.config))


def unknown(codes: Array, config: CameraSearchConfig) -> Estimate:
    """The estimate where nothing is known but the ranges of yaw and pitch, and random codes [N, w_dim]."""
    angles = jnp.array([config.yaw_range, config.pitch_range]) / jnp.sqrt(3.0)  # of a uniform distribution
    crop = jnp.array([_ROLL_WIDTH, _SHIFT_WIDTH, _SHIFT_WIDTH])
    return Estimate(jnp.zeros(5), jnp.concatenate([angles, crop]), codes.mean(0), jnp.ones(()))


def start(estimate: Estimate) -> FitState:
    """The state before the first round."""
    return FitState(estimate, (), np.int32(0), np.bool_(False))


@jax.jit
def around(guess: Array, codes: Array) -> Estimate:
    """The estimate where the camera is about `guess` [25], as landmarks say, and codes are random ones [N, w_dim]."""
    return Estimate(of_camera(guess), jnp.asarray(_GUESS_WIDTHS), codes.mean(0), jnp.ones(()))


def seen(draft: Draft, photograph: Photograph) -> Estimate:
    """The estimate where an encoder has looked at the picture; what landmarks tell is weighed in."""
    pose, width, code_width = _weighed(photograph.glance, photograph.guess)
    camera = to_camera(pose, draft.generator.config)
    code = latent.seen(draft, photograph, camera, latent.statistics(draft.generator, camera))
    return Estimate(pose, width, code, code_width)


@jax.jit
def _weighed(glance: Glance, guess: Array | None) -> tuple[Array, Array, Array]:
    """Pose [5], its width [5] and the code's [], from a glance and from landmarks' camera [25], if there is one."""
    pose, width, code_width = glance.pose[:5], glance.pose_width[:5], jnp.sqrt(jnp.mean(glance.code_width**2))
    if guess is None:
        return pose, width, code_width
    precisions = jnp.stack([width, jnp.asarray(_GUESS_WIDTHS)]) ** -2  # the product of two Gaussians
    pose = (precisions * jnp.stack([pose, of_camera(guess)])).sum(0) / precisions.sum(0)
    return pose, precisions.sum(0) ** -0.5, code_width


class Examples(NamedTuple):
    """N heads from V cameras each: poses [N, V, 5], codes [N, w_dim], and what they look like, features [N, V, F]."""

    poses: Array
    codes: Array
    features: Array


@functools.partial(jax.jit, static_argnames=("heads", "resolution"))
def draw(
    estimate: Estimate, codes: Array, generator: Generator, key: Array, *, heads: int, resolution: int
) -> Examples:
    """Draws heads with a few cameras each. The first draw of a search is the same for all pictures.

    Args:
      estimate: around which: codes scatter around its code as random ones do around their mean, poses uniformly.
      codes: [N, w_dim], those random ones.
      generator: renders the heads.
      key: of the draw.
      heads: how many, N at most.
      resolution: of the pictures, pixels a side.
    """
    code_key, pose_key = jax.random.split(key)
    drawn = codes[jax.random.choice(code_key, len(codes), (heads,), replace=False)]
    drawn = estimate.code + estimate.code_width * (drawn - codes.mean(0))
    uniform = jnp.sqrt(3.0) * jax.random.uniform(pose_key, (heads, _VIEWS, 5), minval=-1.0)
    poses = estimate.pose + estimate.pose_width * uniform
    pictures = _pictures(generator, drawn, to_camera(poses, generator.config), resolution)
    return Examples(poses, drawn, jax.vmap(jax.vmap(_features))(pictures))


@functools.partial(jax.jit, static_argnames=("resolution",))
def answer(
    examples: Examples, estimate: Estimate, image: Array, weights: Array, *, resolution: int
) -> tuple[Estimate, Array]:
    """What examples say of an image, by kernel ridge regression.

    Args:
      examples: drawn from the estimate.
      estimate: what was known before.
      image: [H, W, 3] in [-1, 1].
      weights: [H, W] in [0, 1], how far each of its pixels is to be believed: what is not is compared with nothing.
      resolution: of the examples' pictures, pixels a side.

    Returns:
      A narrower estimate, and how far the image is from the nearest example: mean squared difference of the features.
    """
    poses, codes, features = examples
    heads, views, _ = poses.shape
    small = (resolution, resolution)
    believed = jax.image.resize(weights, small, "bilinear")
    seen = jax.image.resize(weights[..., None] * image, (*small, 3), "bilinear")
    seen = _features(seen / jnp.maximum(believed, _UNKNOWN)[..., None], believed)
    features = features * _compared(believed)
    yaw, others = poses[..., :1], poses[..., 1:]
    shared = jnp.broadcast_to(codes[:, None], (heads, views, codes.shape[1]))
    answers = jnp.concatenate([jnp.sin(yaw), jnp.cos(yaw), others, shared], axis=-1)  # a yaw may go all around
    value, error = _regress(features, answers, seen)
    pose = jnp.concatenate([jnp.arctan2(value[0], value[1])[None], value[2:6]])
    width = jnp.concatenate([jnp.hypot(error[0], error[1])[None], error[2:6]])
    spread = jnp.sqrt(jnp.mean(jnp.var(codes, axis=0)))
    code_width = estimate.code_width * jnp.minimum(jnp.sqrt(jnp.mean(error[6:] ** 2)) / spread, 1.0)
    unlike = jnp.min(jnp.mean(jnp.square(features - seen), axis=-1))
    return Estimate(pose, jnp.minimum(width, estimate.pose_width), value[6:], code_width), unlike


@kept(static_argnames=("heads", "resolution"))
def run(
    state: FitState,
    generator: Generator,
    image: Array,
    weights: Array,
    key: Array,
    steps: int | Array,
    *,
    heads: int,
    resolution: int,
) -> tuple[FitState, Array]:
    """Rounds of drawing examples from an estimate and narrowing it.

    Args:
      state: its variables are the estimate.
      generator: renders the examples.
      image, weights: see `answer`.
      key: of the stage; round i uses `fold_in(key, i)`.
      steps: rounds, `adam_loop.CHUNK` at most.
      heads, resolution: of each draw.

    Returns:
      The new state, and how unlike the nearest example the image was in each round [CHUNK], zero past the last.
    """
    codes = random_codes(generator)

    def take_round(i: Array, carry: tuple[FitState, Array]) -> tuple[FitState, Array]:
        state, unlike = carry
        own = jax.random.fold_in(key, state.step)
        examples = draw(state.variables, codes, generator, own, heads=heads, resolution=resolution)
        estimate, distance = answer(examples, state.variables, image, weights, resolution=resolution)
        return state.replace(variables=estimate, step=state.step + 1), unlike.at[i].set(distance)

    return jax.lax.fori_loop(0, steps, take_round, (state, jnp.zeros(adam_loop.CHUNK)))


@dataclasses.dataclass(frozen=True)
class CameraSearchProgram:
    """`run` as a `StageProgram`.

    Attributes:
      heads, resolution: see `run`.
    """

    heads: int
    resolution: int

    def network(self) -> None:
        """There is none: see `stage.StageProgram`."""
        return None

    def __call__(
        self, state: FitState, generator: Generator, network: None, own: Any, key: Array, steps: Array
    ) -> tuple[FitState, Array]:
        return run(state, generator, *own, key, steps, heads=self.heads, resolution=self.resolution)


def _request(
    name: str, config: CameraSearchConfig, photograph: Photograph, steps: int, heads: int, estimate: Estimate
) -> StageRequest:
    program, own = CameraSearchProgram(heads, config.resolution), (photograph.image, photograph.weights)
    return StageRequest(name, steps, program, start(estimate), own, "give the camera (--camera FILE)")


@dataclasses.dataclass(frozen=True)
class Search(EachPhotograph):
    """The camera that an encoder sees a head by, or else the first round of the search, where nothing is known of it: a
    row of the method."""

    name: str = "camera"

    def look(self, name: str, draft: Draft, photograph: Photograph) -> Coroutine[StageRequest, Estimate, Photograph]:
        """See `EachPhotograph.look`."""
        if photograph.camera is not None:
            return photograph
        if photograph.has_surface:
            return _placed(draft, photograph, _weighed(photograph.glance, photograph.guess)[0])
        if photograph.glance is not None:
            return photograph.replace(estimate=seen(draft, photograph))
        config, codes = draft.config.camera, random_codes(draft.generator)
        if photograph.guess is not None:
            return photograph.replace(estimate=around(photograph.guess, codes))
        found = yield _request(name, config, photograph, 1, config.heads, unknown(codes, config))
        return photograph.replace(estimate=found)


@dataclasses.dataclass(frozen=True)
class Refinement(EachPhotograph):
    """Rounds around what is known of a camera: a row of the method. The head is placed before the cameras then."""

    name: str = "camera_refinement"

    def run(self, draft: Draft) -> Coroutine[StageRequest, Estimate, Draft]:
        """See `stage.Stage.run`."""
        if draft.code is not None:
            return draft
        return latent.begin((yield from super().run(draft)))

    def look(self, name: str, draft: Draft, photograph: Photograph) -> Coroutine[StageRequest, Estimate, Photograph]:
        """See `EachPhotograph.look`."""
        if photograph.camera is not None:
            return photograph
        config, found = draft.config.camera, photograph.estimate
        if config.refine_steps:
            found = yield _request(name, config, photograph, config.refine_steps, config.refine_heads, found)
        return _placed(draft, photograph, found.pose)


def _placed(draft: Draft, photograph: Photograph, pose: Array) -> Photograph:
    """A photograph before the camera of a pose [5], which the latent stage may refine if the recipe wants it."""
    refined = pose if draft.config.latent.camera_rate else None
    return photograph.replace(camera=to_camera(pose, draft.generator.config), pose=refined)


def _pictures(generator: Generator, codes: Array, views: Array, resolution: int) -> Array:
    """Codes [N, w_dim], cameras [N, V, 25] -> raw pictures [N, V, n, n, 3]."""

    def one(drawn: tuple[Array, Array]) -> Array:
        code, views = drawn
        planes = generator.planes(jnp.tile(code, (generator.config.num_ws, 1)))
        return jax.lax.map(lambda camera: generator.march(planes, camera, resolution)[0][..., :3], views)

    return jax.lax.map(one, (codes, views))


def _features(image: Array, weights: Array | None = None) -> Array:
    """Oriented gradients (N. Dalal, B. Triggs, CVPR 2005) of [n, n, 3] -> [F].

    The strongest channel's gradient at every pixel is shared out among directions and pooled over cells of two pixels,
    each cell scaled to length one, so that neither light nor complexion counts; a window fades out what is not face.
    Gradients count as much as the least of the weights [n, n] of their pixels.
    """
    weights = jnp.ones(image.shape[:2]) if weights is None else weights
    shares_of_mean = weights[..., None] / jnp.maximum(jnp.sum(weights), _UNKNOWN)
    image = image - jnp.sum(shares_of_mean * image, axis=(0, 1))
    image = image / (jnp.sqrt(jnp.sum(shares_of_mean * image**2, axis=(0, 1))) + 1e-2)
    right, down = jnp.diff(image, axis=1)[:-1], jnp.diff(image, axis=0)[:, :-1]
    strongest = jnp.argmax(right**2 + down**2, axis=-1, keepdims=True)
    right, down = (jnp.take_along_axis(x, strongest, axis=-1)[..., 0] for x in (right, down))
    angles = 2 * jnp.pi * jnp.arange(_BINS) / _BINS
    along = right[..., None] * jnp.cos(angles) + down[..., None] * jnp.sin(angles)
    length = jnp.sqrt(right**2 + down**2)[..., None] + 1e-6
    cells = _pooled(jnp.maximum(along, 0) ** 2 / length * _known(weights)[..., None])
    cells = cells / jnp.sqrt(jnp.sum(cells**2, axis=-1, keepdims=True) + 0.16)
    window = jnp.exp(-(jnp.linspace(-1, 1, len(cells)) ** 2) / (2 * _WINDOW**2))
    return (cells * window[:, None, None] * window[:, None]).ravel() * _compared(weights)


def _known(weights: Array) -> Array:
    """How far gradients [n - 1, n - 1] are known, by the weights [n, n] of their pixels."""
    known = jnp.where(weights > _UNKNOWN, weights, 0.0)
    return jnp.minimum(known[:-1, :-1], jnp.minimum(known[:-1, 1:], known[1:, :-1]))


def _compared(weights: Array) -> Array:
    """How far each feature [F] counts, by the weights [n, n] of the picture's pixels: 1 where all of its cell does."""
    known = _known(weights)[..., None]
    cells = _pooled(known) / _pooled(jnp.ones_like(known))
    return jnp.repeat(cells, _BINS, axis=-1).ravel()


def _pooled(shares: Array) -> Array:
    """Sums of [n - 1, n - 1, K] over cells of about two pixels, which overlap: [n // 2, n // 2, K]."""
    size = shares.shape[0]
    count = (size + 1) // 2
    place = jnp.arange(size)[:, None]
    pool = jnp.maximum(1 - jnp.abs(place - jnp.linspace(0, size - 1, count)) * count / size, 0)
    return jnp.einsum("hwk,ha,wb->abk", shares, pool, pool)


def _regress(features: Array, answers: Array, seen: Array) -> tuple[Array, Array]:
    """Kernel ridge regression.

    Args:
      features, answers: [N, V, F] and [N, V, D] of N groups of V examples.
      seen: [F] of the example to answer for.

    Returns:
      The answer [D], and its standard deviation [D] over the examples, each answered for without its own group.
    """
    groups, views, size = answers.shape
    mean, known = answers.mean((0, 1)), features.reshape(groups * views, -1)
    centre = known.mean(0)
    known, asked = known - centre, seen - centre
    bandwidth = _BANDWIDTH / jnp.mean(jnp.sum(known**2, axis=1))
    squares = jnp.sum(known**2, axis=1)
    kernel = jnp.exp(-bandwidth * (squares[:, None] + squares - 2 * known @ known.T))
    inverse = jnp.linalg.inv(kernel + _RIDGE * jnp.eye(len(known)))
    weights = inverse @ (answers - mean).reshape(-1, size)
    value = mean + jnp.exp(-bandwidth * jnp.sum((known - asked) ** 2, axis=1)) @ weights
    index = jnp.arange(groups)
    blocks = inverse.reshape(groups, views, groups, views)[index, :, index]
    left_out = jnp.linalg.solve(blocks, weights.reshape(groups, views, size))
    return value, jnp.sqrt(jnp.mean(left_out**2, axis=(0, 1)))
