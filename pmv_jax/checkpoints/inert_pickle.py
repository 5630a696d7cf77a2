"""Reads a pickle as data: nothing that it names is imported, called or constructed.

A pickle is a program for a small stack machine. Here that machine runs, but its dangerous instructions ("find this
global", "call it", "set this object's state") only leave a `Record` of what was asked; which records mean something is
for the caller to know. The instruction set is that of CPython's `Lib/pickletools.py`, protocols 0 to 5.

Time and memory stay in proportion to the file: instructions, text and integers are bounded, strings of bytes are views
of the file, and nothing is ever hashed, compared or printed that could be a deeply shared structure (a tuple that holds
itself twice, thirty times over, takes no space but a billion steps to hash).
"""

from __future__ import annotations

import mmap
import pickletools
import struct
from dataclasses import dataclass, field
from typing import Any

MAX_INSTRUCTIONS = 500_000  # an official file, three networks with their training state, has about 30 000
MAX_TEXT = 64 << 20  # bytes; the embedded source of such a file is a few hundred kilobytes
MAX_INTEGER = 256  # bytes

_OPCODES = {ord(op.code): (op.name, op.arg.name if op.arg else None) for op in pickletools.opcodes}
_FIXED = {"uint1": "<B", "uint2": "<H", "int4": "<i", "uint4": "<I", "uint8": "<Q", "float8": ">d"}
_SIZED = {  # argument kinds that start with their own length
    "bytes1": "<B", "bytes4": "<I", "bytes8": "<Q", "bytearray8": "<Q", "long1": "<B", "long4": "<i",
    "string1": "<B", "string4": "<i", "unicodestring1": "<B", "unicodestring4": "<I", "unicodestring8": "<Q",
}  # fmt: skip


class PickleError(ValueError):
    """The bytes are no pickle, are damaged, or ask for more than the bounds allow."""


@dataclass
class Budget:
    """What all pickles of one file may use up together."""

    instructions: int = MAX_INSTRUCTIONS
    text: int = MAX_TEXT


@dataclass(eq=False, repr=False)
class Global:
    """A name that the pickle wanted to import, such as `torch.FloatStorage`."""

    path: str


@dataclass(eq=False, repr=False)
class PersistentId:
    """A reference that only the writer's own unpickler can resolve; in torch files, a tensor storage."""

    value: Any


@dataclass(eq=False, repr=False)
class OpaqueKey:
    """A dictionary key other than a string, None or a moderate integer; it equals only itself."""

    value: Any


@dataclass(eq=False, repr=False)
class Record:
    """An object that the pickle wanted to make by calling `callee` with `args`.

    Attributes:
      state: what it then wanted to set as the object's state.
      items: what it wanted to store by key (subclasses of dict).
      values: what it wanted to append or add (subclasses of list and set).
    """

    callee: str
    args: tuple
    state: Any = None
    items: dict = field(default_factory=dict)
    values: list = field(default_factory=list)


@dataclass(frozen=True)
class Loaded:
    """Result of `load`: the value, where the next byte after the pickle is, and the persistent references met."""

    value: Any
    end: int
    persistent_ids: list[PersistentId]


def load(data: bytes | memoryview | mmap.mmap, start: int = 0, budget: Budget | None = None) -> Loaded:
    """Reads the pickle in `data` that starts at byte `start`, within a budget of work and memory (None: the default).

    Values are None, bool, int, float, str, memoryview (for bytes), list (also for sets), tuple, dict, and the inert
    `Global`, `Record`, `PersistentId` and `OpaqueKey`.

    Raises:
      PickleError: see there.
    """
    machine = _Machine(memoryview(data), start, budget or Budget())
    try:
        return machine.run()
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as error:
        # What a damaged program does to a stack machine: empty stack, unknown memo entry, bad text, missing bytes.
        raise PickleError(f"damaged or not a pickle at byte {machine.position}") from error


