"""The program that stages 1, 2 and 4 share: fits the latent code, the generator's weights, or both, to views.

A stage is data, its `Plan`: how far code and weights move at each step, and how many pseudo-views join the input. So
one compiled program serves all stages, which on a CPU, where compiling costs as much as the stages themselves, halves
the time to a result.

Each step paints the tri-planes once and renders all its views from them; the released code runs the whole network for
the input and again for one pseudo-view. Gradients are summed view by view, so that memory is for few views however many
a step takes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from pmv_jax.cameras import poses
from pmv_jax.config import LossConfig
from pmv_jax.inversion import adam_loop as optimisation
from pmv_jax.inversion import losses
from pmv_jax.inversion import tuned_weights as parameters
from pmv_jax.models.generator import Generator
from pmv_jax.models.lpips import Lpips

Tree = Any

_CAPACITY = 1024  # plans are as long as a multiple of this, so that stages of any length share a program


class Views(NamedTuple):
    """What is fitted: the input first, then K - 1 pseudo-views.

    Attributes:
      cameras: [K, 25].
      images: [K, H, W, 3] in [-1, 1].
      weights: [K, H, W] >= 0, of each pixel in the loss.
      distances: [K, n, n], ray distances that the geometry is held to by `Plan.depth_weight`; None for none.
    """

    cameras: Array
    images: Array
    weights: Array
    distances: Array | None = None


@flax.struct.dataclass
class Plan:
    """A stage as data. Arrays [capacity] have an entry for each step and zeros after the last.

    Attributes:
      code_rate, weights_rate, camera_rate: learning rates of the latent code, of the generator's weights, and of the
        pose of the input's camera, where that is fitted too.
      noise: standard deviation of the noise on w, in units of w's own.
      regularisation: [], weight of the pull of w_plus's rows towards each other, in units of w's variance.
      extra_views: int32 [], random pseudo-views a step, K - 1 at most.
      view_weight: [], of their mean loss, against the input's.
      depth_weight: [], of the pull towards `Views.distances`.
      pose, pose_pull: [5] and [], where that camera was estimated to be, and the weight of a pull towards it, in shares
        of the loss for a squared radian or picture size: what fits badly has less of a say.
      stop: [], value of the input's perceptual term at which an image is done (`losses.Terms.watched`).
    """

    code_rate: Array
    weights_rate: Array
    camera_rate: Array
    noise: Array
    regularisation: Array
    extra_views: Array
    view_weight: Array
    depth_weight: Array
    pose: Array
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
    """Pads arrays [steps], or numbers that hold for all steps, to the capacity."""
    capacity = -(-max(steps, 1) // _CAPACITY) * _CAPACITY

    def padded(values: np.ndarray | float) -> Array:
        return jnp.asarray(np.pad(np.broadcast_to(values, (steps,)), (0, capacity - steps)), jnp.float32)

    return Plan(
        padded(code_rate),
        padded(weights_rate),
        padded(camera_rate),
        padded(noise),
        jnp.float32(regularisation),
        jnp.int32(extra_views),
        jnp.float32(view_weight),
        jnp.float32(depth_weight),
        jnp.zeros(5),
        jnp.zeros(()),
        jnp.float32(stop),
    )


def single_view(image: Array, camera: Array, room: int = 0, depth_side: int | None = None) -> Views:
    """The input [H, W, 3], [25] alone, with room for pseudo-views, and for depth at the neural resolution: stages on
    arrays of the same sizes share a program."""
    pad = lambda x: jnp.pad(x[None], ((0, room), *((0, 0),) * x.ndim), mode="edge")  # noqa: E731
    distances = None if depth_side is None else pad(jnp.zeros((depth_side, depth_side)))
    return Views(pad(camera), pad(image), pad(jnp.ones(image.shape[:2])), distances)


def start(code: Array, params: Tree, pose: Array | None = None) -> optimisation.State:
    """State at a code [rows, w_dim], one row or all, what is tuned of the generator (see `parameters`), and, where the
    input's camera is to be fitted too, its pose [5]."""
    camera = {} if pose is None else {"pose": pose}
    return optimisation.start({"code": code, "params": params, **camera}, _adam(lambda step: {}))


