"""Measures edits on rendered heads, whose attributes and surfaces are known.

    python -m tools.benchmarks editing --part latent [--edited-heads N] [--examples N] [--embedding arcface.onnx]
    python -m tools.benchmarks heads --assets DIR --out HEADS           # for the second part; renders them, once
    python -m tools.benchmarks editing --part texture --heads_dir HEADS [--edited-heads N] [--dev] [--set KEY=VALUE]
                                       [--out DIR]

`latent`: heads of the generator are moved by one unit of each named direction. What has become of their attributes is
re-estimated from the rendering by regressors that have seen renderings of other heads only. Reported are the share of
heads that changed the right way, the mean change, the largest change of another attribute, and how much the picture
changed where the attribute is not (`REGIONS`): identity, for which --embedding adds the similarity of face embeddings.

`texture`: each head of the split is inverted from one picture; a decal is painted on that picture, truly rendered on
the head's surface, and edited in. Compared with the truth at 0.3 radians to both sides: PSNR inside the decal, and mean
change outside (1/255), against fitting the latent code alone, and tuning on the painted view alone, with as many steps.
Inversions are kept in OUT/inversions, cases in OUT/cases.json: the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from tqdm import tqdm

from pmv_jax import images
from pmv_jax.checkpoints import hub
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.config import InversionConfig, JointConfig, override
from pmv_jax.edits import directions, texture
from pmv_jax.edits.latent import frontal
from pmv_jax.errors import InputError
from pmv_jax.evaluation.identity import IdentityModel, load_identity_model
from pmv_jax.inversion import adam_loop, latent, tuning, view_fitting
from pmv_jax.inversion.pipeline import invert
from pmv_jax.inversion.result import Inversion, load_inversion
from pmv_jax.models.generator import Generator
from tools import find_directions
from tools.benchmarks import cases as benchmark_cases
from tools.benchmarks import truth as benchmark_truth
from tools.benchmarks.cases import Case
from tools.benchmarks.truth import Painted

NAMED = ("smile", "age", "gender", "hair_length", "hair_colour", "beard", "skin_tone", "jaw", "nose_width", "eye_size")
NAMED += ("gaze", "mouth_open")
REGIONS = {  # rows and columns of a frontal picture, in units of its size, that hold nearly all that an attribute moves
    "smile": ((0.52, 0.80), (0.28, 0.72)),
    "mouth_open": ((0.52, 0.80), (0.28, 0.72)),
    "nose_width": ((0.30, 0.65), (0.35, 0.65)),
    "eye_size": ((0.25, 0.50), (0.20, 0.80)),
    "gaze": ((0.25, 0.50), (0.20, 0.80)),
    "jaw": ((0.45, 0.90), (0.10, 0.90)),
}
"""Others are all over the picture: hair and skin."""
_CHANGED = 0.1  # difference of a channel that makes a pixel the decal's
_MARGIN = 4  # pixels around a decal that count as neither inside nor outside
_COMPONENTS = 300  # of pictures, that attributes are read from
_SIDE = 48  # pixels of these pictures, rendered without super-resolution: enough for what is read from them

FLAGS = Flags()
_PART = FLAGS.choice("part", None, ["latent", "texture"], "What to measure. Required.")
_HEADS_DIR = FLAGS.string("heads_dir", None, "Part texture: directory that python -m tools.benchmarks heads made.")
_COUNT = FLAGS.integer("edited-heads", None, "Number of heads. Default: 50 latent, 12 texture.", least=1)
_SAMPLES = FLAGS.integer("examples", 1000, "Heads that the regressors learn from.", least=100)
_DEV = FLAGS.switch("dev", False, "Part texture: heads for choices, in place of those for reporting.")
_EMBEDDING = FLAGS.string("embedding", None, "Face-embedding network as ONNX, for the similarity of identity.")
_GENERATOR = FLAGS.generator()
_SET = FLAGS.changes()
_OUT = FLAGS.out()


# ---------------------------------------------------------------------------------------------------------------------
# Latent edits
# ---------------------------------------------------------------------------------------------------------------------


class Regressor:
    """Reads numbers p [N, D] from frontal pictures [N, H, W, 3]: ridge regression on their principal components."""

    def __init__(self, pictures: np.ndarray, p: np.ndarray) -> None:
        x = pictures.reshape(len(pictures), -1)
        self.mean, self.offset = x.mean(0), p.mean(0)
        left, size, right = np.linalg.svd(x - self.mean, full_matrices=False)
        count = min(_COMPONENTS, len(x) // 3)
        self.basis = right[:count].T
        code = left[:, :count] * size[:count]
        ridge = 1e-3 * np.mean(np.square(size[:count])) * np.eye(count)
        self.weights = np.linalg.solve(code.T @ code + ridge, code.T @ (p - self.offset))

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """[N, H, W, 3] -> [N, D]."""
        return (pictures.reshape(len(pictures), -1) - self.mean) @ self.basis @ self.weights + self.offset


def latent_part(
    generator: Generator, found: directions.DirectionFile, count: int, samples: int, identity: IdentityModel | None
) -> dict[str, Any]:
    """Figures for each of NAMED; the regressors' own accuracy on unseen heads is `r2`."""
    z, w = find_directions.sample(generator, samples, seed=101)
    regressor = Regressor(_render(generator, w, "learning"), find_directions.numbers(z))
    z, w = find_directions.sample(generator, count, seed=102)
    before, truth = _render(generator, w, "before"), find_directions.numbers(z)
    estimate = regressor(before)
    r2 = 1 - np.mean(np.square(estimate - truth), axis=0) / truth.var(axis=0)
    rows = {}
    for name in NAMED:
        own = find_directions.number_of(name)
        after = _render(generator, w + found[name].vector, name)
        change = regressor(after) - estimate
        mean = change.mean(0)
        other = max((i for i in range(len(mean)) if i != own), key=lambda i: abs(mean[i]))
        difference = np.abs(after - before).mean(-1) * 127.5
        outside = np.ones(difference.shape[1:], bool)
        if name in REGIONS:
            (top, bottom), (left, right) = (
                np.rint(np.array(ends) * len(outside)).astype(int) for ends in REGIONS[name]
            )
            outside[top:bottom, left:right] = False
        rows[name] = {
            "r2": float(r2[own]),
            "right_way": float((change[:, own] > 0).mean()),
            "effect": float(mean[own]),
            "leakage": float(mean[other]),
            "leaks_into": find_directions.NUMBERS[other],
            "change_everywhere": float(difference.mean()),
            "change_elsewhere": float(difference[:, outside].mean()) if name in REGIONS else None,
            "identity": None if identity is None else float(identity.similarity(before, after).mean()),
        }
    return rows


