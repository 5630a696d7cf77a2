"""The reference PyTorch EG3D beside ours: the same generator in its settings and names, in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from pmv_jax.checkpoints import eg3d, eg3d_families, eg3d_names
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError
from pmv_jax.inversion import view_fitting
from pmv_jax.models.generator import Generator

RATE = 1e-6  # of the steps that are timed: small, so that random weights stay finite


class Peer:
    """The reference PyTorch EG3D in a process of its own, with the same weights."""

    def __init__(
        self,
        directory: str,
        python: str,
        generator: Generator,
        ws: Array,
        fitted: view_fitting.Views,
        tf32: bool = False,
    ) -> None:
        """Starts it.

        Args:
          directory: a checkout of EG3D.
          python: the interpreter that runs it.
          generator: whose weights it takes.
          ws: the head [num_ws, w_dim].
          fitted: the views that a step fits; the reference takes the first one's picture for all.
          tf32: whether it may round operands of matrix products to 10 bits.

        Raises:
          InputError: no checkout, no interpreter, a generator that EG3D cannot build, or the reference fails.
        """
        path = Path(directory)
        if not any((root / "training" / "triplane.py").is_file() for root in (path, path / "eg3d")):
            raise InputError(f"--peer {path}: no checkout of EG3D; git clone https://github.com/NVlabs/eg3d")
        if shutil.which(python) is None:
            raise InputError(f"--peer_python {python}: no such program; give a Python that has torch")
        request = specification(generator.config)
        self.peak_bytes = 0
        self._folder = tempfile.TemporaryDirectory()
        arrays = Path(self._folder.name, "arrays.npz")
        target = np.asarray(fitted.images[0]).transpose(2, 0, 1)
        views = {"_ws": ws[None], "_cameras": fitted.cameras, "_target": target}
        np.savez(arrays, **export(generator.variables), **{k: np.asarray(v) for k, v in views.items()})
        request |= {"arrays": str(arrays), "image": str(Path(self._folder.name, "image.npy")), "rate": RATE}
        request |= {"tf32": tf32}
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        script = Path(__file__).with_name("peer.py")
        self._process = subprocess.Popen(
            [python, str(script), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        self._ask(request)

    def run(self, step: str) -> dict[str, Any]:
        """Seconds, and the result, of a step."""
        reply = self._ask({"step": step})
        self.peak_bytes = reply["peak_bytes"]
        return reply

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            reply = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            reply = {"error": "it ended without a word"}
        if "error" in reply:
            needs = "--peer_python needs torch, requests and scipy"
            raise InputError(f"--peer: the reference fails ({reply['error']}); {needs}")
        return reply


def specification(config: GeneratorConfig) -> dict[str, Any]:
    """EG3D's own settings for a generator, the inverse of `eg3d_families.generator_config`.

    Raises:
      InputError: EG3D's classes cannot build it.
    """
    rendering, sr, backbone = config.rendering, config.superresolution, config.backbone
    auto = rendering.ray_start is None
    spec = {
        "init": {
            **{"z_dim": config.z_dim, "c_dim": config.c_dim, "w_dim": config.w_dim, "img_channels": 3},
            "img_resolution": config.image_resolution,
            "sr_num_fp16_res": 4 if sr.conv_clamp else 0,
            "mapping_kwargs": {"num_layers": config.mapping.num_layers, "lr_multiplier": config.mapping.lr_multiplier},
            "channel_base": backbone.channel_base,
            "channel_max": backbone.channel_max,
            "conv_clamp": backbone.conv_clamp,
        },
        "rendering_kwargs": {
            "disparity_space_sampling": rendering.disparity_sampling,
            "clamp_mode": "softplus",
            "c_gen_conditioning_zero": config.mapping.zero_conditioning,
            "c_scale": config.mapping.conditioning_scale,
            "superresolution_noise_mode": sr.noise_mode,
            "decoder_lr_mul": config.decoder.lr_multiplier,
            "sr_antialias": sr.antialias,
            "depth_resolution": rendering.coarse_samples,
            "depth_resolution_importance": rendering.fine_samples,
            "ray_start": "auto" if auto else rendering.ray_start,
            "ray_end": "auto" if auto else rendering.ray_end,
            "box_warp": rendering.box_size,
            "white_back": rendering.white_background,
            "avg_camera_radius": config.camera_radius,
            "avg_camera_pivot": list(config.camera_pivot),
        },
        "neural_rendering_resolution": rendering.neural_resolution,
    }
    for name in eg3d_families.SUPERRESOLUTION:
        spec["rendering_kwargs"]["superresolution_module"] = f"training.superresolution.{name}"
        with contextlib.suppress(InputError):
            state = eg3d.Eg3dState("--peer", spec["init"], spec["rendering_kwargs"], rendering.neural_resolution, {})
            found = eg3d_families.generator_config(state, rendering.plane_axes)
            same = {"camera_focal": config.camera_focal, "compute_dtype": config.compute_dtype}
            official = rendering.plane_axes == eg3d_families.OFFICIAL_PLANE_AXES
            if official and dataclasses.replace(found, **same) == config:
                return spec
    raise InputError("--peer: EG3D's own classes cannot build this generator; try --generator random:ffhq512-128")


def export(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """Flax variables as EG3D's state dict, the inverse of `eg3d_names.to_variables`."""
    tensors = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        names = [key.key for key in path][1:]  # the first is Flax's collection
        order = eg3d_names.torch_order(names[-1], leaf.ndim)
        name = re.sub(r"\.net_(\d+)\.", r".net.\1.", ".".join(names))
        tensors[name] = np.array(np.asarray(leaf).transpose(np.argsort(order)), order="C")
    return tensors
