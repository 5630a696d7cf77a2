"""Compares inversion methods on heads whose other views, depths and visibility are known.

    python -m tools.benchmarks heads --assets DIR --out HEADS           # renders them, once
    python -m tools.benchmarks inversion --heads_dir HEADS [--methods w,w_plus,pti,hfgi3d,pmv,oracle] [--ablation]
                                         [--split dev|test] [--heads N] [--seeds N] [--config FILE.py]
                                         [--generator DIR] [--encoder] [--lpips DIR] [--identity FILE.onnx]
                                         [--out DIR] [--force]

All methods run through the same pipeline, by configuration alone, with the true camera and with the same number of
optimisation steps in all. `w` and `w_plus` spend them all on the latent code, `pti` all that are left after it on
tuning on the input; `hfgi3d` has the constants of configs/hfgi3d_paper.py. As its rates are for a network of many
more weights, `hfgi3d_rates` is the same at the rates of `pmv`, which is the default recipe, or that of --config and
--set: all take its steps and its loss. `--ablation` adds it with one thing changed at a time.

`oracle` says what could be gained at most: after the same latent stage it tunes on all true views, in as many joint
steps as `pmv`. A method's worth is the share of the gap between `pti` and the oracle that it closes.

Methods such as `20 steps` are the default recipe with fewer. With --encoder all know what the generator's encoder sees,
as the program does: they begin with that head, in place of the average one, and have its matte. The surface that it
sees, and what its completer tells of other views, are part of the default recipe alone (the ablations `no surface` and
`no completion` are without them), since no published method has them.

With --seeds every inversion is done with as many seeds; figures are means over these, and their spread is given.

The output directory (default: out/benchmark_<split>) gets table.md and table.csv (means over the heads), cases.csv
(every head) and sheet.png (truth, renderings, errors). What has been computed is kept in cases/: the same command
continues an interrupted run, more methods or heads can be added, and --force computes everything anew.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from pmv_jax import images
from pmv_jax.checkpoints import hub
from pmv_jax.checkpoints import lpips as lpips_weights
from pmv_jax.checkpoints.encoder import load_encoder
from pmv_jax.checkpoints.orbax import load_generator
from pmv_jax.commandline.flags import Flags, recipe
from pmv_jax.commandline.run import command
from pmv_jax.config import InversionConfig, LossConfig, load_recipe, override, to_dict
from pmv_jax.errors import InputError, suggestion
from pmv_jax.evaluation import comparison
from pmv_jax.evaluation.identity import IdentityModel, load_identity_model
from pmv_jax.inputs import framing
from pmv_jax.inversion import tuning
from pmv_jax.inversion.fit_stage import ViewFit
from pmv_jax.inversion.pipeline import METHOD, invert
from pmv_jax.inversion.result import Inversion
from pmv_jax.inversion.stage import Stage
from pmv_jax.inversion.view_fitting import Views
from pmv_jax.models.encoder import Encoder
from pmv_jax.models.generator import Generator
from pmv_jax.models.lpips import Lpips
from pmv_jax.results.remote import replace_text
from tools.benchmarks import cases as benchmark_cases
from tools.benchmarks import truth as benchmark_truth
from tools.benchmarks.cases import Case
from tools.benchmarks.sheet import SHOWN_VIEWS, sheet
from tools.benchmarks.tables import ORACLE, SINGLE_VIEW, Figures, write_tables
from tools.benchmarks.truth import Truth

METHODS = ("w", "w_plus", SINGLE_VIEW, "hfgi3d", "hfgi3d_rates", "pmv", ORACLE)
_NO_SURFACE = ("loss.surface_weight=0",)
ABLATIONS: dict[str, tuple[str, ...]] = {
    "no surface": _NO_SURFACE,
    "expected depth": ("pseudo_views.depth_detail=0",),
    "no pull on depth": ("joint.depth_weight=0",),
    "narrow visibility": ("pseudo_views.depth_tolerance=0.003",),
    "edge-on too": ("pseudo_views.steepest=10",),
    "wide erosion": ("pseudo_views.erode=0.02", "pseudo_views.blur=0.03"),
    "no completion": ("pseudo_views.fill=mirror",),
    "no mirror image": ("pseudo_views.fill=both",),
    "tuned fill": ("pseudo_views.fill=tuned",),
    "hidden weight 1": ("pseudo_views.hidden_weight=1", "pseudo_views.mirror_weight=1"),
    "hidden weight 0": ("pseudo_views.hidden_weight=0", "pseudo_views.mirror_weight=0"),
    "views weigh 1": ("joint.view_weight=1",),
    "longer stage 2": ("tuning.steps=50", "joint.steps=70"),
    "generator reset": ("joint.reset_generator=true",),
    "paper's cameras": (
        "pseudo_views.count=30",
        "pseudo_views.yaw_range=0.35",
        "pseudo_views.pitch_range=0.25",
        "pseudo_views.pitch_offset=-0.05",
        "pseudo_views.pattern=ellipse",
    ),
}
"""Overrides of the default recipe. Without pseudo-views it is the method `pti`."""
BUDGETS: dict[str, tuple[int, int, int]] = {
    "0 steps": (0, 0, 0), "20 steps": (10, 10, 0), "50 steps": (20, 10, 20), "100 steps": (30, 15, 55),
}  # fmt: skip
"""Steps on the code, on the weights by the input alone, and on these by all views, where there are fewer in all."""

SHOWN_HEADS = 4
_FORMAT = 3  # of the cached cases; to be raised when a metric changes, or what an inversion is given

FLAGS = Flags()
_HEADS_DIR = FLAGS.string("heads_dir", None, "Directory that python -m tools.benchmarks heads made. Required.")
_METHODS = FLAGS.items("methods", list(METHODS), "Methods to compare, separated by commas.")
_ABLATION = FLAGS.switch("ablation", False, "Also the default recipe with one thing changed at a time.")
_SPLIT = FLAGS.choice("split", "dev", list(benchmark_cases.SEEDS), "dev: for choices; test: for reporting.")
_HEADS = FLAGS.integer("heads", benchmark_cases.HEADS, "Number of heads.")
_SEEDS = FLAGS.integer("seeds", 1, "Number of seeds for every inversion.", least=1)
_LPIPS = FLAGS.string("lpips", None, "LPIPS weights by pmv_jax.convert. Default: those of pmv_jax[lpips].")
_IDENTITY = FLAGS.string("identity", None, "Face-embedding network as ONNX, for the similarity of identity.")
_GENERATOR = FLAGS.generator()
_ENCODER = FLAGS.switch("encoder", False, "Begin with the head that the generator's encoder sees, and its matte.")
_CONFIG = FLAGS.config()
_SET = FLAGS.changes()
_OUT = FLAGS.out()
_FORCE = FLAGS.force()
_RESUME = FLAGS.resume()


# ---------------------------------------------------------------------------------------------------------------------
# Methods and figures
# ---------------------------------------------------------------------------------------------------------------------


def methods(ours: InversionConfig | None = None) -> dict[str, InversionConfig]:
    """All methods and ablations by name.

    Args:
      ours: the recipe whose steps all take, latent + tuning + joint; None is the default one.
    """
    ours = InversionConfig() if ours is None else ours
    published = override(ours, _NO_SURFACE)
    latent, total = ours.latent.steps, ours.latent.steps + ours.tuning.steps + ours.joint.steps
    only_latent = (f"latent.steps={total}", "tuning.steps=0", "joint.steps=0")
    tuning = total // 4  # the paper's proportions: 500, 500, 1000
    paper = override(
        dataclasses.replace(load_recipe("hfgi3d_paper"), loss=published.loss, seed=ours.seed),
        (f"latent.steps={tuning}", f"tuning.steps={tuning}", f"joint.steps={total - 2 * tuning}"),
    )
    rates = tuple(
        f"{name}.{field}={getattr(stage, field)}"
        for name, stage in (("latent", ours.latent), ("tuning", ours.tuning), ("joint", ours.joint))
        for field in ("learning_rate", "noise", "regularisation", "warm_up", "final_rate")
        if hasattr(stage, field)
    )
    return {
        "w": override(published, ("latent.space=w", *only_latent)),
        "w_plus": override(published, ("latent.space=w_plus", *only_latent)),
        SINGLE_VIEW: override(published, (f"tuning.steps={total - latent}", "joint.steps=0")),
        "hfgi3d": paper,
        "hfgi3d_rates": override(paper, rates),
        "pmv": ours,
        ORACLE: override(
            published,
            (
                "tuning.steps=0",
                f"pseudo_views.count={len(benchmark_cases.NOVEL_ANGLES)}",
                "joint.view_weight=1",
                "joint.depth_weight=0",
            ),
        ),
        **{name: override(ours, assignments) for name, assignments in ABLATIONS.items()},
        **{
            name: override(ours, (f"latent.steps={code}", f"tuning.steps={weights}", f"joint.steps={joint}"))
            for name, (code, weights, joint) in BUDGETS.items()
        },
    }


def stages(method: str, truth: Truth) -> tuple[Stage, ...]:
    """What a method consists of: for all but the oracle it is the pipeline's."""
    if method != ORACLE:
        return METHOD
    latent = next(stage for stage in METHOD if stage.name == "latent")
    return latent, ViewFit(
        "joint",
        settings=lambda recipe: recipe.joint,
        plan=tuning.joint_plan,
        views=lambda draft: true_views(truth),
        hand_on=tuning.hand_on,
    )


