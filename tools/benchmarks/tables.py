"""Tables of the benchmark of inversion."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pmv_jax.evaluation import comparison
from pmv_jax.results.remote import replace_text
from tools.benchmarks.cases import Case

Figures = dict[str, dict[Case, dict[str, float]]]  # method -> case -> column -> value

SINGLE_VIEW, ORACLE = "pti", "oracle"
"""Methods between which there is something to be gained."""
GAP_CLOSED = "gap_closed"


def means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Column by column, over the heads where there is a value; NaN where there is none."""
    values = {name: np.array([score[name] for score in scores]) for name in scores[0]}
    return {
        name: float(np.nanmean(column)) if not np.isnan(column).all() else float("nan")
        for name, column in values.items()
    }


def with_gap_closed(rows: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Rows by method with a first column more: the share of the gap in novel PSNR between single-view tuning and the
    oracle that the method closes. As they are where one of these two is missing."""
    if not {SINGLE_VIEW, ORACLE} <= rows.keys():
        return dict(rows)
    low, high = (rows[name]["novel_psnr"] for name in (SINGLE_VIEW, ORACLE))
    return {name: {GAP_CLOSED: (row["novel_psnr"] - low) / (high - low), **row} for name, row in rows.items()}


def spread(by_seed: Sequence[Figures]) -> dict[str, float]:
    """Standard deviation over seeds of the mean PSNR of novel views, for each method."""
    mean = lambda cases: means(list(cases.values()))["novel_psnr"]  # noqa: E731
    return {m: float(np.std([mean(figures[m]) for figures in by_seed], ddof=1)) for m in by_seed[0]}


def _worse(cases: Mapping[Case, Mapping[str, float]], than: Mapping[Case, Mapping[str, float]]) -> int:
    return sum(f["novel_psnr"] < than[case]["novel_psnr"] for case, f in cases.items())


def write_tables(out: Path, by_seed: Sequence[Figures], split: str, perceptual: str) -> str:
    """table.md, table.csv and cases.csv; returns the text of the first.

    Args:
      by_seed: figures of each seed.
      perceptual: term of the loss that the methods were fitted with.
    """
    figures = {m: {case: means([f[m][case] for f in by_seed]) for case in cases} for m, cases in by_seed[0].items()}
    rows = with_gap_closed({method: means(list(cases.values())) for method, cases in figures.items()})
    heads = {method: len(cases) for method, cases in figures.items()}
    shown = [name for name in next(iter(rows.values())) if any(not np.isnan(row[name]) for row in rows.values())]
    table = comparison.markdown({m: {name: row[name] for name in shown} for m, row in rows.items()}, first="method")
    lines = [f"Means over heads ({max(heads.values())}) of the split `{split}` on {jax.devices()[0].device_kind}.", ""]
    text = "\n".join([*lines, table, *_notes(figures, by_seed, shown, perceptual)]) + "\n"
    replace_text(out / "table.md", text)
    replace_text(out / "table.csv", _csv([{"method": m, "heads": heads[m], **row} for m, row in rows.items()]))
    described = [
        {"method": method, "case": case.name, "outfit": " ".join(case.kinds), "yaw": case.yaw, "pitch": case.pitch, **f}
        for method, cases in figures.items()
        for case, f in cases.items()
    ]
    replace_text(out / "cases.csv", _csv(described))
    return text


def _notes(figures: Figures, by_seed: Sequence[Figures], shown: Sequence[str], perceptual: str) -> list[str]:
    """What stands below the table."""
    lines = []
    if GAP_CLOSED in shown:
        lines += [f"- gap closed: share of what {ORACLE}, fitted to all views, gains over {SINGLE_VIEW} in novel psnr"]
    lines += [f"- {name.replace('_', ' ')}: {comparison.COLUMNS[name]}" for name in shown if name in comparison.COLUMNS]
    lines += [f"- perceptual term of the loss that was fitted: {perceptual}"]
    lines += ["- seconds: of all stages, compilation included where a program came first"]
    if SINGLE_VIEW in figures and len(figures) > 1:
        single = figures[SINGLE_VIEW]
        worse = ", ".join(f"{m} {_worse(cases, single)}" for m, cases in figures.items() if m != SINGLE_VIEW)
        lines += [f"- heads with a novel psnr below that of {SINGLE_VIEW}: {worse}"]
    if len(by_seed) > 1:
        deviations = ", ".join(f"{method} {value:.3f}" for method, value in spread(by_seed).items())
        lines += [f"- standard deviation of the mean novel psnr over {len(by_seed)} seeds, dB: {deviations}"]
    left_out = [name for name in comparison.COLUMNS if name not in shown]
    return lines + ([f"- left out: {', '.join(name.replace('_', ' ') for name in left_out)}"] if left_out else [])


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Values with six digits; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        cells = [f"{value:.6g}" if isinstance(value, float) else value for value in row.values()]
        writer.writerow("" if cell == "nan" else cell for cell in cells)
    return text.getvalue()
