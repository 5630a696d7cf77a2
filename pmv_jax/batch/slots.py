"""Many images at a time, on all devices of this process.

A mesh has one axis, over images. Each device has slots, each slot an image that stands in a stage and at a step of its
own; a call takes all that run the same program one chunk of steps further. Every device runs its own loop
(`shard_map`), so that none waits for another inside of it, and within a device images go one after the other
(`lax.map`): one is work enough, a step needs the memory of one, convolutions need no groups of weights, and an image's
program is the same whatever company it has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pmv_jax.inversion.adam_loop import FitState
from pmv_jax.inversion.image_run import ImageRun
from pmv_jax.inversion.stage import StageProgram, StageRequest
from pmv_jax.models.generator import Generator

Tree = Any


class OutOfMemory(Exception):
    """A device has too little memory for as many images; those that were running are lost back to their saved state."""


class Batch:
    """Slots for images on devices.

    Attributes:
      size: images a device.
      runs: what is in the slots, device by device; None where one is free.
    """

    def __init__(self, generator: Generator, size: int, devices: Sequence[jax.Device] | None = None) -> None:
        devices = jax.local_devices() if devices is None else list(devices)
        self.size, self._mesh = size, Mesh(np.array(devices), ("image",))
        self._everywhere = self._replicate(generator)
        self._generators = [_shard(self._everywhere, i) for i in range(len(devices))]
        self._networks: dict[StageProgram, Tree] = {}
        self.runs: list[ImageRun | None] = [None] * (size * len(devices))

    @property
    def free(self) -> int | None:
        """A free slot, on the device that has most of them; None if there is none."""
        counts = [row.count(None) for row in self._rows()]
        if not any(counts):
            return None
        device = int(np.argmax(counts))
        return device * self.size + self._rows()[device].index(None)

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
        ended, groups = [], {}
        for slot, run in enumerate(self.runs):
            if run is not None:
                groups.setdefault(run.stage.program, []).append(slot)
        for program, slots in groups.items():
            try:
                outputs = self._call(program, slots)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                self.runs = [None] * len(self.runs)
                raise OutOfMemory(str(error)) from error
            for slot in slots:
                problem = None
                try:
                    self.runs[slot].advance(*outputs[slot])
                except Exception as error:  # whatever it is, it is this image's alone
                    problem = error
                if problem is not None or self.runs[slot].stage is None:
                    ended.append((slot, problem))
        return ended

    def _call(self, program: StageProgram, slots: list[int]) -> dict[int, tuple[FitState, Array]]:
        """State and losses after a chunk, for the given slots, all of this program."""
        inputs, devices = {}, list(self._mesh.devices)
        for slot in slots:
            run = self.runs[slot]
            given = slot_inputs(run.stage, run.state, run.key, run.chunk)
            # All of it stays there, and not what JAX happens to keep there: each mixture would compile `_stack` anew.
            inputs[slot] = jax.device_put(given, devices[slot // self.size])
            run.state = None  # its memory is needed
        state, (own, key, steps) = next(iter(inputs.values()))
        idle = state, (own, key, jnp.zeros_like(steps))
        stacks = []
        for index, device in enumerate(devices):
            places = range(index * self.size, (index + 1) * self.size)
            filler = jax.device_put(idle, device) if not all(place in inputs for place in places) else None
            stacks.append(_stack([inputs.get(place, filler) for place in places]))
        del inputs, idle, state, given
        if program not in self._networks:
            self._networks[program] = self._replicate(program.network())
        sharding = NamedSharding(self._mesh, PartitionSpec("image"))
        states, others = jax.tree.map(lambda *parts: _assemble(parts, sharding), *stacks)
        del stacks
        out = compiled(program, self._mesh)(states, others, self._everywhere, self._networks[program])
        del states, others
        jax.block_until_ready(out)
        parts = [_unstack(_shard(out, index)) for index in range(len(devices))]
        return {slot: parts[slot // self.size][slot % self.size] for slot in slots}

    def _rows(self) -> list[list[ImageRun | None]]:
        return [self.runs[i : i + self.size] for i in range(0, len(self.runs), self.size)]

    def _replicate(self, tree: Tree) -> Tree:
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))


@functools.cache
def compiled(program: StageProgram, mesh: Mesh) -> Callable[[FitState, Tree, Generator, Tree], tuple[FitState, Array]]:
    """A program for one image as one for a batch [images, ...] that is sharded over a mesh, but for what all share."""

    def local(states: FitState, others: Tree, generator: Generator, network: Tree) -> tuple[FitState, Array]:
        def one(slot: Tree) -> tuple[FitState, Array]:
            state, (own, key, steps) = slot
            return program(state, generator, network, own, jax.random.wrap_key_data(key), steps)

        return jax.lax.map(one, (states, others))

    alone, shared = PartitionSpec("image"), PartitionSpec()
    run = jax.shard_map(local, mesh=mesh, in_specs=(alone, alone, shared, shared), out_specs=alone, check_vma=False)
    return jax.jit(run, donate_argnums=0)


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


def _assemble(parts: Sequence[Array], sharding: NamedSharding) -> Array:
    """One array from those of the mesh's devices, without a copy."""
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return jax.make_array_from_single_device_arrays(shape, sharding, list(parts))


def _shard(tree: Tree, index: int) -> Tree:
    """The part of sharded or replicated arrays that lies on one of the mesh's devices, without a copy."""
    return jax.tree.map(lambda leaf: leaf.addressable_shards[index].data, tree)