def _render(generator: Generator, w: np.ndarray, name: str) -> np.ndarray:
    """Frontal pictures [N, _SIDE, _SIDE, 3] of codes [N, w_dim]."""
    camera, codes = frontal(generator.config, 1)[0], jnp.asarray(w, jnp.float32)
    parts = [_views(generator, codes[i : i + 25], camera) for i in tqdm(range(0, len(w), 25), desc=f"{name:<12}")]
    return np.clip(np.concatenate(parts), -1, 1)


@jax.jit
def _views(generator: Generator, w: jax.Array, camera: jax.Array) -> jax.Array:
    def one(code: jax.Array) -> jax.Array:
        planes = generator.planes(jnp.broadcast_to(code, (generator.config.num_ws, len(code))))
        return generator.march(planes, camera, _SIDE)[0][..., :3]

    return jax.lax.map(one, w)


# ---------------------------------------------------------------------------------------------------------------------
# Texture edits
# ---------------------------------------------------------------------------------------------------------------------


def texture_case(
    case: Case, known: Painted, generator: Generator, folder: Path
) -> tuple[dict[str, Any], list[list[tuple[str, np.ndarray]]]]:
    """Figures of one head by method, and rows for the sheet."""
    views, plain, truth = known.cameras, known.plain, known.painted
    inside = np.abs(truth - plain).max(-1) > _CHANGED
    outside = ~np.stack([scipy.ndimage.binary_dilation(mask, iterations=_MARGIN) for mask in inside])
    if (folder / case.name).is_dir():
        inversion = load_inversion(folder / case.name)
    else:
        inversion = invert(plain[0], views[0], generator, override(InversionConfig(), _SET.value))
        inversion.save(folder / case.name)
    old = np.clip(inversion.render(views)["image"], -1, 1)
    painting = texture.Painting(truth[0], texture.changed_region(plain[0], truth[0]), views[0])
    config = texture.TextureConfig()
    rows, figures = [_row("truth", truth), _row("before", old)], {}
    for name, method in (("edit", _edit), ("single view", _single_view), ("latent", _latent_only)):
        begun = time.monotonic()
        edited = method(inversion, painting, plain[0], config)
        seconds = time.monotonic() - begun
        new = np.clip(edited.render(views)["image"], -1, 1)
        figures[name] = {
            "inside_painted_view": _psnr(new[:1], truth[:1], inside[:1]),
            "inside_turned": _psnr(new[1:], truth[1:], inside[1:]),
            "drift": float(np.abs(new - old)[1:][outside[1:]].mean() * 127.5),
            "seconds": seconds,
        }
        rows.append(_row(name, new))
    figures["before"] = {"inside_turned": _psnr(old[1:], truth[1:], inside[1:])}
    figures["ceiling"] = {"inside_turned": _psnr(old[1:], plain[1:], inside[1:])}
    return figures, rows


def _edit(
    inversion: Inversion, painting: texture.Painting, shown: np.ndarray, config: texture.TextureConfig
) -> Inversion:
    return texture.apply_painting(inversion, painting, shown, config)[0]


