"""The program that stages 1, 2 and 4 share: fits the latent code, the generator's weights, or both, to views.

A stage is data, its `Plan`: how far code and weights move at each step, and how many pseudo-views join the inputs. So
one compiled program serves all stages, which on a CPU, where compiling costs as much as the stages themselves, halves
the time to a result.

Each step generates the tri-planes once and renders all its views from them; the released code runs the whole network
for the input and again for one pseudo-view. Gradients are summed view by view, so that memory is for few views however
many a step takes. The paper has one input; of several photographs of one person, N below, every step sees all.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from pmv_jax.cameras import poses
from pmv_jax.config import LossConfig
from pmv_jax.inversion import adam_loop, losses, tuned_weights
from pmv_jax.inversion.adam_loop import FitState
from pmv_jax.models.generator import Generator
from pmv_jax.traces import kept

Tree = Any

_CAPACITY = 1024  # plans are as long as a multiple of this, so that stages of any length share a program


# ---------------------------------------------------------------------------------------------------------------------
# What is fitted, and how
# ---------------------------------------------------------------------------------------------------------------------


class Views(NamedTuple):
    """What is fitted: the N inputs first, then K - N pseudo-views.

    Attributes:
      cameras: [K, 25].
      images: [K, H, W, 3] in [-1, 1].
      weights: [K, H, W] >= 0, of each pixel in the loss.
      distances: [K, n, n], ray distances that the geometry is held to by `Plan.depth_weight`; None for none.
      outline: [K, n, n] each, that they are held to by `LossConfig.outline_weight`; None for none.
      surface: [K, n, n] each, the same by `LossConfig.surface_weight`.
    """

    cameras: Array
    images: Array
    weights: Array
    distances: Array | None = None
    outline: losses.Outline | None = None
    surface: losses.Surface | None = None


@flax.struct.dataclass
class Plan:
    """A stage as data. Arrays [capacity] have an entry for each step and zeros after the last.

    Attributes:
      code_rate, weights_rate, camera_rate: learning rates of the latent code, of the generator's weights, and of the
        poses of the inputs' cameras, where these are fitted too.
      noise: standard deviation of the noise on w, in units of w's own.
      regularisation: [], weight of the pull of w_plus's rows towards each other, in units of w's variance.
      extra_views: int32 [], random pseudo-views a step, K - N at most.
      view_weight: [], of their mean loss, against that of the inputs.
      depth_weight: [], of the pull towards `Views.distances`.
      fitted: bool [N], of which inputs the camera is the pose that is fitted, and not the one that came with it.
      poses, pose_pull: [N, 5] and [], where those cameras were estimated to be, and the weight of a pull towards it, in
        shares of the loss for a squared radian or picture size: what fits badly has less of a say.
      stop: [], value of the inputs' mean perceptual term at which a head is done (`losses.Terms.watched`).
    """

    code_rate: Array
    weights_rate: Array
    camera_rate: Array
    noise: Array
    regularisation: Array
    extra_views: Array
    view_weight: Array
    depth_weight: Array
    fitted: Array
    poses: Array
    pose_pull: Array
    stop: Array


def plan(
    steps: int,
    *,
    code_rate: np.ndarray | float = 0.0,
    weights_rate: np.ndarray | float = 0.0,
    camera_rate: np.ndarray | float = 0.0,
    noise: np.ndarray | float = 0.0,
    regularisation: float = 0.0,
    extra_views: int = 0,
    view_weight: float = 0.0,
    depth_weight: float = 0.0,
    stop: float = 0.0,
) -> Plan:
    """A `Plan` of so many steps, for one input with the camera that came with it; its attributes say what the arguments
    mean. Schedules are arrays [steps], or numbers that hold for all steps."""
    capacity = -(-max(steps, 1) // _CAPACITY) * _CAPACITY

    def padded(values: np.ndarray | float) -> Array:
        return jax.device_put(np.float32(np.pad(np.broadcast_to(values, (steps,)), (0, capacity - steps))))

    return Plan(
        padded(code_rate),
        padded(weights_rate),
        padded(camera_rate),
        padded(noise),
        np.float32(regularisation),
        np.int32(extra_views),
        np.float32(view_weight),
        np.float32(depth_weight),
        np.zeros(1, bool),
        np.zeros((1, 5), np.float32),
        np.float32(0),
        np.float32(stop),
    )


@functools.partial(jax.jit, static_argnames=("room", "depth_side"))
def of_inputs(images: Array, cameras: Array, weights: Array, room: int = 0, depth_side: int | None = None) -> Views:
    """The inputs alone. Stages on arrays of the same sizes share a program, so there can be room for more.

    Args:
      images: [N, H, W, 3] in [-1, 1].
      cameras: [N, 25].
      weights: [N, H, W] >= 0.
      room: for so many pseudo-views, repeats of the last input that no step looks at.
      depth_side: n, for arrays of ray distances [n, n], which no step looks at either; None for none.
    """

    def padded(x: Array) -> Array:
        return jnp.pad(x, ((0, room), *((0, 0),) * (x.ndim - 1)), mode="edge")

    distances = None if depth_side is None else padded(jnp.zeros((len(images), depth_side, depth_side)))
    return Views(padded(cameras), padded(images), padded(weights), distances)


def w_plus(code: Array, generator: Generator) -> Array:
    """Code [rows, w_dim] with one row or all -> [num_ws, w_dim]."""
    return jnp.broadcast_to(code, (generator.config.num_ws, code.shape[-1]))


# ---------------------------------------------------------------------------------------------------------------------
# The loop
# ---------------------------------------------------------------------------------------------------------------------


@jax.jit
def start(code: Array, params: Tree, poses: Array | None = None) -> FitState:
    """The state before the first step: copies, since `run` takes its state's memory.

    Args:
      code: [rows, w_dim], one row for all layers or one for each.
      params: what is tuned of the generator, see `tuned_weights`.
      poses: [N, 5] of the inputs' cameras, for plans that fit them too; None where there is one, which is not known.
    """
    poses = jnp.zeros((1, 5)) if poses is None else poses
    copies = jax.tree.map(jnp.array, {"code": code, "params": params, "poses": poses})
    return adam_loop.start(copies, _adam(None))


@kept(static_argnames=("loss_config", "inputs"), donate_argnames=("state",))
def run(
    state: FitState,
    generator: Generator,
    views: Views,
    plan: Plan,
    w_std: Array,
    network: Tree | None,
    key: Array,
    steps: Array,
    *,
    loss_config: LossConfig,
    inputs: int = 1,
) -> tuple[FitState, Array]:
    """Steps of a plan (HFGI3D eq. 1 and 6). Every step sees the inputs and `plan.extra_views` random pseudo-views.

    Args:
      state: from `start`, or of the steps before.
      generator: gives config, buffers, and the parameters that are not tuned.
      views: what is fitted.
      plan: how.
      w_std: [], the standard deviation of w.
      network: arrays of the loss's network, see `losses.load_network`.
      key: of the stage.
      steps: int32 [], how many, `adam_loop.CHUNK` at most.
      loss_config: which loss.
      inputs: N, how many of the views every step sees; their mean loss counts.

    Returns:
      What `adam_loop.run` returns.
    """
    chex.assert_shape(views.cameras, (None, 25))
    chex.assert_equal_shape_prefix(jax.tree.leaves(views), 1)
    chex.assert_equal_shape_prefix([views.images, views.weights], 3)
    fit = _Fit(generator, views, plan, w_std, network, loss_config, inputs)
    objective = functools.partial(_loss_and_gradient, fit)
    return adam_loop.run(objective, _adam(plan), state, key, steps, plan.stop)


class _Fit(NamedTuple):
    """The arguments of `run` that no step changes."""

    generator: Generator
    views: Views
    plan: Plan
    w_std: Array
    network: Tree | None
    loss_config: LossConfig
    inputs: int


class _Scene(NamedTuple):
    """What views are rendered from, and what their gradients are of: parameters of what renders planes, poses [N, 5] of
    the inputs' cameras, planes [3, H, W, C], ws [num_ws, w_dim]."""

    heads: Tree
    poses: Array
    planes: Array
    ws: Array


