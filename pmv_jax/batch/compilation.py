"""Programs compiled for devices that are not here, and what their compilers say of them.

Memory, code and collectives are exact. Cycles are the TPU compiler's own estimate where it makes one; of gathers,
scatters, sorts and kernels it makes none, and `Figures.moved` counts their rows.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax import cameras
from pmv_jax.batch import hlo, memory
from pmv_jax.batch.targets import Target
from pmv_jax.config import GeneratorConfig, InversionConfig
from pmv_jax.config.completer import CompleterConfig
from pmv_jax.config.encoder import EncoderConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion import completion, outline, pseudo_views, surface, symmetry
from pmv_jax.inversion.stage import Photograph
from pmv_jax.meshes import extraction
from pmv_jax.models.completer import Completer, Completion
from pmv_jax.models.completer import initialise as initialise_completer
from pmv_jax.models.encoder import Encoder
from pmv_jax.models.encoder import initialise as initialise_encoder
from pmv_jax.models.generator import Generator, initialise

Tree = Any
ProgramName = Literal["step", "camera", "render", "glance", "symmetry", "completion", "warp", "density"]
PROGRAMS: tuple[ProgramName, ...] = ("step", "camera", "render", "glance", "symmetry", "completion", "warp", "density")

RESERVED = 0.03  # of a device's memory is the runtime's
# Cycles for a row of what the TPU compiler estimates nothing for, read from the schedules it makes for v5e (libtpu
# 0.0.52): a gather of rows from the core's memory, a scatter after its sort, our kernel (`rendering.scatter`).
CYCLES_PER_ROW = {"gather": 1.75, "scatter": 19.0, "sort": 0.35, "kernel": 4.0}


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a compiled program is and takes, on each device.

    Attributes:
      target, program, precision: which.
      batch: images a device.
      lower_seconds, compile_seconds: on the machine that compiled.
      code_bytes, argument_bytes, temporary_bytes: of the program. Results of a step lie where its arguments were.
      image_bytes: what each further image of a batch adds.
      flops: of its matrix products and convolutions, with what the gradient computes anew; loops whose length depends
        on data count once.
      cycles: the compiler's estimate, None if it makes none.
      moved: rows that are gathered, scattered, sorted, or given to a kernel, beyond that estimate.
      moved_cycles: what they would take by `CYCLES_PER_ROW`.
      share: of the matrix units' work in as many cycles, estimated, in [0, 1]; None without cycles.
      seconds: estimated, None without cycles.
      collectives: operations between devices.
      dearest: estimated cycles of lines of source, the ten dearest.
    """

    target: str
    program: str
    precision: str
    batch: int
    lower_seconds: float
    compile_seconds: float
    code_bytes: int
    argument_bytes: int
    temporary_bytes: int
    image_bytes: int
    flops: float
    cycles: int | None
    moved: dict[str, int]
    moved_cycles: int
    share: float | None
    seconds: float | None
    collectives: list[str]
    dearest: list[tuple[str, int]]

    @property
    def memory(self) -> int:
        """Bytes on a device while it runs."""
        return self.argument_bytes + self.temporary_bytes + self.code_bytes


def shapes_of_generator(config: GeneratorConfig) -> Generator:
    """A generator whose weights are zero."""
    return _zeros(lambda: initialise(config, jax.random.key(0)))


