"""How many images fit on a device at a time."""

from __future__ import annotations

import math
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pmv_jax import cameras
from pmv_jax.batch import slots
from pmv_jax.config import InversionConfig
from pmv_jax.inversion import pipeline
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
    camera = cameras.look_at(0.0, 0.0)
    image = jnp.zeros((*(generator.config.image_resolution,) * 2, 3))
    stage = next(pipeline.stages(image, camera, generator, config))
    slot = slots.slot_inputs(stage, stage.start, jax.random.key(0), 0)
    states, others = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *jnp.shape(x)), jnp.result_type(x)), slot)
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("image",))
    program = slots.compiled(stage.program, mesh).lower(states, others, generator, stage.program.network()).compile()
    usage = program.memory_analysis()
    running = usage.argument_size_in_bytes + usage.output_size_in_bytes + usage.temp_size_in_bytes
    return running - usage.alias_size_in_bytes + size * sum(x.nbytes for x in jax.tree.leaves(stage.own))


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