@functools.partial(jax.jit, static_argnames=("loss_config", "views_at_once"), donate_argnames=("state",))
def run(
    state: optimisation.State,
    generator: Generator,
    views: Views,
    plan: Plan,
    w_std: Array,
    lpips: Lpips | None,
    key: Array,
    steps: Array,
    *,
    loss_config: LossConfig,
    views_at_once: int,
) -> tuple[optimisation.State, Array]:
    """`steps` steps of a plan (HFGI3D eq. 1 and 6). Every step sees the input and `extra_views` random pseudo-views.

    Args:
      state: from `start`, or of the steps before.
      generator: gives config, buffers, and the parameters that are not tuned.
      w_std: [], the standard deviation of w.
      lpips: the network, where the loss asks for one.
      key: of the stage.
      steps: int32 [], CHUNK at most.
      views_at_once: how many views are rendered side by side, by vmap.
    """

    def rates(step: Array) -> dict[str, Array]:
        pose = plan.camera_rate[step] * jnp.array(poses.PACE)
        return {"code": plan.code_rate[step], "params": plan.weights_rate[step], "pose": pose}

    def value_and_grad(variables: Tree, step: Array, key: Array) -> tuple[tuple[Array, Array], Tree]:
        noise_key, choice_key = jax.random.split(key)
        code, params, pose = variables["code"], variables["params"], variables.get("pose")
        noise = plan.noise[step] * w_std * jax.random.normal(noise_key, code.shape)
        backbone, heads = _split(params)

        def paint(backbone: Tree, code: Array) -> tuple[Array, Array, Array]:
            ws = w_plus(code + noise, generator)
            spread = jnp.mean(jnp.square((code - code.mean(0)) / w_std))
            return parameters.merged(generator, backbone).planes(ws), ws, plan.regularisation * spread

        (planes, ws, penalty), paint_vjp = jax.vjp(paint, backbone, code)

        def loss(
            heads: Tree, pose: Array | None, planes: Array, ws: Array, group: Views, places: Array
        ) -> tuple[Array, Array]:
            tuned = parameters.merged(generator, heads)
            if pose is not None:
                own = poses.to_camera(pose, generator.config)
                group = group._replace(cameras=jnp.where((places == 0)[:, None], own, group.cameras))
            scales = jnp.where(places == 0, 1.0, plan.view_weight / jnp.maximum(plan.extra_views, 1))

            def one(view: Views) -> tuple[Array, Array]:
                made = tuned.render(planes, ws, view.cameras)
                terms = losses.terms(made["image"], view.images, loss_config, view.weights, lpips)
                value = terms.total(loss_config)
                if view.distances is not None:
                    value += plan.depth_weight * losses.depth_loss(made["ray_distance"], view.distances)
                return value, terms.watched(loss_config)

            values, watched = jax.vmap(one)(group)
            return jnp.sum(scales * (places < count) * values), watched[0]

        others = views.cameras.shape[0] - 1
        order = jnp.concatenate([jnp.zeros(1, jnp.int32), 1 + jax.random.permutation(choice_key, others)])
        order = jnp.pad(order, (0, views_at_once))  # the last group may be cut short
        count = 1 + plan.extra_views

        def add_group(i: Array, total: Tree) -> Tree:
            value, watched, grads = total
            places = i * views_at_once + jnp.arange(views_at_once)
            group = jax.tree.map(lambda x: x[order[places]], views)
            (part, first), part_grads = jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)(
                heads, pose, planes, ws, group, places
            )
            return value + part, jnp.where(i == 0, first, watched), jax.tree.map(jnp.add, grads, part_grads)

        zero = jnp.zeros(())
        zeros = (zero, zero, jax.tree.map(jnp.zeros_like, (heads, pose, planes, ws)))
        groups = (count + views_at_once - 1) // views_at_once
        value, watched, (d_heads, d_pose, d_planes, d_ws) = jax.lax.fori_loop(0, groups, add_group, zeros)
        d_backbone, d_code = paint_vjp((d_planes, d_ws, jnp.ones(())))
        camera = {} if pose is None else {"pose": d_pose + value * plan.pose_pull * (pose - plan.pose)}
        return (value + penalty, watched), {"code": d_code, "params": {**d_heads, **d_backbone}, **camera}

    return optimisation.run(value_and_grad, _adam(rates), state, key, steps, plan.stop)


def w_plus(code: Array, generator: Generator) -> Array:
    """Code [rows, w_dim] with one row or all -> [num_ws, w_dim]."""
    return jnp.broadcast_to(code, (generator.config.num_ws, code.shape[-1]))


def views_at_once(views_per_step: int) -> int:
    """Views to render side by side: a processor has work enough with one, and memory for one."""
    return 1 if jax.default_backend() == "cpu" else 1 + views_per_step


def _adam(rates: Callable[[Array], dict[str, Array]]) -> optax.GradientTransformation:
    """Adam with a learning rate, at each step, for each of the variables' parts."""

    def scale(updates: Tree, state: optax.ScaleByScheduleState, params: Tree = None) -> tuple[Tree, Tree]:
        per_part = rates(state.count)
        scaled = {name: jax.tree.map(lambda x: -per_part[name] * x, part) for name, part in updates.items()}  # noqa: B023
        return scaled, optax.ScaleByScheduleState(state.count + 1)

    by_part = optax.GradientTransformation(lambda params: optax.ScaleByScheduleState(jnp.zeros((), jnp.int32)), scale)
    return optax.chain(optax.scale_by_adam(0.9, 0.999), by_part)


def _split(params: Tree) -> tuple[Tree, Tree]:
    """Parameters of what paints the planes, and of what renders them."""
    backbone = {name: part for name, part in params.items() if name == "backbone"}
    return backbone, {name: part for name, part in params.items() if name not in backbone}
