"""Writes files as torch and EG3D write them, for tests and fuzzing of their readers; needs neither.

Objects that only exist in torch are stood in for by `Name`, `Call` and `Persistent`, which pickle to the same
instructions as the real ones.
"""

from __future__ import annotations

import io
import itertools
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001
STORAGE_TYPES = {
    "float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
}  # fmt: skip
BUFFERS = ("noise_const", "w_avg", "resample_filter")

INIT = {
    "z_dim": 512, "c_dim": 25, "w_dim": 512, "img_resolution": 128, "img_channels": 3, "sr_num_fp16_res": 4,
    "mapping_kwargs": {"num_layers": 2}, "num_fp16_res": 0, "conv_clamp": None, "channel_base": 2048,
    "channel_max": 32,
    "fused_modconv_default": "inference_only", "sr_kwargs": {"channel_base": 2048, "channel_max": 32},
}  # fmt: skip
RENDERING = {
    "image_resolution": 128, "disparity_space_sampling": False, "clamp_mode": "softplus", "c_scale": 1.0,
    "superresolution_module": "training.superresolution.SuperresolutionHybrid2X", "c_gen_conditioning_zero": False,
    "superresolution_noise_mode": "none", "decoder_lr_mul": 1.0, "sr_antialias": True, "depth_resolution": 48,
    "depth_resolution_importance": 48, "ray_start": 2.25, "ray_end": 3.3, "box_warp": 1, "avg_camera_radius": 2.7,
    "avg_camera_pivot": [0, 0, 0.2], "density_reg": 0.25,
}  # fmt: skip
OFFICIAL_AXES = [  # renderer.plane_axes
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 1], [0, 1, 0]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
]  # fmt: skip
SMALL_TENSORS = {
    "backbone.synthesis.b4.conv1.weight": np.arange(2 * 3 * 9, dtype=np.float32).reshape(2, 3, 3, 3),
    "backbone.synthesis.b4.conv1.noise_const": np.eye(4, dtype=np.float32),
    "backbone.synthesis.b4.conv1.noise_strength": np.array(0.5, np.float32),
    "backbone.mapping.w_avg": np.linspace(-1, 1, 8, dtype=np.float32),
    "decoder.net.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
}


@dataclass(frozen=True)
class Name:
    """An importable global."""

    module: str
    name: str


