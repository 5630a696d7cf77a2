"""Reads EG3D generators: official pickles, and state dicts with a spec, without torch and without running their code.

An official `.pkl` is a dict of networks. Each is a call of `torch_utils.persistence._reconstruct_persistent_obj` with a
table that holds its class name, the Python source of that class, and its state. The source is never looked at: the
state has the tensors, the constructor's arguments and the rendering settings, and more is not needed. Three steps, each
a function: `read_checkpoint` here, `eg3d_families.generator_config`, `eg3d_names.to_variables`.

Facts about EG3D are from https://github.com/NVlabs/eg3d: `training/triplane.py`, `torch_utils/persistence.py`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmv_jax.checkpoints import eg3d_relatives, tensor_files, torch_files
from pmv_jax.checkpoints.eg3d_presets import PRESETS, superresolution_module
from pmv_jax.checkpoints.inert_pickle import Record
from pmv_jax.checkpoints.tensor_files import Tensors
from pmv_jax.checkpoints.torch_files import FormatError, Pickled
from pmv_jax.errors import InputError, suggestion

_PERSISTENT_OBJECT = "torch_utils.persistence._reconstruct_persistent_obj"
_POSITIONAL = (  # TriPlaneGenerator.__init__
    "z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "sr_num_fp16_res", "mapping_kwargs",
    "rendering_kwargs", "sr_kwargs",
)  # fmt: skip
_MAX_MODULES = 5000
_MAX_DEPTH = 16


@dataclass(frozen=True)
class Eg3dState:
    """What a checkpoint says about a generator.

    Attributes:
      source: the file, for messages.
      init: constructor arguments of `TriPlaneGenerator` by name, without its `rendering_kwargs`.
      rendering_kwargs: the generator's rendering settings.
      neural_rendering_resolution: side of the raw image that the generator was last used with.
      tensors: the state dict, in torch's layouts and names.
      plane_axes: the renderer's `plane_axes` [3, 3, 3] where the file has it.
    """

    source: str
    init: Mapping[str, Any]
    rendering_kwargs: Mapping[str, Any]
    neural_rendering_resolution: Any
    tensors: Tensors
    plane_axes: np.ndarray | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


def read_spec(path: str | Path) -> dict[str, Any]:
    """Reads a JSON table with `init`, `rendering_kwargs` and `neural_rendering_resolution`.

    Args:
      path: of the table, or the name of one of `eg3d_presets.PRESETS`.

    Raises:
      InputError: it is missing, no JSON, or lacks one of the three.
    """
    if str(path) in PRESETS:
        return PRESETS[str(path)]
    try:
        spec = json.loads(Path(path).read_text())
    except OSError as error:
        presets = suggestion(str(path), PRESETS, "presets are", cutoff=0.8)
        raise InputError(f"{path}: the spec cannot be read: {error.strerror}; check the path; {presets}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the spec is not valid JSON ({error}); see weights/README.md for its form") from error
    kinds = {"init": dict, "rendering_kwargs": dict, "neural_rendering_resolution": int}
    wrong = [key for key, kind in kinds.items() if not isinstance(spec, dict) or not isinstance(spec.get(key), kind)]
    if wrong:
        raise InputError(f"{path}: the spec has no valid {', '.join(wrong)}; see weights/README.md for its form")
    return spec


def read_checkpoint(path: str | Path, key: str = "G_ema", spec: Mapping[str, Any] | None = None) -> Eg3dState:
    """Reads a generator from a file; nothing in the file is executed.

    Args:
      path: an EG3D `.pkl`, a torch `.pt` or `.pth` with a network or a state dict, or a state dict as `.npz` or
        `.safetensors`.
      key: which entry to take where the file is a dict of networks or of state dicts.
      spec: see `read_spec`. Needed for a state dict; for a network it takes the place of the network's own settings.

    Raises:
      InputError: the file is missing or damaged, has no such network, is of a relative of EG3D's, or is a state dict
        without a spec.
    """
    content = tensor_files.read(path)
    try:
        state = _interpret(content, str(path), key)
    except FormatError as error:
        raise InputError(f"{path}: {error}; download the file again and compare its checksum") from error
    if relative := eg3d_relatives.name_of(state.tensors, state.rendering_kwargs):
        raise InputError(f"{path}: is {relative}; that is not supported: give a network of EG3D itself")
    if spec is not None:
        return _with_spec(state, spec)
    if not state.init:
        raise InputError(
            f"{path}: holds a plain state dict, which does not say how the network is built; give --spec "
            f"{'|'.join(PRESETS)}, or a file with its constructor arguments and rendering_kwargs (weights/README.md)"
        )
    return state


def _with_spec(state: Eg3dState, spec: Mapping[str, Any]) -> Eg3dState:
    """The settings of a spec in place of the file's own; shapes tell the super-resolution's class if it does not."""
    rendering = dict(spec["rendering_kwargs"])
    module = superresolution_module(spec["init"].get("img_resolution"), state.tensors)
    if module is not None:
        rendering.setdefault("superresolution_module", module)
    return dataclasses.replace(
        state,
        init=spec["init"],
        rendering_kwargs=rendering,
        neural_rendering_resolution=spec["neural_rendering_resolution"],
    )


def _interpret(content: Pickled | Tensors, source: str, key: str) -> Eg3dState:
    if not isinstance(content, Pickled):
        return Eg3dState(source, {}, {}, None, content)
    network = _select(content, source, key)
    table = torch_files.mapping(network)
    if table is not None:
        return Eg3dState(source, {}, {}, None, {name: _tensor(content, name, value) for name, value in table.items()})
    name, state = _module(network)
    if name != "TriPlaneGenerator":
        raise InputError(f"{source}: {key} is a {name[:80]!r}; only EG3D's TriPlaneGenerator is supported")
    return _from_network(content, source, state)


def _select(content: Pickled, source: str, key: str) -> Any:
    """The network or state dict under `key`, or the whole content if that is one."""
    if _is_network(content, content.root):
        return content.root
    table = torch_files.mapping(content.root)
    if table is None:
        raise InputError(f"{source}: holds no network and no table of networks; give an EG3D checkpoint")
    networks = {name: value for name, value in table.items() if isinstance(name, str) and _is_network(content, value)}
    if key in networks:
        return networks[key]
    names = ", ".join(list(networks)[:10])[:200]
    remedy = f"it has {names}: choose one with --key" if networks else "give an EG3D checkpoint"
    raise InputError(f"{source}: has no network {key!r}; {remedy}")


def _is_network(content: Pickled, value: Any) -> bool:
    if _module(value) is not None:
        return True
    state_dict = torch_files.mapping(value) or {}
    return bool(state_dict) and all(isinstance(k, str) and content.is_tensor(v) for k, v in state_dict.items())


def _module(value: Any) -> tuple[str, dict[Any, Any]] | None:
    """Class name and state of a pickled `torch.nn.Module`; None if it is not one."""
    if not isinstance(value, Record):
        return None
    if value.callee.endswith(_PERSISTENT_OBJECT):
        meta = torch_files.mapping(value.args[0]) if len(value.args) == 1 else None
        name, state = (meta or {}).get("class_name"), torch_files.mapping((meta or {}).get("state"))
    else:  # an importable class
        name, state = value.callee.rpartition(".")[2], torch_files.mapping(value.state)
    if not isinstance(name, str) or state is None or torch_files.mapping(state.get("_modules")) is None:
        return None
    return name, state


def _from_network(content: Pickled, source: str, state: dict[Any, Any]) -> Eg3dState:
    arguments = content.plain(state.get("_init_args", ()))
    init = content.plain(state.get("_init_kwargs", {}))
    rendering = content.plain(state.get("rendering_kwargs", {}))
    if isinstance(init, dict) and isinstance(arguments, list):
        init = dict(zip(_POSITIONAL, arguments, strict=False)) | init
        # The generator's attribute wins: it may have been changed after construction, and it is what EG3D renders with.
        rendering = rendering or init.pop("rendering_kwargs", None)
    if not isinstance(init, dict) or not isinstance(rendering, dict):
        raise InputError(f"{source}: the generator has no readable settings; give --spec")
    children = torch_files.mapping(state["_modules"])
    if "sr_antialias" not in rendering and (found := _module(children.get("superresolution"))) is not None:
        rendering["sr_antialias"] = found[1].get("sr_antialias", False)  # early checkpoints keep it there
    renderer = _module(children.get("renderer"))
    axes = renderer[1].get("plane_axes") if renderer else None
    return Eg3dState(
        source,
        init,
        rendering,
        content.plain(state.get("neural_rendering_resolution")),
        dict(_state_dict(content, state)),
        None if axes is None else content.tensor(axes),
    )


def _state_dict(content: Pickled, root: dict[Any, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and tensors as torch's `Module.state_dict` gives them."""
    pending, visited = [("", root)], 0
    while pending:
        prefix, state = pending.pop()
        visited += 1
        if visited > _MAX_MODULES or prefix.count(".") > _MAX_DEPTH:
            raise FormatError("a network of too many nested modules")
        transient = torch_files.sequence(state.get("_non_persistent_buffers_set"))
        transient = {name for name in transient if isinstance(name, str)}
        for group in ("_parameters", "_buffers"):
            for name, value in (torch_files.mapping(state.get(group)) or {}).items():
                if isinstance(name, str) and value is not None and (group == "_parameters" or name not in transient):
                    yield prefix + name, _tensor(content, prefix + name, value)
        for name, value in (torch_files.mapping(state.get("_modules")) or {}).items():
            found = _module(value)
            if found is not None and isinstance(name, str):
                pending.append((f"{prefix}{name}.", found[1]))


def _tensor(content: Pickled, name: str, value: Any) -> np.ndarray:
    try:
        return content.tensor(value)
    except FormatError as error:
        raise FormatError(f"{name[:120]}: {error}") from error
