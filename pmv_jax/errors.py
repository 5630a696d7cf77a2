"""The one exception that means "the input is wrong", as opposed to a defect in the program."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input or usage. The message is one line: what is wrong with which file or option, and what to do about it.

    Entry points print it on stderr and exit with code 2; library callers can catch it as a `ValueError`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


class NumericalError(ArithmeticError):
    """A loss became NaN or infinite. The message names the stage and the step."""
