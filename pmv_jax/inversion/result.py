"""What an inversion gives: a head that can be rendered from anywhere, saved and loaded."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax.checkpoints import orbax as checkpoints
from pmv_jax.config import GeneratorConfig, InversionConfig, from_dict, to_dict
from pmv_jax.errors import InputError
from pmv_jax.inversion import tuned_weights
from pmv_jax.inversion.image_run import StageRecord
from pmv_jax.inversion.pseudo_views import PseudoViews
from pmv_jax.models import frames
from pmv_jax.models.generator import Generator

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Inversion:
    """One or several photographs of a person as a head that can be rendered from anywhere.

    Attributes:
      generator: with the tuned parameters.
      ws: pivot [num_ws, w_dim].
      camera: [25] of the input, the first one if there are several.
      config: the recipe.
      stages: what was run.
      pseudo_views: what the joint tuning was shown; None if it was not run, or after loading.
      head_limits: for each input [n, n], z-depths up to which the head may reach in it (`outline`), or None without a
        backdrop; none at all after loading.
      tuned: what was tuned of the generator, see `tuned_weights`; None after loading all of it.
      other_cameras: [N - 1, 25] of further inputs.
    """

    generator: Generator
    ws: np.ndarray
    camera: np.ndarray
    config: InversionConfig
    stages: tuple[StageRecord, ...] = ()
    pseudo_views: PseudoViews | None = None
    head_limits: tuple[Array | None, ...] = ()
    tuned: Any = None
    other_cameras: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 25), np.float32))

    @property
    def cameras(self) -> np.ndarray:
        """[N, 25] of all inputs."""
        return np.concatenate([np.asarray(self.camera)[None], self.other_cameras])

    @functools.cached_property
    def planes(self) -> Array:
        """The head's tri-planes [3, H, W, C], generated when they are first needed."""
        return self.generator.planes(jnp.asarray(self.ws))

    def render(
        self, cameras: np.ndarray | Array, *, resolution: int | None = None, samples: int = 1
    ) -> dict[str, np.ndarray]:
        """The head as cameras see it.

        Args:
          cameras: [V, 25], at least one, at any distance.
          resolution: rays along each side, n below; None for the generator's own.
          samples: factor on the numbers of samples along each ray, against flicker.

        Returns:
          image [V, H, W, 3] in about [-1, 1], not clipped; image_raw [V, n, n, 3], before super-resolution; and
          ray_distance [V, n, n] in world units from the camera. More on these: `Generator.render`.
        """
        ws = jnp.asarray(self.ws)
        return frames.render(self.generator, self.planes, ws, cameras, resolution=resolution, samples=samples)

    def save(self, path: str | Path, base: Generator | None = None) -> None:
        """Writes the inversion as a directory; it must not exist.

        Args:
          base: the generator that was tuned. Then what was tuned is all that is written of it, and `load_inversion`
            needs the same generator again. By default the directory holds all that it takes.

        Raises:
          InputError: it exists, or cannot be written.
          ValueError: `base` with what was tuned is not this generator, because it is another, or was edited since.
        """
        if base is not None and not _same(self.generator, base, self.tuned):
            raise ValueError("base: is not the generator that was tuned, or its parameters were edited since")
        tree = {
            **({"variables": self.generator.variables} if base is None else {"tuned": self.tuned}),
            "ws": self.ws,
            "camera": self.camera,
            **({"other_cameras": self.other_cameras} if len(self.other_cameras) else {}),
            "losses": {stage.name: stage.losses for stage in self.stages if stage.steps},
        }
        checkpoints.save_tree(path, tree)
        meta = {
            "format": _FORMAT,
            "base": base and base.fingerprint(),
            "generator": to_dict(self.generator.config),
            "config": to_dict(self.config),
            "stages": [{"name": stage.name, "seconds": stage.seconds} for stage in self.stages],
        }
        (Path(path) / "inversion.json").write_text(json.dumps(meta, indent=2) + "\n")


def load_inversion(path: str | Path, base: Generator | None = None) -> Inversion:
    """Reads what `Inversion.save` wrote; also takes a result directory of `python -m pmv_jax.invert`.

    Settings of the recipe that this version does not have are named in a warning, and left out.

    Args:
      base: the generator that was tuned, for an inversion that was saved without it.

    Raises:
      InputError: there is no inversion, or it is damaged or of another format, or `base` is missing or another.
    """
    path = Path(path)
    path = path / "inversion" if (path / "inversion").is_dir() else path
    try:
        meta = json.loads((path / "inversion.json").read_text())
        version = meta["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no inversion here ({error}); give a result of python -m pmv_jax.invert") from error
    if version != _FORMAT:
        raise InputError(f"{path}: inversion format {version}, this program reads {_FORMAT}; invert the image again")
    try:
        family = from_dict(GeneratorConfig, meta["generator"])
        config = from_dict(InversionConfig, meta["config"], lenient=True)
    except InputError as error:
        raise InputError(f"{path}: written by another version of pmv_jax ({error}); invert the image again") from error
    needed = meta.get("base")
    if needed and (base is None or base.fingerprint() != needed):
        problem = "holds only what was tuned" if base is None else "was tuned from another generator than the one given"
        raise InputError(f"{path}: {problem}; give load_inversion the one whose fingerprint is {needed[:12]}...")
    tree = checkpoints.load_tree(path)
    losses = tree.get("losses", {})
    stages = tuple(
        StageRecord(stage["name"], stage["seconds"], np.asarray(losses.get(stage["name"], np.zeros(0))))
        for stage in meta["stages"]
    )
    known = {"other_cameras": tree["other_cameras"]} if "other_cameras" in tree else {}
    if needed:
        tuned = checkpoints.on_device(tree["tuned"])
        return Inversion(_merged(base, tuned), tree["ws"], tree["camera"], config, stages, tuned=tuned, **known)
    generator = Generator(family, checkpoints.on_device(tree["variables"]))
    return Inversion(generator, tree["ws"], tree["camera"], config, stages, **known)


def _same(generator: Generator, base: Generator, tuned: Any) -> bool:
    """Whether `base` with what was tuned is this generator, to the last bit."""
    if tuned is None or generator.config != base.config:
        return False
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, generator.variables, _merged(base, tuned).variables)))


_merged = jax.jit(tuned_weights.merged)