@dataclass(frozen=True, eq=False)
class Call:
    """The object that calling `name` with `args` gives; then its state is set, and its items, if it is a dict."""

    name: Name
    args: tuple = ()
    state: Any = None
    items: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference outside the pickle."""

    value: Any


class _Pickler(pickle._Pickler):
    def _save_name(self, obj: Name) -> None:
        if self.proto >= 4:
            self.save(obj.module)
            self.save(obj.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    def _save_call(self, obj: Call) -> None:
        self.save(obj.name)
        self.save(obj.args)
        self.write(pickle.REDUCE)
        self.memoize(obj)
        if obj.items:
            self.write(pickle.MARK)
            for part in itertools.chain.from_iterable(obj.items.items()):
                self.save(part)
            self.write(pickle.SETITEMS)
        if obj.state is not None:
            self.save(obj.state)
            self.write(pickle.BUILD)

    def _save_persistent(self, obj: Persistent) -> None:
        self.save(obj.value)
        self.write(pickle.BINPERSID)

    dispatch = pickle._Pickler.dispatch | {Name: _save_name, Call: _save_call, Persistent: _save_persistent}


def dumps(value: Any, protocol: int = 4) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol).dump(value)
    return buffer.getvalue()


def call(path: str, *args: Any, **options: Any) -> Call:
    """`call("torch.Size", (1, 2))`."""
    module, _, name = path.rpartition(".")
    return Call(Name(module, name), args, **options)


# ---------------------------------------------------------------------------------------------------------------------
# Torch
# ---------------------------------------------------------------------------------------------------------------------


def storage_reference(array: np.ndarray, key: str, location: str = "cpu", legacy: bool = False) -> Persistent:
    kind = Name("torch.cuda" if location.startswith("cuda") else "torch", STORAGE_TYPES[array.dtype.name])
    value = ("storage", kind, key, location, array.size)
    return Persistent((*value, None) if legacy else value)


def legacy_file(content: Any, storages: Mapping[str, np.ndarray], little_endian: bool = True) -> bytes:
    """The torch format before 1.6."""
    system = {"protocol_version": PROTOCOL_VERSION, "little_endian": little_endian, "type_sizes": {"int": 4}}
    head = [MAGIC, PROTOCOL_VERSION, system, content, sorted(storages)]
    tail = [struct.pack("<q", storages[key].size) + storages[key].tobytes() for key in sorted(storages)]
    return b"".join([dumps(part, 2) for part in head] + tail)


def zip_file(content: Any, storages: Mapping[str, np.ndarray], byteorder: str = "little") -> bytes:
    """The torch format since 1.6."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", dumps(content, 2))
        archive.writestr("archive/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def embedded_storage(array: np.ndarray) -> Call:
    """A storage as plain `pickle.dump` writes it: a whole legacy file as a string of bytes."""
    content = storage_reference(array, "94000", legacy=True)
    return call("torch.storage._load_from_bytes", legacy_file(content, {"94000": array.ravel()}))


def tensor(array: np.ndarray, storage: Any = None) -> Call:
    """A tensor of `array`'s values; by default in an embedded storage."""
    strides = tuple(s // array.itemsize for s in np.ascontiguousarray(array).strides) if array.ndim else ()
    storage = embedded_storage(array) if storage is None else storage
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", storage, 0, array.shape, strides, False, hooks)


def parameter(value: Call) -> Call:
    return call("torch._utils._rebuild_parameter", value, True, call("collections.OrderedDict"))


def with_storages(
    write_file: Callable[[Any, Mapping[str, np.ndarray]], bytes],
    content: Callable[[Callable[[np.ndarray], Call]], Any],
    location: str = "cpu",
) -> bytes:
    """A `legacy_file` or `zip_file` of `content(write)`, where `write` puts an array among the file's storages."""
    storages: dict[str, np.ndarray] = {}

    def write(array: np.ndarray) -> Call:
        key = str(len(storages))
        storages[key] = array
        return tensor(array, storage_reference(array, key, location, legacy=write_file is legacy_file))

    return write_file(content(write), storages)


# ---------------------------------------------------------------------------------------------------------------------
# EG3D
# ---------------------------------------------------------------------------------------------------------------------


def persistent_object(class_name: str, state: Any, source: str = "# source removed\n") -> Call:
    """An object of a class that EG3D pickles together with its source."""
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}
    return call("torch_utils.persistence._reconstruct_persistent_obj", meta)


def module_state(tensors: Mapping[str, Any], write: Callable[[np.ndarray], Call] = tensor, **attributes: Any) -> dict:
    """State of a `torch.nn.Module` and its submodules, with the tensors of a state dict in their places."""
    state = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_non_persistent_buffers_set": set()}
    children: dict[str, dict[str, Any]] = {}
    for name, value in tensors.items():
        first, _, rest = name.partition(".")
        if rest:
            children.setdefault(first, {})[rest] = value
        elif first in BUFFERS:
            state["_buffers"][first] = write(value)
        else:
            state["_parameters"][first] = parameter(write(value))
    for name, child in children.items():
        if name == "decoder":  # a class without the persistence decorator
            state["_modules"][name] = call("training.triplane.OSGDecoder", state=module_state(child, write))
        else:
            state["_modules"][name] = persistent_object("SomeClass", module_state(child, write))
    return {**state, **attributes}


def generator(
    tensors: Mapping[str, np.ndarray] = SMALL_TENSORS,
    init: Mapping[str, Any] = INIT,
    rendering: Mapping[str, Any] = RENDERING,
    axes: Any = OFFICIAL_AXES,
    write: Callable[[np.ndarray], Call] = tensor,
) -> Call:
    """A pickled `TriPlaneGenerator`. Attributes differ from constructor arguments, as training leaves them."""
    easy_dict = call("dnnlib.util.EasyDict", items={**init, "rendering_kwargs": {"ray_start": -1.0}})
    state = module_state(
        tensors,
        write,
        neural_rendering_resolution=32,
        rendering_kwargs=dict(rendering),
        weight_gain=call("numpy.core.multiarray.scalar", call("numpy.dtype", "f8", False, True), bytes(8)),
        _init_args=(),
        _init_kwargs=easy_dict,
    )
    if axes is not None:
        renderer = module_state({}, plane_axes=write(np.array(axes, np.float32)))
        renderer_class = "training.volumetric_rendering.renderer.ImportanceRenderer"
        state["_modules"]["renderer"] = call(renderer_class, state=renderer)
    return persistent_object("TriPlaneGenerator", state)


def official_pickle(network: Call | None = None, protocol: int = 4) -> bytes:
    """A file as EG3D's training writes it."""
    content = {"training_set_kwargs": {"resolution": 128}, "D": None, "G_ema": network or generator()}
    return dumps(content, protocol)


def safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    names = {"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in tensors.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": names[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    table = json.dumps(header).encode()
    return struct.pack("<Q", len(table)) + table + data


def npz(tensors: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **tensors)
    return buffer.getvalue()


def compressed_npz(tensors: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **tensors)
    return buffer.getvalue()
