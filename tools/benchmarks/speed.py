"""How fast is it, how near to what the machine can do, and how much faster than the reference?

    python -m tools.benchmarks speed --measure NAME [FLAG]...

  forward       one picture of one head
  latent_step   a step of latent optimisation, on the input
  tuning_step   a step of tuning the weights, on the input, and on the input and --views pseudo-views
  warp          an image of 512 pixels carried into one view
  render        frames a second, of --inversion DIR or of a random head
  invert        the whole recipe, stage by stage, with what compiling took
  memory        what the compiled programs of the steps above need
  batch         images an hour of the whole recipe without camera search, 1, 2, 4, ... images at a time

Each prints a table and writes it, with all samples, to OUT/NAME.json. Times are of compiled programs, the median of
--repeat runs and their spread (largest minus smallest); `invert` and `batch` run once. FLOPs are those of matrix
products and convolutions, the peak is that of a matrix product measured here in the same precision. --peer DIR is a
checkout of https://github.com/NVlabs/eg3d: it takes the same step with the same weights, turn by turn with ours.

    python -m tools.benchmarks speed --measure forward --generator random:ffhq512-128 --peer DIR

Exit codes: 0 done, 2 bad input or usage.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax import cameras, images
from pmv_jax.batch import memory
from pmv_jax.batch import slots as batch
from pmv_jax.cameras import paths as camera_paths
from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.commandline import heap
from pmv_jax.commandline.flags import Flags, recipe
from pmv_jax.commandline.run import command
from pmv_jax.config import GeneratorConfig, InversionConfig
from pmv_jax.errors import InputError, suggestion
from pmv_jax.inversion import pipeline, tuned_weights, view_fitting, visibility
from pmv_jax.inversion.image_run import ImageRun
from pmv_jax.inversion.result import load_inversion
from pmv_jax.inversion.stage import Photograph
from pmv_jax.models import frames
from pmv_jax.models.generator import Generator, initialise
from pmv_jax.results.writing import peak_memory_bytes
from tools.benchmarks.reference import RATE, Peer
from tools.benchmarks.timing import Program, Row, cell, compiled, count_flops, matmul_peak, table

RANDOM = {"random:ffhq512-128": GeneratorConfig()}
WARP_SIZE = 512

FLAGS = Flags()
_MEASURE = FLAGS.string("measure", None, "What to measure; see above. Required.")
_PRECISION = FLAGS.choice(
    "precision",
    "float32",
    ["float32", "tf32", "bfloat16"],
    "Of convolutions and matrix products; tf32 is for GPUs. The peer computes in float32, or in tf32 if this is not.",
)
_VIEWS = FLAGS.integer("views", 2, "Pseudo-views of a step.", least=0)
_STEPS = FLAGS.integer(
    "steps", 4, "Steps of one run of the program, as a stage takes 20 in one; times are for one.", least=1
)
_REPEAT = FLAGS.integer("repeat", 5, "Runs of each program.", least=1)
_BATCHES = FLAGS.items("batches", ["1", "2", "4"], "Numbers of images side by side.")
_INVERSION = FLAGS.string("inversion", None, "Result of python -m pmv_jax.invert, to render.")
_IMAGE = FLAGS.string("image", None, "Picture to invert, for invert and batch. Default: the shipped portrait.")
_PEER = FLAGS.string("peer", None, "Checkout of the reference EG3D, to compare with.")
_PEER_PYTHON = FLAGS.string("peer_python", sys.executable, "Interpreter that has torch.")
_GENERATOR = FLAGS.generator()
_CONFIG = FLAGS.config()
_SET = FLAGS.changes()
_OUT = FLAGS.out()
_SEED = FLAGS.seed()


def timed(name: str, program: Program, peak: float | None, peer: Peer | None = None, step: str = "") -> Row:
    """A row of the table: median, spread, and the peer's, which takes turns with ours."""
    program.run()
    if peer is not None:
        peer.run(step)
    ours, theirs = [], []
    for _ in range(_REPEAT.value):
        ours.append(program.run())
        if peer is not None:
            theirs.append(peer.run(step)["seconds"])
    row = {
        "what": name,
        "seconds": float(np.median(ours)),
        "spread": max(ours) - min(ours),
        "compile": program.compile_seconds,
        "GB": program.memory_bytes / 1e9,
        "samples": ours,
    }
    if program.flops:
        achieved = program.flops / program.units / row["seconds"]
        row |= {"TFLOP/s": achieved / 1e12, "of peak": achieved / peak if peak else None}
    if theirs:
        row |= {"peer seconds": float(np.median(theirs)), "peer spread": max(theirs) - min(theirs)}
        row |= {"peer GB": peer.peak_bytes / 1e9, "times faster": row["peer seconds"] / row["seconds"]}
        row |= {"peer samples": theirs}
    return row


