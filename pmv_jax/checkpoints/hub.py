"""Where generators lie, the demo one among them, and those of the Hugging Face Hub by name: `hf://user/name[@revision]`.

A repository of the hub holds what `save_generator` writes. It is fetched once by huggingface_hub, which the extra
`pmv_jax[hub]` installs and which keeps it in its own cache; HF_HUB_OFFLINE=1 uses what is there.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.errors import InputError, require

SCHEME = "hf://"
_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_FILES = ["generator.json", "variables/*"]  # nothing else of a repository is fetched


def local_directory(name: str | Path | None) -> Path:
    """The directory of a generator, on this machine.

    Args:
      name: the directory itself, or `hf://user/name[@revision]`, which is fetched, and the licence that its
        generator.json states shown as a warning; None is the demo generator.

    Raises:
      InputError: the name has another form, huggingface_hub is not installed, or it cannot fetch the repository; or
        this installation has no demo generator.
    """
    if not name:
        return default_generator_directory()
    if not str(name).startswith(SCHEME):
        return Path(name)
    match = _NAME.fullmatch(str(name).removeprefix(SCHEME))
    if match is None:
        raise InputError(f"{name}: is no name on the hub; write hf://user/name or hf://user/name@revision")
    huggingface_hub = require("huggingface_hub", "hub", f"{name}: fetching it")
    try:
        fetched = huggingface_hub.snapshot_download(
            match["repository"], revision=match["revision"], allow_patterns=_FILES
        )
    except Exception as error:  # the network's, the hub's and the disk's errors have no type in common
        reason = re.split(r"(?<=\.)\s", str(error).strip() or type(error).__name__)[0]  # the first sentence
        raise InputError(f"{name}: cannot be fetched ({reason[:200]}); check the name and the network") from error
    warnings.warn(f"{name}: licence: {_licence(Path(fetched))}", stacklevel=2)
    return Path(fetched)


def _licence(directory: Path) -> str:
    """What generator.json says of it; `load_generator` is who complains of files that are missing or damaged."""
    try:
        licence = json.loads((directory / "generator.json").read_text())["provenance"]["licence"]
    except (OSError, ValueError, KeyError, TypeError):
        return "not stated in generator.json; ask whoever published it"
    return " ".join(str(licence).split())[:500]
