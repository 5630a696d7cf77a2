"""Reading the text of compiled programs: what they would cost on the device that they were compiled for.

XLA's TPU compiler notes an estimate of cycles beside most operations, its others none. A loop's body is written once;
here it counts as often as it runs, where the number stands in the text, and once where it depends on data.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

import numpy as np

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "collective-broadcast", "reduce-scatter")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) (?:\(.*)?\{(?:$|\s*/)")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|branch_computations|true_computation|false_computation)=(\{[^}]*\}|%?[\w.\-]+)"
)


@dataclasses.dataclass(frozen=True)
class Operation:
    """One instruction: `name = shape opcode(operands), attributes`."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    arguments: str
    attributes: str
    root: bool

    @functools.cached_property
    def cycles(self) -> int | None:
        """The compiler's estimate, None where it made none."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.attributes)
        return int(found[1]) if found else None

    def attribute(self, name: str) -> str | None:
        """The text of `name=...`, None where there is none."""
        found = re.search(rf"\b{name}=(\{{[^}}]*\}}|[^\s,}}]+)", self.attributes)
        return found[1].lstrip("%") if found else None

    def calls(self) -> list[str]:
        """Names of the computations that it runs."""
        return [name for found in _CALLED.finditer(self.attributes) for name in re.findall(r"[\w.\-]+", found[1])]


@dataclasses.dataclass(frozen=True)
class Module:
    """A program: computations by name, each with its operations by name, and where in the sources they come from."""

    computations: dict[str, dict[str, Operation]]
    entry: str
    lines: dict[int, list[str]]

    @functools.cached_property
    def shapes(self) -> dict[str, str]:
        """Of every operation, by name."""
        return {name: operation.shape for part in self.computations.values() for name, operation in part.items()}

    def runs(self, *, inside_fusions: bool = False) -> Iterator[tuple[Operation, int]]:
        """Every operation with the number of times that it is run."""
        yield from self._runs(self.entry, 1, inside_fusions)

    def _runs(self, name: str, times: int, inside_fusions: bool) -> Iterator[tuple[Operation, int]]:
        computation = self.computations[name]
        for operation in computation.values():
            yield operation, times
            if operation.opcode == "while":
                yield from self._runs(
                    operation.attribute("body"), times * self.trips(operation, computation), inside_fusions
                )
            elif operation.opcode in ("call", "conditional") or (inside_fusions and operation.opcode == "fusion"):
                for called in operation.calls():
                    yield from self._runs(called, times, inside_fusions)

    def trips(self, loop: Operation, around: dict[str, Operation]) -> int:
        """How often a loop runs: a counter's limit that is a constant of its condition, or of what it starts from. 1 if
        that is not known."""
        known = re.search(r'known_trip_count"?:\{"n":"(\d+)"', loop.attributes)
        if known:
            return int(known[1])
        condition = self.computations[loop.attribute("condition")]
        root = next(operation for operation in condition.values() if operation.root)
        if root.opcode == "fusion":
            return 1
        limits = [self._constant(name, condition, loop, around) for name in root.operands]
        if root.opcode != "compare" or limits[-1] is None:
            return 1
        return limits[-1] + ("direction=LE" in root.attributes)

    def _constant(
        self, name: str, condition: dict[str, Operation], loop: Operation, around: dict[str, Operation]
    ) -> int | None:
        operation = condition[name]
        if operation.opcode == "get-tuple-element":
            start = around[loop.operands[0]]
            index = int(operation.attribute("index"))
            operation = around[start.operands[index]] if start.opcode == "tuple" else operation
        while operation.opcode in ("copy", "bitcast") and operation.operands[0] in around:
            operation = around[operation.operands[0]]
        return int(operation.arguments) if operation.opcode == "constant" and operation.arguments.isdigit() else None

    def line(self, operation: Operation) -> str:
        """Where an operation comes from: the innermost `file:line` of the package, or its name in the program."""
        found = re.search(r"stack_frame_id=(\d+)", operation.attributes)
        frames = self.lines.get(int(found[1]), []) if found else []
        own = [frame for frame in frames if "pmv_jax/" in frame]
        if own:
            return own[0][own[0].rindex("pmv_jax/") :]
        name = operation.attribute("op_name")
        return name.strip('"')[-60:] if name else operation.opcode


def parse(text: str) -> Module:
    """The text of `compiled.as_text()` or `lowered.as_text("hlo")`."""
    computations: dict[str, dict[str, Operation]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if current is not None and (found := _INSTRUCTION.match(line)):
            operation = _operation(found[2], found[3], bool(found[1]))
            current[operation.name] = operation
        elif line and not line[0].isspace() and (found := _COMPUTATION.match(line)):
            current = computations.setdefault(found[2], {})
            entry = found[2] if found[1] else entry
    return Module(computations, entry, _source_lines(text))


def _operation(name: str, rest: str, root: bool) -> Operation:
    shape, rest = _split_shape(rest)
    opcode, rest = rest.split("(", 1)
    end = _closing(rest)
    inside = rest[:end]
    operands = tuple(word.split()[-1].lstrip("%") for word in _arguments(inside)) if opcode != "constant" else ()
    return Operation(name, shape, opcode.strip(), operands, inside, rest[end + 1 :], root)


def _split_shape(text: str) -> tuple[str, str]:
    if not text.startswith("("):
        return tuple(text.split(" ", 1))
    end = _closing(text[1:]) + 2
    return text[:end], text[end:]


def _closing(text: str) -> int:
    """Index of the parenthesis that closes one before the text."""
    depth = 1
    for found in re.finditer(r"[()]", text):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return found.start()
    return len(text)


def _arguments(text: str) -> list[str]:
    plain = re.sub(r"/\*.*?\*/|\{[^}]*\}|\[[^\]]*\]|\([^()]*\)", "", text)
    return [word for word in plain.split(",") if word.strip()]


def _source_lines(text: str) -> dict[int, list[str]]:
    """Stack frames by number: `file:line`, the innermost first."""
    head = text[: text.find("\n%")] if "\nStackFrames" in text else ""
    files = {int(i): name for i, name in re.findall(r'^(\d+) "([^"]*)"$', _section(head, "FileNames"), re.M)}
    places = {
        int(i): f"{files.get(int(file), '?')}:{line}"
        for i, file, line in re.findall(
            r"^(\d+) \{file_name_id=(\d+).*? line=(\d+)", _section(head, "FileLocations"), re.M
        )
    }
    frames = {
        int(i): (int(place), int(parent) - 1)
        for i, place, parent in re.findall(
            r"^(\d+) \{file_location_id=(\d+)(?: parent_frame_id=(\d+))?",
            _section(head, "StackFrames").replace("}", " parent_frame_id=1}"),
            re.M,
        )
    }

    def stack(frame: int) -> list[str]:
        found = []
        while frame in frames:
            found.append(places.get(frames[frame][0], "?"))
            frame = frames[frame][1]
        return found

    return {frame: stack(frame) for frame in frames}


def _section(text: str, name: str) -> str:
    start = text.find(f"\n{name}\n")
    return text[start + len(name) + 2 :].split("\n\n", 1)[0] if start >= 0 else ""


# ---------------------------------------------------------------------------------------------------------------------
# What it costs
# ---------------------------------------------------------------------------------------------------------------------


def flops(module: Module) -> float:
    """Multiplications and additions of matrix products and convolutions, without those by padding. For the text before
    compilation, where these are still operations of their own."""
    return sum(
        times * _flops(operation, [module.shapes[name] for name in operation.operands])
        for operation, times in module.runs(inside_fusions=True)
        if operation.opcode in ("dot", "convolution")
    )


def _flops(operation: Operation, shapes: list[str]) -> float:
    result = math.prod(dimensions(operation.shape))
    if operation.opcode == "dot":
        left = dimensions(shapes[0])
        contracted = operation.attribute("lhs_contracting_dims") or "{}"
        return 2.0 * result * math.prod(left[int(i)] for i in re.findall(r"\d+", contracted))
    left, right = dimensions(shapes[0]), dimensions(shapes[1])
    lhs, rest = operation.attribute("dim_labels").split("_")
    rhs, out = rest.split("->")
    produced = dimensions(operation.shape)
    window = operation.attribute("window") or "{}"
    products = 1.0
    for i in (label for label in rhs if label.isdigit()):
        products *= _overlaps(left[lhs.index(i)], right[rhs.index(i)], produced[out.index(i)], _window(window, int(i)))
    channels = right[rhs.index("i")]
    return 2.0 * products * channels * produced[out.index("b")] * produced[out.index("f")]


def _window(text: str, axis: int) -> dict[str, int]:
    """Of one axis of a convolution: stride, padding before, dilations."""
    found = {key: value.split("x") for key, value in re.findall(r"(\w+)=([\w\-]+)", text)}
    pick = lambda key, default: found[key][axis] if key in found else default  # noqa: E731
    return {
        "stride": int(pick("stride", "1")),
        "before": int(str(pick("pad", "0_0")).split("_")[0]),
        "spread": int(pick("lhs_dilate", "1")),
        "dilation": int(pick("rhs_dilate", "1")),
    }


def _overlaps(size: int, kernel: int, produced: int, window: dict[str, int]) -> int:
    """Pairs of output place and kernel place that meet a number and not padding, along one axis."""
    place = window["stride"] * np.arange(produced)[:, None] + window["dilation"] * np.arange(kernel) - window["before"]
    return int(((place >= 0) & (place < window["spread"] * (size - 1) + 1) & (place % window["spread"] == 0)).sum())


def dimensions(shape: str) -> list[int]:
    """`f32[2,3]{1,0}` -> [2, 3]."""
    found = re.search(r"\[([\d,]*)\]", shape)
    return [int(size) for size in found[1].split(",") if size] if found else []


def collectives(module: Module) -> list[str]:
    """Operations that exchange something between devices."""
    everything = (operation for part in module.computations.values() for operation in part.values())
    return sorted(o.opcode for o in everything if o.opcode.removesuffix("-start").removesuffix("-done") in COLLECTIVES)


def cycles(module: Module) -> tuple[int, list[tuple[str, int]]]:
    """The compiler's estimate of cycles: of the program, and of each line of source with its kind of operation, the
    dearest first. 0 where the compiler makes none."""
    by_line: dict[str, int] = {}
    for operation, times in module.runs():
        if operation.cycles is not None:
            line = f"{module.line(operation)} {_kind(module, operation)}"
            by_line[line] = by_line.get(line, 0) + times * operation.cycles
    return sum(by_line.values()), sorted(by_line.items(), key=lambda item: -item[1])


def moved(module: Module) -> dict[str, int]:
    """Rows that are moved where the compiler makes no estimate: by gathers, scatters, sorts and Pallas kernels, whose
    first argument is taken for the places of rows."""
    rows: dict[str, int] = {}
    for operation, times in module.runs():
        if operation.cycles is not None:
            continue
        called = [o for name in operation.calls() for o in module.computations.get(name, {}).values()]
        for inner in [operation] if operation.opcode != "fusion" else called:
            if kind := _KINDS_OF_ROWS.get(inner.opcode):
                rows[kind] = rows.get(kind, 0) + times * _rows_of(module, inner)
    return rows


_KINDS_OF_ROWS = {"gather": "gather", "scatter": "scatter", "sort": "sort", "custom-call": "kernel"}


def _rows_of(module: Module, operation: Operation) -> int:
    shapes = [module.shapes.get(name, "") for name in operation.operands]
    if operation.opcode == "gather":
        sizes = operation.attribute("slice_sizes") or "{}"
        return math.prod(dimensions(operation.shape)) // max(1, math.prod(map(int, re.findall(r"\d+", sizes))))
    if operation.opcode == "scatter":
        windows = re.findall(r"\d+", operation.attribute("update_window_dims") or "{}")
        updates = dimensions(shapes[-1])
        return math.prod(size for i, size in enumerate(updates) if str(i) not in windows)
    if operation.opcode == "custom-call" and operation.attribute("custom_call_target") != '"tpu_custom_call"':
        return 0
    return math.prod(dimensions(operation.shape if operation.opcode == "sort" else shapes[0]))


def _kind(module: Module, operation: Operation) -> str:
    """What a fusion is about: the first of its operations that is dear."""
    if operation.opcode != "fusion":
        return operation.opcode
    inside = [o.opcode for name in operation.calls() for o in module.computations.get(name, {}).values()]
    return next(
        (
            code
            for code in ("convolution", "dot", "scatter", "gather", "sort", "copy", "transpose", "reduce")
            if code in inside
        ),
        "fusion",
    )
