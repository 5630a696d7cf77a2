"""What is often saved under a checkpoint's name and is none: web pages, Git LFS pointers, archives still packed."""

from __future__ import annotations

import re

_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml|script)", re.IGNORECASE)
_LFS_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?size (\d+)")
_ARCHIVES = {
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\xfd7zXZ\x00": "an xz archive",
}
_TAR_MAGIC = slice(257, 262)


def explain(data: memoryview) -> str | None:
    """Says what a file is and what to do about it, if its first bytes are those of no checkpoint.

    Args:
      data: the file.

    Returns:
      "is ...: ..." for one line with the file's name before it; None for anything else.
    """
    start = bytes(data[:1024])
    if _PAGE.match(start):
        return (
            "is a web page, not a checkpoint: the address leads to a page about the file (a login, a licence to "
            "accept, a warning about its size); open it in a browser and save the file that the page offers"
        )
    if pointer := _LFS_POINTER.match(start):
        return (
            f"is a Git LFS pointer to a file of {int(pointer[1]) / 1e6:.0f} MB, not the file; run git lfs pull in the "
            "repository that it is from, or download the file itself"
        )
    for magic, name in _ARCHIVES.items():
        if start.startswith(magic):
            return f"is {name}; unpack it and give the checkpoint inside"
    if start[_TAR_MAGIC] == b"ustar":
        return "is a tar archive; unpack it and give the checkpoint inside"
    return None
