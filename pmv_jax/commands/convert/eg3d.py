"""Converts an EG3D checkpoint into a generator directory, without PyTorch and without running code from the checkpoint.

    python -m pmv_jax.convert eg3d --input FILE --output DIR [--spec NAME|SPEC.json] [--key G_ema]
                                 [--dtype float32|bfloat16] [--plane_axes auto|xy_xz_zx|xy_xz_zy] [--force]

FILE is an official .pkl, a torch .pt or .pth, or a state dict as .npz or .safetensors, or a .zip around one. A plain
state dict needs --spec: the name of the official network that it was tuned from (ffhq512-128), or JSON with EG3D's
constructor arguments (init), rendering_kwargs and neural_rendering_resolution; see weights/README.md.

    python -m pmv_jax.convert eg3d --input ffhqrebalanced512-128.pkl --output weights/ffhq512

Exit codes: 0 done, 2 bad input or usage; then nothing is written.
"""

# JAX is imported late, so that a file that cannot be used is refused at once.

from __future__ import annotations

import hashlib
import typing
from pathlib import Path

import numpy as np

from pmv_jax.checkpoints import eg3d, eg3d_families, eg3d_names
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.config import GeneratorConfig, PlaneAxes
from pmv_jax.errors import InputError

FLAGS = Flags()
_INPUT = FLAGS.string("input", None, "Checkpoint to convert. Required.")
_OUTPUT = FLAGS.string("output", None, "Directory to write; must not exist yet. Required.")
_SPEC = FLAGS.string("spec", None, "How the network is built, for a plain state dict: a preset's name, or a JSON file.")
_KEY = FLAGS.string("key", "G_ema", "Which network to take, where the checkpoint holds several.")
_DTYPE = FLAGS.choice("dtype", "float32", ["float32", "bfloat16"], "How to store the weights.")
_PLANE_AXES = FLAGS.choice(
    "plane_axes", "auto", ["auto", *typing.get_args(PlaneAxes)],
    "World axes of the three planes. auto: as the checkpoint says, else xy_xz_zx, which official weights have.",
)  # fmt: skip
_FORCE = FLAGS.force()

LICENCE_NOTE = (
    "Converted from an EG3D checkpoint. The checkpoint's licence covers this copy too: NVIDIA's own weights are for "
    "research and evaluation only, not for commercial use (https://github.com/NVlabs/eg3d/blob/main/LICENSE.txt)."
)


@command(FLAGS)
def main() -> None:
    for flag in (_INPUT, _OUTPUT):
        if not flag.value:
            raise InputError(f"--{flag.name} is missing; see --help")
    source, output = Path(_INPUT.value), Path(_OUTPUT.value)
    spec = eg3d.read_spec(_SPEC.value) if _SPEC.value else None
    state = eg3d.read_checkpoint(source, _KEY.value, spec)
    config = eg3d_families.generator_config(state, None if _PLANE_AXES.value == "auto" else _PLANE_AXES.value)

    from pmv_jax.checkpoints import orbax as checkpoints
    from pmv_jax.models.generator import Generator

    checkpoints.check_target(output, _FORCE.value)
    variables = eg3d_names.to_variables(checkpoints.variable_shapes(config), state.tensors, str(source))
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    provenance = {"source_file": source.name, "sha256": digest, "licence": LICENCE_NOTE}
    checkpoints.save_generator(output, Generator(config, variables), provenance, _DTYPE.value, _FORCE.value)
    count = sum(x.size for x in _leaves(variables["params"]))
    print(_summary(config, state, count, output))


def _summary(config: GeneratorConfig, state: eg3d.Eg3dState, parameters: int, output: Path) -> str:
    """A table of what was converted."""
    rendering = config.rendering
    start, end = rendering.ray_start, rendering.ray_end
    bounds = "where rays meet the box" if start is None else f"{start:g} to {end:g}"
    rows = {
        "written to": str(output),
        "parameters": f"{parameters / 1e6:.1f} M",
        "resolution": f"{config.image_resolution} (volume rendering {rendering.neural_resolution})",
        "SR module": str(state.rendering_kwargs["superresolution_module"]).rpartition(".")[2],
        "samples per ray": f"{rendering.coarse_samples} + {rendering.fine_samples}",
        "ray bounds": f"{bounds}; box of side {rendering.box_size:g}",
        "plane axes": rendering.plane_axes.replace("_", " ").upper(),
        "cameras": f"radius {config.camera_radius:g}, pivot {config.camera_pivot}, "
        f"focal length {config.camera_focal:g} (assumed: checkpoints do not say)",
    }
    if unused := eg3d_families.unused_settings(state):
        rows["not understood"] = f"{', '.join(unused)}: not EG3D's; without effect here"
    width = max(map(len, rows)) + 2
    return "\n".join(label.ljust(width) + value for label, value in rows.items())


def _leaves(tree: typing.Any) -> typing.Iterator[np.ndarray]:
    if isinstance(tree, dict):
        for child in tree.values():
            yield from _leaves(child)
    else:
        yield tree
