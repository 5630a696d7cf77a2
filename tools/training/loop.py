"""The training loop: steps, state, resuming, and the phase that makes a generator to keep."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError
from pmv_jax.models.generator import Generator
from tools.training import backdrop, losses, network, recipe, state_files
from tools.training.data import Batch, Heads
from tools.training.recipe import Stage

STATE_FILE, AVERAGE_FILE = "state.npz", "average.npz"
REFRESH = 50  # steps between looks for new shards

_optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(0.9, 0.99))


class Weights(NamedTuple):
    """What a step changes."""

    params: network.Params
    average: network.Params  # exponential moving average of `params`
    optimiser: Any


@dataclasses.dataclass(frozen=True)
class State:
    """A training between two steps.

    Attributes:
      stage: its index in the recipe.
      step: steps done in this stage.
      heads: heads that there were to learn from.
    """

    weights: Weights
    stage: int
    step: int
    heads: int


@functools.partial(jax.jit, static_argnames=("config", "stage"), donate_argnames=("weights",))
def train_step(
    weights: Weights,
    buffers: network.Params,
    batch: Batch,
    numbers: Array,
    key: Array,
    rate: Array,
    ema: Array,
    config: GeneratorConfig,
    stage: Stage,
) -> tuple[Weights, dict[str, Array]]:
    """One step at learning rate `rate` on heads before backdrops of `numbers` [H, 6]."""
    if stage.images:
        truth = losses.truth_of_crops(batch, numbers, config)
    else:
        truth = losses.truth_of_pixels(batch, numbers, config.image_resolution)
    generator = Generator(config, {"params": weights.params, "buffers": buffers})
    grads, figures = jax.grad(losses.loss, has_aux=True)(weights.params, generator, truth, key, stage)
    updates, optimiser = _optimiser.update(grads, weights.optimiser)
    params = jax.tree.map(lambda p, u: p - rate * u, weights.params, updates)
    average = jax.tree.map(lambda a, p: ema * a + (1 - ema) * p, weights.average, params)
    return Weights(params, average, optimiser), figures


class Training:
    """A training of `config` on `heads` by the stages of `stages`; its data follow from `seed` and the step."""

    def __init__(
        self, config: GeneratorConfig, heads: Heads, seed: int = 0, stages: tuple[Stage, ...] = recipe.RECIPE
    ) -> None:
        self.config, self.heads, self.seed, self.stages = config, heads, seed, stages
        self._buffers: dict[int, network.Params] = {}

    def network_of(self, stage: int) -> GeneratorConfig:
        return network.at_resolution(self.config, self.stages[stage].plane_resolution)

    def begin(self, stage: int = 0, params: network.Params | None = None) -> State:
        """State before the first step of a stage, with fresh weights or those of the stage before."""
        new = network.fresh(self.network_of(stage), self.seed).params
        if params is not None:
            new = network.grow(params, new)
        copy = jax.tree.map(jnp.array, new)
        return State(Weights(new, copy, _optimiser.init(new)), stage, 0, len(self.heads))

    def step(self, state: State, rate: float | None = None) -> tuple[State, dict[str, Array]]:
        """One step, at the stage's learning rate unless another is given."""
        if state.step % REFRESH == 0:
            self.heads.refresh()
        stage = self.stages[state.stage]
        rng = np.random.default_rng((self.seed, state.stage, state.step))
        scale = self.config.image_resolution // self.config.rendering.neural_resolution
        draw = functools.partial(self.heads.crops, side=stage.side * scale)
        if not stage.images:
            draw = functools.partial(self.heads.scattered, rays=stage.rays)
        batch = draw(rng, stage.heads, stage.views)
        numbers = rng.standard_normal((stage.heads, backdrop.NUMBERS), dtype=np.float32)
        key = jax.random.key(int(rng.integers(2**31)))
        rate = recipe.warm(stage, state.step) if rate is None else rate
        ema = min(recipe.EMA, (1 + state.step) / (10 + state.step))
        weights, figures = train_step(
            state.weights,
            self.buffers(state.stage),
            batch,
            numbers,
            key,
            jnp.float32(rate),
            jnp.float32(ema),
            config=self.network_of(state.stage),
            stage=stage,
        )
        return State(weights, state.stage, state.step + 1, len(self.heads)), figures

    def advance(self, state: State) -> State:
        """Begins the next stage, once all steps of this one are done."""
        steps = self.stages[state.stage].steps
        if steps is None or state.step < steps:
            return state
        return self.begin(state.stage + 1, state.weights.average)

    def finish(self, state: State, steps: int, watch: Callable[[State, dict[str, Array]], None]) -> State:
        """The last stage: `steps` steps, from the averaged weights of `state`, at a rate that falls to zero."""
        stage = self.stages[-1]
        state = self.begin(len(self.stages) - 1, state.weights.average)
        for i in range(steps):
            state, figures = self.step(state, recipe.cooling(stage, i, steps))
            watch(state, figures)
        return state

    def generator(self, state: State) -> Generator:
        """The averaged weights."""
        return network.with_average(self.network_of(state.stage), state.weights.average, self.buffers(state.stage))

    def buffers(self, stage: int) -> network.Params:
        if stage not in self._buffers:
            self._buffers[stage] = network.fresh(self.network_of(stage), self.seed).variables["buffers"]
        return self._buffers[stage]

    def save(self, state: State, out: Path) -> None:
        """Writes `state` to `out`, complete or not at all."""
        position = {"stage": self.stages[state.stage].name, "step": state.step, "heads": state.heads}
        state_files.write(out / STATE_FILE, {**position, **state_files.named(state.weights)})

    def load(self, out: Path) -> State:
        """Reads what `save` wrote to `out`.

        Raises:
          InputError: the state is of another network or recipe.
        """
        path = out / STATE_FILE
        with np.load(path) as data:
            names = [stage.name for stage in self.stages]
            if str(data["stage"]) not in names:
                known = ", ".join(names)
                raise InputError(f"{path}: its stage {data['stage']} is none of {known}; train anew elsewhere")
            stage = names.index(str(data["stage"]))
            shapes = jax.eval_shape(lambda: self.begin(stage).weights)
            return State(state_files.filled(shapes, data, path), stage, int(data["step"]), int(data["heads"]))

    def save_average(self, state: State, out: Path) -> None:
        """Writes the averaged weights alone to `out`, a quarter of the state: what travels."""
        state_files.write(out / AVERAGE_FILE, state_files.named(state.weights.average))

    def begin_open(self, path: Path) -> State:
        """State before the first step of the stage without end, from averaged weights that `save_average` wrote.

        Raises:
          InputError: there are none, or those of another network.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such file; averaged weights stand beside a training's state")
        stage = next(i for i, stage in enumerate(self.stages) if stage.steps is None)
        with np.load(path) as data:
            shapes = jax.eval_shape(lambda: network.fresh(self.network_of(stage), self.seed).params)
            return self.begin(stage, state_files.filled(shapes, data, path))


class Log:
    """Means of figures over some steps, one JSON line each, with the time of day."""

    def __init__(self, path: Path, every: int = 50) -> None:
        self.path, self.every = path, every
        self._figures: list[dict[str, Array]] = []
        self._since = time.time()

    def step(self, stage: str, state: State, figures: dict[str, Array]) -> None:
        """Takes in the figures of a step, and writes a line after every `every`; a new stage begins anew."""
        if state.step == 1:
            self._figures, self._since = [], time.time()
        self._figures.append(figures)
        if len(self._figures) == self.every:
            means = {k: round(float(np.mean([f[k] for f in self._figures])), 5) for k in figures}
            seconds = (time.time() - self._since) / self.every
            self.write(
                {"stage": stage, "step": state.step, "heads": state.heads, "step_seconds": round(seconds, 3), **means}
            )
            self._figures, self._since = [], time.time()

    def write(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"time": time.strftime("%Y-%m-%d %H:%M:%S"), **line}) + "\n")
