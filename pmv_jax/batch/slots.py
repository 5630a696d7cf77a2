"""Many images at a time, on all devices of this process.

Each device has slots, each slot an image that stands in a stage and at a step of its own. A call takes all of them one
chunk of steps further. Every device has a thread and programs of its own: none has anything to say to another, and the
TPU compiler refuses programs over a host's chips in large slices, but not for one of them. Within a device images go
one after the other (`lax.map`): one is work enough, a step needs the memory of one, convolutions need no groups of
weights, and an image's program is the same whatever company it has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax.inversion.adam_loop import FitState
from pmv_jax.inversion.image_run import ImageRun
from pmv_jax.inversion.stage import StageProgram, StageRequest
from pmv_jax.models.generator import Generator

Tree = Any
# States, the rest, and what all images share -> states and losses.
BatchProgram = Callable[[FitState, Tree, Generator, Tree], tuple[FitState, Array]]


class OutOfMemory(Exception):
    """A device has too little memory for as many images; those that were running are lost back to their saved state."""


class Batch:
    """Slots for images on devices.

    Attributes:
      size: images a device.
      runs: what is in the slots, device by device; None where one is free.
    """

    def __init__(self, generator: Generator, size: int, devices: Sequence[jax.Device] | None = None) -> None:
        self.size, self._devices = size, jax.local_devices() if devices is None else list(devices)
        self._generators = self._on_each(generator)
        self._programs: dict[StageProgram, tuple[BatchProgram, list[Tree]]] = {}  # and their networks on each device
        self.runs: list[ImageRun | None] = [None] * (size * len(self._devices))

    @property
    def free(self) -> int | None:
        """A free slot, on the device that has most of them; None if there is none."""
        rows = [[slot for slot in self._slots(index) if self.runs[slot] is None] for index in range(len(self._devices))]
        return next(iter(max(rows, key=len)), None)

    def generator(self, slot: int) -> Generator:
        """On the slot's device: what a method is to start from."""
        return self._generators[slot // self.size]

    def advance(self) -> list[tuple[int, Exception | None]]:
        """Takes every image one chunk further.

        Returns:
          The slots whose images are at their end, or have failed, and why; they stay until the caller sets them free.

        Raises:
          OutOfMemory: see there. All slots are free then.
        """
        for program in {run.stage.program for run in self.runs if run is not None} - self._programs.keys():
            self._programs[program] = compiled(program), self._on_each(program.network())
        try:
            with ThreadPoolExecutor(len(self._devices), "device") as pool:  # they also compile side by side
                advance = functools.partial(self._advance, precision=jax.config.jax_default_matmul_precision)
                return [end for ended in pool.map(advance, range(len(self._devices))) for end in ended]
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            self.runs = [None] * len(self.runs)
            raise OutOfMemory(str(error)) from error

    def _advance(self, index: int, precision: str | None) -> list[tuple[int, Exception | None]]:
        """`advance` for one device, with the precision of who called it: JAX keeps that for each thread."""
        ended, groups = [], {}
        for slot in self._slots(index):
            if self.runs[slot] is not None:
                groups.setdefault(self.runs[slot].stage.program, []).append(slot)
        with jax.default_matmul_precision(precision):
            for program, slots in groups.items():
                for slot, output in zip(slots, self._call(program, index, slots), strict=True):
                    problem = None
                    try:
                        self.runs[slot].advance(*output)
                    except Exception as error:  # whatever it is, it is this image's alone
                        problem = error
                    if problem is not None or self.runs[slot].stage is None:
                        ended.append((slot, problem))
        return ended

    def _call(self, program: StageProgram, index: int, slots: list[int]) -> list[tuple[FitState, Array]]:
        """State and losses after a chunk, for the given slots, all of this program and device."""
        inputs = []
        for run in (self.runs[slot] for slot in slots):
            given = slot_inputs(run.stage, run.state, run.key, run.chunk)
            # All of it stays there, and not what JAX happens to keep there: each mixture would compile `_stack` anew.
            inputs.append(jax.device_put(given, self._devices[index]))
            run.state = None  # its memory is needed
        state, (own, key, steps) = inputs[0]
        inputs += [(state, (own, key, jnp.zeros_like(steps)))] * (self.size - len(slots))
        states, others = _stack(inputs)
        del given, inputs, state, own
        take_steps, networks = self._programs[program]
        out = take_steps(states, others, self._generators[index], networks[index])
        del states, others
        return _unstack(jax.block_until_ready(out))[: len(slots)]

    def _slots(self, index: int) -> range:
        return range(index * self.size, (index + 1) * self.size)

    def _on_each(self, tree: Tree) -> list[Tree]:
        return [jax.device_put(tree, device) for device in self._devices]


@functools.cache
def compiled(program: StageProgram) -> BatchProgram:
    """A program for one image as one for a batch [images, ...], on the device where its arguments are."""

    def batch(states: FitState, others: Tree, generator: Generator, network: Tree) -> tuple[FitState, Array]:
        def one(slot: Tree) -> tuple[FitState, Array]:
            state, (own, key, steps) = slot
            return program(state, generator, network, own, jax.random.wrap_key_data(key), steps)

        return jax.lax.map(one, (states, others))

    return jax.jit(batch, donate_argnums=0)


# ---------------------------------------------------------------------------------------------------------------------
# Between images and batches
# ---------------------------------------------------------------------------------------------------------------------


def slot_inputs(stage: StageRequest, state: FitState, key: Array, steps: int) -> Tree:
    """The arguments of a stage's program that are an image's own: what is donated, and the rest."""
    return state, (stage.own, jax.random.key_data(key), jnp.int32(steps))


@jax.jit
def _stack(slots: list[Tree]) -> Tree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *slots)


@jax.jit
def _unstack(tree: Tree) -> list[Tree]:
    return [jax.tree.map(lambda leaf: leaf[i], tree) for i in range(jax.tree.leaves(tree)[0].shape[0])]  # noqa: B023