def compile_program(
    program: ProgramName, generator: Generator, recipe: InversionConfig, target: Target, batch: int
) -> Figures:
    """Compiles one of the pipeline's programs for a target.

    Args:
      program: "step", the chunk of steps that every stage runs, and "camera", the search for a camera, take a batch;
        "render", one view from a code, "glance", what an encoder sees, "symmetry", the plane of symmetry of that,
        "completion", what a completer tells of the pseudo-views and the surface that comes of it, "warp", the
        pseudo-views, and "density", the points that a mesh looks up at once, one image.
      generator: arrays or zeros.
      recipe: the inversion's.
      target: what for.
      batch: images a device.

    Raises:
      InputError: the batch does not fit.
    """
    begun = time.perf_counter()
    lowered, image_bytes = _lowered(program, generator, recipe, target, batch)
    lowered_at = time.perf_counter()
    try:
        # Without a device its compiler cannot try which of several algorithms is the fastest, nor what tiles fit.
        untried = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
        options = untried if target.chip.platform == "cuda" else None
        compiled = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        raise _input_error(error, target, batch, image_bytes) from error
    seconds = time.perf_counter() - lowered_at
    usage, module = compiled.memory_analysis(), hlo.parse(compiled.as_text())
    cycles, dearest = hlo.cycles(module)
    moved = hlo.moved(module) if cycles else {}
    extra = round(sum(CYCLES_PER_ROW[kind] * rows for kind, rows in moved.items()))
    flops = hlo.flops(hlo.parse(lowered.as_text("hlo")))
    chip = target.chip
    figures = Figures(
        target=target.name,
        program=program,
        precision=generator.config.compute_dtype,
        batch=batch,
        lower_seconds=lowered_at - begun,
        compile_seconds=seconds,
        code_bytes=usage.generated_code_size_in_bytes,
        argument_bytes=usage.argument_size_in_bytes,
        temporary_bytes=usage.temp_size_in_bytes + usage.output_size_in_bytes - usage.alias_size_in_bytes,
        image_bytes=image_bytes,
        flops=flops,
        cycles=cycles or None,
        moved=moved,
        moved_cycles=extra,
        share=flops / (chip.flops_per_cycle * (cycles + extra)) if cycles and chip.clock else None,
        seconds=(cycles + extra) / chip.clock if cycles and chip.clock else None,
        collectives=hlo.collectives(module),
        dearest=dearest[:10],
    )
    if chip.memory and figures.memory > _available(target):
        raise InputError(_does_not_fit(target, batch, figures.memory, image_bytes))
    return figures


def images_that_fit(figures: Figures, target: Target) -> int:
    """Images a device that a target has memory for, by what one batch takes and a further image adds."""
    rest = _available(target) - figures.memory + figures.batch * figures.image_bytes
    return max(0, math.floor(rest / figures.image_bytes))


def _available(target: Target) -> float:
    return (1 - RESERVED) * target.chip.memory


