"""A batch from its manifest to its results: who does what, what runs, what has failed, what is written.

Images enter the slots of a `Batch` as these become free, so that none waits for another to be done. Pictures are read
ahead, and results written beside the optimisation, in threads. What goes wrong with one image is recorded as its
failure, and the job goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from etils import epath

from pmv_jax.batch import cluster, memory, summary
from pmv_jax.batch import slots as batch
from pmv_jax.batch.monitor import JobProgress, Monitor
from pmv_jax.checkpoints.encoder import load_encoder
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.commandline import exit_codes, heap
from pmv_jax.config import InversionConfig, to_dict
from pmv_jax.errors import NumericalError, disk_problem
from pmv_jax.inputs import person
from pmv_jax.inputs.manifest import Manifest
from pmv_jax.inversion import pipeline
from pmv_jax.inversion.image_run import ImageRun
from pmv_jax.models.encoder import Encoder
from pmv_jax.models.generator import Generator
from pmv_jax.results.remote import Space, check_outputs, open_space
from pmv_jax.results.writing import write_result

_LOG = logging.getLogger(__name__)

RETRY_RATE = 0.3  # of the learning rates, for the second try of an image whose loss was not finite
SUMMARY_SECONDS = 60.0  # between two summaries while the job runs


@dataclasses.dataclass(frozen=True)
class Options:
    """How a job is run; none of them changes a result, but for `align` and `force`.

    Attributes:
      batch: images at a time on each device; None is what fits.
      writers: results written at a time, beside the optimisation; 0: in its place.
      align: False takes every picture as it is, whatever the manifest says.
      force: do again what is finished; go on with a doubtful face.
      strict: stop at the first failure.
      log_directory: for scalars as JSON lines, a file for each process.
    """

    batch: int | None = None
    writers: int = 1
    align: bool = True
    force: bool = False
    strict: bool = False
    log_directory: str | None = None


def run(
    images: Manifest,
    out: str,
    generator_directory: Path,
    config: InversionConfig,
    options: Options,
    progress: JobProgress | None = None,
) -> int:
    """Inverts what is missing, or this process's share of it.

    Args:
      images: all of the job.
      out: directory of the results, or an address that `etils.epath` knows.
      generator_directory: of the generator that all start from.
      config: the recipe.
      options: how.
      progress: called whenever more is done.

    Returns:
      The exit code: 0, or 3 if some images failed, with `strict` as soon as one has.

    Raises:
      InputError: `out` has results of another generator or recipe; or the disk fails.
      KeyboardInterrupt: the job was told to stop, and has saved what it had.
    """
    heap.give_back_after_compiling()
    directory = epath.Path(out)
    request = {"generator": str(generator_directory), "config": to_dict(config)}
    check_outputs(directory, request, force=options.force)
    done = frozenset() if options.force else summary.finished(directory)
    todo = cluster.share([i for i, name in enumerate(images.names) if name not in done], len(images))
    generator = load_generator(generator_directory)
    encoder = load_encoder(generator_directory, generator)
    job = Job(images, todo, directory, generator, str(generator_directory), config, options, encoder, progress)
    try:
        failed = job.run()
    except _StoppedByFailure:
        return exit_codes.SOME_FAILED
    cluster.finish()
    return exit_codes.SOME_FAILED if failed else 0


class _StoppedByFailure(Exception):
    """An image has failed, and the job is `strict`."""


@dataclasses.dataclass
class _Item:
    """An image, or several of one person, between the pictures and the result."""

    index: int
    name: str
    image: str
    target: person.Person | Exception | None = None  # an exception: why a picture cannot be read
    space: Space | None = None
    attempt: int = 1
    run: ImageRun | None = None


class Job:
    """The share of one process: the indices `todo` of `images`. The generator goes by `generator_name` in what results
    remember, `out` is their directory, and the rest is as in `run`."""

    def __init__(
        self,
        images: Manifest,
        todo: Sequence[int],
        out: epath.Path,
        generator: Generator,
        generator_name: str,
        config: InversionConfig,
        options: Options,
        encoder: Encoder | None = None,
        progress: JobProgress | None = None,
    ) -> None:
        self._images, self._todo, self._out = images, todo, out
        self._generator, self._generator_name = generator, generator_name
        self._config, self._options, self._encoder, self._progress = config, options, encoder, progress
        self._summary = summary.Summary(out, images)
        self._memory: int | None = None
        self._failed: list[str] = []
        self._stopping = False

    def run(self) -> int:
        """Does the whole share, and returns how many images failed."""
        options, devices = self._options, len(jax.local_devices())
        with contextlib.ExitStack() as stack:
            if self._todo:
                self._memory = memory.needed(self._generator, self._config, 1)
                size = options.batch or memory.default_size(self._memory, -(-len(self._todo) // devices))
                loader = stack.enter_context(ThreadPoolExecutor(1, "loader"))
                writers = None
                if options.writers:
                    writers = stack.enter_context(ThreadPoolExecutor(options.writers, "writer"))
                self._monitor = stack.enter_context(Monitor(len(self._todo), options.log_directory, self._progress))
                stack.enter_context(self._stop_on_signals())
                try:
                    self._work(size, self._prefetched(loader, size * devices), writers)
                except BaseException:
                    loader.shutdown(wait=False, cancel_futures=True)
                    raise
            self._summary.write()
        failed = len(self._failed)
        done = len(self._todo) - failed
        _LOG.info("%d of %d images done here, %d failed: %s", done, len(self._images), failed, self._out)
        return failed

    def _work(self, size: int, items: Iterator[Future[_Item]], writers: Executor | None) -> None:
        slots = batch.Batch(self._generator, size)
        running: dict[int, _Item] = {}
        again: deque[_Item] = deque()  # to be taken up before others
        writing: deque[tuple[_Item, Future[None]]] = deque()
        summed = time.monotonic()
        while True:
            while (slot := slots.free) is not None and not self._stopping:
                item = again.popleft() if again else self._next(items)
                if item is None:
                    break
                problem = self._enter(item, slots.generator(slot))
                if problem is not None or item.run.stage is None:
                    self._leave(item, problem, again, writers, writing)
                else:
                    slots.runs[slot], running[slot] = item.run, item
            if not running or self._stopping:
                break
            try:
                ended = slots.advance()
            except batch.OutOfMemory as error:
                items_lost, running = list(running.values()), {}
                if slots.size > 1:
                    slots = batch.Batch(self._generator, slots.size // 2)
                    warnings.warn(f"out of memory; {slots.size} images at a time from now on", stacklevel=2)
                    again.extend(items_lost)
                else:
                    for item in items_lost:
                        self._leave(item, error, again, writers, writing)
                continue
            for slot, problem in ended:
                slots.runs[slot] = None
                self._leave(running.pop(slot), problem, again, writers, writing)
            # What waits to be written holds memory, on the disk's side and on the device's.
            while writing and (writing[0][1].done() or len(writing) > size + self._options.writers):
                self._written(*writing.popleft())
            if time.monotonic() - summed > SUMMARY_SECONDS and jax.process_index() == 0:
                self._summary.write()
                summed = time.monotonic()
        while writing:
            self._written(*writing.popleft())
        if self._stopping:
            for item in running.values():
                item.run.save()
            self._summary.write()
            raise KeyboardInterrupt

    # -----------------------------------------------------------------------------------------------------------------
    # One image
    # -----------------------------------------------------------------------------------------------------------------

    def _prefetched(self, loader: Executor, ahead: int) -> Iterator[Future[_Item]]:
        """Futures of what `_load` gives, some of them at work already."""
        queue: deque[Future[_Item]] = deque()
        for index in self._todo:
            queue.append(loader.submit(self._load, index))
            if len(queue) > ahead:
                yield queue.popleft()
        yield from queue

    def _load(self, index: int) -> _Item:
        """Reads the picture; whatever goes wrong is kept for `_next`."""
        item = _Item(index, self._images.names[index], "")
        try:
            entry = self._images[index]
            item.image = entry.image
            sources = person.read(entry, self._config, self._options.align)
            item.target = person.align(sources, self._generator.config, self._options.force, self._encoder)
        except Exception as error:
            item.target = error
        return item

    def _next(self, items: Iterator[Future[_Item]]) -> _Item | None:
        """The next image whose picture could be read; None at the end."""
        for future in items:
            item = future.result()
            if not isinstance(item.target, Exception):
                return item
            self._fail(item, item.target)
        return None

    def _enter(self, item: _Item, generator: Generator) -> Exception | None:
        """Starts an image, or continues it; returns what is wrong with it, if anything is."""
        target, config = item.target, item.target.config
        try:
            if item.space is None:
                summary.forget_failure(self._out, item.name)
                request = target.request(self._generator_name)
                item.space = open_space(self._out / item.name, request, self._options.force)
            attempts = [int(path.name) for path in item.space.state.glob("[0-9]")]
            item.attempt = max([item.attempt, *attempts])
            state = item.space.state / str(item.attempt)
            state.mkdir(exist_ok=True)
            for _ in range(item.attempt - 1):
                config = _slower(config)
            stages = pipeline.stages(target.photographs, generator, config, encoder=self._encoder)
            watch = self._monitor.watch(item.name, _steps(config, target, self._encoder is not None))
            item.run = ImageRun(stages, config.seed, watch, state)
        except Exception as error:
            return error
        return None

    def _leave(
        self,
        item: _Item,
        problem: Exception | None,
        again: deque[_Item],
        writers: Executor | None,
        writing: deque[tuple[_Item, Future[None]]],
    ) -> None:
        """What becomes of an image that has left the batch."""
        if isinstance(problem, NumericalError) and item.attempt == 1:
            warnings.warn(f"{item.name}: {problem}; once more with {RETRY_RATE} of the learning rates", stacklevel=2)
            item.attempt = 2
            again.append(item)
        elif problem is not None:
            _raise_if_disk(problem)
            self._fail(item, problem)
        elif writers is None:
            future: Future[None] = Future()
            try:
                self._write(item)
                future.set_result(None)
            except Exception as error:
                future.set_exception(error)
            self._written(item, future)
        else:
            writing.append((item, writers.submit(self._write, item)))

    def _write(self, item: _Item) -> None:
        inversion = dataclasses.replace(item.run.result, stages=tuple(item.run.records))
        result = item.space.result
        write_result(result, inversion, item.target.photographs, title=item.name, peak_memory=self._memory)
        item.target.write_alignments(result, self._generator, inversion.cameras)
        item.space.publish()

    def _written(self, item: _Item, future: Future[None]) -> None:
        error = future.exception()
        if error is not None:
            _raise_if_disk(error)
            self._fail(item, error)
        else:
            self._monitor.finish(item.name)

    def _fail(self, item: _Item, error: Exception) -> None:
        summary.record_failure(self._out, item.name, item.image, error)
        if item.space is not None:
            item.space.discard()
        self._failed.append(item.name)
        self._monitor.finish(item.name, failed=True)
        warnings.warn(f"{item.name}: failed: {error}", stacklevel=2)
        if self._options.strict:
            self._summary.write()
            raise _StoppedByFailure

    @contextlib.contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM let the running chunk end and its state be saved; a second one does not wait."""

        def stop(number: int, frame: Any) -> None:
            if self._stopping:
                raise KeyboardInterrupt
            self._stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _raise_if_disk(error: BaseException) -> None:
    """A disk that fails would hit all others as well."""
    if disk_problem(error) is not None:
        raise error


def _slower(config: InversionConfig) -> InversionConfig:
    """The recipe with lower learning rates."""
    stages = {}
    for name in ("latent", "tuning", "joint"):
        stage = getattr(config, name)
        stages[name] = dataclasses.replace(stage, learning_rate=RETRY_RATE * stage.learning_rate)
    return dataclasses.replace(config, **stages)


def _steps(config: InversionConfig, target: person.Person, has_encoder: bool) -> int:
    """How many steps an image takes at most."""
    searched = 0
    for photograph in target.photographs:
        seen = has_encoder and photograph.matte is not None
        if photograph.camera is None and not seen:
            begun = has_encoder or photograph.guess is not None
            searched += (not begun) + config.camera.refine_steps
    return searched + config.latent.steps + config.tuning.steps + config.joint.steps
