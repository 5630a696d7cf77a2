"""Devices that are not here, described well enough for their own compilers to compile for them.

The TPU compiler is in the package `libtpu`, the CUDA one in `jax-cuda12-plugin` and what it loads. Neither needs a
device.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import re

import jax
from jax.experimental import topologies

from pmv_jax.errors import InputError, suggestion


@dataclasses.dataclass(frozen=True)
class Chip:
    """A kind of chip, by its maker's data sheet.

    Attributes:
      platform: JAX's.
      memory: bytes that programs have.
      flops: most operations a second in bfloat16.
      clock: of a TPU's core, in Hz; 0 where the compiler gives no cycles.
      per_host: chips of a host.
      kind: what the runtime of its hosts calls it.
      smallest: a TPU's smallest slice; all have as many sides.
    """

    platform: str
    memory: int
    flops: float
    clock: float = 0.0
    per_host: int = 4
    kind: str = ""
    smallest: str = ""

    @property
    def flops_per_cycle(self) -> float:
        """Of the peak; 0 where the clock is not known."""
        return self.flops / self.clock if self.clock else 0.0


CHIPS = {
    "v5e": Chip("tpu", 16 * 2**30, 197e12, 1.5e9, 4, "v5litepod", "2x2"),
    "v6e": Chip("tpu", 32 * 2**30, 918e12, 1.75e9, 4, "v6e", "2x2"),
    "v5p": Chip("tpu", 95 * 2**30, 459e12, 1.75e9, 4, "v5p", "2x2x1"),
    "h100": Chip("cuda", 80 * 2**30, 989e12, per_host=8),
    "cpu": Chip("cpu", 0, 0.0, per_host=1),
}

_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84942979072
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  device_vendor: "NVIDIA Corporation" device_address_bits: 64 ecc_enabled: true name: "NVIDIA H100 80GB HBM3"
  driver_version: "12.8.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


@dataclasses.dataclass(frozen=True)
class Target:
    """What to compile for: `v5e:16x16`, `h100`, `cpu`.

    Attributes:
      name: see above.
      chip: the kind.
      device: the first of the slice: programs are for one, and all are alike.
    """

    name: str
    chip: Chip
    device: jax.Device


def target(name: str) -> Target:
    """A target by its name, `CHIP:TOPOLOGY` for TPUs.

    Raises:
      InputError: there is no such chip or topology, or its compiler is not installed.
    """
    kind, _, topology = name.partition(":")
    if kind not in CHIPS:
        raise InputError(f"target {name}: no such chip; {suggestion(kind, CHIPS)}")
    chip = CHIPS[kind]
    if chip.platform == "tpu" and not re.fullmatch(re.sub(r"\d", r"\\d+", chip.smallest), topology):
        raise InputError(f"target {name}: {kind} needs the shape of a slice behind it, such as {kind}:{chip.smallest}")
    if chip.platform != "tpu" and topology:
        raise InputError(f"target {name}: only TPUs have a topology; {kind} is enough")
    find = {"tpu": _tpu, "cuda": _cuda, "cpu": lambda *_: jax.devices("cpu")[:1]}[chip.platform]
    return Target(name, chip, find(name, chip)[0])


def _tpu(name: str, chip: Chip) -> list[jax.Device]:
    if "TPU_LIBRARY_PATH" not in os.environ and importlib.util.find_spec("libtpu") is None:
        raise InputError(f"target {name}: its compiler is not installed; pip install libtpu")
    chips = math.prod(int(side) for side in name.partition(":")[2].split("x"))
    described = {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": f"{chip.kind}-{chips}",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
    }
    for key, value in described.items():  # they are read when the library is loaded, which is once
        os.environ.setdefault(key, value)
    try:
        return topologies.get_topology_desc(topology_name=name, platform="tpu").devices
    except Exception as error:  # whatever the compiler says
        raise InputError(f"target {name}: the TPU compiler knows no such topology: {_first_line(error)}") from error


def _cuda(name: str, chip: Chip) -> list[jax.Device]:
    if importlib.util.find_spec("jax_cuda12_plugin") is None:
        wheel = f"'jax-cuda12-plugin[with-cuda]=={jax.__version__}'"
        raise InputError(f"target {name}: its compiler is not installed; pip install {wheel}")
    try:
        return topologies.get_topology_desc(name, "cuda", target_config=_H100, topology="1x1x1").devices
    except Exception as error:
        raise InputError(f"target {name}: the CUDA compiler does not start: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
