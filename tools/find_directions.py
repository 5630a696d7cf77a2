"""Finds directions in w along which a generator's pictures change in one way, and writes them for `pmv_jax.edit`.

    python -m tools.find_directions --method pca [--count N] [--generator DIR] [--out FILE.json]
    python -m tools.find_directions --method hyperplane --codes w.npy --labels labels.csv
    python -m tools.find_directions --method hyperplane --scorer MODULE:FUNCTION [--samples N]
    python -m tools.find_directions --method hyperplane --procedural --out weights/demo/directions.json

`hyperplane` is supervised: for each attribute a linear score of w is fitted (ridge regression; for labels of two values
logistic regression), whose normal is InterFaceGAN's (arXiv 2005.09635). The labels are a CSV file, a header with the
names and a row for each code of a .npy file [N, w_dim]; or what a Python function says of pictures: it takes frontal
renderings [B, H, W, 3] in [-1, 1] and returns {name: [B]}; or, with --procedural, numbers of the latent of rendered
heads (`ATTRIBUTES`), which the demo generator takes as z. `pca` is unsupervised: the principal components of w
(GANSpace, arXiv 2004.02546).
"""

from __future__ import annotations

import csv
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pmv_jax.checkpoints import hub
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.edits import directions, latent
from pmv_jax.edits.directions import Direction
from pmv_jax.errors import InputError
from pmv_jax.models.generator import Generator
from tools.heads import latent as head_latent
from tools.training import backdrop

Scorer = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # images [B, H, W, 3] -> {name: [B]}

RIDGE = 1e-2  # added to the covariance, in units of the mean variance: inverted codes lie off the codes fitted to
UNIT = "one standard deviation of the attribute's score over random heads"
ATTRIBUTES: dict[str, tuple[str, str]] = {
    "smile": ("expression", "smile"),
    "mouth_open": ("expression", "mouth_open"),
    "gaze": ("expression", "gaze_x"),
    "brow_raise": ("expression", "brow_raise"),
    "age": ("person", "age"),
    "gender": ("person", "gender"),  # up: male
    "weight": ("person", "weight"),
    "skin_tone": ("skin", "tone"),  # up: lighter
    "hair_length": ("hair", "length"),
    "hair_volume": ("hair", "volume"),
    "hair_colour": ("hair", "darkness"),
    "hair_grey": ("hair", "grey"),
    "beard": ("beard", "fullness"),
    "jaw": ("features", "jaw"),
    "cheeks": ("features", "cheeks"),
    "nose_width": ("features", "nose_width"),
    "nose_size": ("features", "nose_size"),
    "eye_size": ("features", "eye_size"),
    "mouth_width": ("features", "mouth_width"),
    "lip_fullness": ("features", "lip_fullness"),
    "light": ("light", "azimuth"),
}
"""Attributes that directions are found for, and the group and name of their number in `tools.heads.latent`."""
NUMBERS = (
    *(f"{group}.{name}" for group, names in head_latent.GROUPS.items() for name in names),
    *(f"backdrop.{index}" for index in range(backdrop.NUMBERS)),
)
"""What each number of z is."""
_BATCH = 16
_NEWTON_STEPS = 25

FLAGS = Flags()
_METHOD = FLAGS.choice("method", "hyperplane", ["hyperplane", "pca"], "How directions are found.")
_CODES = FLAGS.string("codes", None, "w of labelled heads: .npy [N, w_dim].")
_LABELS = FLAGS.string("labels", None, "Their labels: .csv, a header of names, then N rows.")
_SCORER = FLAGS.string("scorer", None, "MODULE:FUNCTION that scores rendered heads.")
_PROCEDURAL = FLAGS.switch("procedural", False, "Labels are numbers of z, a rendered head's.")
_SAMPLES = FLAGS.integer("samples", None, "Random heads. Default: 20000; 1000 if they are rendered.")
_COUNT = FLAGS.integer("count", 10, "Number of principal components.", least=1)
_LAYERS = FLAGS.string("layer-range", None, "Layers that the directions move, such as 0-5. Default: all.")
_GENERATOR = FLAGS.generator()
_OUT = FLAGS.out()
_SEED = FLAGS.seed()
_FORCE = FLAGS.force()


