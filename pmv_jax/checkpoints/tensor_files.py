"""Tensors from files of other frameworks, without those frameworks: torch (.pkl, .pt, .pth), .npz and .safetensors.

A .zip with one of them inside is read as that file, which is how some of them are handed out. The kind of a file is
told from its first bytes, not from its name. Pickles are read as data (see `torch_files`). Sizes are checked against
the bytes that are there before an array is made, and arrays are views of the file where its format allows.

Sources: torch `serialization.py` (`_load`), numpy `lib/format.py`, and
https://github.com/huggingface/safetensors#format. Safetensors is read here rather than by its library because the
format is a JSON table and the library gives no bfloat16 to numpy.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from pmv_jax.checkpoints import inert_pickle, mistaken_files
from pmv_jax.checkpoints.inert_pickle import PickleError
from pmv_jax.checkpoints.torch_files import FormatError, Pickled, is_legacy, read_legacy, read_shape
from pmv_jax.errors import InputError

Tensors = dict[str, np.ndarray]

MAX_ZIP_MEMBERS = 100_000
_PACKED = (".pkl", ".pt", ".pth", ".npz", ".safetensors")  # checkpoints that a .zip is looked through for
MAX_DECOMPRESSED = 384 << 20  # bytes beyond twice the file's size; a full-size EG3D in float32 is 123 MB

_SAFETENSORS_DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read(path: str | Path) -> Pickled | Tensors:
    """Opens a file of any of the supported formats.

    Returns:
      Named arrays for .npz and .safetensors, `Pickled` for the torch formats.

    Raises:
      InputError: the file is missing, unreadable, damaged or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}; check the path")
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        reason = "the file is empty" if isinstance(error, ValueError) else error.strerror
        raise InputError(f"{path}: cannot be read: {reason}; download it again or check its permissions") from None
    if explanation := mistaken_files.explain(memoryview(data)):
        raise InputError(f"{path}: {explanation}")
    try:
        return _read(memoryview(data), path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (PickleError, FormatError) as error:
        if not any(data[-64:]) or str(error).startswith("truncated"):
            raise InputError(
                f"{path}: breaks off, as half a download does ({error}); download it again and compare its size"
            ) from error
        raise InputError(
            f"{path}: {error}; expected an intact EG3D .pkl, torch .pt or .pth, .npz or .safetensors file: "
            "download it again and compare its checksum"
        ) from error


def _read(data: memoryview, file: Path | BinaryIO, packed: bool = False) -> Pickled | Tensors:
    """Reads what a file holds; `packed` if it comes out of a .zip already."""
    if bytes(data[:4]) == b"PK\x03\x04":
        return _zip(data, file, packed)
    if data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] < len(data):
        return _safetensors(data)
    budget = inert_pickle.Budget()
    first = inert_pickle.load(data, 0, budget)
    if is_legacy(first.value):
        return read_legacy(data, budget)
    return Pickled(first.value, {}, budget)


# ---------------------------------------------------------------------------------------------------------------------
# Zip archives
# ---------------------------------------------------------------------------------------------------------------------


