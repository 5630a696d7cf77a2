"""What all commands share: their common flags, the exit codes, one-line errors, and the compilation cache.

Exit codes: 0 done, 2 bad input or usage (also a full disk), 3 some images of a batch failed, 75 interrupted and
resumable. Anything else that goes wrong is a defect, and shows its traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from absl import flags

from pmv_jax.config import InversionConfig, load_recipe, override
from pmv_jax.errors import InputError, NumericalError, disk_problem

EXIT_BAD_INPUT = 2
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 75  # sysexits.h EX_TEMPFAIL

GENERATOR = flags.DEFINE_string("generator", None, "Directory of a generator, or hf://user/name. Default: the demo.")
CONFIG = flags.DEFINE_string("config", None, "Recipe, a Python file. Default: every setting's own default.")
SET = flags.DEFINE_multi_string("set", [], "Change one setting: --set tuning.steps=200. Can be repeated.")
OUT = flags.DEFINE_string("out", None, "Directory for the result; must not exist yet. Default: out/<image name>.")
SEED = flags.DEFINE_integer("seed", None, "Seed of everything random.", lower_bound=0, upper_bound=2**31 - 1)
FORCE = flags.DEFINE_bool(
    "force", False, "Replace an existing result, once the new one is complete; go on with a doubtful face."
)
RESUME = flags.DEFINE_bool("resume", False, "Continue an interrupted run; leave a finished result as it is.")
_HELP = flags.DEFINE_bool("help", False, "Show this help.", short_name="h")


def recipe() -> InversionConfig:
    """What `--config` and `--set` say; raises InputError where they say nothing possible."""
    return override(load_recipe(CONFIG.value) if CONFIG.value else InversionConfig(), SET.value)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Parses the command line, runs `main`, and exits with the project's exit codes, or the one that `main` returns.

    To be called as `run(main)` by a module that runs as `__main__`. Its docstring and its flags, with those it adopts
    from here (`flags.adopt_module_key_flags(entry)`), are the text of `--help`.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's stop is a Ctrl-C
    warnings.showwarning = _show_warning
    _enable_compilation_cache()
    try:
        _parse_flags(sys.argv)
        if _HELP.value:
            print(_help_text(sys.modules["__main__"]))
        else:
            sys.exit(main() or 0)
        sys.exit(0)
    except (flags.Error, InputError, NumericalError) as error:
        _fail(str(error), EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        _fail("interrupted; the same command with --resume continues", EXIT_INTERRUPTED)
    except Exception as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        _fail(f"{problem}; free some space, check permissions, or choose another --out", EXIT_BAD_INPUT)


def _parse_flags(argv: list[str]) -> None:
    surplus = flags.FLAGS(argv)[1:]
    if surplus:
        raise InputError(f"unexpected argument {surplus[0]!r}; every input has a flag, see --help")
    known = {"help", *(flag.name for flag in _key_flags())}
    for flag in flags.FLAGS.flags_by_module_dict()[__name__]:
        if flag.present and flag.name not in known:
            raise InputError(f"--{flag.name} is no flag of this command; see --help")


def _key_flags() -> list[flags.Flag]:
    """The flags of the command: those that its module defines and those that it takes over from this one."""
    return flags.FLAGS.get_key_flags_for_module(sys.argv[0])


def _fail(message: str, code: int) -> NoReturn:
    print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """One line, where Python prints two with a path."""
    print("warning:", " ".join(str(message).split()), file=sys.stderr)


def _enable_compilation_cache() -> None:
    """Lets JAX keep compiled programs between runs. Must happen before JAX is imported."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pmv_jax" / "xla"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # no home, or a read-only one: compile every time
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)


def _help_text(module: types.ModuleType) -> str:
    shown = _key_flags()
    width = max(len(flag.name) for flag in shown) + 6
    lines = []
    for flag in shown:
        text = flag.help.partition(";\n")[0]  # absl adds a line of its own to the help of repeatable flags
        lines.append(f"  --{flag.name}".ljust(width) + textwrap.fill(text, 110 - width, subsequent_indent=" " * width))
    return "\n".join([(module.__doc__ or "").strip(), "", "Flags:", *lines])
