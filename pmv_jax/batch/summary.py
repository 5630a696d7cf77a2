"""What a batch has come to: index.html to look at, results.csv to compute with, failures.jsonl to act on.

All are made from what is on the disk, so that any process can make them at any time, and each appears at once and
whole. A failure is first a file of its own, which nobody but the process with that image writes.
"""

from __future__ import annotations

import csv
import io
import json
import traceback
from typing import Any

import jax.numpy as jnp
from etils import epath

from pmv_jax import cameras
from pmv_jax.inputs.manifest import Manifest
from pmv_jax.results.remote import replace_text
from pmv_jax.results.report import environment
from pmv_jax.results.workspace import FINISHED

RESULTS, FAILURES, PAGE = "results.csv", "failures.jsonl", "index.html"
FAILURE_FOLDER = "failures"
PAGE_LENGTH = 500  # images
_FIGURES = ("psnr", "ssim", "ms_ssim", "lpips")
_COLUMNS = ("name", "image", *_FIGURES, "yaw", "pitch", "seed", "steps", "seconds", "device", "doubts")


class Summary:
    """Of one output directory."""

    def __init__(self, out: epath.Path, images: Manifest) -> None:
        self._out, self._images = out, images
        self._index = {name: index for index, name in enumerate(images.names)}
        self._rows: dict[str, dict[str, Any]] = {}

    def write(self) -> None:
        """Writes everything anew, until nothing has come in meanwhile: others may be at work too."""
        known = None
        while known != (known := self._state()):
            rows = [self._rows[name] for name in sorted(self._rows)]
            failures = [failure for _, failure in sorted(self._failures().items())]
            replace_text(self._out / RESULTS, _table(rows))
            replace_text(self._out / FAILURES, "".join(json.dumps(failure) + "\n" for failure in failures))
            pages = [rows[i : i + PAGE_LENGTH] for i in range(0, len(rows), PAGE_LENGTH)] or [[]]
            for number, page in enumerate(pages, 1):
                text = self._page(page, number, len(pages), len(rows), failures)
                replace_text(self._out / _page_name(number), text)

    def _state(self) -> tuple[frozenset[str], set[str]]:
        """Names of the results, which are read if they are new, and of the failures."""
        found = finished(self._out)
        for name in found - self._rows.keys():
            figures = json.loads((self._out / name / FINISHED).read_text())
            self._rows[name] = self._row(name, figures)
        self._rows = {name: row for name, row in self._rows.items() if name in found}
        return found, {path.name for path in (self._out / FAILURE_FOLDER).glob("*.json")}

    def _row(self, name: str, figures: dict[str, Any]) -> dict[str, Any]:
        yaw, pitch = (round(float(angle), 4) for angle in cameras.yaw_pitch(jnp.asarray(figures["camera"])))
        return {
            "name": name,
            "image": self._images[self._index[name]].image if name in self._index else "",
            **{key: figures.get(key) for key in _FIGURES},
            "yaw": yaw,
            "pitch": pitch,
            "seed": figures["seed"],
            "steps": sum(stage["steps"] for stage in figures["stages"]),
            "seconds": round(sum(stage["seconds"] for stage in figures["stages"]), 1),
            "device": figures["device"],
            "doubts": "; ".join(figures.get("doubts", [])),
        }

    def _failures(self) -> dict[str, dict[str, Any]]:
        failures = {}
        for path in (self._out / FAILURE_FOLDER).glob("*.json"):
            try:
                failures[path.stem] = json.loads(path.read_text())
            except FileNotFoundError:
                continue  # another process is trying that image again
        return failures

    def _page(
        self, rows: list[dict[str, Any]], number: int, pages: int, total: int, failures: list[dict[str, Any]]
    ) -> str:
        links = [(page, _page_name(page)) for page in range(1, pages + 1)] if pages > 1 else []
        known = [row["psnr"] for row in self._rows.values() if row["psnr"] is not None]
        return (
            environment()
            .get_template("index.html")
            .render(
                title=self._out.name,
                rows=rows,
                number=number,
                links=links,
                total=total,
                failures=failures,
                mean_psnr=sum(known) / len(known) if known else None,
            )
        )


def finished(out: epath.Path) -> frozenset[str]:
    """Names of the results in a directory."""
    return frozenset(path.parent.name for path in out.glob(f"*/{FINISHED}"))


def record_failure(out: epath.Path, name: str, image: str, error: BaseException) -> None:
    """Writes failures/NAME.json, which becomes a line of failures.jsonl, and the traceback beside it.

    Args:
      out: directory of the results.
      name: of the result that there would have been.
      image: the picture's file.
      error: why there is none.
    """
    folder = out / FAILURE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    trace = folder / f"{name}.txt"
    replace_text(trace, "".join(traceback.format_exception(error)))
    reason = " ".join(str(error).split()) or type(error).__name__
    failure = {
        "name": name,
        "image": image,
        "kind": type(error).__name__,
        "reason": reason,
        "traceback": f"{FAILURE_FOLDER}/{trace.name}",
    }
    replace_text(folder / f"{name}.json", json.dumps(failure) + "\n")


def forget_failure(out: epath.Path, name: str) -> None:
    """What failed is tried again."""
    for suffix in (".json", ".txt"):
        (out / FAILURE_FOLDER / f"{name}{suffix}").unlink(missing_ok=True)


def _table(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _page_name(number: int) -> str:
    return PAGE if number == 1 else f"index-{number}.html"
