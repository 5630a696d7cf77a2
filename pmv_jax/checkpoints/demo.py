"""Where the demo generator lies."""

from __future__ import annotations

from pathlib import Path

from pmv_jax.errors import InputError

_PACKAGE = Path(__file__).resolve().parent.parent
# An installed package carries the weights inside (`setup.py` puts them there); in a checkout they lie beside it.
_PLACES = (_PACKAGE / "demo_weights", _PACKAGE.parent / "weights" / "demo")


def default_generator_directory() -> Path:
    """Directory of the demo generator, for `load_generator`.

    Raises:
      InputError: this installation has none.
    """
    for place in _PLACES:
        if place.is_dir():
            return place
    raise InputError("this installation has no demo generator; install the package again, or give --generator DIR")
