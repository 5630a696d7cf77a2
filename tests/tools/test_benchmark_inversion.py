"""The benchmark's figures, methods, resumption and tables; inversions are stand-ins whose errors are known."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig, InversionConfig, LossConfig, RenderingConfig, load_recipe
from pmv_jax.errors import InputError
from pmv_jax.inversion.image_run import StageRecord
from pmv_jax.inversion.pipeline import METHOD, invert
from pmv_jax.models.generator import Generator
from tests import command, small_inversion
from tests import rendered_spheres as spheres
from tools.benchmarks import inversion as benchmark
from tools.benchmarks import tables
from tools.benchmarks import truth as benchmark_truth
from tools.benchmarks.cases import Case, cases
from tools.benchmarks.truth import Truth

ROOT = Path(__file__).parents[2]
RESOLUTION, COARSE = 32, 16


@dataclasses.dataclass(frozen=True)
class Rendered:
    """Stands in for an inversion: what it renders is given."""

    truth: Truth
    image: np.ndarray
    z_depth: np.ndarray
    stages: tuple[StageRecord, ...] = (StageRecord("latent", 2.0, np.ones(3)),)

    def render(self, views: np.ndarray) -> dict[str, np.ndarray]:
        index = [int(np.abs(self.truth.cameras - view).sum(axis=1).argmin()) for view in views]
        distance = np.asarray(cameras.z_depth_to_ray_distance(self.z_depth[index], views))
        return {"image": self.image[index], "ray_distance": distance}


@pytest.fixture(scope="module")
def case() -> Case:
    return cases("dev")[1]


@pytest.fixture(scope="module")
def truth(case) -> Truth:
    return benchmark_truth.make(case, spheres.pictures(case.p), RESOLUTION, COARSE)


def test_the_truth_scores_best(truth):
    scores = benchmark.score(Rendered(truth, truth.image, truth.coarse_z_depth), truth)
    assert scores["input_psnr"] == scores["novel_psnr"] == scores["hidden_head_psnr"] == float("inf")
    assert scores["novel_ssim"] == pytest.approx(1, abs=1e-4) and scores["visible_ssim"] == pytest.approx(1, abs=1e-4)
    assert scores["depth_rmse"] < 1e-5 and scores["normal_angle"] < 0.1
    assert scores["visibility_iou"] > 0.5  # from depth of half the image's resolution
    assert np.isnan(scores["novel_lpips"]) and np.isnan(scores["input_identity"])


def test_errors_are_counted_where_they_are(truth):
    """A known error in hidden pixels only, and a known shift of all depths."""
    hidden = ~truth.visible[..., None]
    image = np.where(hidden, truth.image - 0.2 * np.sign(truth.image), truth.image)
    scores = benchmark.score(Rendered(truth, image, truth.coarse_z_depth + 0.01), truth)
    assert scores["input_psnr"] == scores["visible_psnr"] == float("inf")
    assert scores["hidden_psnr"] == pytest.approx(10 * np.log10(4 / 0.04), abs=0.01)
    assert scores["hidden_head_psnr"] == pytest.approx(scores["hidden_psnr"], abs=0.01)
    share = hidden[1:].mean(axis=(1, 2, 3))
    assert scores["novel_psnr"] == pytest.approx(np.mean(10 * np.log10(4 / (0.04 * share))), abs=0.01)
    assert scores["depth_rmse"] == pytest.approx(0.01, rel=1e-2)
    assert scores["input_depth_rmse"] == pytest.approx(0.01, rel=1e-2)


def test_methods_take_the_same_steps():
    ours, methods = InversionConfig(), benchmark.methods()
    total = ours.latent.steps + ours.tuning.steps + ours.joint.steps
    for name, config in methods.items():
        steps = config.latent.steps + config.tuning.steps + config.joint.steps
        expected = total - (ours.tuning.steps if name == "oracle" else 0)
        assert steps == (sum(benchmark.BUDGETS[name]) if name in benchmark.BUDGETS else expected), name
    assert methods["pmv"] == ours
    assert methods["w"].latent.space == "w" and methods["w_plus"].latent.space == "w_plus"
    assert methods["pti"].joint.steps == 0 and methods["pti"].latent == ours.latent
    paper = load_recipe("hfgi3d_paper")
    assert methods["hfgi3d"].pseudo_views == paper.pseudo_views
    assert methods["hfgi3d"].tuning.learning_rate == paper.tuning.learning_rate
    rates = methods["hfgi3d_rates"]
    assert rates.joint.learning_rate == ours.joint.learning_rate and rates.pseudo_views == paper.pseudo_views
    assert rates.joint.reset_generator and rates.latent.noise == ours.latent.noise
    other = InversionConfig(seed=3, loss=LossConfig(perceptual="none"))
    bare = dataclasses.replace(other.loss, surface_weight=0.0)
    without = {"w", "w_plus", "pti", "hfgi3d", "hfgi3d_rates", "oracle", "no surface"}
    for name, config in benchmark.methods(other).items():
        assert config.loss == (bare if name in without else other.loss) and config.seed == 3, name
    for name, steps in benchmark.BUDGETS.items():
        assert name == f"{sum(steps)} steps"
    for name in benchmark.ABLATIONS:
        assert methods[name] != ours, name


def test_with_the_papers_budget_its_recipe_is_its_own():
    ours, paper = (load_recipe(name) for name in ("paper_budget", "hfgi3d_paper"))
    theirs = benchmark.methods(ours)["hfgi3d"]
    assert [getattr(theirs, stage).steps for stage in ("latent", "tuning", "joint")] == [500, 500, 1000]
    assert theirs == dataclasses.replace(paper, loss=dataclasses.replace(ours.loss, surface_weight=0.0))


def test_the_oracle_is_tuned_on_all_views_as_they_are(truth):
    """The pipeline's latent stage, then joint steps on 13 views whose targets are the truth."""
    config = benchmark.methods()["oracle"]
    latent, joint = benchmark.stages("oracle", truth)
    assert latent in METHOD and latent.name == "latent" and benchmark.stages("pmv", truth) is METHOD
    assert config.latent == InversionConfig().latent and joint.settings(config).steps == InversionConfig().joint.steps
    plan, views = joint.plan(config), joint.views(None)
    assert plan.depth_weight == 0 and plan.view_weight == 1
    np.testing.assert_array_equal(views.images, truth.image)
    np.testing.assert_array_equal(views.cameras, truth.cameras)
    assert (np.asarray(views.weights) == 1).all() and len(views.distances) == 13


