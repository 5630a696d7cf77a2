"""Every setting has a range, which holds wherever it is set; trees of settings go to plain data and back."""

import dataclasses
import json
import math
import types
import typing

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from pmv_jax.config import (
    PERCEPTUAL_TERMS,
    GeneratorConfig,
    InversionConfig,
    JointConfig,
    LatentConfig,
    SuperresolutionConfig,
    from_dict,
    override,
    to_dict,
)
from pmv_jax.config.settings import Settings, hints, path
from pmv_jax.errors import InputError


def settings_of(cls: type[Settings]):
    """All settings of a tree: group and field."""
    for field in dataclasses.fields(cls):
        hint = hints(cls)[field.name]
        if isinstance(hint, type) and issubclass(hint, Settings):
            yield from settings_of(hint)
        else:
            yield cls, field


SETTINGS = [(root, *found) for root in (GeneratorConfig, InversionConfig) for found in settings_of(root)]
every_setting = pytest.mark.parametrize(
    ("root", "group", "field"), SETTINGS, ids=[path(group, field.name) for _, group, field in SETTINGS]
)


def within(hint, limits):
    """Values that a setting takes."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    low, high = limits["low"], limits["high"]
    if origin is types.UnionType:
        return strategies.one_of([strategies.none() if a is type(None) else within(a, limits) for a in args])
    if origin is tuple:
        return strategies.tuples(*(within(a, limits) for a in args))
    if origin is typing.Literal:
        return strategies.sampled_from(args)
    if hint is bool:
        return strategies.booleans()
    if hint is int:
        return strategies.integers(int(low), int(high))
    if hint is float:
        bounds = (bound if math.isfinite(bound) else None for bound in (low, high))
        return strategies.floats(*bounds, allow_nan=False, allow_infinity=False)
    return strategies.text() if limits["names"] is None else strategies.sampled_from(list(limits["names"]))


def outside(hint, limits):
    """Values that it does not take: of another type, or beyond its range."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    low, high = limits["low"], limits["high"]
    if origin is types.UnionType:
        (hint,) = set(args) - {type(None)}
        return outside(hint, limits).filter(lambda value: value is not None)
    if origin is tuple:
        short = strategies.tuples(*(within(a, limits) for a in args[1:]))
        bad = strategies.tuples(outside(args[0], limits), *(within(a, limits) for a in args[1:]))
        return strategies.one_of(short, bad)
    wrong = [strategies.sampled_from([None, [], {}, "lpips", (1, 2, 3, 4)])]
    if hint in (int, float):
        wrong += [strategies.sampled_from([True, math.nan, math.inf, -math.inf])]
        if math.isfinite(low):
            wrong.append(strategies.floats(max_value=low, exclude_max=True, allow_infinity=False))
            wrong.append(strategies.integers(max_value=math.ceil(low) - 1))
        if math.isfinite(high):
            wrong.append(strategies.floats(min_value=high, exclude_min=True, allow_infinity=False))
            wrong.append(strategies.integers(min_value=math.floor(high) + 1))
    if hint is int:
        wrong.append(strategies.just((int(low) + min(int(high), int(low) + 1)) / 2 + 0.25))
    if hint is bool:
        wrong.append(strategies.integers())
    if hint is str and limits["names"] is None:
        wrong = [strategies.sampled_from([None, [], {}, 3, True])]
    return strategies.one_of(wrong)


def in_tree(root: type[Settings], group: type[Settings], name: str, value: object) -> dict:
    return {group.group: {name: value}} if group.group else {name: value}


@every_setting
def test_numbers_have_ranges(root, group, field):
    """Both ends, but for floats that may grow without bound."""
    hint = hints(group)[field.name]
    kinds = {hint, *typing.get_args(hint)}
    if int in kinds:
        assert -math.inf < field.metadata["low"] <= field.metadata["high"] < math.inf
    if float in kinds:
        assert field.metadata["low"] > -math.inf
    assert group(**{field.name: field.default}) == group()


@every_setting
@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(data=strategies.data())
def test_values_within_the_range_are_taken(root, group, field, data):
    value = data.draw(within(hints(group)[field.name], field.metadata))
    config = group(**{field.name: value})
    assert getattr(config, field.name) == value and hash(config) == hash(dataclasses.replace(config))
    assert from_dict(group, json.loads(json.dumps(to_dict(config)))) == config


