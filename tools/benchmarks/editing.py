"""Measures edits on procedural heads, whose attributes and surfaces are known.

    python -m tools.benchmarks editing --part latent [--edited-heads N] [--examples N] [--embedding arcface.onnx]
    python -m tools.benchmarks editing --part texture [--edited-heads N] [--dev] [--set KEY=VALUE] [--out DIR]

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

from pmv_jax import cameras, images
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
from tools.benchmarks import heads as benchmark_heads
from tools.signed_distance_heads import decals, heads

NAMED = ("smile", "age", "hair_length", "hair_colour", "skin_tone", "jaw_width", "nose_length", "eye_size")
REGIONS = {  # rows and columns of a frontal picture, in units of its size, that hold nearly all that an attribute moves
    "smile": ((0.52, 0.80), (0.28, 0.72)),
    "nose_length": ((0.30, 0.65), (0.35, 0.65)),
    "eye_size": ((0.25, 0.50), (0.20, 0.80)),
    "jaw_width": ((0.45, 0.90), (0.10, 0.90)),
}
"""Others are all over the picture: hair and skin."""
TURN = 0.3  # radians to both sides of the painted view
_CHANGED = 0.1  # difference of a channel that makes a pixel the decal's
_MARGIN = 4  # pixels around a decal that count as neither inside nor outside
_COMPONENTS = 300  # of pictures, that attributes are read from
_SIDE = 48  # pixels of these pictures, rendered without super-resolution: enough for what is read from them

FLAGS = Flags()
_PART = FLAGS.choice("part", None, ["latent", "texture"], "What to measure. Required.")
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
    """Reads the 24 parameters from frontal pictures [N, H, W, 3]: ridge regression on their principal components."""

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
        """[N, H, W, 3] -> [N, 24]."""
        return (pictures.reshape(len(pictures), -1) - self.mean) @ self.basis @ self.weights + self.offset


def latent_part(
    generator: Generator, found: directions.DirectionFile, count: int, samples: int, identity: IdentityModel | None
) -> dict[str, Any]:
    """Figures for each of NAMED; the regressors' own accuracy on unseen heads is `r2`."""
    z, w = find_directions.sample(generator, samples, seed=101)
    regressor = Regressor(_render(generator, w, "learning"), _parameters(z))
    z, w = find_directions.sample(generator, count, seed=102)
    before, truth = _render(generator, w, "before"), _parameters(z)
    estimate = regressor(before)
    r2 = 1 - np.mean(np.square(estimate - truth), axis=0) / truth.var(axis=0)
    rows = {}
    for name in NAMED:
        own = heads.PARAMETERS.index(name)
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
            "leaks_into": heads.PARAMETERS[other],
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


def _parameters(z: np.ndarray) -> np.ndarray:
    return np.stack(list(find_directions.procedural_labels(z).values()), axis=1)


# ---------------------------------------------------------------------------------------------------------------------
# Texture edits
# ---------------------------------------------------------------------------------------------------------------------


def decal(case: benchmark_heads.Case) -> heads.Decal:
    """What is painted on a case's head."""
    random = np.random.default_rng([case.seed, 7])
    side = int(random.choice([-1, 1]))
    kind = case.seed % 3
    if kind == 0:
        return decals.sticker_decal("star", (0.050 * side, -0.036), 0.052, random.uniform(-0.4, 0.4))
    if kind == 1:
        return decals.text_decal("JAX", (0.0, 0.086), 0.11, random.uniform(-0.1, 0.1))
    return decals.stripes_decal(3, (0.056 * side, -0.032), rotation=random.uniform(-0.3, 0.3))


def case_views(case: benchmark_heads.Case) -> np.ndarray:
    """[3, 25]: the painted view, within 0.25 rad of the frontal one, and TURN to both sides of it."""
    yaw = 0.5 * case.yaw
    return np.asarray(cameras.look_at(np.array([yaw, yaw - TURN, yaw + TURN]), np.full(3, case.pitch)))


def texture_case(case: benchmark_heads.Case, generator: Generator, folder: Path) -> tuple[dict[str, Any], list]:
    """Figures of one head by method, and rows for the sheet."""
    views = case_views(case)
    p, mark = benchmark_heads.parameters(case), decal(case)
    size = generator.config.image_resolution
    plain, truth = (
        np.stack([np.asarray(_rendered(p, jnp.asarray(view), shown, size)) for view in views])
        for shown in (decals.empty_decal(), mark)
    )
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
    views = view_fitting.single_view(jnp.asarray(painting.image), jnp.asarray(painting.camera), room)
    views = views._replace(weights=views.weights + config.emphasis * jnp.asarray(painting.mask))
    generator = inversion.generator
    state = view_fitting.start(jnp.array(inversion.ws), jax.tree.map(jnp.array, generator.params))
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


_rendered = jax.jit(lambda p, camera, mark, size: heads.render(p, camera, size, decals=(mark,)).image, static_argnums=3)


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
    (out / "inversions").mkdir(parents=True, exist_ok=True)
    directory = hub.local_directory(_GENERATOR.value)
    generator = load_generator(directory)
    config = generator.config
    if _PART.value == "latent":
        found = directions.load_directions(directory / directions.DEFAULT_FILE, config.num_ws, config.w_dim)
        identity = load_identity_model(_EMBEDDING.value) if _EMBEDDING.value else None
        rows = latent_part(generator, found, _COUNT.value or 50, _SAMPLES.value, identity)
        (out / "latent.json").write_text(json.dumps(rows, indent=1) + "\n")
        for name, row in rows.items():
            print(name, {key: round(x, 3) if isinstance(x, float) else x for key, x in row.items()})
        return
    path = out / "cases.json"
    done = json.loads(path.read_text()) if path.is_file() else {}
    sheet = []
    for case in tqdm(benchmark_heads.cases("dev" if _DEV.value else "test", _COUNT.value or 12)):
        if case.name not in done:
            done[case.name], rows = texture_case(case, generator, out / "inversions")
            path.write_text(json.dumps(done, indent=1) + "\n")
            sheet = rows if not sheet else [a + b for a, b in zip(sheet, rows, strict=True)]
            images.save_image(out / "sheet.png", images.contact_sheet(sheet, 300 * len(sheet[0])))
    for method, figures in summary(done).items():
        print(method, {key: round(value, 2) for key, value in figures.items()})


if __name__ == "__main__":
    sys.exit(main())