def true_views(truth: Truth) -> Views:
    """All views as they are, each pixel of weight 1."""
    return Views(
        jnp.asarray(truth.cameras),
        jnp.asarray(truth.image),
        jnp.ones(truth.mask.shape),
        jnp.zeros(truth.coarse_z_depth.shape),  # which `joint.depth_weight` 0 leaves alone
    )


def choose(names: Sequence[str], ours: InversionConfig | None = None) -> dict[str, InversionConfig]:
    """The methods of these names.

    Raises:
      InputError: there is none of such a name; the nearest is suggested.
    """
    known = methods(ours)
    for name in names:
        if name not in known:
            raise InputError(f"--methods {name}: no such method; {suggestion(name, known)}")
    if not names:
        raise InputError(f"--methods: names none; known: {', '.join(known)}")
    return {name: known[name] for name in names}


def score(
    inversion: Inversion, truth: Truth, lpips: Lpips | None = None, identity: IdentityModel | None = None
) -> dict[str, float]:
    """Figures of one inversion, named as in `pmv_jax.evaluation.comparison.COLUMNS`."""
    return comparison.compare(inversion, truth.reference, lpips, identity)


# ---------------------------------------------------------------------------------------------------------------------
# One head, one method: computed once, kept on disk
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all cases share.

    Attributes:
      heads: where the truth is read from.
      folder: where computed cases are kept.
      generator: to invert with.
      lpips, identity: networks of metrics; None leaves these out.
      encoder: the generator's; None begins with its average head.
      fingerprint: of the generator and these networks.
    """

    heads: Path
    folder: Path
    generator: Generator
    lpips: Lpips | None
    identity: IdentityModel | None
    encoder: Encoder | None
    fingerprint: str

    def truth(self, case: Case) -> Truth:
        return _loaded(self.heads, case)

    def described(self, case: Case) -> dict[str, Any]:
        """What the figures of a case depend on: its numbers and its pictures."""
        return {**vars(case), "file": benchmark_truth.digest(self.heads, case)}

    def run(self, case: Case, method: str, config: InversionConfig) -> dict[str, float]:
        """Figures of a case, read if they are there; `seconds` is what its stages took, compilation included.

        Leaves the renderings of SHOWN_VIEWS beside them, side by side in a PNG.
        """
        path = self.path(case, method, config.seed)
        request = {
            "format": _FORMAT,
            "networks": self.fingerprint,
            "case": self.described(case),
            "config": to_dict(config),
        }
        request = json.loads(json.dumps(request))
        found = _read(path)
        if found is not None and found["request"] == request and self.strip(case, method, config.seed).is_file():
            return {name: float("nan") if value is None else value for name, value in found["figures"].items()}
        truth = self.truth(case)
        with tempfile.TemporaryDirectory(dir=self.folder) as state:
            latent = self.latent(case, config)
            if latent.is_dir():
                shutil.copytree(latent, Path(state, "latent"))
            method_stages = stages(method, truth)
            inversion = invert(
                truth.image[0],
                truth.cameras[0],
                self.generator,
                config,
                state_directory=state,
                method=method_stages,
                matte=None if self.encoder is None else framing.matte_of(truth.image[0], self.encoder),
                encoder=self.encoder,
            )
            if not latent.is_dir() and Path(state, "latent").is_dir():
                Path(state, "latent").rename(latent)
        seconds = sum(stage.seconds for stage in inversion.stages)
        figures = {**score(inversion, truth, self.lpips, self.identity), "seconds": seconds}
        views = np.clip(inversion.render(truth.cameras[list(SHOWN_VIEWS)])["image"], -1, 1)
        images.save_image(self.strip(case, method, config.seed), np.concatenate(views, axis=1))
        entry_ = {"request": request, "figures": comparison.plain({"": figures})[""]}
        replace_text(path, json.dumps(entry_, indent=1))
        return figures

    def path(self, case: Case, method: str, seed: int) -> Path:
        return self.folder / f"{case.name}_{_file_name(method)}{f'_seed{seed}' if seed else ''}.json"

    def latent(self, case: Case, config: InversionConfig) -> Path:
        """Where the result of stage 1 is kept, for the other methods that have the same."""
        settings = map(to_dict, (config.loss, config.latent, config.weights))
        request = json.dumps([self.fingerprint, self.described(case), config.seed, *settings])
        return self.folder / f"{case.name}_latent_{hashlib.sha256(request.encode()).hexdigest()[:12]}"

    def strip(self, case: Case, method: str, seed: int) -> Path:
        return self.path(case, method, seed).with_suffix(".png")


@functools.lru_cache(maxsize=2)
def _loaded(heads: Path, case: Case) -> Truth:
    return benchmark_truth.load(heads, case, Truth)


def fingerprint(
    generator: Generator, lpips: Lpips | None, identity: Path | None, encoder: Encoder | None = None
) -> str:
    """Hash of everything, but the recipe and the head, that figures depend on."""
    digest = hashlib.sha256(repr((generator.fingerprint(), lpips is None, identity is None)).encode())
    for leaf in jax.tree.leaves((lpips, encoder)):
        digest.update(np.asarray(leaf).tobytes())
    digest.update(b"" if identity is None else identity.read_bytes())
    return digest.hexdigest()


def _file_name(method: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in method)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
        return found if {"request", "figures"} <= set(found) else None
    except (OSError, ValueError, TypeError):
        return None


def check_folder(out: Path) -> None:
    """Refuses an output directory that holds something else than a benchmark. Creates nothing.

    Raises:
      InputError: it does, or is no directory.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir()) and not (out / "cases").is_dir()):
        raise InputError(f"--out {out}: exists and is no benchmark's result; choose another directory")


