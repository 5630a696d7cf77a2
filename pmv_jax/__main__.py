"""Lists the commands: `python -m pmv_jax`."""

from __future__ import annotations

import importlib
import sys

from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.commands import COMMANDS

FLAGS = Flags()


@command(FLAGS)
def main() -> None:
    width = max(map(len, COMMANDS))
    for name in COMMANDS:
        first_line = importlib.import_module(f"pmv_jax.commands.{name}").__doc__.partition("\n")[0]
        print(f"python -m pmv_jax.{name:<{width}}  {first_line}")
    print("\nEach shows its flags and examples with --help.")


if __name__ == "__main__":
    sys.exit(main())
