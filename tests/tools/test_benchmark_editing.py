"""What the benchmark of edits reads attributes with, where it looks from, and how it averages."""

import numpy as np
import pytest

from pmv_jax import cameras
from tools.benchmarks import editing as benchmark_editing
from tools.benchmarks import heads as benchmark_heads


def test_regressor_reads_what_pictures_show():
    """Pictures whose pixels are linear in three numbers: it reads these from pictures that it has not seen."""
    random = np.random.default_rng(0)
    basis, p = random.standard_normal((3, 16, 16, 3)), random.standard_normal((60, 3))
    pictures = np.tensordot(p, basis, 1) * 0.1
    regressor = benchmark_editing.Regressor(pictures[:50], p[:50])
    np.testing.assert_allclose(regressor(pictures[50:]), p[50:], atol=0.05)


def test_views_are_the_painted_one_and_one_to_each_side():
    for case in benchmark_heads.cases("test", 5):
        yaw, _ = cameras.yaw_pitch(benchmark_editing.case_views(case))
        assert abs(yaw[0]) < 0.25
        np.testing.assert_allclose(yaw[1:] - yaw[0], [-benchmark_editing.TURN, benchmark_editing.TURN], atol=1e-4)


def test_summary_is_the_mean_over_heads():
    cases = {"a": {"edit": {"drift": 1.0}}, "b": {"edit": {"drift": 2.0}}}
    assert benchmark_editing.summary(cases) == {"edit": {"drift": pytest.approx(1.5)}}
