"""Recipes: Python files such as configs/ffhq512.py, whose `config()` returns an `InversionConfig`.

Those of the project go by their names; others are files.
"""

from __future__ import annotations

import types
from pathlib import Path

from pmv_jax.config.inversion import InversionConfig
from pmv_jax.errors import InputError

_PACKAGE = Path(__file__).resolve().parent.parent
# An installed package carries configs/ inside (`setup.py` puts it there); in a checkout it lies beside the package.
_PLACES = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def known_recipes() -> dict[str, Path]:
    """The project's own recipes by name."""
    return {path.stem: path for place in _PLACES for path in sorted(place.glob("*.py"))}


def load_recipe(recipe: str | Path) -> InversionConfig:
    """Runs a recipe (it is Python, and trusted like any script) and returns what its `config()` returns.

    Args:
      recipe: name of one of the project's own, such as "ffhq512", or a Python file.

    Raises:
      InputError: there is no such recipe or file, it fails to run, or its `config()` gives no `InversionConfig`.
    """
    path = _find(recipe)
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
        config = module.config()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"--config {path}: {problem}; see the recipe 'demo' for the form") from error
    if not isinstance(config, InversionConfig):
        raise InputError(f"--config {path}: config() must return a pmv_jax.config.InversionConfig, got {config!r}")
    return config


def _find(recipe: str | Path) -> Path:
    path, known = Path(recipe), known_recipes()
    if path.suffix or path.name != str(path):  # a file's name, not a recipe's
        if not path.is_file():
            raise InputError(f"--config {path}: no such file; give a Python file, or one of {', '.join(known)}")
        return path
    if path.name not in known:
        raise InputError(f"--config {path}: no recipe of that name; give a Python file, or one of {', '.join(known)}")
    return known[path.name]
