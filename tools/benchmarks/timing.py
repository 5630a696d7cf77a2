"""What a compiled program takes: seconds, bytes, FLOPs; and tables of that."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

Row = dict[str, Any]


_PEAK_SIZE = 4096  # of the matrix product that measures the machine; of a CPU half of it is enough


@dataclasses.dataclass
class Program:
    """A compiled function that takes `state` and `fixed` and returns the next state, first of its results.

    Attributes:
      flops: of one call, None where not counted.
      units: how many steps or frames one call is.
    """

    call: Callable[..., Any]
    state: Any
    fixed: tuple[Any, ...]
    compile_seconds: float
    memory_bytes: int
    flops: float | None
    units: int = 1

    def run(self) -> float:
        """Seconds for one unit."""
        begun = time.perf_counter()
        self.state = jax.block_until_ready(self.call(self.state, *self.fixed))[0]
        return (time.perf_counter() - begun) / self.units


def compiled(function: Callable[..., Any], state: Any, *fixed: Any, **options: Any) -> Program:
    """Compiles `jit(function)`; `options` are attributes of the program."""
    begun = time.perf_counter()
    call = function.lower(state, *fixed).compile()
    seconds = time.perf_counter() - begun
    need = call.memory_analysis()
    memory = need.argument_size_in_bytes + need.output_size_in_bytes + need.temp_size_in_bytes
    return Program(call, state, fixed, seconds, memory - need.alias_size_in_bytes, **options)


def count_flops(function: Callable[..., Any], *args: Any) -> float:
    """FLOPs of matrix products and convolutions, what is computed twice counted twice. XLA's own count takes the body
    of a loop once, whatever its length, and counts nothing where it calls a library."""
    return _flops(jax.make_jaxpr(function)(*args).jaxpr)


def _flops(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((contracted, _), _), operand = equation.params["dimension_numbers"], equation.invars[0].aval
            total += 2.0 * equation.outvars[0].aval.size * math.prod(operand.shape[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel, axes = equation.invars[1].aval, equation.params["dimension_numbers"].rhs_spec
            total += 2.0 * equation.outvars[0].aval.size * kernel.size / kernel.shape[axes[0]]
        else:
            parts = [_flops(part) for part in jaxprs_in_params(equation.params)]
            together = max if "branches" in equation.params else sum  # of branches one runs
            total += equation.params.get("length", 1) * together([0.0, *parts])
    return total


def matmul_peak(dtype: jnp.dtype) -> float:
    """FLOP/s of a square matrix product, the best of five."""
    size = _PEAK_SIZE // (2 if jax.default_backend() == "cpu" else 1)
    a = jnp.full((size, size), 0.5, dtype)
    product = compiled(jax.jit(lambda a, b: (a @ b,)), a, a, flops=2.0 * size**3)
    return product.flops / min(product.run() for _ in range(6))


def table(rows: list[Row]) -> str:
    """Text with a column for each name that a row has, samples left out."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if "samples" not in name]
    cells = [names] + [["" if row.get(name) is None else cell(name, row[name]) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def cell(name: str, value: Any) -> str:
    """Three digits, and shares as per cent."""
    if name == "of peak":
        return f"{100 * value:.0f} %"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
