"""The benchmark of several photographs: which views are inputs, and which are compared; inversions are stand-ins."""

import json

import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.config import InversionConfig
from tests import command
from tests import rendered_spheres as spheres
from tests.tools.test_benchmark_inversion import COARSE, RESOLUTION, Rendered
from tools.benchmarks import several
from tools.benchmarks import truth as benchmark_truth
from tools.benchmarks.cases import cases
from tools.benchmarks.truth import Truth


def test_the_second_photograph_is_of_the_other_side_and_none_is_compared():
    for case in cases("dev"):
        order = several.order(case)
        yaw, pitch = cameras.yaw_pitch(case.cameras[list(order)])
        assert yaw[0] * yaw[1] < 0 < yaw[0] * yaw[2] and abs(yaw[1]) == pytest.approx(0.45, abs=1e-3)
        assert pitch[3] == pytest.approx(-0.3, abs=1e-3) and pitch[4] == pytest.approx(0.3, abs=1e-3)
        assert len({*order}) == 5
    shown = np.arange(13.0)[:, None]
    truth = Truth(*(np.zeros((13, *shape), bool) for shape in ((25,), *((2, 2),) * 6)))
    kept = several.never_input(Truth(**{**vars(truth), "cameras": shown})).cameras[:, 0]
    assert len(kept) == 9 and kept[0] == 0 and not {*kept[1:]} & {*several.order(cases("dev")[0])}


@pytest.mark.parametrize(("inputs", "message"), [("0", "from 1 to 5"), ("1,x", "from 1 to 5"), ("", "from 1 to 5")])
def test_numbers_of_photographs(tmp_path, inputs, message):
    done = command.run(several.main, tmp_path, "--heads_dir", ".", "--inputs", inputs)
    assert done.returncode == 2 and message in done.stderr


def test_a_head_is_inverted_from_as_many_photographs_and_measured_elsewhere(monkeypatch, tmp_path):
    case = cases("dev")[1]
    truth = benchmark_truth.make(case, spheres.pictures(case.p), RESOLUTION, COARSE)
    wrong = truth.image.copy()
    wrong[[several.LEFT, several.RIGHT, several.BELOW, several.ABOVE]] = 0  # what is an input is not asked for
    given = []

    def invert(photographs, generator, config, encoder):
        given.append(photographs)
        return Rendered(truth, wrong, truth.coarse_z_depth)

    monkeypatch.setattr(several, "invert_photographs", invert)
    figures = several.measure(case, truth, 3, None, InversionConfig(), sheet=tmp_path / "sheet.png")
    assert figures["novel_psnr"] == float("inf") and figures["seconds"] == 2 and (tmp_path / "sheet.png").is_file()
    assert list(figures) == ["input_psnr", *several.COLUMNS, "seconds"] and json.dumps(figures)
    for photograph, view in zip(given[0], several.order(case), strict=False):
        np.testing.assert_array_equal(photograph.image, truth.image[view])
        np.testing.assert_array_equal(photograph.camera, truth.cameras[view])
    assert len(given[0]) == 3
