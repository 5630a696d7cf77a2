"""One or several photographs of a person, from an entry to what an inversion takes; each by `photograph`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pmv_jax.config import GeneratorConfig, InversionConfig
from pmv_jax.inputs import photograph
from pmv_jax.inputs.manifest import Entry

if TYPE_CHECKING:
    from pmv_jax.inversion.stage import Photograph
    from pmv_jax.models.encoder import Encoder


@dataclasses.dataclass(frozen=True)
class Person:
    """What is to be inverted as one head.

    Attributes:
      targets: of N photographs, at least one.
    """

    targets: tuple[photograph.Target, ...]

    @property
    def config(self) -> InversionConfig:
        """The recipe, with the entry's own settings: all photographs have the same."""
        return self.targets[0].source.config

    @property
    def photographs(self) -> tuple[Photograph, ...]:
        """As an inversion takes them."""
        return tuple(target.photograph for target in self.targets)

    def request(self, generator: str) -> dict[str, Any]:
        """Plain data that differs wherever the result would."""
        first, *others = (target.request(generator) for target in self.targets)
        return {**first, **({"others": others} if others else {})}

    def write_alignments(self, directory: Path, generator: Any, cameras: np.ndarray) -> None:
        """See `Target.write_alignment`, of each photograph in its folder of a result's directory, by the cameras
        [N, 25] that the inversion ended with."""
        for number, (target, camera) in enumerate(zip(self.targets, cameras, strict=True), 1):
            target.write_alignment(folder(directory, number), generator, camera)


def read(entry: Entry, config: InversionConfig, align: bool = True) -> list[photograph.Source]:
    """Reads the files of an entry and of those with it; without `align` all pictures are taken as they are.

    Raises:
      InputError: see `photograph.read`.
    """
    everyone = (entry, *entry.others)
    return [photograph.read(dataclasses.replace(one, align=one.align and align), config) for one in everyone]


def align(
    sources: Sequence[photograph.Source], family: GeneratorConfig, force: bool = False, encoder: Encoder | None = None
) -> Person:
    """Crops the photographs as the generator wants them. Arguments and errors: see `photograph.align`."""
    return Person(tuple(photograph.align(source, family, force, encoder) for source in sources))


def folder(directory: Path, number: int) -> Path:
    """Where a result has what belongs to one of its photographs, counted from 1, made if need be: the first's place is
    `directory` itself, the second's `photograph_2` below it, and so on."""
    place = directory if number == 1 else directory / f"photograph_{number}"
    place.mkdir(exist_ok=True)
    return place