def _loss_and_gradient(fit: _Fit, variables: Tree, step: Array, key: Array) -> tuple[tuple[Array, Array], Tree]:
    """One step's loss, and what the early stop watches; and the gradient of the loss by the variables."""
    noise_key, order_key = jax.random.split(key)
    code, poses = variables["code"], variables["poses"]
    noise = fit.plan.noise[step] * fit.w_std * jax.random.normal(noise_key, code.shape)
    backbone, heads = _split(variables["params"])
    (planes, ws, penalty), backward = jax.vjp(functools.partial(_generate_planes, fit, noise), backbone, code)
    order = _random_order(order_key, fit)
    value, watched, gradient = _sum_over_views(fit, _Scene(heads, poses, planes, ws), order)
    d_backbone, d_code = backward((gradient.planes, gradient.ws, jnp.ones(())))
    pull = value / fit.inputs * fit.plan.pose_pull * (poses - fit.plan.poses)
    d_poses = jnp.where(fit.plan.fitted[:, None], gradient.poses + pull, 0.0)
    gradients = {"code": d_code, "params": {**gradient.heads, **d_backbone}, "poses": d_poses}
    return (value + penalty, watched), gradients


def _generate_planes(fit: _Fit, noise: Array, backbone: Tree, code: Array) -> tuple[Array, Array, Array]:
    """The planes and the ws that they are made of, and the penalty on the spread of the code's rows."""
    ws = w_plus(code + noise, fit.generator)
    spread = jnp.mean(jnp.square((code - code.mean(0)) / fit.w_std))
    return tuned_weights.merged(fit.generator, backbone).planes(ws), ws, fit.plan.regularisation * spread


