"""What a setting is: a field of a frozen dataclass, with a type, a default and a range, checked whenever it is set.

    @dataclass(frozen=True)
    class LatentConfig(Settings, group="latent"):
        steps: int = setting(60, low=0, high=MOST_STEPS)

Groups nest, and the whole tree goes to plain data and back, which is how it travels in JSON files.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import types
import typing
import warnings
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar

from pmv_jax.errors import InputError, suggestion

Config = TypeVar("Config", bound="Settings")

MOST_STEPS = 1_000_000  # of any stage


def setting(
    default: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    names: Collection[str] | None = None,
    repr: bool = True,
) -> Any:
    """A field of a group of settings.

    Args:
      default: its value where nothing else is said.
      low, high: the smallest and the largest number that it takes, for tuples of each member. None is always allowed
        where the type allows it.
      names: what a string may be, looked up when it is checked, so that a registry can grow. None: anything.
      repr: whether the group's `repr` shows it.

    Returns:
      What `dataclasses.field` returns.
    """
    return dataclasses.field(default=default, repr=repr, metadata={"low": low, "high": high, "names": names})


class Settings:
    """Base of all groups of settings. A group is a frozen dataclass whose fields are `setting`s or other groups.

    Values are checked by the constructor, so also by `dataclasses.replace`; whole numbers become floats where floats
    are asked for, and lists tuples.

    Raises:
      InputError: a value is not of its type, or outside of its range. The message is one line with the setting's name,
        the value and the range.
    """

    def __init_subclass__(cls, group: str = "") -> None:
        cls.group = group  # what stands before the names of its fields, as in latent.steps

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, checked(type(self), field.name, getattr(self, field.name)))


@functools.cache
def hints(cls: type[Settings]) -> dict[str, Any]:
    """The types of a group's fields by name."""
    return typing.get_type_hints(cls)


def path(cls: type[Settings], name: str) -> str:
    """How a setting is called on the command line: latent.steps."""
    return f"{cls.group}.{name}" if cls.group else name


def checked(cls: type[Settings], name: str, value: Any) -> Any:
    """The value of a setting, as its type has it.

    Raises:
      InputError: it is not of that type, or outside of the setting's range.
    """
    hint, limits = hints(cls)[name], cls.__dataclass_fields__[name].metadata
    try:
        typed = _typed(value, hint)
        if _within(typed, limits):
            return typed
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"setting {path(cls, name)}: {value!r} is not {describe(hint, limits)}")


def to_dict(config: Settings) -> dict[str, Any]:
    """Nested dict of plain values."""
    return dataclasses.asdict(config)


def from_dict(cls: type[Config], data: Any, lenient: bool = False) -> Config:
    """Inverse of `to_dict`, also after a round trip through JSON. Missing settings take their defaults.

    Args:
      cls: the group.
      data: nested mapping of plain values.
      lenient: for files of other versions: settings that there are not, and values that are not possible, are named in
        a warning, and defaults taken.

    Raises:
      InputError: unknown settings, values of the wrong type or outside of their ranges, or no mapping at all.
    """
    left_out: list[str] | None = [] if lenient else None
    config = _build(cls, data, left_out)
    if left_out:
        warnings.warn(f"settings of another version of pmv_jax are left out: {', '.join(left_out)}", stacklevel=2)
    return config


def check_name(cls: type[Settings], name: Any) -> None:
    """Raises InputError if a group has no such setting; the nearest one is suggested."""
    if name not in hints(cls):
        raise InputError(f"unknown setting {path(cls, name)!r}; {suggestion(str(name), hints(cls))}")


def describe(hint: Any, limits: Mapping[str, Any]) -> str:
    """What a setting takes, in words."""
    args = typing.get_args(hint)
    if type(None) in args:
        return f"none or {describe(_without_none(hint), limits)}"
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, args))
    if typing.get_origin(hint) is tuple:
        return f"{len(args)} comma-separated values, each {describe(args[0], limits)}"
    if limits.get("names") is not None:
        return "one of " + ", ".join(limits["names"])
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return words.get(hint, "a group of settings") + (_range(limits) if hint in (int, float) else "")


def _range(limits: Mapping[str, Any]) -> str:
    low, high = limits["low"], limits["high"]
    if math.isinf(high):
        return "" if math.isinf(low) else f" of at least {low}"
    return f" from {low} to {high}"


def _build(cls: type[Config], data: Any, left_out: list[str] | None) -> Config:
    """`from_dict`; `left_out`, if given, takes the names of what does not fit."""
    if not isinstance(data, Mapping):
        raise InputError(f"setting {cls.group or 'config'}: {data!r} is not a group of settings")
    values = {}
    for name, value in data.items():
        try:
            check_name(cls, name)
            hint = hints(cls)[name]
            group = isinstance(hint, type) and issubclass(hint, Settings)
            values[name] = _build(hint, value, left_out) if group else checked(cls, name, value)
        except InputError:
            if left_out is None:
                raise
            left_out.append(path(cls, name))
    return cls(**values)


def _without_none(hint: Any) -> Any:
    (kind,) = set(typing.get_args(hint)) - {type(None)}
    return kind


def _typed(value: Any, hint: Any) -> Any:
    """A value as one of type `hint`; raises ValueError where it is not one."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _typed(value, _without_none(hint))
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_typed(member, kind) for member, kind in zip(value, args, strict=True))
    if origin is Literal:
        fits = value in args
    elif hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        fits = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
        value = hint(value) if fits else value
    else:
        fits = origin is None and isinstance(value, hint)
    if not fits:
        raise ValueError
    return value


def _within(value: Any, limits: Mapping[str, Any]) -> bool:
    if isinstance(value, tuple):
        return all(_within(member, limits) for member in value)
    if isinstance(value, str):
        return limits.get("names") is None or value in limits["names"]
    if value is None or isinstance(value, (bool, Settings)):
        return True
    return limits["low"] <= value <= limits["high"]
