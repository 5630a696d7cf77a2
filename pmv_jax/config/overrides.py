"""Settings changed one at a time, as on the command line: `--set latent.steps=200`."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any

from pmv_jax.config.settings import Config, Settings, check_name, from_dict, hints, to_dict
from pmv_jax.errors import InputError

_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def override(config: Config, assignments: Iterable[str]) -> Config:
    """Applies `stage.field=value` assignments to a tree of settings, all at once.

    Args:
      config: what to start from.
      assignments: in order; of two to the same setting the last one counts.

    Raises:
      InputError: no `=`, an unknown name (the nearest is suggested), or a value that the setting does not take.
    """
    data = to_dict(config)
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise InputError(f"--set {assignment}: expected key=value, for example tuning.steps=200")
        _assign(data, type(config), name.strip(), text.strip())
    return from_dict(type(config), data)


def _assign(data: dict[str, Any], cls: type[Settings], name: str, text: str) -> None:
    """Sets one value, at any depth of a tree of plain values."""
    *groups, last = name.split(".")
    for group in groups:
        check_name(cls, group)
        cls, data = hints(cls)[group], data[group]
        if not _is_group(cls):
            raise InputError(f"--set {name}: {group} is a single value, not a group")
    check_name(cls, last)
    hint = hints(cls)[last]
    if _is_group(hint):
        raise InputError(f"--set {name}: is a group; set one of {', '.join(hints(hint))}")
    data[last] = _parsed(text, hint)


def _is_group(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Settings)


def _parsed(text: str, hint: Any) -> Any:
    """Text as a plain value of about the right kind, which the constructor then checks."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return [_parsed(part.strip(), args[0]) for part in text.strip("()[]").split(",")]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = set(args) - {type(None)}
        return None if text.lower() in ("none", "null") else _parsed(text, hint)
    if hint is bool:
        return _TRUTH.get(text.lower(), text)
    for kind in (int, float) if hint in (int, float) else ():
        try:
            return kind(text)
        except ValueError:
            pass
    return text
