"""`python -m pmv_jax.invert` with results that are written at once: the pictures of the input view, and the figures.

For tests of everything around them. Run as a program it takes the same flags.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pmv_jax import images
from pmv_jax.batch import job
from pmv_jax.commands.invert import main
from pmv_jax.inversion.result import Inversion
from pmv_jax.inversion.stage import Photograph
from pmv_jax.results import writing as result

FILES = {"input.png", "reconstruction.png", "final.npy", "report.html", "metrics.json"}


def write_result(
    directory: Path,
    inversion: Inversion,
    photographs: Sequence[Photograph],
    title: str,
    peak_memory: int,
) -> dict[str, Any]:
    """In place of `result.write_result`; final.npy is the final image before it is rounded."""
    made = inversion.render(inversion.cameras)
    final = made["image"][0]
    np.save(directory / "final.npy", final)
    images.save_image(directory / "input.png", photographs[0].image)
    images.save_image(directory / "reconstruction.png", final)
    (directory / "report.html").write_text(title)
    views = map(result.InputView, photographs, made["image"], made["ray_distance"], inversion.cameras)
    figures = result.measure(inversion, list(views), peak_memory)
    (directory / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def contents(out: Path) -> dict[str, str | bytes]:
    """Every file of every result in a directory, times aside."""
    found = {}
    for path in sorted(out.glob("*/*")):
        name, content = str(path.relative_to(out)), path.read_bytes() if path.is_file() else b""
        if path.name == "metrics.json":
            figures = json.loads(content)
            for stage in figures["stages"]:
                del stage["seconds"]
            content = json.dumps(figures)
        if path.parent.name != "failures" and ".partial" not in name:
            found[name] = content
    return found


if __name__ == "__main__":
    job.write_result = write_result
    sys.exit(main())
