"""What a job would take on devices that are not here, from programs compiled for them: `invert --plan v5e-256`.

Memory and collectives are what the compiler says. Time is an estimate: a TPU's compiler estimates cycles, of a GPU all
there is is the number of operations and an assumed share of its peak.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from pmv_jax.batch import compilation
from pmv_jax.batch.compilation import Figures
from pmv_jax.batch.targets import CHIPS, Target, target
from pmv_jax.config import InversionConfig
from pmv_jax.errors import InputError, suggestion
from pmv_jax.models.generator import Generator

# Slices of TPUs that can be had, by chips.
_SLICES = {4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_CUBES = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8"}

SHARE_OF_PEAK = 0.2  # assumed, where the compiler estimates nothing
PICTURES = 10e6  # bytes of a result beside its weights: pictures, video, mesh, report
RENDERINGS = 106  # of a result: views, video, mesh


@dataclasses.dataclass(frozen=True)
class Plan:
    """A job on `chips` devices.

    Attributes:
      name: `v5e-256`.
      step, render: the compiled programs; `step` is one step with one view.
      images, chips, hosts: how many.
      batch: images at a time on a device.
      fits: how many would fit at most.
      seconds_an_image: of one device, estimated; every further view of a step is counted as a whole step.
      bytes_an_image: of a result.
    """

    name: str
    step: Figures
    render: Figures
    images: int
    chips: int
    hosts: int
    batch: int
    fits: int
    seconds_an_image: float
    bytes_an_image: float

    @property
    def hours(self) -> float:
        """Of the whole job, estimated."""
        return -(-self.images // self.chips) * self.seconds_an_image / 3600


def make(name: str, images: int, generator: Generator, recipe: InversionConfig, batch: int | None = None) -> Plan:
    """Compiles for a machine named `CHIP-COUNT`, and estimates from that.

    Args:
      name: such as `v5e-256` or `h100-8`.
      images: of the job.
      generator: whose shapes and precision it has.
      recipe: of all images.
      batch: images at a time on a device; None takes what fits, 8 at most.

    Raises:
      InputError: there is no such machine, its compiler is not installed, or the batch does not fit.
    """
    where, chips = machine(name)
    step = compilation.compile_program("step", generator, recipe, where, batch or 1)
    render = compilation.compile_program("render", generator, recipe, where, 1)
    fits = compilation.images_that_fit(step, where)
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(generator.params))
    seconds = views(recipe) * _seconds(step, where) + RENDERINGS * _seconds(render, where)
    hosts = -(-chips // where.chip.per_host)
    taken = batch or max(1, min(fits, 8))
    return Plan(name, step, render, images, chips, hosts, taken, fits, seconds, weights + PICTURES)


def machine(name: str) -> tuple[Target, int]:
    """`CHIP-COUNT` as what to compile for, and the count.

    Raises:
      InputError: there is no such machine, or its compiler is not installed.
    """
    kind, _, count = name.partition("-")
    if kind not in CHIPS or not count.isdigit() or not int(count):
        near = suggestion(kind, CHIPS)
        raise InputError(f"--plan {name}: wants a chip and how many of them, such as v5e-256 or h100-8; {near}")
    chips = int(count)
    if CHIPS[kind].platform != "tpu":
        return target(kind), chips
    slices = _CUBES if kind == "v5p" else _SLICES
    if chips not in slices:
        raise InputError(f"--plan {name}: there are slices of {', '.join(map(str, slices))} chips")
    return target(f"{kind}:{slices[chips]}"), chips


def views(recipe: InversionConfig) -> int:
    """Views of all steps of a recipe."""
    joint = recipe.joint.steps * (1 + recipe.joint.views_per_step)
    return int(recipe.latent.steps + recipe.tuning.steps + joint)


def _seconds(figures: Figures, where: Target) -> float:
    if figures.seconds is not None:
        return figures.seconds
    return figures.flops / (SHARE_OF_PEAK * where.chip.flops) if where.chip.flops else float(np.nan)


def lines(plan: Plan) -> list[str]:
    """For people: what is an estimate, or assumed, says so."""
    step, each = plan.step, plan.bytes_an_image / 1e6
    basis = "estimated by the compiler" if step.seconds else f"assuming {SHARE_OF_PEAK:.0%} of the chip's peak"
    between = "nothing: the program has no collective" if not step.collectives else ", ".join(step.collectives)
    one, fit = f"{step.memory / 1e9:.1f} GB of a chip for --batch {step.batch}", f"{plan.fits} would fit"
    rows = {
        "machine": f"{plan.chips} chips, {plan.hosts} hosts",
        "compiling": f"{step.compile_seconds:.0f} s here for a step; a host does it for all its chips at a time",
        "memory": f"{one}, each further image {step.image_bytes / 1e9:.2f} GB; {fit}, {plan.batch} are taken",
        "between chips": between,
        "an image": f"{plan.seconds_an_image:.1f} s of a chip, {basis}",
        "the job": f"{plan.hours:.2f} hours for {plan.images} images (estimate; files are written beside it)",
        "storage": f"{plan.images * each / 1e3:.1f} GB: {each:.0f} MB each, estimate",
    }
    return [f"{name:14}{value}" for name, value in rows.items()]