# ---------------------------------------------------------------------------------------------------------------------
# What is measured
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """A generator, a head ws [num_ws, w_dim], and what is fitted: the input and pseudo-views."""

    generator: Generator
    ws: Array
    views: view_fitting.Views


def case(views: int) -> Case:
    generator = _generator()
    config = generator.config
    angles = np.linspace(-0.4, 0.4, 1 + views)
    looking = camera_paths.around_head(config, angles, 0.2 * angles, focal=config.camera_focal)
    z = jax.random.normal(jax.random.key(_SEED.value or 0), (1, config.z_dim))
    ws = generator.mapping(z, looking[:1])[0]
    size = config.image_resolution
    picture = 0.5 * jnp.sin(jnp.linspace(0, 12, size))[:, None, None] * jnp.ones((size, size, 3))
    fitted = view_fitting.Views(
        jnp.asarray(looking), jnp.stack([picture] * (1 + views)), jnp.ones((1 + views, size, size))
    )
    return Case(generator, ws, fitted)


def _generator() -> Generator:
    name = _GENERATOR.value or default_generator_directory()
    if str(name).startswith("random:"):
        if name not in RANDOM:
            raise InputError(f"--generator {name}: no such configuration; {suggestion(name, RANDOM)}")
        generator = initialise(RANDOM[name], jax.random.key(0))
    else:
        generator = load_generator(name)
    dtype = "bfloat16" if _PRECISION.value == "bfloat16" else "float32"
    return generator.replace(config=dataclasses.replace(generator.config, compute_dtype=dtype))


def _image(generator: Generator) -> np.ndarray:
    path = Path(_IMAGE.value) if _IMAGE.value else Path(default_generator_directory(), "portrait.png")
    return images.to_square(images.open_image(path), generator.config.image_resolution)


def forward_program(case: Case) -> Program:
    def forward(ws: Array, generator: Generator, camera: Array) -> tuple[Array, Array]:
        return ws, generator.synthesis(ws[None], camera[None])["image"][0]

    args = (case.ws, case.generator, case.views.cameras[0])
    return compiled(jax.jit(forward), *args, flops=count_flops(forward, *args))


def step_program(case: Case, extra_views: int, *, weights: bool, steps: int) -> Program:
    """`view_fitting.run` as the stages of an inversion call it."""
    plan = view_fitting.plan(
        steps, **{"weights_rate" if weights else "code_rate": RATE}, extra_views=extra_views, view_weight=1.0
    )
    config = recipe(_CONFIG.value, _SET.value)
    tuned = tuned_weights.start(case.generator.params, config.weights)
    state = view_fitting.start(case.ws, tuned)  # copies, which the steps donate
    fixed = {"loss_config": config.loss}

    def run(state: Any, generator: Generator, views: view_fitting.Views, plan: view_fitting.Plan, steps: Array) -> Any:
        return view_fitting.run(state, generator, views, plan, jnp.float32(1), None, jax.random.key(0), steps, **fixed)

    args = (state, case.generator, case.views, plan, jnp.int32(steps))
    flops = steps * count_flops(_loss_gradient(case, extra_views, weights), tuned, case.ws)
    return compiled(jax.jit(run, donate_argnums=0), *args, flops=flops, units=steps)