def _random_order(key: Array, fit: _Fit) -> Array:
    """Indices of views [K] in the order of a step: the inputs first, then all others at random."""
    others = fit.views.cameras.shape[0] - fit.inputs
    return jnp.concatenate([jnp.arange(fit.inputs), fit.inputs + jax.random.permutation(key, others)])


def _sum_over_views(fit: _Fit, scene: _Scene, order: Array) -> tuple[Array, Array, _Scene]:
    """The loss of a step's views, one after the other, what the early stop watches of the inputs, and the gradient."""

    def add_view(i: Array, total: Tree) -> Tree:
        value, watched, gradient = total
        view = jax.tree.map(lambda x: x[order[i]], fit.views)
        loss = functools.partial(_view_loss, fit=fit, view=view, place=i)
        (part, own), part_gradient = jax.value_and_grad(loss, has_aux=True)(scene)
        watched += jnp.where(i < fit.inputs, own / fit.inputs, 0.0)
        return value + part, watched, jax.tree.map(jnp.add, gradient, part_gradient)

    zero = jnp.zeros(())
    start = zero, zero, jax.tree.map(jnp.zeros_like, scene)
    return jax.lax.fori_loop(0, fit.inputs + fit.plan.extra_views, add_view, start)


def _view_loss(scene: _Scene, fit: _Fit, view: Views, place: Array) -> tuple[Array, Array]:
    """The loss of a view (no leading axes) at a place in a step's order, and what an early stop would watch of it."""
    is_input, own = place < fit.inputs, jnp.minimum(place, fit.inputs - 1)
    posed = poses.to_camera(scene.poses[own], fit.generator.config)
    moving = is_input & fit.plan.fitted[own]
    camera = jnp.where(moving, posed, view.cameras)
    made = tuned_weights.merged(fit.generator, scene.heads).render(scene.planes, scene.ws, camera, still=~moving)
    terms = losses.terms(made["image"], view.images, fit.loss_config, view.weights, fit.network)
    value = terms.total(fit.loss_config)
    if view.distances is not None:
        value += fit.plan.depth_weight * losses.depth_loss(made["ray_distance"], view.distances)
    if view.outline is not None:
        value += fit.loss_config.outline_weight * losses.outline_loss(made["ray_distance"], view.outline)
    if view.surface is not None:
        value += fit.loss_config.surface_weight * losses.surface_loss(made["ray_distance"], view.surface)
    scale = jnp.where(is_input, 1.0 / fit.inputs, fit.plan.view_weight / jnp.maximum(fit.plan.extra_views, 1))
    return scale * value, terms.watched()


def _adam(plan: Plan | None) -> optax.GradientTransformation:
    """Adam with the learning rate of a plan, at each step, for each part of the variables. None is enough to start."""

    def scale(updates: Tree, state: optax.ScaleByScheduleState, params: Tree = None) -> tuple[Tree, Tree]:
        step = state.count
        pose_rates = plan.camera_rate[step] * jnp.array(poses.PACE)
        rates = {"code": plan.code_rate[step], "params": plan.weights_rate[step], "poses": pose_rates}
        scaled = {name: _scaled(-rates[name], part) for name, part in updates.items()}
        return scaled, optax.ScaleByScheduleState(step + 1)

    by_part = optax.GradientTransformation(lambda params: optax.ScaleByScheduleState(jnp.zeros((), jnp.int32)), scale)
    return optax.chain(optax.scale_by_adam(0.9, 0.999), by_part)


def _scaled(factor: Array, tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def _split(params: Tree) -> tuple[Tree, Tree]:
    """Parameters of what generates the planes, and of what renders them."""
    backbone = {name: part for name, part in params.items() if name == "backbone"}
    return backbone, {name: part for name, part in params.items() if name not in backbone}