@pytest.mark.slow
def test_the_oracle_learns_what_the_input_hides(case):
    """Of a ball that is another's from behind: it is fitted to views that the input says nothing of."""
    config = small_inversion.CONFIG
    truth = benchmark_truth.make(case, spheres.pictures(case.p), small_inversion.SIZE, 16)
    turned = dataclasses.replace(truth, image=np.concatenate([truth.image[:1], -truth.image[1:]]))
    chosen = benchmark.methods(dataclasses.replace(small_inversion.RECIPE, latent=InversionConfig().latent))
    found = {
        name: benchmark.score(
            invert(turned.image[0], turned.cameras[0], small_inversion.generator(), chosen[name],
                   method=benchmark.stages(name, turned)), turned)
        for name in ("pti", "oracle")
    }  # fmt: skip
    assert found["oracle"]["novel_psnr"] > found["pti"]["novel_psnr"] and config.image_resolution == RESOLUTION


def test_share_of_the_gap():
    rows = {name: {"novel_psnr": psnr} for name, psnr in {"pti": 20.0, "pmv": 20.5, "oracle": 22.0, "w": 19.0}.items()}
    shares = {name: row["gap_closed"] for name, row in tables.with_gap_closed(rows).items()}
    assert shares == {"pti": 0, "pmv": 0.25, "oracle": 1, "w": -0.5}
    del rows["oracle"]
    assert tables.with_gap_closed(rows) == rows


@pytest.mark.parametrize(("name", "hint"), [("w_pluss", "did you mean 'w_plus'"), ("xyzzy", "known: w, w_plus")])
def test_an_unknown_method_is_named(name, hint):
    with pytest.raises(InputError, match=hint):
        benchmark.choose(["pmv", name])


@pytest.fixture
def bench(case, truth, tmp_path, monkeypatch):
    """A bench whose inversions render the truth a little darker; `bench.calls` counts them."""
    config = GeneratorConfig(image_resolution=RESOLUTION, rendering=RenderingConfig(neural_resolution=COARSE))

    def invert(image, camera, generator, config, state_directory, method, matte, encoder):
        assert matte is None and encoder is None
        np.testing.assert_allclose(image, truth.image[0], atol=0.5 / 127)
        np.testing.assert_array_equal(camera, truth.cameras[0])
        calls.append(config)
        latent = Path(state_directory, "latent")
        if not latent.is_dir():
            latent.mkdir()
            fresh.append(config)
        return Rendered(truth, truth.image - 0.1, truth.coarse_z_depth)

    calls, fresh = [], []
    monkeypatch.setattr(benchmark, "invert", invert)
    heads, folder = tmp_path / "heads", tmp_path / "cases"
    heads.mkdir()
    folder.mkdir()
    benchmark_truth.save(heads, case, truth)
    return benchmark.Bench(heads, folder, Generator(config, {}), None, None, None, "fingerprint"), calls, fresh