def _loss_gradient(case: Case, extra_views: int, weights: bool) -> Callable[[Any, Array], Any]:
    """What one step has to compute, without loops: for counting its FLOPs."""

    def loss(tuned: Any, code: Array) -> Array:
        generator = tuned_weights.merged(case.generator, tuned)
        planes, ws = generator.planes(code), code
        return sum(
            jnp.sum(generator.render(planes, ws, camera)["image"] ** 2)
            for camera in case.views.cameras[: 1 + extra_views]
        )

    return jax.grad(loss, 0 if weights else 1)


def measure_forward(peak: float) -> list[Row]:
    subject = case(0)
    program = forward_program(subject)
    with _peer(subject, 0) as peer:
        row = timed("forward", program, peak, peer, "forward")
        if peer is not None:
            theirs = np.load(peer.run("forward")["result"])
            ours = np.asarray(program.call(subject.ws, *program.fixed)[1])
            row["difference to peer, rms"] = float(np.sqrt(np.mean((ours - theirs) ** 2)))
        return [row]


def measure_steps(weights: bool, peak: float) -> list[Row]:
    name, rows = "tuning_step" if weights else "latent_step", []
    for extra in sorted({0, _VIEWS.value if weights else 0}):
        subject = case(extra)
        program = step_program(subject, extra, weights=weights, steps=_STEPS.value)
        with _peer(subject, extra) as peer:
            rows.append(timed(f"{name}, {1 + extra} view{'s' if extra else ''}", program, peak, peer, name))
    return rows


def measure_warp(peak: float) -> list[Row]:
    size = WARP_SIZE
    image = jax.random.uniform(jax.random.key(0), (size, size, 3))
    depth = 2.7 + 0.05 * jnp.sin(jnp.linspace(0, 9, 128))[:, None] * jnp.cos(jnp.linspace(0, 7, 128))
    looking = jnp.stack([cameras.look_at(yaw, 0.0) for yaw in (0.0, 0.3)])
    warp = lambda image, depth, looking: (  # noqa: E731
        image,
        visibility.warp_to_view(image, depth, looking[0], depth, looking[1]),
    )
    return [timed(f"warp, {size} pixels", compiled(jax.jit(warp), image, depth, looking, flops=None), None)]


def measure_render(peak: float) -> list[Row]:
    if _INVERSION.value is not None:
        inversion = load_inversion(_INVERSION.value)
        generator, ws = inversion.generator, inversion.ws
    else:
        subject = case(0)
        generator, ws = subject.generator, subject.ws
    render = functools.partial(frames.render, generator, generator.planes(ws), ws)
    looking = np.asarray(camera_paths.orbit(generator.config, frames.BATCH, focal=generator.config.camera_focal))
    begun = time.perf_counter()
    render(looking)
    first = time.perf_counter() - begun
    seconds = []
    for _ in range(_REPEAT.value):
        begun = time.perf_counter()
        render(looking)
        seconds.append((time.perf_counter() - begun) / len(looking))
    median = float(np.median(seconds))
    row = {"what": f"frame, {generator.config.image_resolution} pixels", "seconds": median, "samples": seconds}
    row |= {"spread": max(seconds) - min(seconds), "compile": first - len(looking) * median}
    return [row | {"frames a second": 1 / median}]


def measure_invert(peak: float) -> list[Row]:
    generator, config = _generator(), recipe(_CONFIG.value, _SET.value)
    image = _image(generator)
    runs, totals = [], []
    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)  # an empty one
        for _ in range(2):
            begun = time.perf_counter()
            runs.append(pipeline.invert(image, None, generator, config).stages)
            totals.append(time.perf_counter() - begun)
    rows = [
        {"what": a.name, "steps": a.steps, "first": a.seconds, "seconds": b.seconds, "compile": a.seconds - b.seconds}
        for a, b in zip(*runs, strict=True)
    ]
    for row in rows:
        row["a step"] = row["seconds"] / max(row["steps"], 1)
    first, again = totals
    return [*rows, {"what": "all", "first": first, "seconds": again, "compile": first - again}]