def _input_error(error: Exception, target: Target, batch: int, image_bytes: int) -> Exception:
    """What a compiler raises, as an `InputError` where it is about memory."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text and "Ran out of memory" not in text:
        return error
    found = next((word for word in text.replace(";", " ").split() if word.endswith("G") and word[0].isdigit()), None)
    used = float(found[:-1]) * 2**30 if found else math.inf
    return InputError(_does_not_fit(target, batch, used, image_bytes))


def _does_not_fit(target: Target, batch: int, used: float, image_bytes: int) -> str:
    fit = math.floor((_available(target) - used) / image_bytes + batch) if math.isfinite(used) else 0
    remedy = f"{fit} would (--batch {fit})" if fit > 0 else "not even one would"
    memory = target.chip.memory / 2**30
    return f"target {target.name}: a batch of {batch} does not fit into the {memory:.0f} GB of a device; {remedy}"


# ---------------------------------------------------------------------------------------------------------------------
# The programs
# ---------------------------------------------------------------------------------------------------------------------


def _lowered(
    program: ProgramName, generator: Generator, recipe: InversionConfig, target: Target, batch: int
) -> tuple[Any, int]:
    """A lowered program, and the bytes that a further image adds to its arguments."""
    if program in ("step", "camera"):
        camera = cameras.look_at(0.0, 0.0) if program == "step" else None
        lowered, stage = memory.lowered(generator, recipe, batch, target.device, camera)
        return lowered, memory.tree_bytes((stage.start, stage.own))
    others = {
        "render": _render,
        "glance": _glance,
        "symmetry": _symmetry,
        "completion": _completion,
        "warp": _warp,
        "density": _density,
    }
    function, arguments = others[program](generator, recipe)
    shapes = memory.shapes_on(target.device, arguments)
    with memory.aimed_at(target.device):
        return jax.jit(function).lower(*shapes), memory.tree_bytes(shapes)


def _render(generator: Generator, recipe: InversionConfig) -> tuple[Callable[..., Tree], tuple[Tree, ...]]:
    def render(generator: Generator, ws: Array, camera: Array) -> dict[str, Array]:
        return generator.render(generator.planes(ws), ws, camera)

    return render, (generator, _ws(generator), cameras.look_at(0.0, 0.0))


def _glance(generator: Generator, recipe: InversionConfig) -> tuple[Callable[..., Tree], tuple[Tree, ...]]:
    return Encoder.__call__, (_encoder(), _photograph(generator).image)


def _symmetry(generator: Generator, recipe: InversionConfig) -> tuple[Callable[..., Tree], tuple[Tree, ...]]:
    seen = _photograph(generator)
    fitted = functools.partial(symmetry.fitted, config=generator.config)
    return fitted, (seen.image, *surface.told(seen), jnp.zeros(5))


def _completion(generator: Generator, recipe: InversionConfig) -> tuple[Callable[..., Tree], tuple[Tree, ...]]:
    family, views = generator.config, _views(generator, recipe)

    def complete(
        completer: Completer, photograph: Photograph, around: Array, z_depth: Array, limits: Array
    ) -> tuple[Completion, Array]:
        told = completion.told_by(completer, photograph, around, config=family)
        photographs, told = completion.agreed((photograph,), told, around, family)
        everyone = jnp.concatenate([photograph.camera[None], around])
        return told, completion.corrected(z_depth, photographs, told, everyone, limits, config=family)

    return complete, (_encoder().completer, _photograph(generator), *views)


def _warp(generator: Generator, recipe: InversionConfig) -> tuple[Callable[..., Tree], tuple[Tree, ...]]:
    config, family = recipe.pseudo_views, generator.config
    size, raw = family.image_resolution, family.rendering.neural_resolution
    photograph, (around, depths, limits) = _photograph(generator), _views(generator, recipe)
    everyone = jnp.concatenate([photograph.camera[None], around])

    def seen(count: int) -> dict[str, Array]:
        return {"image": jnp.zeros((count, size, size, 3)), "ray_distance": jnp.zeros((count, raw, raw))}

    told = other = None
    if config.fill == "completed":
        complete, arguments = _completion(generator, recipe)
        told = _zeros(lambda: complete(*arguments)[0])
    elif config.fill != "tuned":
        other = seen(config.count)
    blend = functools.partial(pseudo_views.blended, config=config)
    photographs = (photograph.replace(glance=None),)
    depths = depths if config.depth_detail else None
    limits = limits if config.fill in outline.OF_THE_INPUT else None
    return blend, (photographs, everyone, seen(1 + config.count), depths, other, limits, told)


def _views(generator: Generator, recipe: InversionConfig) -> tuple[Array, Array, Array]:
    """Pseudo-views: their cameras, their depths with that of a photograph before them, and how far back heads may
    reach."""
    config, raw = recipe.pseudo_views, generator.config.rendering.neural_resolution
    fine = max(1, config.depth_detail) * raw
    depths, limits = jnp.zeros((1 + config.count, fine, fine)), jnp.zeros((config.count, raw, raw))
    return jnp.zeros((config.count, 25)), depths, limits


def _photograph(generator: Generator) -> Photograph:
    """A photograph that an encoder has seen."""
    size, raw = generator.config.image_resolution, generator.config.rendering.neural_resolution
    image, pixels = jnp.zeros((size, size, 3)), jnp.ones((size, size))
    known = {"weights": pixels, "matte": pixels, "head_limit": jnp.zeros((raw, raw))}
    return Photograph(image, jnp.zeros(25), glance=_zeros(lambda: _encoder()(image)), **known)


def _encoder() -> Encoder:
    """One with a completer, of the sizes that ship."""
    key = jax.random.key(0)
    encoder = _zeros(lambda: initialise_encoder(EncoderConfig(), key))
    return encoder.replace(completer=_zeros(lambda: initialise_completer(CompleterConfig(), key)))


def _zeros(make: Callable[[], Tree]) -> Tree:
    """What a function makes, of zeros: programs depend on shapes alone."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(make))


def _density(generator: Generator, recipe: InversionConfig) -> tuple[Callable[..., Tree], tuple[Tree, ...]]:
    planes = jax.eval_shape(generator.planes, _ws(generator))
    return Generator.density, (generator, jnp.zeros(planes.shape, planes.dtype), jnp.zeros((extraction.CHUNK, 3)))


def _ws(generator: Generator) -> Array:
    return jnp.zeros((generator.config.num_ws, generator.config.w_dim))
