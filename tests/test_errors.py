"""Errors of the disk are found inside of what libraries make of them."""

import errno
import os

import pytest

from pmv_jax.errors import InputError, disk_problem

FULL = os.strerror(errno.ENOSPC)


def test_message_is_one_line():
    assert str(InputError("a\n  b")) == "a b"


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.ENOSPC, FULL), FULL),
        (OSError(errno.ENOSPC, FULL, "a.png"), f"a.png: {FULL}"),
        (ValueError(f"INTERNAL: writing shard: {FULL}"), FULL),
        (FileNotFoundError(errno.ENOENT, "no such file", "a.png"), None),  # not the disk's fault
        (KeyError("a"), None),
        (None, None),
    ],
)
def test_disk_problem(error, problem):
    assert disk_problem(error) == problem
    wrapped = RuntimeError("while saving")
    wrapped.__cause__ = error
    assert disk_problem(wrapped) == problem