@every_setting
@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(data=strategies.data())
def test_values_outside_are_refused_wherever_they_are_set(root, group, field, data):
    value = data.draw(outside(hints(group)[field.name], field.metadata))
    name = path(group, field.name)
    ways = [
        lambda: group(**{field.name: value}),
        lambda: dataclasses.replace(group(), **{field.name: value}),
        lambda: from_dict(root, in_tree(root, group, field.name, value)),
    ]
    for way in ways:
        with pytest.raises(InputError) as refused:
            way()
        message = str(refused.value)
        assert message.startswith(f"setting {name}: ") and " is not " in message and "\n" not in message
        assert " ".join(repr(value).split()) in message
    with pytest.warns(UserWarning, match=f"left out: {name}$"):
        assert from_dict(root, in_tree(root, group, field.name, value), lenient=True) == root()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("latent.steps=-1", "setting latent.steps: -1 is not a whole number from 0 to 1000000"),
        ("pseudo_views.count=-2", "setting pseudo_views.count: -2 is not a whole number from 1 to 1024"),
        ("camera.heads=0", "setting camera.heads: 0 is not a whole number from 2 to 4096"),
        ("camera.resolution=0", "setting camera.resolution: 0 is not a whole number from 8 to 1024"),
        ("weights.rank=0", "setting weights.rank: 0 is not none or a whole number from 1 to 4096"),
        ("joint.views_per_step=99", "setting joint.views_per_step: 99 is not .* 1 to 16, which is pseudo_views.count"),
        ("pseudo_views.erode=5", "setting pseudo_views.erode: 5 is not a number from 0 to 0.5"),
        ("latent.learning_rate=nan", "setting latent.learning_rate: nan is not a number of at least 0"),
        ("latent.steps=many", "setting latent.steps: 'many' is not a whole number"),
        ("loss.perceptual=lpips", "setting loss.perceptual: 'lpips' is not one of gradients, none"),
        ("latent.space=z", "setting latent.space: 'z' is not one of w, w_plus"),
        ("joint.reset_generator=perhaps", "setting joint.reset_generator: 'perhaps' is not true or false"),
        ("tunning.steps=3", "unknown setting 'tunning'; did you mean 'tuning'"),
        ("tuning.step=3", "unknown setting 'tuning.step'; did you mean 'steps'"),
        ("tuning=3", "--set tuning: is a group; set one of steps, learning_rate"),
        ("seed.x=3", "--set seed.x: seed is a single value, not a group"),
        ("seed", "--set seed: expected key=value"),
    ],
)
def test_overrides_that_cannot_be(assignment, message):
    with pytest.raises(InputError, match=f"^{message}"):
        override(InversionConfig(), [assignment])


def test_overrides_change_what_they_name_and_nothing_else():
    changes = ("seed=3", "latent.steps=7", "loss.lpips_weights=some/where", "joint.reset_generator=yes", "seed=4")
    ours = override(InversionConfig(), changes)
    expected = to_dict(InversionConfig())
    expected |= {"seed": 4}
    expected["latent"]["steps"], expected["joint"]["reset_generator"] = 7, True
    expected["loss"]["lpips_weights"] = "some/where"
    assert to_dict(ours) == expected
    assert override(ours, ["loss.lpips_weights=none"]).loss.lpips_weights is None
    pair = override(GeneratorConfig(), ["superresolution.block_channels=(8, 4)", "camera_pivot=0,1,2"])
    assert pair.superresolution.block_channels == (8, 4) and pair.camera_pivot == (0.0, 1.0, 2.0)


def test_overrides_are_checked_together():
    """In whatever order: more views a step than there are by default, and as many pseudo-views."""
    for changes in (
        ["joint.views_per_step=20", "pseudo_views.count=20"],
        ["pseudo_views.count=20", "joint.views_per_step=20"],
    ):
        assert override(InversionConfig(), changes).joint == JointConfig(views_per_step=20)


def test_values_become_those_of_their_type():
    """So that configs which are equal are also the same static argument, and the same JSON."""
    config = LatentConfig(steps=np.int64(3), learning_rate=1, noise=np.float32(0.5))
    assert [type(getattr(config, name)) for name in ("steps", "learning_rate", "noise")] == [int, float, float]
    assert SuperresolutionConfig(block_channels=[8, 4]).block_channels == (8, 4)


def test_a_registered_name_can_be_set(monkeypatch):
    monkeypatch.setitem(PERCEPTUAL_TERMS, "mine", "somewhere:SOMETHING")
    assert override(InversionConfig(), ["loss.perceptual=mine"]).loss.perceptual == "mine"
