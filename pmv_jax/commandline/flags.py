"""Flags of commands.

Each command has a set of its own, so that commands can be imported side by side, and none of them registers anything
with absl's global set. What several commands have stands here once, under the same name everywhere:

    FLAGS = Flags()
    _IMAGE = FLAGS.string("image", None, "Picture to invert.")
    _OUT = FLAGS.out()

    @command(FLAGS)
    def main() -> int:
        print(_IMAGE.value)
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from absl.flags import FlagHolder, FlagValues

from pmv_jax.config import InversionConfig, load_recipe, override
from pmv_jax.errors import InputError

LARGEST_SEED = 2**31 - 1


class Flags:
    """The flags of one command, `--help` among them. Each method but the last four defines one.

    Of their arguments `name` is the flag's, `default` its value where it is not given, `text` its line of help; numbers
    are from `least` to `most`, both included.
    """

    def __init__(self) -> None:
        self._values = FlagValues()
        self._help = flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=self._values)

    # -----------------------------------------------------------------------------------------------------------------
    # Of any name
    # -----------------------------------------------------------------------------------------------------------------

    def string(self, name: str, default: str | None, text: str) -> FlagHolder[str | None]:
        """Any text."""
        return flags.DEFINE_string(name, default, text, flag_values=self._values)

    def strings(self, name: str, text: str) -> FlagHolder[list[str]]:
        """Any text; can be repeated."""
        return flags.DEFINE_multi_string(name, [], text, flag_values=self._values)

    def items(self, name: str, default: list[str], text: str) -> FlagHolder[list[str]]:
        """Texts separated by commas."""
        return flags.DEFINE_list(name, default, text, flag_values=self._values)

    def choice(self, name: str, default: str | None, values: Sequence[str], text: str) -> FlagHolder[str | None]:
        """One of some values."""
        return flags.DEFINE_enum(name, default, list(values), text, flag_values=self._values)

    def switch(self, name: str, default: bool, text: str) -> FlagHolder[bool]:
        """`--name` or `--noname`."""
        return flags.DEFINE_bool(name, default, text, flag_values=self._values)

    def integer(
        self, name: str, default: int | None, text: str, least: int | None = None, most: int | None = None
    ) -> FlagHolder[int | None]:
        """A whole number."""
        return flags.DEFINE_integer(
            name, default, text, lower_bound=least, upper_bound=most, flag_values=self._values
        )  # fmt: skip

    def number(
        self, name: str, default: float | None, text: str, least: float | None = None, most: float | None = None
    ) -> FlagHolder[float | None]:
        """A number."""
        return flags.DEFINE_float(name, default, text, lower_bound=least, upper_bound=most, flag_values=self._values)

    def numbers(self, name: str, text: str) -> FlagHolder[list[float]]:
        """A number; can be repeated."""
        return flags.DEFINE_multi_float(name, [], text, flag_values=self._values)

    # -----------------------------------------------------------------------------------------------------------------
    # Of one name in all commands
    # -----------------------------------------------------------------------------------------------------------------

    def generator(self) -> FlagHolder[str | None]:
        """For `hub.local_directory`."""
        return self.string("generator", None, "Directory, or hf://user/name. Default: the demo generator.")

    def config(self) -> FlagHolder[str | None]:
        """For `recipe`."""
        return self.string("config", None, "Recipe: a name such as ffhq512, or a Python file. Default: demo.")

    def changes(self) -> FlagHolder[list[str]]:
        """For `recipe`."""
        return self.strings("set", "Change one setting: --set tuning.steps=200. Can be repeated.")

    def inversion(self) -> FlagHolder[str | None]:
        """For `inversion_directory`."""
        return self.string("inversion", None, "Result of python -m pmv_jax.invert. Required.")

    def out(self, default: str = "out/<image name>") -> FlagHolder[str | None]:
        """Where the result goes; `default` is for the help alone."""
        return self.string("out", None, f"Directory for the result; must not exist yet. Default: {default}.")

    def seed(self) -> FlagHolder[int | None]:
        """None where it was not given."""
        return self.integer("seed", None, "Seed of everything random.", least=0, most=LARGEST_SEED)

    def force(self) -> FlagHolder[bool]:
        """Whether something may be replaced."""
        text = "Replace an existing result, once the new one is complete; go on with a doubtful face."
        return self.switch("force", False, text)

    def resume(self) -> FlagHolder[bool]:
        """Whether to continue what was interrupted."""
        return self.switch("resume", False, "Continue an interrupted run; leave a finished result as it is.")

    # -----------------------------------------------------------------------------------------------------------------
    # What was given
    # -----------------------------------------------------------------------------------------------------------------

    def parse(self, arguments: Sequence[Any]) -> bool:
        """Takes the command line; what an earlier call has taken is forgotten.

        Returns:
          Whether help is asked for.

        Raises:
          absl.flags.Error, InputError: an unknown flag, an impossible value, or something that is no flag.
        """
        for name in self._values:
            self._values[name].unparse()
        surplus = self._values(["", *map(str, arguments)])[1:]
        if surplus:
            raise InputError(f"unexpected argument {surplus[0]!r}; every input has a flag, see --help")
        return self._help.value

    def given(self) -> list[str]:
        """Names of the flags that the command line had."""
        return [name for name in self._values if self._values[name].present]

    def knows(self, name: str) -> bool:
        """Whether the command has a flag of this name."""
        return name in self._values

    def help_text(self, description: str) -> str:
        """What `--help` shows: a description, and a line for each flag."""
        shown = {self._values[name].name: self._values[name] for name in self._values}  # a short name is a second one
        width = max(map(len, shown)) + 6
        lines = []
        for name, flag in shown.items():
            text = flag.help.partition(";\n")[0]  # absl adds a line of its own to the help of repeatable flags
            text = textwrap.fill(text, 110 - width, subsequent_indent=" " * width)
            lines.append(f"  --{name}".ljust(width) + text)
        return "\n".join([description.strip(), "", "Flags:", *lines])


def recipe(config: str | None, changes: Sequence[str]) -> InversionConfig:
    """What `--config` and `--set` say; raises InputError where they say nothing possible."""
    return override(load_recipe(config) if config else InversionConfig(), changes)


def inversion_directory(given: str | None) -> Path:
    """What `--inversion` says; raises InputError where it was not given."""
    if not given:
        raise InputError("--inversion is missing; give a result of python -m pmv_jax.invert")
    return Path(given)


def check_out(out: Path, force: bool) -> None:
    """Of a file that `--out` names, or of a folder, which has no suffix: nothing is replaced unasked.

    Raises:
      InputError: it exists and `--force` was not given; or a folder is where the file would be.
    """
    if out.exists() and not force:
        raise InputError(f"--out {out}: exists; give --force to replace it, or another name")
    if out.is_dir() and out.suffix:
        raise InputError(f"--out {out}: is a folder; give another name")
