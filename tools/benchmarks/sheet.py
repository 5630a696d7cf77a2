"""The contact sheet of the benchmark of inversion: truth, renderings, errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pmv_jax import images
from tools.benchmarks.cases import NOVEL_ANGLES, Case

if TYPE_CHECKING:
    from tools.benchmarks.inversion import Bench

SHOWN_VIEWS = (0, 1, 4, 7, 10)
"""Views in the sheet and in the cached strips: the input, then yaw -0.6, -0.3, 0.6 and 0.3."""
ERROR_GAIN = 4.0
_SHEET_WIDTH = 1600


def sheet(bench: Bench, cases: Sequence[Case], methods: Sequence[str], seed: int) -> np.ndarray:
    """For each case a row of true views (and what of them the input does not see, in red), then one for each method:
    renderings, and their absolute errors times ERROR_GAIN."""
    rows = []
    for case in cases:
        truth = bench.truth(case)
        true = truth.image[list(SHOWN_VIEWS)]
        angles = [(case.yaw, case.pitch), *NOVEL_ANGLES]
        labels = [f"{angles[view][0]:+.2f} {angles[view][1]:+.2f}" for view in SHOWN_VIEWS]
        labels[0] = f"input {labels[0]}"
        seen = truth.visible[list(SHOWN_VIEWS)][..., None]
        hidden = np.where(seen, true, 0.4 * true + np.array([0.5, -0.6, -0.6], np.float32))
        rows.append(
            [(f"{case.name} {labels[0]}", true[0]), *zip(labels[1:], true[1:], strict=True)]
            + [(f"hidden {label}", view) for label, view in zip(labels[1:], hidden[1:], strict=True)]
        )
        for method in methods:
            made = _read_strip(bench.strip(case, method, seed))
            errors = np.clip(ERROR_GAIN * np.abs(made - true) - 1, -1, 1)
            row = [(f"{method}, {labels[0]}", made[0]), *zip(labels[1:], made[1:], strict=True)]
            rows.append(row + [("error", view) for view in errors[1:]])
    return images.contact_sheet(rows, _SHEET_WIDTH)


def _read_strip(path: Path) -> np.ndarray:
    """[len(SHOWN_VIEWS), H, W, 3] in [-1, 1]."""
    strip = np.asarray(images.open_image(path), np.float32) / 127.5 - 1
    return np.stack(np.split(strip, len(SHOWN_VIEWS), axis=1))
