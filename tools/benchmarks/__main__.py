"""Runs a benchmark by its name: `python -m tools.benchmarks NAME [FLAG]...`; without a name, lists them.

A benchmark is a module of this folder whose function `main` is a command.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from pmv_jax.commandline import exit_codes
from pmv_jax.errors import suggestion


def benchmarks() -> dict[str, str]:
    """Names of the benchmarks, and the first line of what each says of itself; none is imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        module = ast.parse(path.read_text())
        functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
        if any(node.name == "main" and node.decorator_list for node in functions):
            found[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def main(arguments: Sequence[str]) -> int:
    known = benchmarks()
    if not arguments:
        width = max(map(len, known))
        print("\n".join(f"python -m tools.benchmarks {name:<{width}}  {line}" for name, line in known.items()))
        return 0
    name, *flags = arguments
    if name not in known:
        print(f"error: {name}: no such benchmark; {suggestion(name, known)}", file=sys.stderr)
        return exit_codes.BAD_INPUT
    return importlib.import_module(f"tools.benchmarks.{name}").main(flags)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
