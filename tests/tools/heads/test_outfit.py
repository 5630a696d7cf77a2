"""Outfits and decals: no assets."""

import numpy as np
import pytest

from tools.heads.decals import lay_decals, opacity
from tools.heads.outfit import DECALS, NOTHING, Decal, draw_outfit


def plane(size: int = 200, reach: float = 1.0) -> np.ndarray:
    """Places [size, size, 3] of a flat face: x and y in (-reach, reach), rows from the top."""
    axis = (np.arange(size) + 0.5) / size * 2 * reach - reach
    x, y = np.meshgrid(axis, -axis)
    return np.stack([x, y, np.zeros_like(x)], -1)


def decal(kind: str, **changes) -> Decal:
    settings = dict(kind=kind, x=0.3, y=-0.2, size=0.4, angle=0.0, colour=(1.0, 0.0, 0.0), word="PMV", seed=3)
    return Decal(**(settings | changes))


@pytest.mark.parametrize("kind", DECALS)
def test_decals_are_where_they_are_put(kind):
    ink = opacity(decal(kind), plane())
    assert 0 <= ink.min() and 0.5 < ink.max() <= 1
    x, y = plane()[..., 0], plane()[..., 1]
    centre = np.array([(ink * x).sum(), (ink * y).sum()]) / ink.sum()
    np.testing.assert_allclose(centre, [0.3, -0.2], atol=0.12)
    far = np.hypot(x - 0.3, y + 0.2) > 1.9 * 0.4
    assert ink[far].max() < 0.1


@pytest.mark.parametrize("kind", ["disc", "star", "stripes"])
def test_decals_grow_with_their_size(kind):
    areas = [opacity(decal(kind, x=0, y=0, size=size), plane()).sum() for size in (0.3, 0.6)]
    assert areas[1] / areas[0] == pytest.approx(4, rel=0.05)


def test_decals_turn():
    """A quarter turn of the stripes is the picture turned."""
    upright, turned = (opacity(decal("stripes", x=0, y=0, angle=angle), plane()) for angle in (0, np.pi / 2))
    np.testing.assert_allclose(np.rot90(upright), turned, atol=1e-6)


def test_text_reads_from_left_to_right():
    """The L of LI is on the left: it has more ink below on that side than above."""
    ink = opacity(decal("text", x=0, y=0, size=0.8, word="L"), plane())
    rows, columns = np.nonzero(ink > 0.5)
    lower = rows > rows.mean()
    assert columns[lower].mean() > columns[~lower].mean()


def test_nothing_is_laid_behind_the_ears():
    place = plane()
    place[..., 2] = -1.5
    np.testing.assert_array_equal(opacity(decal("disc"), place), 0)


def test_ink_replaces_skin():
    skin = np.full((200, 200, 3), 0.3)
    laid = lay_decals(skin, plane(), (decal("disc"),))
    ink = opacity(decal("disc"), plane())
    np.testing.assert_allclose(laid[ink == 1], [[1, 0, 0]] * int((ink == 1).sum()), atol=1e-6)
    np.testing.assert_allclose(laid[ink == 0], 0.3)


def test_outfits_are_drawn_from_seed_and_number():
    outfits = [draw_outfit(0, number) for number in range(60)]
    assert outfits == [draw_outfit(0, number) for number in range(60)]
    assert NOTHING not in outfits
    assert sum(outfit.glasses is not None for outfit in outfits) in range(10, 35)
    assert {outfit.headwear.kind for outfit in outfits if outfit.headwear} == {"beanie", "cap", "scarf"}
    assert any(outfit.eye_patch for outfit in outfits)
    assert not any(outfit.glasses and outfit.eye_patch for outfit in outfits)