@command(FLAGS)
def main() -> None:
    names = list(dict.fromkeys([*_METHODS.value, *(["pmv", *ABLATIONS] if _ABLATION.value else [])]))
    chosen = choose(names, recipe(_CONFIG.value, _SET.value))
    cases = benchmark_cases.cases(_SPLIT.value, _HEADS.value)
    out = Path(os.path.abspath(_OUT.value or Path("out", f"benchmark_{_SPLIT.value}")))
    check_folder(out)
    lpips = lpips_weights.configured(LossConfig(lpips_weights=_LPIPS.value))
    identity = None if _IDENTITY.value is None else load_identity_model(_IDENTITY.value)
    generator = load_generator(_GENERATOR.value)
    heads = benchmark_truth.check(_HEADS_DIR.value, cases, Truth, generator.config)
    directory = hub.local_directory(_GENERATOR.value)
    encoder = load_encoder(directory, generator) if _ENCODER.value else None
    if _ENCODER.value and encoder is None:
        raise InputError(f"--encoder: {directory} has none; python -m tools.train_encoder trains one")
    networks = fingerprint(generator, lpips, None if _IDENTITY.value is None else Path(_IDENTITY.value), encoder)

    comparison.warn_of_missing(lpips, identity)
    if _FORCE.value:
        shutil.rmtree(out / "cases", ignore_errors=True)
    (out / "cases").mkdir(parents=True, exist_ok=True)
    bench = Bench(heads, out / "cases", generator, lpips, identity, encoder, networks)
    by_seed: list[Figures] = [{name: {} for name in chosen} for _ in range(_SEEDS.value)]
    bar = tqdm([(case, name, k) for case in cases for name in chosen for k in range(_SEEDS.value)], unit="inversion")
    for case, name, k in bar:
        bar.set_postfix_str(f"{case.name} {name}")
        config = dataclasses.replace(chosen[name], seed=chosen[name].seed + k)
        by_seed[k][name][case] = bench.run(case, name, config)
    some = next(iter(chosen.values()))
    print(write_tables(out, by_seed, _SPLIT.value, some.loss.perceptual), end="")
    images.save_image(out / "sheet.png", sheet(bench, cases[:SHOWN_HEADS], list(chosen), some.seed))


if __name__ == "__main__":
    sys.exit(main())