# ---------------------------------------------------------------------------------------------------------------------
# Finding
# ---------------------------------------------------------------------------------------------------------------------


def hyperplane(name: str, w: np.ndarray, labels: np.ndarray, provenance: Mapping[str, Any]) -> Direction:
    """The direction of an attribute, from codes w [N, w_dim] and their labels [N].

    A linear score a . w is fitted. Its normal a is where the score grows fastest per length in w, which is much less
    than where heads of a higher score lie: where w varies little, a is long. So the direction of motion is the normal
    in the metric of w's own distribution, S a with S the covariance of w (Haufe et al., NeuroImage 2014: the pattern to
    a linear filter), and one unit of it is one standard deviation of the score.

    Raises:
      InputError: the labels are all the same, or not finite, or fewer than needed.
    """
    labels = np.asarray(labels, np.float64)
    if labels.shape != w.shape[:1] or len(w) < 10:
        raise InputError(f"labels of {name}: {labels.size} for {len(w)} codes; ten at least, one for each code")
    if not np.isfinite(labels).all() or labels.std() == 0:
        raise InputError(f"labels of {name}: are all the same, or not finite; nothing can be learned from them")
    centred = w - w.mean(0)
    covariance = centred.T @ centred / len(w)
    ridge = RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    if len(np.unique(labels)) == 2:
        normal, kind = _logistic(centred, labels == labels.max(), ridge), "logistic regression"
    else:
        normal = np.linalg.solve(covariance + ridge, centred.T @ (labels - labels.mean()) / len(w))
        kind = "ridge regression"
    pattern = covariance @ normal
    spread = np.sqrt(normal @ pattern)
    score = centred @ normal
    described = {
        **provenance,
        "method": f"hyperplane by {kind}, moved along its pattern",
        "codes": len(w),
        "correlation": round(float(np.corrcoef(score, labels)[0, 1]), 4),
    }
    return Direction(name, pattern / spread, normal / spread, None, UNIT, described)


def _logistic(x: np.ndarray, positive: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """Normal [D] of the hyperplane between two classes, by Newton's method; classes weigh the same."""
    share = positive.mean()
    weight = np.where(positive, 0.5 / share, 0.5 / (1 - share))
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    penalty = np.zeros((x.shape[1],) * 2)
    penalty[:-1, :-1] = ridge / np.trace(ridge) * len(ridge) * 1e-3
    a = np.zeros(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ a, -30, 30)))
        gradient = x.T @ (weight * (p - positive)) / len(x) + penalty @ a
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x / len(x) + penalty + 1e-9 * np.eye(len(a))
        change = np.linalg.solve(hessian, gradient)
        a -= change
        if np.abs(change).max() < 1e-8:
            break
    return a[:-1]


def principal_components(w: np.ndarray, count: int, provenance: Mapping[str, Any]) -> list[Direction]:
    """The `count` directions of largest variance in w [N, w_dim]; one unit is one standard deviation (GANSpace).

    Raises:
      InputError: w has fewer.
    """
    centred = w - w.mean(0)
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(w))
    variances, vectors = variances[::-1], vectors[:, ::-1]
    if count > (variances > 1e-9 * variances[0]).sum():
        raise InputError(f"--count {count}: w varies in {(variances > 1e-9 * variances[0]).sum()} directions only")
    found = []
    for index in range(count):
        vector, std = vectors[:, index] * np.sign(vectors[np.abs(vectors[:, index]).argmax(), index]), variances[index]
        share = {"method": "principal component", "codes": len(w), "variance": round(float(std / variances.sum()), 5)}
        found.append(
            Direction(
                f"pca_{index}",
                vector * np.sqrt(std),
                vector / np.sqrt(std),
                None,
                "one standard deviation of w",
                {**provenance, **share},
            )
        )
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Heads and their labels
# ---------------------------------------------------------------------------------------------------------------------


