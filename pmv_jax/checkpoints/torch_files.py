"""Torch's files and pickled arrays as data: what the pickles hold, and the tensors in them as views of the bytes.

Pickles are read by `inert_pickle`, which runs nothing. Sources: torch `serialization.py` (`_legacy_load`), torch
`_utils.py` (`_rebuild_*`), numpy `_core/multiarray` (`_reconstruct`).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from pmv_jax.checkpoints import inert_pickle
from pmv_jax.checkpoints.inert_pickle import Global, PersistentId, PickleError, Record

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "UntypedStorage": np.uint8,
}
_TORCH_DTYPES: dict[str, Any] = {
    "torch.float64": np.float64,
    "torch.float32": np.float32,
    "torch.float16": np.float16,
    "torch.bfloat16": ml_dtypes.bfloat16,
}
# Old and new homes of the functions that pickled arrays and tensors call.
_NUMPY = r"numpy\.(core|_core)\.multiarray\."
_NUMPY_SCALAR = re.compile(_NUMPY + "scalar")
_NUMPY_ARRAY = re.compile(_NUMPY + "_reconstruct")
_TORCH_TENSOR = re.compile(r"torch\._utils\._rebuild_tensor(_v2|_v3)?")
_TORCH_PARAMETER = re.compile(r"torch\._utils\._rebuild_parameter(_with_state)?")
_TORCH_SUBCLASS = re.compile(r"torch\._tensor\._rebuild_from_type_v2")
_EMBEDDED_STORAGE = "torch.storage._load_from_bytes"


class FormatError(ValueError):
    """A file or a tensor in it is damaged, or of a kind that is not supported."""


@dataclass
class Pickled:
    """A pickle as inert data, and the bytes that its tensors refer to.

    Attributes:
      root: what the pickle holds; tensors in it are `Record`s that `tensor` turns into arrays.
      storages: bytes of each storage outside the pickle, by key.
    """

    root: Any
    storages: Mapping[str, memoryview]
    budget: inert_pickle.Budget
    _embedded: dict[int, np.ndarray] = field(default_factory=dict)

    def is_tensor(self, value: Any) -> bool:
        """Whether `tensor(value)` may work."""
        return isinstance(value, Record) and any(
            pattern.fullmatch(value.callee)
            for pattern in (_TORCH_TENSOR, _TORCH_PARAMETER, _TORCH_SUBCLASS, _NUMPY_ARRAY)
        )

    def tensor(self, value: Any) -> np.ndarray:
        """The array [...] of a pickled torch tensor, parameter or numpy array, as a view of its storage.

        Raises:
          FormatError: it is not a tensor, or its dtype, shape, strides and storage do not fit together.
        """
        for _ in range(4):  # a subclass of a parameter of a tensor
            callee, args = (value.callee, value.args) if isinstance(value, Record) else ("", ())
            if _TORCH_PARAMETER.fullmatch(callee) and args:
                value = args[0]
            elif _TORCH_SUBCLASS.fullmatch(callee) and len(args) == 4 and isinstance(args[0], Global):
                value = Record(args[0].path, args[2] if isinstance(args[2], tuple) else ())
            elif _TORCH_TENSOR.fullmatch(callee) and len(args) >= 4:
                storage = self._storage(args[0])
                if callee.endswith("_v3"):
                    storage = _viewed(storage, args[6] if len(args) > 6 else None)
                return _strided(storage, args[1], read_shape(args[2]), read_shape(args[3]))
            elif _NUMPY_ARRAY.fullmatch(callee):
                return _numpy_array(value.state)
            else:
                break
        raise FormatError(f"not a tensor but {_describe(value)}")

    def plain(self, value: Any, depth: int = 4) -> Any:
        """Plain Python data of a pickled setting. What has no such form stays what it is.

        Raises:
          FormatError: it takes more steps than the budget has left, as a list that holds itself would.
        """
        self.budget.instructions -= 1
        if self.budget.instructions < 0:
            raise FormatError("settings that are nested without end")
        if isinstance(value, Record) and _NUMPY_SCALAR.fullmatch(value.callee) and len(value.args) == 2:
            data, dtype = _bytes(value.args[1]), _numpy_dtype(value.args[0])
            return np.frombuffer(data, dtype)[0].item() if len(data) == dtype.itemsize else value
        if self.is_tensor(value):
            array = self.tensor(value)
            return array.tolist() if array.size <= 16 else value
        if depth and isinstance(value, (list, tuple)) and len(value) <= 1000:
            return [self.plain(item, depth - 1) for item in value]
        table = mapping(value)
        if depth and table is not None and len(table) <= 1000:
            return {key: self.plain(item, depth - 1) for key, item in table.items()}
        return value

    def _storage(self, value: Any) -> np.ndarray:
        if isinstance(value, PersistentId):
            return _referenced(value, self.storages)
        if not isinstance(value, Record) or value.callee != _EMBEDDED_STORAGE or len(value.args) != 1:
            raise FormatError(f"a tensor's storage is {_describe(value)}")
        if id(value) not in self._embedded:
            try:
                inner = read_legacy(memoryview(_bytes(value.args[0])), self.budget)
            except PickleError as error:
                raise FormatError(f"an embedded storage is damaged: {error}") from error
            if not isinstance(inner.root, PersistentId):  # a storage is all that torch ever puts there
                raise FormatError("an embedded storage holds something else than a storage")
            self._embedded[id(value)] = _referenced(inner.root, inner.storages)
        return self._embedded[id(value)]


def mapping(value: Any) -> dict[Any, Any] | None:
    """A dict, or a pickled instance of a subclass (`OrderedDict`, EG3D's `EasyDict`), as a dict; None if neither."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, Record):
        return None
    if value.items:
        return value.items
    if value.callee.endswith("Dict") or value.callee.endswith("dict"):
        # OrderedDict of old pickles is called with a list of pairs.
        pairs = value.args[0] if value.args and isinstance(value.args[0], (list, tuple)) else []
        return {p[0]: p[1] for p in pairs if isinstance(p, (list, tuple)) and len(p) == 2 and isinstance(p[0], str)}
    return None


def sequence(value: Any) -> list[Any]:
    """A list, tuple or set, however it was pickled; anything else is empty."""
    if isinstance(value, Record):  # protocols below 4 write a set as a call with a list
        value = value.args[0] if value.args else value.values
    return list(value) if isinstance(value, (list, tuple)) else []


# ---------------------------------------------------------------------------------------------------------------------
# Torch
# ---------------------------------------------------------------------------------------------------------------------


def is_legacy(first: Any) -> bool:
    """Whether the first pickle of a file says that it is in torch's format before 1.6."""
    return isinstance(first, int) and first == _TORCH_MAGIC


def read_legacy(data: memoryview, budget: inert_pickle.Budget) -> Pickled:
    """The format before torch 1.6, also what is embedded in pickles of tensors.

    Five pickles (magic number, protocol, system, content, storage keys), then for each key the number of elements
    (int64) and the elements.
    """
    magic = inert_pickle.load(data, 0, budget)
    if not is_legacy(magic.value):
        raise FormatError("an embedded storage is not in torch's format")
    protocol = inert_pickle.load(data, magic.end, budget)
    system = inert_pickle.load(data, protocol.end, budget)
    if not isinstance(system.value, dict) or system.value.get("little_endian") is not True:
        raise FormatError("written on a big-endian machine, which is not supported")
    content = inert_pickle.load(data, system.end, budget)
    keys = inert_pickle.load(data, content.end, budget)
    widths = {}
    for reference in content.persistent_ids:
        dtype, key, _, _ = _reference(reference)
        widths[key] = np.dtype(dtype).itemsize
    storages, position = {}, keys.end
    for key in keys.value if isinstance(keys.value, list) else []:
        if not isinstance(key, str) or key not in widths or position + 8 > len(data):
            raise FormatError("truncated, or a damaged table of storages")
        size = struct.unpack("<q", data[position : position + 8])[0] * widths[key]
        position += 8
        if not 0 <= size <= len(data) - position:
            raise FormatError(f"truncated: a storage of {size} bytes where {len(data) - position} are left")
        storages[key] = data[position : position + size]
        position += size
    return Pickled(content.value, storages, budget)


def _reference(reference: PersistentId) -> tuple[Any, str, int, Any]:
    """A storage's dtype, key, number of elements and view, of ('storage', type, key, location, numel[, view])."""
    match reference.value:
        case ("storage", Global(path), str(key), _, int(count), *view):
            module, _, name = path.rpartition(".")
            if module in ("torch", "torch.cuda", "torch.storage") and name in _STORAGE_DTYPES:
                return _STORAGE_DTYPES[name], key, count, view[0] if view else None
            raise FormatError(f"a storage of type {path[:80]}")
    raise FormatError("a damaged reference to a storage")


def _referenced(reference: PersistentId, storages: Mapping[str, memoryview]) -> np.ndarray:
    dtype, key, count, view = _reference(reference)
    if key not in storages:
        raise FormatError(f"storage {key[:40]!r} is not in the file")
    if count < 0 or count * np.dtype(dtype).itemsize > len(storages[key]):
        raise FormatError(f"storage {key[:40]!r} holds {len(storages[key])} bytes, too few for {count} elements")
    array = np.frombuffer(storages[key], dtype, count)
    if view is None:
        return array
    match view:
        case (str(), int(start), int(size)) if 0 <= start <= start + size <= count:
            return array[start : start + size]
    raise FormatError(f"a damaged view of storage {key[:40]!r}")


def _viewed(storage: np.ndarray, dtype: Any) -> np.ndarray:
    """An untyped storage as elements of a pickled `torch.dtype`."""
    if not isinstance(dtype, Global) or dtype.path not in _TORCH_DTYPES or storage.dtype != np.uint8:
        raise FormatError(f"a tensor of dtype {dtype.path[:80] if isinstance(dtype, Global) else _describe(dtype)}")
    width = np.dtype(_TORCH_DTYPES[dtype.path]).itemsize
    return storage[: storage.size // width * width].view(_TORCH_DTYPES[dtype.path])


def read_shape(value: Any) -> tuple[int, ...]:
    """A pickled tuple of sizes, or `torch.Size` of one."""
    if isinstance(value, Record) and value.callee == "torch.Size" and value.args:
        value = value.args[0]
    if not isinstance(value, (tuple, list)) or len(value) > 8 or not all(type(n) is int and n >= 0 for n in value):
        raise FormatError("a damaged tensor shape")
    return tuple(value)


def _strided(storage: np.ndarray, start: Any, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    if type(start) is not int or start < 0 or len(shape) != len(strides) or 0 in shape:
        raise FormatError("a damaged or empty tensor")
    last = start + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    # A tensor larger than its storage repeats elements; a checkpoint has no reason to, and a small file could be huge.
    if last >= storage.size or math.prod(shape) > storage.size:
        raise FormatError(f"a tensor of shape {shape} does not fit its storage of {storage.size} elements")
    strides = tuple(s * storage.itemsize for s in strides)
    return np.lib.stride_tricks.as_strided(storage[start:], shape, strides, writeable=False)


# ---------------------------------------------------------------------------------------------------------------------
# Numpy
# ---------------------------------------------------------------------------------------------------------------------


def _numpy_dtype(value: Any) -> np.dtype:
    """`numpy.dtype('f8', False, True)` with state `(3, '<', ...)`."""
    match value:
        case Record(callee="numpy.dtype", args=(str(code), *_)) if re.fullmatch("[fiu][1248]|b1", code):
            order = value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else "<"
            return np.dtype(code).newbyteorder(">" if isinstance(order, str) and order == ">" else "<")
    raise FormatError("a numpy array of an unsupported dtype")


def _numpy_array(state: Any) -> np.ndarray:
    """State of a pickled array: (version, shape, dtype, is_fortran, bytes)."""
    if not isinstance(state, tuple) or len(state) != 5:
        raise FormatError("a damaged numpy array")
    shape, dtype, data = read_shape(state[1]), _numpy_dtype(state[2]), _bytes(state[4])
    if math.prod(shape) * dtype.itemsize != len(data) or not len(data):
        raise FormatError(f"a numpy array of shape {shape} with {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if state[3] is True else "C")


def _bytes(value: Any) -> bytes | memoryview:
    """Pickled bytes; protocol 2 writes them as a call of `_codecs.encode(text, 'latin1')`."""
    match value:
        case memoryview():
            return value
        case Record(callee="_codecs.encode", args=(str(text), str(encoding))) if encoding in ("latin1", "latin-1"):
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                pass
    raise FormatError(f"bytes expected, not {_describe(value)}")


def _describe(value: Any) -> str:
    # Never the repr of a value from a pickle, which may be endless.
    return f"a call of {value.callee[:80]}" if isinstance(value, Record) else f"a {type(value).__name__}"