class _Machine:
    def __init__(self, data: memoryview, start: int, budget: Budget) -> None:
        self.data = data
        self.position = start
        self.budget = budget
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}
        self.persistent_ids: list[PersistentId] = []

    def run(self) -> Loaded:
        while True:
            code = self._take(1)[0]
            if code not in _OPCODES:
                raise PickleError(f"not a pickle: no instruction {code:#04x} at byte {self.position - 1}")
            self.budget.instructions -= 1
            if self.budget.instructions < 0:
                raise PickleError(f"more than {MAX_INSTRUCTIONS} pickle instructions")
            name, kind = _OPCODES[code]
            argument = self._argument(kind)
            if name == "STOP":
                return Loaded(self.stack.pop(), self.position, self.persistent_ids)
            self._execute(name, argument)

    # Arguments

    def _argument(self, kind: str | None) -> Any:
        if kind is None:
            return None
        if kind in _FIXED:
            return self._fixed(_FIXED[kind])
        if kind in _SIZED:
            size = self._fixed(_SIZED[kind])
            if kind.startswith("bytes") or kind.startswith("bytearray"):
                return self._take(size)
            if kind.startswith("long"):
                if size > MAX_INTEGER:
                    raise PickleError(f"an integer of {size} bytes at byte {self.position}")
                return int.from_bytes(self._take(size), "little", signed=True)
            return self._text(size, "utf-8" if kind.startswith("unicode") else "latin-1")
        if kind == "stringnl_noescape_pair":
            return f"{self._line()}.{self._line()}"
        return self._line()

    def _fixed(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _take(self, size: int) -> memoryview:
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise PickleError(f"truncated: {size} bytes wanted at byte {self.position} of {len(self.data)}")
        view = self.data[self.position : end]
        self.position = end
        return view

    def _text(self, size: int, encoding: str) -> str:
        self.budget.text -= max(size, 0)
        if self.budget.text < 0:
            raise PickleError(f"more than {MAX_TEXT >> 20} MB of text")
        return str(self._take(size), encoding, "surrogatepass" if encoding == "utf-8" else "strict")

    def _line(self) -> str:
        chunk = 256
        while (size := bytes(self.data[self.position : self.position + chunk]).find(b"\n")) < 0:
            if self.position + chunk > len(self.data) or chunk > MAX_TEXT:
                raise PickleError(f"truncated: no end of line after byte {self.position}")
            chunk *= 4
        text = self._text(size, "latin-1")
        self._take(1)
        return text

    # Instructions

    def _execute(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self.memo[int(argument)])
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self.memo[int(argument)] = stack[-1]
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "LONG4" | "BINFLOAT":
                stack.append(argument)
            case "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8" | "SHORT_BINSTRING" | "BINSTRING":
                stack.append(argument)
            case "SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
                stack.append(argument)
            case "MARK":
                self.marks.append(len(stack))
            case "REDUCE" | "NEWOBJ":
                arguments, callee = stack.pop(), stack.pop()
                stack.append(_record(callee, arguments))
            case "BUILD":
                state = stack.pop()
                _checked(stack[-1], Record).state = state
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                items = [stack.pop() for _ in range(count)]
                stack.append(tuple(reversed(items)))
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "LIST" | "FROZENSET":
                stack.append(self._since_mark())
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                stack.append(_pairs(self._since_mark()))
            case "APPEND":
                value = stack.pop()
                _values(stack[-1]).append(value)
            case "APPENDS" | "ADDITEMS":
                values = self._since_mark()
                _values(stack[-1]).extend(values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _items(stack[-1]).update(_pairs([key, value]))
            case "SETITEMS":
                pairs = _pairs(self._since_mark())
                _items(stack[-1]).update(pairs)
            case "GLOBAL":
                stack.append(Global(argument))
            case "STACK_GLOBAL":
                attribute, module = _checked(stack.pop(), str), _checked(stack.pop(), str)
                stack.append(Global(f"{module}.{attribute}"))
            case "NEWOBJ_EX":
                keywords, arguments, callee = stack.pop(), stack.pop(), stack.pop()
                stack.append(_record(callee, (*_checked(arguments, tuple), keywords)))
            case "INST":
                stack.append(_record(Global(argument), tuple(self._since_mark())))
            case "OBJ":
                callee, *arguments = self._since_mark()
                stack.append(_record(callee, tuple(arguments)))
            case "BINPERSID" | "PERSID":
                reference = PersistentId(stack.pop() if name == "BINPERSID" else argument)
                self.persistent_ids.append(reference)
                stack.append(reference)
            case "INT":
                stack.append(argument == "01" if argument in ("00", "01") else _decimal(argument))
            case "LONG":
                stack.append(_decimal(argument.removesuffix("L")))
            case "FLOAT":
                stack.append(float(argument))
            case "UNICODE":
                stack.append(argument.encode("latin-1").decode("raw-unicode-escape"))
            case "POP":
                if self.marks and self.marks[-1] == len(stack):
                    self.marks.pop()
                else:
                    stack.pop()
            case "POP_MARK":
                self._since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PROTO" | "FRAME":
                pass
            case _:  # extension registry, out-of-band buffers, Python 2 strings
                raise PickleError(f"the pickle instruction {name} is not supported")

    def _since_mark(self) -> list[Any]:
        height = self.marks.pop()
        items = self.stack[height:]
        del self.stack[height:]
        return items


def _record(callee: Any, arguments: Any) -> Record:
    # Calling the result of a call (getattr chains, say) has no use in a checkpoint.
    return Record(_checked(callee, Global).path, _checked(arguments, tuple))


def _decimal(text: str) -> int:
    if len(text) > MAX_INTEGER:
        raise PickleError(f"an integer of {len(text)} digits")
    return int(text)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    keys, values = items[::2], items[1::2]
    return {_key(key): value for key, value in zip(keys, values, strict=True)}


def _key(key: Any) -> Any:
    # Integers beyond 2**60 can be chosen to share one hash, which makes a dictionary quadratic.
    plain = key is None or isinstance(key, str) or (isinstance(key, int) and abs(key) < 1 << 60)
    return key if plain else OpaqueKey(key)


def _values(target: Any) -> list[Any]:
    return target.values if isinstance(target, Record) else _checked(target, list)


def _items(target: Any) -> dict[Any, Any]:
    return target.items if isinstance(target, Record) else _checked(target, dict)


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise PickleError(f"a {type(value).__name__} where a {kind.__name__} is needed")
    return value
