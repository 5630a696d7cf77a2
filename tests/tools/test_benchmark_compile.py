from __future__ import annotations

from pmv_jax.batch import compilation
from tools.benchmarks import compile as benchmark

FIGURES = compilation.Figures(
    target="v5e:2x2", program="step", precision="bfloat16", batch=1, lower_seconds=1.0, compile_seconds=82.0,
    code_bytes=39_400_000, argument_bytes=10**9, temporary_bytes=2 * 10**9, image_bytes=4 * 10**8, flops=1.147e12,
    cycles=48_800_000, moved={"gather": 4_718_592, "kernel": 4_718_592}, moved_cycles=27_131_904, share=0.115,
    seconds=0.0506, collectives=[], dearest=[("pmv_jax/rendering/volume.py:12 copy", 3_700_000)],
)  # fmt: skip


def test_the_table_calls_an_estimate_an_estimate():
    lines = benchmark.table(FIGURES)
    estimated = [line for line in lines if "cycles" in line or "seconds," in line or "share" in line]
    assert len(estimated) == 5 and all("estimate" in line for line in estimated[:4])
    assert any(line.split() == ["collectives", "none"] for line in lines)
    assert lines[-1].endswith("pmv_jax/rendering/volume.py:12 copy") and "3.70 M" in lines[-1]


def test_without_estimates_the_table_has_none():
    table = "\n".join(benchmark.table(compilation.Figures(**{**vars(FIGURES), "cycles": None, "dearest": []})))
    assert "estimate" not in table


def test_rows_have_cycles_of_their_own():
    rows = FIGURES.moved
    assert FIGURES.moved_cycles == sum(compilation.CYCLES_PER_ROW[kind] * count for kind, count in rows.items())
