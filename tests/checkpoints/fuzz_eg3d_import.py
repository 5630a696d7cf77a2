"""Feeds damaged and hostile checkpoints to the reader behind pmv_jax.convert eg3d and reports what it does with them.

    python -m tests.checkpoints.fuzz_eg3d_import [--cases 10000] [--first 0] [--seed_file FILE.pkl] [--only N]

Every case mutates one small valid file of its own making (pickles of two protocols, both torch formats, .npz,
.safetensors) or FILE. Each must be read, or refused by one line (InputError), within 10 s and 1 GB plus twice the file,
without running or importing anything. Exit code 1 if any case does otherwise; --only N shows case N's traceback.
"""

from __future__ import annotations

import codecs
import collections
import contextlib
import gc
import os
import pickletools
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pmv_jax.checkpoints import eg3d, eg3d_families, eg3d_names
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.errors import InputError
from tests.checkpoints import fake_torch_files as fake

FLAGS = Flags()
_CASES = FLAGS.integer("cases", 10_000, "How many files to try.", least=1)
_FIRST = FLAGS.integer("first", 0, "Number of the first case; each is determined by its number.", least=0)
_SEED_FILE = FLAGS.string("seed_file", None, "Mutate this checkpoint instead of small ones.")
_ONLY = FLAGS.integer("only", None, "Run this one case and let its exception through.", least=0)

TIME_LIMIT = 10.0  # seconds a case
MEMORY_LIMIT = 1 << 30  # bytes, beyond twice the file
SPEC = {"init": fake.INIT, "rendering_kwargs": fake.RENDERING, "neural_rendering_resolution": 32}

_FORBIDDEN = (
    "import", "exec", "compile", "os.", "subprocess.", "pickle.find_class", "marshal.", "socket.", "ctypes.", "shutil.",
)  # fmt: skip
_CODECS = ("cp437", "raw_unicode_escape", "latin-1", "utf-8")  # Python imports these when they are first used
_EXTREMES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1]
_ATTACKS = [
    b"cos\nsystem\nX\x09\x00\x00\x00touch OWN\x85R",
    b"cbuiltins\neval\nX\x04\x00\x00\x001+1\n\x85R",
    b"cbuiltins\ngetattr\ncos\nX\x06\x00\x00\x00system\x86R",
    b"\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R",
    b"ctorch.storage\n_load_from_bytes\nC\x03abc\x85R",
    b"(i__main__\nX\n",
    b"\x8b\xff\xff\xff\x7f",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x94h\x00h\x00\x86" * 20,
    b"2" * 50,
    b"(" * 50,
    b"l" * 5,
]


class Hang(Exception):
    """A case ran into the time limit."""


def small_seeds() -> list[bytes]:
    def state_dict(write: Any) -> Any:
        items = {name: write(array) for name, array in fake.SMALL_TENSORS.items()}
        return fake.call("collections.OrderedDict", items=items)

    return [
        fake.official_pickle(protocol=4),
        fake.official_pickle(protocol=2),
        fake.with_storages(fake.legacy_file, state_dict),
        fake.with_storages(fake.zip_file, lambda write: fake.generator(write=write)),
        fake.npz(fake.SMALL_TENSORS),
        fake.compressed_npz(fake.SMALL_TENSORS),
        fake.safetensors(fake.SMALL_TENSORS),
    ]


def mutate(seeds: list[bytes], case: int) -> bytes:
    """The file of a case: a seed with one to four kinds of damage."""
    rng = np.random.default_rng(case)
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 5)):
        _MUTATIONS[rng.integers(len(_MUTATIONS))](data, rng, seeds)
    return bytes(data)


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """A position; half of the time near the start, where the structure is."""
    return int(rng.integers(max(1, min(len(data), 4000) if rng.random() < 0.5 else len(data))))


def _flip(data: bytearray, rng: np.random.Generator, seeds: list[bytes]) -> None:
    for _ in range(rng.integers(1, 40)):
        if data:
            data[_place(data, rng)] = rng.integers(256)


def _extreme(data: bytearray, rng: np.random.Generator, seeds: list[bytes]) -> None:
    start, width = _place(data, rng), int(rng.choice([1, 2, 4, 8]))
    value = _EXTREMES[rng.integers(len(_EXTREMES))] % (1 << 8 * width)
    data[start : start + width] = value.to_bytes(width, "little")


def _truncate(data: bytearray, rng: np.random.Generator, seeds: list[bytes]) -> None:
    del data[_place(data, rng) :]


def _cut(data: bytearray, rng: np.random.Generator, seeds: list[bytes]) -> None:
    start = _place(data, rng)
    del data[start : start + int(rng.integers(1, 100))]


def _repeat(data: bytearray, rng: np.random.Generator, seeds: list[bytes]) -> None:
    start, size = _place(data, rng), int(rng.integers(1, 100))
    data[start:start] = data[start : start + size] * int(rng.integers(1, 200))


def _splice(data: bytearray, rng: np.random.Generator, seeds: list[bytes]) -> None:
    other = seeds[rng.integers(len(seeds))]
    start = int(rng.integers(len(other)))
    data[_place(data, rng) :] = other[start:]


