"""Loss curves: well-formed SVG in which points and ticks stand where their values belong."""

import xml.etree.ElementTree as xml

import numpy as np
import pytest

from pmv_jax.results.curves import curve


def parsed(values, name="joint"):
    """Points [N, 2] of the curve, and (text, x, y) of what is written."""
    svg = xml.fromstring(curve(name, np.asarray(values)))
    points = np.array([pair.split(",") for pair in svg.find("polyline").get("points").split()], float)
    return points, [(text.text, float(text.get("x")), float(text.get("y"))) for text in svg.iter("text")]


def levels(texts):
    """Values and heights of the ticks of the vertical axis."""
    return np.array([(float(text), y) for text, x, y in texts[2:] if x < 46])


@pytest.mark.parametrize(
    ("values", "scale"),
    [(np.geomspace(3, 0.02, 40), np.log10), (np.linspace(1, 0.5, 7), np.array), (np.linspace(-2, 40, 5), np.array)],
)
def test_heights_are_those_of_the_axis(values, scale):
    points, texts = parsed(values)
    ticks = levels(texts)
    assert len(ticks) >= 2
    slope, start = np.polyfit(scale(ticks[:, 0]), ticks[:, 1] - 3.5, 1)
    np.testing.assert_allclose(points[:, 1], start + slope * scale(values), atol=0.15)
    assert slope < 0 and np.all(np.diff(points[:, 0]) > 0)
    assert points.min() >= 28 and points[:, 1].max() <= 172


def test_steps_count_from_one():
    points, texts = parsed(np.linspace(1, 0.5, 100))
    places = {text: x for text, x, y in texts if y == 186}
    assert set(places) == {"20", "40", "60", "80", "100"}
    assert places["40"] == pytest.approx(points[39, 0], abs=0.1)


def test_equal_values_and_two_steps_are_drawn():
    points, texts = parsed([0.0, 0.0])
    assert np.isfinite(points).all() and points[0, 1] == points[1, 1] and len(levels(texts)) >= 1
    assert [text for text, _, y in texts if y == 186] == ["1", "2"]


def test_names_are_escaped():
    assert parsed([1.0, 2.0], "a <b>")[1][0][0] == "a <b>: 1 to 2"