def sample(generator: Generator, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """z [N, z_dim] ~ N(0, I) and its w [N, w_dim], for a frontal camera."""
    z = jax.random.normal(jax.random.key(seed), (count, generator.config.z_dim))
    return np.asarray(z), np.asarray(generator.mapping(z, latent.frontal(generator.config, count))[:, 0], np.float64)


def number_of(attribute: str) -> int:
    """Place in z of one of ATTRIBUTES."""
    return head_latent.index(*ATTRIBUTES[attribute])


def numbers(z: np.ndarray) -> np.ndarray:
    """What the mapping sees of z [N, 134]: of unit root mean square."""
    return z / np.sqrt(np.mean(np.square(z), axis=-1, keepdims=True))


def procedural_labels(z: np.ndarray) -> dict[str, np.ndarray]:
    """Each of ATTRIBUTES, for heads with z [N, 134]."""
    return {name: numbers(z)[:, number_of(name)] for name in ATTRIBUTES}


def scored_labels(generator: Generator, w: np.ndarray, scorer: Scorer) -> dict[str, np.ndarray]:
    """What a scorer says of frontal renderings of w [N, w_dim]."""
    batches = []
    for start in range(0, len(w), _BATCH):
        batches.append(
            {name: np.asarray(x) for name, x in scorer(render(generator, w[start : start + _BATCH])).items()}
        )
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def render(generator: Generator, w: np.ndarray) -> np.ndarray:
    """Frontal pictures [N, H, W, 3] of codes [N, w_dim] or [N, num_ws, w_dim]."""
    ws = np.broadcast_to(w.reshape(len(w), -1, w.shape[-1]), (len(w), generator.config.num_ws, w.shape[-1]))
    return np.asarray(_render(generator, jnp.asarray(ws, jnp.float32), latent.frontal(generator.config, 1)[0]))


@jax.jit
def _render(generator: Generator, ws: Array, camera: Array) -> Array:
    return jax.lax.map(lambda one: generator.render(generator.planes(one), one, camera)["image"], ws)


def load_labels(path: str | Path) -> dict[str, np.ndarray]:
    """A CSV file with a header -> {name: [N]}.

    Raises:
      InputError: missing, empty, or with something else than numbers.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        values = np.array(rows, np.float64)
        if values.shape != (len(rows), len(header)) or not rows:
            raise ValueError("rows of different length, or none")
    except (OSError, ValueError) as error:
        raise InputError(f"--labels {path}: {error}; give a header of names, then a row of numbers a code") from error
    return {name.strip(): values[:, index] for index, name in enumerate(header)}


def load_codes(path: str | Path, w_dim: int) -> np.ndarray:
    """w [N, w_dim]; of w_plus [N, num_ws, w_dim] the mean over the layers.

    Raises:
      InputError: unreadable, or of another width.
    """
    try:
        w = np.asarray(np.load(path, allow_pickle=False), np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"--codes {path}: is no .npy file of numbers ({error})") from error
    if w.ndim not in (2, 3) or w.shape[-1] != w_dim:
        raise InputError(f"--codes {path}: has shape {list(w.shape)}; this generator takes [N, {w_dim}]")
    return w if w.ndim == 2 else w.mean(1)


def load_scorer(text: str) -> Scorer:
    """MODULE:FUNCTION -> the function; modules are looked for in the current folder too.

    Raises:
      InputError: there is none.
    """
    module, _, name = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"--scorer {text}: {error}; give MODULE:FUNCTION, the module in this folder") from error


# ---------------------------------------------------------------------------------------------------------------------
# What a direction does to rendered heads
# ---------------------------------------------------------------------------------------------------------------------


@jax.jit
def parameters_of(generator: Generator, w: Array, start: Array) -> Array:
    """z [N, z_dim] of unit root mean square with the code w [N, w_dim]: the mapping inverted by Gauss-Newton.

    The same code may belong to many z, where these have more numbers; it is one near the start.

    Args:
      start: [N, z_dim], near which they are looked for.
    """
    camera = latent.frontal(generator.config, 1)

    def residual(z: Array, target: Array) -> Array:
        code = generator.model.apply(generator.variables, z[None], camera, method="mapping")[0, 0]
        return jnp.append(code - target, 0.1 * (jnp.mean(z * z) - 1))  # the mapping does not see z's length

    def one(z: Array, target: Array) -> Array:
        def newton(_: int, z: Array) -> Array:
            jacobian = jax.jacrev(residual)(z, target)
            damped = jacobian.T @ jacobian + 0.05 * jnp.eye(len(z))
            return z - jnp.linalg.solve(damped, jacobian.T @ residual(z, target))

        found = jax.lax.fori_loop(0, 30, newton, z)
        return found * jax.lax.rsqrt(jnp.mean(found * found))

    return jax.vmap(one)(start, w)


def measure(generator: Generator, found: list[Direction], seed: int, count: int = 100) -> list[Direction]:
    """Adds to directions named as ATTRIBUTES what one unit of each does to new heads: the change of its own number of z
    and of the one that changes most besides, in standard deviations, and the share that goes the right way."""
    z, w = sample(generator, count, seed)
    before = numbers(z)
    measured = []
    for direction in found:
        after = np.asarray(
            parameters_of(generator, jnp.asarray(w + direction.vector, jnp.float32), jnp.asarray(before))
        )
        change, own = after - before, number_of(direction.name)
        mean = change.mean(0)
        other = max((index for index in range(len(mean)) if index != own), key=lambda index: abs(mean[index]))
        figures = {
            "correlation": round(float(np.corrcoef(w @ direction.normal, before[:, own])[0, 1]), 3),
            "effect": round(float(mean[own]), 3),
            "right_way": round(float((change[:, own] > 0).mean()), 3),
            "leakage": round(float(mean[other]), 3),
            "leaks_into": NUMBERS[other],
        }
        provenance = {**direction.provenance, "measured": figures}
        measured.append(Direction(*list(vars(direction).values())[:-1], provenance))
    return measured


@command(FLAGS)
def main() -> None:
    out = Path(os.path.abspath(_OUT.value or directions.DEFAULT_FILE))
    if out.suffix != ".json":
        raise InputError(f"--out {out}: must end in .json")
    if out.exists() and not _FORCE.value:
        raise InputError(f"--out {out}: exists; give --force to replace it, or another name")
    given = [
        name for name, flag in (("labels", _LABELS), ("scorer", _SCORER), ("procedural", _PROCEDURAL)) if flag.value
    ]
    if (_METHOD.value == "hyperplane") != (len(given) == 1):
        raise InputError("--method hyperplane takes one of --labels, --scorer, --procedural; --method pca takes none")
    if (_CODES.value is None) != (given != ["labels"]):
        raise InputError("--codes and --labels go together: a row of labels for each code")
    directory = hub.local_directory(_GENERATOR.value)
    generator, seed = load_generator(directory), _SEED.value or 0
    config = generator.config
    layers = None if _LAYERS.value is None else directions.parse_layers(_LAYERS.value, config.num_ws)
    provenance: dict[str, Any] = {"generator": directory.name, "seed": seed}

    if _CODES.value is not None:
        w, labels = load_codes(_CODES.value, config.w_dim), load_labels(_LABELS.value)
        provenance = {"generator": directory.name, "labels": Path(_LABELS.value).name}
    else:
        z, w = sample(generator, _SAMPLES.value or (1000 if _SCORER.value else 20_000), seed)
        labels = {}
        if _SCORER.value:
            labels, provenance["labels"] = scored_labels(generator, w, load_scorer(_SCORER.value)), _SCORER.value
        elif _PROCEDURAL.value:
            if config.z_dim != len(NUMBERS):
                raise InputError(f"--procedural: z of {directory} has {config.z_dim} numbers, heads {len(NUMBERS)}")
            labels, provenance["labels"] = procedural_labels(z), "numbers of rendered heads, which are z"
    if _METHOD.value == "pca":
        found = principal_components(w, _COUNT.value, {})
    else:
        found = [hyperplane(name, w, values, {}) for name, values in labels.items()]
    if _PROCEDURAL.value:
        found = measure(generator, found, seed + 1)
    found = [Direction(d.name, d.vector, d.normal, layers, d.unit, d.provenance) for d in found]
    directions.save_directions(out, found, config.num_ws, latent.fingerprint(generator), provenance)
    for d in found:
        print(d.name, {**d.provenance.get("measured", d.provenance)})
    print(f"{len(found)} directions: {out}")


if __name__ == "__main__":
    sys.exit(main())