def _attack(data: bytearray, rng: np.random.Generator, seeds: list[bytes]) -> None:
    """Hostile instructions, between two instructions where the data is a pickle."""
    start = _place(data, rng)
    positions = []
    with contextlib.suppress(Exception):
        for _, _, position in pickletools.genops(bytes(data[:20_000])):
            positions.append(position)
    if positions:
        start = positions[rng.integers(len(positions))]
    data[start:start] = _ATTACKS[rng.integers(len(_ATTACKS))]


def _rename(data: bytearray, rng: np.random.Generator, seeds: list[bytes]) -> None:
    """Another global in the place of one that the reader knows."""
    names = b"_rebuild_tensor_v2 _load_from_bytes OrderedDict _reconstruct_persistent_obj FloatStorage".split()
    old, new = names[rng.integers(len(names))], names[rng.integers(len(names))]
    data[:] = data.replace(old, (new if rng.random() < 0.7 else b"system")[: len(old)].ljust(len(old), b"_"))


def _opcodes(data: bytearray, rng: np.random.Generator, seeds: list[bytes]) -> None:
    for _ in range(rng.integers(1, 10)):
        if data:
            data[_place(data, rng)] = ord(pickletools.opcodes[rng.integers(len(pickletools.opcodes))].code)


_MUTATIONS = [_flip, _extreme, _truncate, _cut, _repeat, _splice, _attack, _rename, _opcodes]


class Watch:
    """Notes audit events that reading a file has no business to cause."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.events: list[str] = []
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        self.path = str(path)
        try:
            yield
        finally:
            self.path = None

    def _hook(self, event: str, args: tuple) -> None:
        if self.path is None:
            return
        opened = event == "open" and os.fspath(args[0]) != self.path
        if opened or event.startswith(_FORBIDDEN):
            self.events.append(f"{event} {str(args[:1])[:80]}")


def read(path: Path, shapes: dict[str, Any]) -> None:
    """All of the import that looks at the file's content."""
    try:
        state = eg3d.read_checkpoint(path)
    except InputError as error:
        if "give --spec" not in str(error):
            raise
        state = eg3d.read_checkpoint(path, spec=SPEC)
    eg3d_families.generator_config(state)
    eg3d_names.to_variables(shapes, state.tensors, str(path))


def shapes_of(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Variables of the model that these tensors would fill."""
    tree: dict[str, Any] = {}
    for name, array in tensors.items():
        *parents, leaf = name.replace(".net.", ".net_").split(".")
        node = tree.setdefault("params", {})
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = np.broadcast_to(0, [array.shape[i] for i in eg3d_names.torch_order(leaf, array.ndim)])
    return tree


@command(FLAGS)
def main() -> None:
    seeds = [Path(_SEED_FILE.value).read_bytes()] if _SEED_FILE.value else small_seeds()
    largest = max(map(len, seeds))
    watch, outcomes = Watch(), collections.Counter()
    failures: list[str] = []
    slowest = 0.0
    signal.signal(signal.SIGALRM, _alarm)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case")
        path.write_bytes(seeds[0])
        shapes = shapes_of(eg3d.read_checkpoint(path).tensors)
        for codec in _CODECS:
            codecs.lookup(codec)
        for seed in seeds:  # everything that is imported late is imported now; and seeds must be readable
            path.write_bytes(seed)
            read(path, shapes)
        baseline = _peak_memory()
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = size + MEMORY_LIMIT + 2 * (largest + 100_000)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
        first = _FIRST.value if _ONLY.value is None else _ONLY.value
        for case in range(first, first + (_CASES.value if _ONLY.value is None else 1)):
            path.write_bytes(mutate(seeds, case))
            start, outcome = time.perf_counter(), "read"
            signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT)
            try:
                with watch.reading(path):
                    read(path, shapes)
            except InputError as error:
                outcome = "refused"
                if str(path) not in str(error):
                    failures.append(f"case {case}: the message does not name the file: {str(error)[:200]}")
            except (Exception, RecursionError) as error:
                if _ONLY.value is not None:
                    raise
                outcome = "hang" if isinstance(error, Hang) else "traceback"
                failures.append(f"case {case}: {type(error).__name__}: {str(error)[:200]}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if watch.events:
                outcome = "executed"
                failures.append(f"case {case}: {watch.events[0]}")
                watch.events.clear()
            outcomes[outcome] += 1
            slowest = max(slowest, time.perf_counter() - start)
            if case % 1000 == 0:
                gc.collect()
    figures = {
        "cases": outcomes.total(),
        "read": outcomes["read"],
        "refused in one line": outcomes["refused"],
        "executed or imported something": outcomes["executed"],
        "hangs": outcomes["hang"],
        "tracebacks": outcomes["traceback"],
        "slowest case, seconds": f"{slowest:.2f}",
        "peak memory above the start, MB": f"{(_peak_memory() - baseline) / 1e6:.0f}",
        "largest unmutated file, MB": f"{largest / 1e6:.3f}",
    }
    print("\n".join(f"{label:34}{value}" for label, value in figures.items()), *failures[:50], sep="\n")
    sys.exit(bool(failures))


def _alarm(*_: Any) -> None:
    raise Hang


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
