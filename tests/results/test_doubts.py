"""Doubts appear on the wrong side of each limit, alone, and nothing is said of a good result."""

import pytest

from pmv_jax.results import doubts

GOOD = {"believed": 1.0, "psnr": 32.0, "yaw": 0.1, "yaw_range": 0.6}


def test_a_good_result_has_none():
    assert doubts.find(**GOOD) == []
    assert doubts.find(**{**GOOD, "psnr": None}) == []
    assert doubts.find(**{**GOOD, "wrong_side": 0.03}) == []
    assert doubts.find(**{**GOOD, "identity_distances": {-0.6: 0.7, -0.3: 0.59, 0.0: 0.2, 0.3: 0.4, 0.6: 0.9}}) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"believed": 0.51}, "only 51 % of the crop is photograph"),
        ({"psnr": 14.04}, "PSNR 14.0 dB"),
        ({"wrong_side": 0.12}, "leaves the mask's outline on 12 % of the picture"),
        ({"identity_distances": {-0.6: 0.8, -0.3: 0.62, 0.0: 0.3, 0.3: 0.7, 0.6: 0.9}}, "from yaw +0.3 it is hardly"),
        ({"yaw": -0.59}, "turned by 34 degrees"),
        ({"yaw": 0.59}, "turned by 34 degrees"),
    ],
)
def test_each_doubt_alone(change, words):
    (doubt,) = doubts.find(**{**GOOD, **change})
    assert words in doubt and "\n" not in doubt


def test_all_together():
    assert len(doubts.find(believed=0.3, psnr=10.0, yaw=1.0, yaw_range=0.6)) == 3
