"""Times the reference PyTorch EG3D for tools/benchmarks/reference.py, which starts it under the peer's own interpreter.

    PYTHON tools/benchmarks/peer.py DIR

DIR is a checkout of https://github.com/NVlabs/eg3d. Requests and replies are lines of JSON on stdin and stdout. The
first request says how the network is built and where its weights are (`specification` and `export` in
tools/benchmarks/reference.py); each later one names a step to time: "forward", "latent_step" or "tuning_step".
"""

from __future__ import annotations

import json
import resource
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    replies, sys.stdout = sys.stdout, sys.stderr  # the reference prints

    def reply(**values: Any) -> None:
        print(json.dumps(values), file=replies, flush=True)

    try:
        steps = _prepare(Path(sys.argv[1]), json.loads(sys.stdin.readline()))
        reply(ready=True)
    except Exception as error:
        reply(error=f"{type(error).__name__}: {error}")
        return
    for line in sys.stdin:
        begun = time.perf_counter()
        result = steps[json.loads(line)["step"]]()
        reply(seconds=time.perf_counter() - begun, peak_bytes=_peak_bytes(), result=result)


def _prepare(directory: Path, request: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    root = directory / "eg3d" if (directory / "eg3d" / "training").is_dir() else directory
    sys.path.insert(0, str(root))
    if sys.version_info >= (3, 12):  # the reference imports one function of this module, which is gone
        sys.modules["distutils"] = types.ModuleType("distutils")
        sys.modules["distutils.util"] = types.ModuleType("distutils.util")
        sys.modules["distutils.util"].strtobool = bool
    import torch
    from training.triplane import TriPlaneGenerator

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = request["tf32"]
    network = TriPlaneGenerator(**request["init"], rendering_kwargs=request["rendering_kwargs"]).eval().to(device)
    network.neural_rendering_resolution = request["neural_rendering_resolution"]
    arrays = np.load(request["arrays"])
    tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files if not name.startswith("_")}
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    wrong = [name for name in missing if not name.endswith("resample_filter")] + unexpected
    if wrong:
        raise ValueError(f"other weights than this network has: {wrong[:5]}")
    ws, cameras, target = (torch.from_numpy(arrays[name]).to(device) for name in ("_ws", "_cameras", "_target"))
    code = ws.clone().requires_grad_(True)
    network.requires_grad_(True)
    optimisers = {
        "latent_step": torch.optim.Adam([code], lr=request["rate"]),
        "tuning_step": torch.optim.Adam(network.parameters(), lr=request["rate"]),
    }

    def synthesis(code: Any, camera: Any) -> Any:
        return network.synthesis(code, camera[None], noise_mode="const", force_fp32=True)["image"][0]

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def forward() -> str:
        with torch.no_grad():
            image = synthesis(ws, cameras[0])
        finish()
        np.save(request["image"], image.permute(1, 2, 0).cpu().numpy())
        return request["image"]

    def step(name: str) -> float:
        optimisers[name].zero_grad(set_to_none=True)
        network.requires_grad_(name == "tuning_step")
        losses = [torch.mean((synthesis(code if name == "latent_step" else ws, c) - target) ** 2) for c in cameras]
        loss = sum(losses)
        loss.backward()
        optimisers[name].step()
        finish()
        return float(loss)

    return {"forward": forward, **{name: lambda name=name: step(name) for name in optimisers}}


def _peak_bytes() -> int:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