def _single_view(inversion: Inversion, painting: texture.Painting, _: Any, config: texture.TextureConfig) -> Inversion:
    """All weights, on the painted view alone, its pixels weighted as the edit weighs them."""
    plan = tuning.joint_plan(InversionConfig(joint=JointConfig(steps=config.steps)))
    return _fit(inversion, painting, plan.replace(extra_views=jnp.int32(0)), config)


def _latent_only(inversion: Inversion, painting: texture.Painting, _: Any, config: texture.TextureConfig) -> Inversion:
    """The latent code alone, likewise."""
    plan = tuning.joint_plan(InversionConfig(joint=JointConfig(steps=config.steps)))
    rates = plan.weights_rate / plan.weights_rate.max()
    plan = plan.replace(
        code_rate=inversion.config.latent.learning_rate * rates,
        weights_rate=jnp.zeros_like(rates),
        extra_views=jnp.int32(0),
    )
    return _fit(inversion, painting, plan, config)


def _fit(
    inversion: Inversion, painting: texture.Painting, plan: view_fitting.Plan, config: texture.TextureConfig
) -> Inversion:
    room = inversion.config.pseudo_views.count
    image, camera, mask = (jnp.asarray(x)[None] for x in (painting.image, painting.camera, painting.mask))
    views = view_fitting.of_inputs(image, camera, 1 + config.emphasis * mask, room)
    generator = inversion.generator
    state = view_fitting.start(inversion.ws, generator.params)
    std = latent.statistics(generator, jnp.asarray(inversion.camera)).std
    fixed = {"loss_config": inversion.config.loss}
    key = jax.random.key(0)
    run = lambda state, n: view_fitting.run(state, generator, views, plan, std, None, key, n, **fixed)  # noqa: E731
    *_, (state, _) = adam_loop.in_chunks(run, state, np.zeros(0, np.float32), config.steps)
    variables = state.variables
    tuned = generator.with_params(variables["params"])
    return Inversion(tuned, np.asarray(variables["code"]), inversion.camera, inversion.config)


@jax.jit
def _psnr_terms(a: jax.Array, b: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.sum(mask[..., None] * jnp.square(a - b)) / (3 * jnp.sum(mask))


def _psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """dB over the pixels of a mask; images [V, H, W, 3] in [-1, 1]."""
    return float(10 * np.log10(4 / _psnr_terms(a, b, mask)))


def _row(name: str, views: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [(f"{name}, {label}", view) for label, view in zip(("painted", "-0.3", "+0.3"), views, strict=True)]


def summary(cases: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over the heads."""
    methods = next(iter(cases.values()))
    return {
        method: {key: float(np.mean([case[method][key] for case in cases.values()])) for key in methods[method]}
        for method in methods
    }


@command(FLAGS)
def main() -> None:
    if _PART.value is None:
        raise InputError("--part is missing; choose latent or texture")
    out = Path(os.path.abspath(_OUT.value or Path("out", "benchmark_editing")))
    directory = hub.local_directory(_GENERATOR.value)
    generator = load_generator(directory)
    if _PART.value == "latent":
        rows = measure_latent(generator, directory, out)
    else:
        rows = measure_texture(generator, out)
    for name, row in rows.items():
        print(name, {key: round(x, 3) if isinstance(x, float) else x for key, x in row.items()})


def measure_latent(generator: Generator, directory: Path, out: Path) -> dict[str, Any]:
    """What `--part latent` prints, which it also writes to latent.json."""
    config = generator.config
    found = directions.load_directions(directory / directions.DEFAULT_FILE, config.num_ws, config.w_dim)
    identity = load_identity_model(_EMBEDDING.value) if _EMBEDDING.value else None
    rows = latent_part(generator, found, _COUNT.value or 50, _SAMPLES.value, identity)
    out.mkdir(parents=True, exist_ok=True)
    (out / "latent.json").write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def measure_texture(generator: Generator, out: Path) -> dict[str, Any]:
    """What `--part texture` prints; writes cases.json and sheet.png."""
    count = _COUNT.value or benchmark_cases.PAINTED
    if count > benchmark_cases.PAINTED:
        raise InputError(f"--edited-heads {count}: {benchmark_cases.PAINTED} heads of a split are painted")
    chosen = benchmark_cases.cases("dev" if _DEV.value else "test", count)
    heads = benchmark_truth.check(_HEADS_DIR.value, chosen, Painted, generator.config)
    (out / "inversions").mkdir(parents=True, exist_ok=True)
    path = out / "cases.json"
    done = json.loads(path.read_text()) if path.is_file() else {}
    sheet = []
    for case in tqdm(chosen):
        if case.name not in done:
            known = benchmark_truth.load(heads, case, Painted)
            done[case.name], rows = texture_case(case, known, generator, out / "inversions")
            path.write_text(json.dumps(done, indent=1) + "\n")
            sheet = rows if not sheet else [a + b for a, b in zip(sheet, rows, strict=True)]
            images.save_image(out / "sheet.png", images.contact_sheet(sheet, 300 * len(sheet[0])))
    return summary(done)


if __name__ == "__main__":
    sys.exit(main())