def _zip(data: memoryview, file: Path | BinaryIO, packed: bool) -> Pickled | Tensors:
    """A torch archive (`NAME/data.pkl`, `NAME/data/KEY`), .npz (`NAME.npy`), or a .zip around one checkpoint."""
    if b"PK\x05\x06" not in bytes(data[-(1 << 16) - 22 :]):
        raise FormatError("truncated: the table of contents at the end of a zip archive is missing")
    # An entry of the table costs 46 bytes in the file and about a kilobyte in memory, so they are counted beforehand.
    if sum(1 for _ in re.finditer(b"PK\x01\x02", data)) > MAX_ZIP_MEMBERS:
        raise FormatError(f"a zip archive of more than {MAX_ZIP_MEMBERS} members")
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            total = sum(info.file_size for info in members.values())
            if total > 2 * len(data) + MAX_DECOMPRESSED:
                raise FormatError(f"a zip archive of {len(data)} bytes that claims to hold {total}")
            pickles = [name for name in members if name.endswith("/data.pkl") or name == "data.pkl"]
            if len(pickles) == 1:
                return _torch_zip(archive, members, pickles[0].removesuffix("data.pkl"))
            arrays = {
                name.removesuffix(".npy"): _npy(_member(archive, info), name)
                for name, info in members.items()
                if name.endswith(".npy")
            }
            if arrays:
                return arrays
            inner = _member(archive, members[_packed_checkpoint(members, packed)])
            return _read(memoryview(inner), io.BytesIO(inner), packed=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: encrypted. OSError: offsets outside the file.
        raise FormatError(f"damaged zip archive ({error})") from error
    except (struct.error, UnicodeDecodeError, ValueError, OverflowError) as error:
        if isinstance(error, (FormatError, PickleError, InputError)):
            raise
        raise FormatError(f"damaged zip archive ({error})") from error


def _packed_checkpoint(members: dict[str, zipfile.ZipInfo], packed: bool) -> str:
    """Name of the one checkpoint in a .zip; macOS adds files of its own under `__MACOSX/`."""
    names = [name for name in members if not name.endswith("/") and not name.startswith("__MACOSX/")]
    found = [name for name in names if name.endswith(_PACKED)]
    if len(found) == 1 and not packed:
        return found[0]
    what = f"of {len(found)} checkpoints" if found else "without a checkpoint in it"
    listed = ", ".join(found or names)[:200] or "nothing"
    raise InputError(f"a zip archive {what} (it holds {listed}); unpack it and give one checkpoint")


def _torch_zip(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], prefix: str) -> Pickled:
    order = members.get(f"{prefix}byteorder")
    if order is not None and _member(archive, order)[:6] == b"big":
        raise FormatError("written on a big-endian machine, which is not supported")
    budget = inert_pickle.Budget()
    content = inert_pickle.load(_member(archive, members[f"{prefix}data.pkl"]), 0, budget)
    folder = f"{prefix}data/"
    storages = {
        name.removeprefix(folder): memoryview(_member(archive, info))
        for name, info in members.items()
        if name.startswith(folder)
    }
    return Pickled(content.value, storages, budget)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member's bytes, its checksum verified. Asking for a size keeps a false one from being decompressed in full."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"{info.filename[:80]} in the zip archive is compressed by an unusual method")
    with archive.open(info) as file:
        data = file.read(info.file_size)
        if len(data) != info.file_size or file.read(1):
            raise FormatError(f"{info.filename[:80]} in the zip archive has not the size that it claims")
    return data


def _npy(data: bytes, name: str) -> np.ndarray:
    match = re.match(rb"\x93NUMPY([\x01-\x03])\x00", data)
    if not match:
        raise FormatError(f"{name[:80]} is not a numpy array")
    width, layout = (2, "<H") if match[1] == b"\x01" else (4, "<I")
    start = 8 + width + struct.unpack(layout, data[8 : 8 + width])[0]
    header = re.fullmatch(
        rb"\{'descr': '([<>|=]?[fiub][1248])', 'fortran_order': (True|False), 'shape': \(([0-9, ]{0,200})\), \}\s*",
        data[8 + width : start],
    )
    if not header:
        raise FormatError(f"{name[:80]} is not an array of plain numbers")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(n) for n in header[3].split(b",") if n.strip())
    if math.prod(shape) * dtype.itemsize != len(data) - start or 0 in shape:
        raise FormatError(f"{name[:80]} of shape {shape} has {len(data) - start} bytes")
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if header[2] == b"True" else "C")


# ---------------------------------------------------------------------------------------------------------------------
# Safetensors
# ---------------------------------------------------------------------------------------------------------------------


def _safetensors(data: memoryview) -> Tensors:
    """Eight bytes with the size of a JSON table {name: {dtype, shape, data_offsets}}, the table, the bytes."""
    start = 8 + struct.unpack("<Q", data[:8])[0]
    if start > len(data) or start > inert_pickle.MAX_TEXT:
        raise FormatError("truncated, or a damaged safetensors header")
    try:
        header = json.loads(bytes(data[8:start]))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"damaged safetensors header ({error})") from error
    tensors = {}
    for name, entry in header.items():
        match entry:
            case {"dtype": str(code), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
                size = read_shape(shape)
                if code not in _SAFETENSORS_DTYPES or not 0 <= begin <= end <= len(data) - start or 0 in size:
                    raise FormatError(f"tensor {name[:80]}: unsupported dtype, empty, or outside the file")
                dtype = np.dtype(_SAFETENSORS_DTYPES[code])
                if math.prod(size) * dtype.itemsize != end - begin:
                    raise FormatError(f"tensor {name[:80]} of shape {size} has {end - begin} bytes")
                tensors[name] = np.frombuffer(data[start + begin : start + end], dtype).reshape(size)
            case _ if name != "__metadata__":
                raise FormatError(f"damaged safetensors entry {name[:80]}")
    return tensors
