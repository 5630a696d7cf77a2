"""Runs a benchmark by its name: `python -m tools.benchmarks NAME [FLAG]...`; without a name, lists them.

A benchmark is a module of this folder whose function `main` is a command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pmv_jax.commandline.dispatch import dispatch

FOLDER = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark that the first argument names, and returns its exit code."""
    return dispatch("tools.benchmarks", FOLDER, "python -m tools.benchmarks", arguments)


if __name__ == "__main__":
    sys.exit(main())
