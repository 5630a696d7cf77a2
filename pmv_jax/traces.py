"""Compiled functions that are traced once, not once in every process.

JAX keeps compiled programs between runs, but has to trace and lower a function before it finds the program there: the
step that fits views takes five seconds of that, its program one second to load. `kept` is `jax.jit` for such functions.
Where the environment names a directory (`DIRECTORY`; the commands do), it writes there what tracing came to, by
`jax.export`, and later processes read it.

A trace is found again where function, static arguments, shapes, types and device are the same, and with them all
sources of this package and the versions of those that it traces through. So nothing is kept as soon as a loss or a
generator of somebody else is registered, nor within another trace, nor of arrays on several devices.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import os
import pickle
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import Array, export

from pmv_jax.config import ARCHITECTURES, PERCEPTUAL_TERMS
from pmv_jax.whole_files import appearing

Tree = Any

DIRECTORY = "PMV_JAX_TRACES"
"""The environment variable that names the directory; without it, or if it is empty, nothing is kept."""

_PACKAGE = Path(__file__).parent
_TRACED_THROUGH = ("jax", "jaxlib", "flax", "optax", "chex")
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_debug_nans",
)


def kept(
    function: Callable[..., Any] | None = None,
    *,
    static_argnames: Sequence[str] = (),
    donate_argnames: Sequence[str] = (),
    inline: bool = False,
) -> Any:
    """`jax.jit` whose traces outlive the process; a decorator, with or without arguments, of functions and methods.

    Args:
      function: what to compile.
      static_argnames, donate_argnames, inline: as of `jax.jit`.

    Returns:
      A `Kept`.
    """
    if function is None:
        return functools.partial(Kept, static_argnames=static_argnames, donate_argnames=donate_argnames, inline=inline)
    return Kept(function, static_argnames, donate_argnames, inline)


class Kept:
    """A compiled function, see `kept`.

    Attributes:
      jitted: the same by `jax.jit` alone.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        static_argnames: Sequence[str] = (),
        donate_argnames: Sequence[str] = (),
        inline: bool = False,
    ) -> None:
        functools.update_wrapper(self, function)
        self.jitted = jax.jit(function, static_argnames=static_argnames, donate_argnames=donate_argnames, inline=inline)
        self._signature = inspect.signature(function)
        self._static, self._donated = static_argnames, donate_argnames
        self._programs: dict[Any, _Program] = {}

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else types.MethodType(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self._call(args, kwargs)
        program = None if call is None else self._program(call)
        return self.jitted(*args, **kwargs) if program is None else program(call)

    def shapes(self, *args: Any, **kwargs: Any) -> Tree:
        """What a call would return, as `jax.ShapeDtypeStruct`s; arguments as of the call."""
        call = self._call(args, kwargs)
        program = None if call is None else self._program(call)
        return jax.eval_shape(lambda: self.jitted(*args, **kwargs)) if program is None else program.shapes

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call | None:
        """The arguments in parts; None where the trace of such a call is not kept."""
        if not os.environ.get(DIRECTORY):
            return None
        arguments = self._signature.bind(*args, **kwargs).arguments
        static = {name: arguments.pop(name) for name in self._static if name in arguments}
        donated = {name: arguments.pop(name) for name in self._donated if name in arguments}
        parts = [jax.tree.flatten(part) for part in (donated, arguments)]
        (donated, _), (others, _) = parts
        device = None if _foreign() else _device_of(donated + others)
        return None if device is None else _Call(static, donated, others, tuple(part for _, part in parts), device)

    def _program(self, call: _Call) -> _Program | None:
        place = call.key, call.device
        if place not in self._programs:
            self._programs[place] = self._load(call)
        return self._programs[place]

    def _load(self, given: _Call) -> _Program | None:
        name = _name(f"{self.__module__}.{self.__qualname__}", given)
        if name is None:
            return None
        path = Path(os.environ[DIRECTORY], name)
        found = _read(path)
        if found is None:
            found = self._traced(given)
            _write(path, found)
        exported, structure = export.deserialize(bytearray(found[0])), found[1]
        shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in exported.out_avals]

        def call(donated: list[Array], others: list[Array]) -> list[Array]:
            return exported.call(donated, others)

        call.__name__ = self.__name__  # by which profiles know it
        return _Program(jax.jit(call, donate_argnums=0), structure, jax.tree.unflatten(structure, shapes))

    def _traced(self, call: _Call) -> tuple[bytes, Any]:
        """A serialised trace, and the structure of what the function returns."""
        structure = None

        def flat(donated: list[Array], others: list[Array]) -> list[Array]:
            nonlocal structure
            parts = (jax.tree.unflatten(*part) for part in zip(call.structures, (donated, others), strict=True))
            arguments = {name: value for part in parts for name, value in part.items()}
            leaves, structure = jax.tree.flatten(self.jitted(**arguments, **call.static))
            return leaves

        exported = export.export(jax.jit(flat), platforms=[call.device.platform])(call.donated, call.others)
        return bytes(exported.serialize()), structure


