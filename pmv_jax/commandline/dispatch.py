"""Commands of several kinds, as `python -m pmv_jax.convert eg3d`: the first argument names a module of a folder."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from pmv_jax.commandline import exit_codes
from pmv_jax.errors import suggestion


def kinds(folder: Path) -> dict[str, str]:
    """Names of the modules in a folder whose `main` is a command, with the first line of each; none is imported."""
    found = {}
    for path in sorted(folder.glob("[!_]*.py")):
        module = ast.parse(path.read_text())
        functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
        if any(node.name == "main" and node.decorator_list for node in functions):
            found[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def dispatch(package: str, folder: Path, program: str, arguments: Sequence[str] | None) -> int:
    """Calls the `main` that the first argument names with those after it; lists all, where there is none or `--help`.

    Args:
      package: dotted name of the folder that the modules stand in.
      folder: where it lies.
      program: what the list says before each name, such as `python -m pmv_jax.convert`.
      arguments: of the command line; None takes those of the process.

    Returns:
      The exit code.
    """
    name, *others = (sys.argv[1:] if arguments is None else list(map(str, arguments))) or ["--help"]
    known = kinds(folder)
    if name in ("--help", "-h"):
        width = max(map(len, known))
        print("\n".join(f"{program} {kind:<{width}}  {line}" for kind, line in known.items()))
        return 0
    if name not in known:
        print(f"error: {program} knows no {name!r}; {suggestion(name, known)}", file=sys.stderr)
        return exit_codes.BAD_INPUT
    return importlib.import_module(f"{package}.{name}").main(others)
