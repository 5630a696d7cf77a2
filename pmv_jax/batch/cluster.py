"""Several processes on one job: JAX's runtime starts them, and agrees on who does what.

Nothing is computed together: each process runs its share on its own devices. What they need to know of each other is
how many they are, what is left to do when they start, and who is still at work at the end. One that dies takes no
others with it, unless it is process 0, which carries JAX's runtime: the same command then goes on from what was saved.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from pmv_jax.errors import InputError

_LEAVE = 5.0  # seconds that the others have to take leave of process 0, which then ends


def start(
    multihost: bool, coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Starts `jax.distributed`, if this is asked for or the environment is that of a job with several processes.

    Args:
      multihost: asks for it; JAX finds out the rest.
      coordinator: HOST:PORT of process 0. This and the following go together, and ask for it too.
      num_processes: how many there are.
      process_id: which of them this is.

    Raises:
      InputError: JAX finds no cluster, or the processes do not find each other.
    """
    explicit = {"coordinator_address": coordinator, "num_processes": num_processes, "process_id": process_id}
    given = [name for name, value in explicit.items() if value is not None]
    if given and len(given) < len(explicit):
        raise InputError("--coordinator, --num_processes and --process_id go together; give all three")
    if not (multihost or given or _is_cluster(os.environ)):
        return
    jax.config.update("jax_enable_recoverability", True)  # the death of one is not that of all
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from us
    try:
        jax.distributed.initialize(**explicit)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"--multihost: {error}; where JAX cannot find the other processes itself, give --coordinator, "
            "--num_processes and --process_id"
        ) from error


def share(missing: Sequence[int], total: int) -> list[int]:
    """This process's part of what is missing. From here to `finish` no process waits for another.

    Args:
      missing: indices in [0, total), as this process sees it; process 0 decides. No two take the same, and all have
        equally much to do (but for one), whatever their number was before.
    """
    if jax.process_count() == 1:
        return list(missing)
    mask = np.zeros(total, np.uint8)
    mask[list(missing)] = 1
    agreed = multihost_utils.broadcast_one_to_all((mask, np.int32(total)))
    if int(agreed[1]) != total:
        raise InputError(f"--images: {total} images here, {int(agreed[1])} on process 0; all must see the same files")
    return np.flatnonzero(agreed[0])[jax.process_index() :: jax.process_count()].tolist()


def finish() -> None:
    """Waits for the processes that are still alive, and leaves the cluster: JAX would end them with process 0."""
    if jax.process_count() == 1:
        return
    with contextlib.suppress(multihost_utils.ProcessFailureError):  # it is the work's end for all others as well
        with multihost_utils.live_devices(jax.devices()):
            pass
    if jax.process_index() == 0:
        time.sleep(_LEAVE)
    jax.distributed.shutdown()


def _is_cluster(environment: os._Environ[str] | dict[str, str]) -> bool:
    """Whether SLURM, GKE or Cloud TPU has started several processes."""
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1") if "SLURM_PROCID" in environment else "1"
    return tasks != "1" or "," in environment.get("TPU_WORKER_HOSTNAMES", "")
