"""What the benchmark of edits reads attributes with, what it needs, and how it averages."""

import numpy as np
import pytest

from tests import command
from tools import find_directions
from tools.benchmarks import editing as benchmark_editing


def test_regressor_reads_what_pictures_show():
    """Pictures whose pixels are linear in three numbers: it reads these from pictures that it has not seen."""
    random = np.random.default_rng(0)
    basis, p = random.standard_normal((3, 16, 16, 3)), random.standard_normal((60, 3))
    pictures = np.tensordot(p, basis, 1) * 0.1
    regressor = benchmark_editing.Regressor(pictures[:50], p[:50])
    np.testing.assert_allclose(regressor(pictures[50:]), p[50:], atol=0.05)


def test_summary_is_the_mean_over_heads():
    cases = {"a": {"edit": {"drift": 1.0}}, "b": {"edit": {"drift": 2.0}}}
    assert benchmark_editing.summary(cases) == {"edit": {"drift": pytest.approx(1.5)}}


def test_attributes_that_are_measured_have_directions():
    assert set(benchmark_editing.NAMED) <= set(find_directions.ATTRIBUTES)
    assert set(benchmark_editing.REGIONS) <= set(benchmark_editing.NAMED)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--part is missing"),
        ("--part texture", "--heads_dir: give the directory"),
        ("--part texture --heads_dir .", "test-00_painted.npz is not there; make it"),
        ("--part texture --edited-heads 20", "12 heads of a split are painted"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    done = command.run(benchmark_editing.main, tmp_path, *arguments.split())
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