def test_cases_are_computed_once(bench, case, truth):
    bench, calls, _ = bench
    config = InversionConfig()
    first = bench.run(case, "pmv", config)
    again = bench.run(case, "pmv", config)
    assert len(calls) == 1
    assert first.keys() == again.keys()
    for name in first:
        np.testing.assert_equal(again[name], first[name])
    changed = dataclasses.replace(config, seed=5)
    bench.run(case, "pmv", changed)
    dataclasses.replace(bench, fingerprint="another generator").run(case, "pmv", changed)
    assert calls == [config, changed, changed]
    bench.path(case, "pmv", 5).write_text("{")  # cut short
    bench.run(case, "pmv", changed)
    assert len(calls) == 4
    bench.run(case, "tuned fill", config)
    assert len(calls) == 5 and len(list(bench.folder.glob("*.json"))) == 3  # a seed has files of its own
    benchmark_truth.save(bench.heads, case, dataclasses.replace(truth, visible=~truth.visible))
    bench.run(case, "pmv", config)
    assert len(calls) == 6  # of other pictures


def test_methods_share_the_latent_stage_where_it_is_the_same(bench, case):
    bench, calls, fresh = bench
    ours = benchmark.methods()
    for name in ("pti", "oracle", "pmv", "w", "tuned fill"):
        bench.run(case, name, ours[name])
    bench.run(case, "pmv", dataclasses.replace(ours["pmv"], seed=1))
    assert len(calls) == 6
    assert fresh == [ours["pti"], ours["pmv"], ours["w"], dataclasses.replace(ours["pmv"], seed=1)]


def test_tables_and_sheet(bench, case, tmp_path):
    bench, *_ = bench
    other = dataclasses.replace(case, name="dev-99")
    scores = bench.run(case, "pmv", InversionConfig())
    figures = {"pmv": {case: scores, other: scores | {"novel_psnr": scores["novel_psnr"] + 4, "hidden_psnr": np.nan}}}
    text = tables.write_tables(tmp_path, [figures], "dev", "gradients")
    assert (tmp_path / "table.md").read_text() == text
    assert "left out: input lpips" in text and "heads (2)" in text and "fitted: gradients" in text
    (mean,) = csv.DictReader((tmp_path / "table.csv").open())
    assert float(mean["novel_psnr"]) == pytest.approx(scores["novel_psnr"] + 2, rel=1e-5)
    assert float(mean["hidden_psnr"]) == pytest.approx(scores["hidden_psnr"], rel=1e-5)
    assert mean["novel_lpips"] == ""
    rows = list(csv.DictReader((tmp_path / "cases.csv").open()))
    assert [row["case"] for row in rows] == [case.name, "dev-99"] and rows[0]["outfit"] == " ".join(case.kinds)

    shifted = {"pmv": {c: f | {"novel_psnr": f["novel_psnr"] + 0.2} for c, f in figures["pmv"].items()}}
    text = tables.write_tables(tmp_path, [figures, shifted], "dev", "gradients")
    assert "over 2 seeds, dB: pmv 0.141" in text
    text = tables.write_tables(tmp_path, [figures | {"pti": shifted["pmv"]}], "dev", "gradients")
    assert "below that of pti: pmv 2\n" in text
    oracle = {"pti": figures["pmv"], "oracle": shifted["pmv"]}
    assert "| oracle | 1.000 |" in tables.write_tables(tmp_path, [oracle], "dev", "gradients")
    tables.write_tables(tmp_path, [figures, shifted], "dev", "gradients")
    (both,) = csv.DictReader((tmp_path / "table.csv").open())
    assert float(both["novel_psnr"]) == pytest.approx(float(mean["novel_psnr"]) + 0.1, rel=1e-5)

    picture = benchmark.sheet(bench, [case], ["pmv"], 0)
    assert picture.shape[1] == 1600 and picture.dtype == np.uint8
    strip = np.asarray(Image.open(bench.strip(case, "pmv", 0)))
    assert strip.shape == (RESOLUTION, RESOLUTION * len(benchmark.SHOWN_VIEWS), 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--heads_dir: give the directory"),
        ("--heads_dir taken", "dev-00.npz is not there; make it"),
        ("--methods pvm", "did you mean 'pmv'?"),
        ("--heads 99", "24 heads"),
        ("--out taken", "taken: exists"),
        ("--config none.py", "none.py: no such file"),
        ("--lpips nowhere", "pmv_jax.convert lpips"),
        ("--identity none.onnx", "none.onnx: no such file"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    done = command.run(benchmark.main, tmp_path, *arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_help_names_the_flags(tmp_path):
    done = command.run(benchmark.main, tmp_path, "--help")
    assert done.returncode == 0
    for flag in "heads_dir methods ablation split heads seeds config generator lpips identity out force".split():
        assert f"--{flag} " in done.stdout
