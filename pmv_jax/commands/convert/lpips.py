"""Converts LPIPS v0.1 weights from torchvision's and lpips's own files, without PyTorch and without running code.

    python -m pmv_jax.convert lpips --backbone FILE --heads FILE --output DIR [--force]

    python -m pmv_jax.convert lpips --backbone vgg16-397923af.pth --heads vgg.pth --output weights/lpips_vgg
    python -m pmv_jax.convert lpips --backbone alexnet-owt-7be5be79.pth --heads alex.pth --output weights/lpips_alex

The backbones are torchvision's ImageNet weights; the heads are weights/v0.1/{vgg,alex}.pth of the lpips package. Which
network it is, is told from the backbone.

Exit codes: 0 done, 2 bad input or usage; then nothing is written.
"""

# JAX is imported late, so that a wrong flag is refused at once.

from __future__ import annotations

import hashlib
from pathlib import Path

from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.errors import InputError

FLAGS = Flags()
_BACKBONE = FLAGS.string("backbone", None, "torchvision's state dict of VGG16 or AlexNet. Required.")
_HEADS = FLAGS.string("heads", None, "lpips's linear heads, v0.1, for the same network. Required.")
_OUTPUT = FLAGS.string("output", None, "Directory to write; must not exist yet. Required.")
_FORCE = FLAGS.force()

LICENCE_NOTE = "torchvision: BSD 3-Clause (weights trained on ImageNet, see its terms); lpips: BSD 2-Clause."


@command(FLAGS)
def main() -> None:
    for flag in (_BACKBONE, _HEADS, _OUTPUT):
        if not flag.value:
            raise InputError(f"--{flag.name} is missing; see --help")
    backbone, heads, output = Path(_BACKBONE.value), Path(_HEADS.value), Path(_OUTPUT.value)

    from pmv_jax.checkpoints import lpips as lpips_weights
    from pmv_jax.checkpoints import orbax as checkpoints

    checkpoints.check_target(output, _FORCE.value)
    tensors = [lpips_weights.read_state_dict(path) for path in (backbone, heads)]
    lpips = lpips_weights.from_state_dicts(*tensors, str(backbone), str(heads))
    provenance = {"backbone": _origin(backbone), "heads": _origin(heads), "licence": LICENCE_NOTE}
    lpips_weights.save(output, lpips, provenance, _FORCE.value)
    count = sum(x.size for layer in lpips.variables["features"].values() for x in layer.values())
    print(f"LPIPS v0.1 with {lpips.network}, {count / 1e6:.1f} M parameters, written to {output}")


def _origin(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
