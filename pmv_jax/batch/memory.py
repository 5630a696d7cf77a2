"""How many images fit on a device at a time."""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, SingleDeviceSharding

from pmv_jax import cameras
from pmv_jax.batch import slots
from pmv_jax.config import InversionConfig
from pmv_jax.inversion import pipeline
from pmv_jax.inversion.stage import Photograph, StageRequest
from pmv_jax.models.generator import Generator

LARGEST_DEFAULT = 8  # images a device; past this, more at a time only makes each result come later
MEMORY_SHARE = 0.8  # of what is free may be used


def default_size(one: int, images: int) -> int:
    """How many images to take at a time on each local device, of so many `images` for each.

    Args:
      one: `needed` of a single image. To take it for each image is cautious: what a batch shares is counted again.
    """
    fits = math.floor(MEMORY_SHARE * free() / one)
    return max(1, min(fits, images, LARGEST_DEFAULT))


def needed(generator: Generator, config: InversionConfig, size: int) -> int:
    """Bytes on a device that a batch of `size` images takes, while it runs."""
    try:
        program, stage = lowered(generator, config, size, jax.local_devices()[0], cameras.look_at(0.0, 0.0))
    except StopIteration:  # no stage has steps
        return 1
    usage = program.compile().memory_analysis()
    running = usage.argument_size_in_bytes + usage.output_size_in_bytes + usage.temp_size_in_bytes
    return running - usage.alias_size_in_bytes + size * tree_bytes(stage.own)


def lowered(
    generator: Generator, config: InversionConfig, size: int, device: jax.Device, camera: Array | None
) -> tuple[jax.stages.Lowered, StageRequest]:
    """The program of a method's first stage, for a batch on a device, which need not be here.

    Args:
      generator: gives shapes.
      config: the recipe.
      size: images a device.
      device: where it is to run.
      camera: [25] of the image; None for the program that searches it.

    Returns:
      It, and the stage.
    """
    image = jnp.zeros((*(generator.config.image_resolution,) * 2, 3))
    stage = next(pipeline.stages([Photograph(image, camera)], generator, config))
    slot = slots.slot_inputs(stage, stage.start, jax.random.key(0), 0)
    states, others = shapes_on(device, slot, size)
    shared = shapes_on(device, (generator, stage.program.network()))
    with aimed_at(device):
        return slots.compiled(stage.program).lower(states, others, *shared), stage


def aimed_at(device: jax.Device) -> AbstractContextManager[None]:
    """Within it programs are lowered for a device that need not be here: kernels ask the mesh around them for the kind
    of chip, and without one the devices of this process."""
    return jax.sharding.use_abstract_mesh(Mesh(np.array([device]), ("chip",)).abstract_mesh)


def shapes_on(device: jax.Device, tree: Any, *leading: int) -> Any:
    """What is to be lowered for a device: the shapes of a tree's arrays there, behind those of leading axes."""
    place = SingleDeviceSharding(device)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((*leading, *jnp.shape(x)), jnp.result_type(x), sharding=place), tree
    )


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays, or shapes, of a tree."""
    return sum(math.prod(jnp.shape(x)) * jnp.result_type(x).itemsize for x in jax.tree.leaves(tree))


def free() -> int:
    """Bytes that are free on each local device."""
    device = jax.local_devices()[0]
    statistics = device.memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    return _free_on_the_host() // len(jax.local_devices())


def _free_on_the_host() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # no Linux
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:  # what a container is granted
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return free