class _Call(NamedTuple):
    """Arguments by name, static ones and others, as leaves and structures of what is donated and what is not; and the
    device that they are on."""

    static: dict[str, Any]
    donated: list[Any]
    others: list[Any]
    structures: tuple[Any, ...]
    device: jax.Device

    @property
    def key(self) -> tuple[Any, ...]:
        """What the trace depends on."""
        types = tuple(jax.typeof(leaf) for leaf in self.donated + self.others)
        settings = tuple(getattr(jax.config, name) for name in _SETTINGS)
        return tuple(self.static.items()), self.structures, types, settings, self.device.platform


class _Program:
    """A trace that was read, compiled when it is first called; `shapes` of what it returns, and their structure."""

    def __init__(self, function: Callable[..., list[Array]], structure: Any, shapes: Tree) -> None:
        self._function, self._structure, self.shapes = function, structure, shapes
        self._compiled: Callable[..., list[Array]] | None = None

    def __call__(self, call: _Call) -> Tree:
        # Once: `jax.jit` would compile it again where arrays were put on the same device by name.
        self._compiled = self._compiled or self._function.lower(call.donated, call.others).compile()
        return jax.tree.unflatten(self._structure, self._compiled(call.donated, call.others))


def _device_of(leaves: list[Any]) -> jax.Device | None:
    """The one device of arrays, or that which numbers go to, where all are numbers; None for several or in a trace."""
    number = jax.device_put(0)  # traced where everything is, as within `jax.eval_shape`, whatever the leaves are
    if any(isinstance(x, jax.core.Tracer) for x in (number, *leaves)):
        return None
    devices = {device for leaf in leaves if isinstance(leaf, Array) for device in leaf.sharding.device_set}
    devices = devices or number.devices()
    return devices.pop() if len(devices) == 1 else None


def _foreign() -> bool:
    """Whether somebody else's code may be called, which can change without a sign."""
    registered = (*ARCHITECTURES.values(), *PERCEPTUAL_TERMS.values())
    return not all(reference.startswith("pmv_jax.") for reference in registered)


def _name(function: str, call: _Call) -> str | None:
    """Of a trace's file; None where arguments show no more of themselves than their address."""
    text = repr((function, call.key))
    return None if " at 0x" in text else hashlib.sha256(f"{_fingerprint()} {text}".encode()).hexdigest()


@functools.cache
def _fingerprint() -> str:
    """Of all code that is traced."""
    digest = hashlib.sha256(repr([importlib.metadata.version(name) for name in _TRACED_THROUGH]).encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[bytes, Any] | None:
    """What `_write` wrote; None where there is nothing, or no longer all of it."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:32], content[32:]
    return pickle.loads(content) if hashlib.sha256(content).digest() == digest else None


def _write(path: Path, trace: tuple[bytes, Any]) -> None:
    """Writes a trace, complete or not at all; where that cannot be, later processes trace anew."""
    content = pickle.dumps(trace)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with appearing(path) as partial:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
