"""Recipes: Python files such as configs/ffhq512.py, whose `config()` returns an `InversionConfig`."""

from __future__ import annotations

import types
from pathlib import Path

from pmv_jax.config.inversion import InversionConfig
from pmv_jax.errors import InputError


def load_recipe(path: str | Path) -> InversionConfig:
    """Runs a recipe file (it is Python, and trusted like any script) and returns what its `config()` returns.

    Raises:
      InputError: the file is missing, fails to run, or its `config()` gives no `InversionConfig`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"--config {path}: no such file; recipes are Python files such as configs/demo.py")
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
        config = module.config()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"--config {path}: {problem}; see configs/demo.py for the form") from error
    if not isinstance(config, InversionConfig):
        raise InputError(f"--config {path}: config() must return a pmv_jax.config.InversionConfig, got {config!r}")
    return config