def measure_memory(peak: float) -> list[Row]:
    extra = _VIEWS.value
    subject = case(extra)
    programs = {"forward": forward_program(subject)}
    for count in sorted({0, extra}):
        programs[f"tuning_step, {1 + count} views"] = step_program(subject, count, weights=True, steps=1)
    return [{"what": name, "GB": p.memory_bytes / 1e9, "compile": p.compile_seconds} for name, p in programs.items()]


def measure_batch(peak: float) -> list[Row]:
    generator, config, rows = _generator(), recipe(_CONFIG.value, _SET.value), []
    names = ("latent", "tuning", "joint")
    short = {n: dataclasses.replace(getattr(config, n), steps=min(1, getattr(config, n).steps)) for n in names}
    for count in _BATCHES.value:
        if not count.isdigit() or count == "0":
            raise InputError(f"--batches {count}: is no number of images; give numbers such as 1,2,4")
        # The same programs: how many steps a stage has is data.
        compile_seconds = _invert_together(generator, dataclasses.replace(config, **short), int(count))
        seconds = _invert_together(generator, config, int(count))
        row = {"what": f"{count} at a time", "seconds": seconds, "compile": compile_seconds}
        row["GB"] = memory.needed(generator, config, int(count)) / 1e9
        rows.append(row | {"images an hour": 3600 * int(count) / seconds})
    return rows


def _invert_together(generator: Generator, config: InversionConfig, count: int) -> float:
    """Seconds in which the batch driver inverts one picture so many times."""
    begun, image, camera = time.perf_counter(), _image(generator), cameras.look_at(0.0, 0.0)
    together = batch.Batch(generator, count, jax.local_devices()[:1])
    for slot in range(count):
        stages = pipeline.stages([Photograph(image, camera)], together.generator(slot), config)
        together.runs[slot] = ImageRun(stages, config.seed)
    while any(together.runs):
        for slot, problem in together.advance():
            if problem is not None:
                raise problem
            together.runs[slot] = None
    return time.perf_counter() - begun


MEASURES: dict[str, Callable[[float], list[Row]]] = {
    "forward": measure_forward,
    "latent_step": lambda peak: measure_steps(False, peak),
    "tuning_step": lambda peak: measure_steps(True, peak),
    "warp": measure_warp,
    "render": measure_render,
    "invert": measure_invert,
    "memory": measure_memory,
    "batch": measure_batch,
}


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _peer(case: Case, views: int) -> Iterator[Peer | None]:
    if _PEER.value is None:
        yield None
        return
    fitted = jax.tree.map(lambda x: x[: 1 + views], case.views)
    peer = Peer(_PEER.value, _PEER_PYTHON.value, case.generator, case.ws, fitted, _PRECISION.value != "float32")
    try:
        yield peer
    finally:
        peer.close()


@command(FLAGS)
def main() -> None:
    name = _MEASURE.value
    if name is None:
        raise InputError(f"--measure is missing; choose one of {', '.join(MEASURES)}")
    if name not in MEASURES:
        raise InputError(f"--measure {name}: is nothing that can be measured; {suggestion(name, MEASURES)}")
    if _PEER.value is not None and name not in ("forward", "latent_step", "tuning_step"):
        raise InputError(f"--peer: goes with forward, latent_step and tuning_step, not with {name}")
    if _PRECISION.value == "tf32" and jax.default_backend() == "cpu":
        raise InputError("--precision tf32: this machine computes on its CPU, which has no tf32")
    heap.give_back_after_compiling()
    out = Path(_OUT.value or "out/speed")
    precision = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "default"}[_PRECISION.value]
    with jax.default_matmul_precision(precision):
        rates = name in ("forward", "latent_step", "tuning_step")
        peak = matmul_peak(jnp.bfloat16 if _PRECISION.value == "bfloat16" else jnp.float32) if rates else 0.0
        rows = MEASURES[name](peak)
    about = {
        "measure": name,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "precision": _PRECISION.value,
        "generator": str(_GENERATOR.value or "demo"),
        "jax": jax.__version__,
        "matmul peak, TFLOP/s": peak / 1e12 or None,
        "peak memory, GB": peak_memory_bytes() / 1e9,
    }
    print("\n".join(f"{key}: {cell(key, value)}" for key, value in about.items() if value is not None))
    print(table(rows))
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
