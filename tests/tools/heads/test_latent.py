"""The latent and the description of a head: no assets, no pictures."""

import dataclasses

import numpy as np
import pytest

from tools.heads import latent
from tools.heads.description import describe


def flattened(thing: object) -> list[float]:
    """All numbers of a description, in order."""
    if dataclasses.is_dataclass(thing):
        thing = [getattr(thing, field.name) for field in dataclasses.fields(thing)]
    if isinstance(thing, dict):
        thing = [thing[key] for key in sorted(thing)]
    if isinstance(thing, (list, tuple)):
        return [number for part in thing for number in flattened(part)]
    return np.ravel(thing).astype(float).tolist()


def test_slices_cover_p_in_order():
    places = [number for place in latent.SLICES.values() for number in range(latent.SIZE)[place]]
    assert places == list(range(128))
    assert (latent.index("hair", "length"), latent.index("light", "exposure")) == (91, 127)


def test_split_names_numbers_and_limits_them():
    p = np.zeros(latent.SIZE)
    p[latent.index("expression", "smile")] = 100
    x = latent.split(p)
    assert x.expression.smile == pytest.approx(latent.LIMIT)
    assert x.expression.teeth == 0
    small = latent.split(np.full(latent.SIZE, 0.01))
    assert small.beard.width == pytest.approx(0.01, rel=1e-4)


def test_split_refuses_other_sizes():
    with pytest.raises(ValueError, match="128 numbers"):
        latent.split(np.zeros(127))


def test_samples_have_unit_length_and_differ():
    samples = np.stack([latent.sample(seed, number) for seed in range(3) for number in range(5)])
    np.testing.assert_allclose(np.sqrt((samples**2).mean(1)), 1, rtol=1e-6)
    assert len(np.unique(samples, axis=0)) == 15
    np.testing.assert_array_equal(samples[7], latent.sample(1, 2))


def test_description_is_deterministic():
    p = latent.sample(0, 0)
    assert flattened(describe(p)) == flattened(describe(p.copy()))


@pytest.mark.parametrize("number", range(6))
def test_description_is_smooth(number):
    """Halving a small step halves the change of every number: no jumps, no steep corners."""
    p, d = latent.sample(5, number).astype(np.float64), latent.sample(6, number)
    start, half, whole = (np.array(flattened(describe(p + step * d))) for step in (0, 1e-4, 2e-4))
    assert np.abs(whole - start).max() < 0.005
    np.testing.assert_allclose(whole - start, 2 * (half - start), atol=0.01 * np.abs(whole - start).max())


def test_descriptions_keep_their_ranges():
    for number in range(40):
        x = describe(np.random.default_rng(number).standard_normal(latent.SIZE))
        for weights in (x.skin.tones, x.skin.details, x.features.brows, x.features.irises, x.clothes.garments):
            assert weights.min() >= 0
            assert weights.sum() == pytest.approx(1)
        assert 0 < x.person.gender < 1
        assert 0 < x.person.age < 1
        assert x.person.african + x.person.asian + x.person.caucasian == pytest.approx(1)
        assert np.all((x.skin.tone > 0.02) & (x.skin.tone < 0.9))
        assert np.all((x.colour.hair > 0) & (x.colour.hair <= 0.6))
        assert min(x.expression.weights.values()) > -0.05
        assert 0.02 < x.hair.side < 5
