"""The benchmark's heads: splits, outfits, and what is known of a ball in closed form before and behind a backdrop."""

import dataclasses

import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig, RenderingConfig
from pmv_jax.errors import InputError
from tests import command
from tests import rendered_spheres as spheres
from tools.benchmarks import cases as benchmark_cases
from tools.benchmarks import heads as benchmark_heads
from tools.benchmarks import truth as benchmark_truth
from tools.benchmarks.cases import Case, cases
from tools.benchmarks.truth import Painted, Truth
from tools.heads.outfit import DECALS
from tools.training import backdrop

RESOLUTION, COARSE = 32, 16
SIZES = GeneratorConfig(image_resolution=RESOLUTION, rendering=RenderingConfig(neural_resolution=COARSE))
KINDS = {"text", "stripes", "freckles", "paint", "stickers", "glasses", "patch", "scarf", "hat"}
ALL = cases("dev") + cases("test")


@pytest.fixture(scope="module")
def case() -> Case:
    return cases("dev")[1]


@pytest.fixture(scope="module")
def truth(case) -> Truth:
    return benchmark_truth.make(case, spheres.pictures(case.p), RESOLUTION, COARSE)


# ---------------------------------------------------------------------------------------------------------------------
# Cases
# ---------------------------------------------------------------------------------------------------------------------


def test_splits_have_other_heads_but_the_same_make_up():
    dev, test = cases("dev"), cases("test")
    assert len(dev) == len(test) >= 24
    assert len({case.name for case in ALL}) == len(ALL)
    for split in (dev, test):
        assert {kind for case in split for kind in case.kinds} == KINDS
        yaws = np.array([case.yaw for case in split])
        nearest = np.abs(yaws[:, None] - [-0.4, -0.2, 0.0, 0.2, 0.4])
        assert nearest.min(axis=1).max() <= benchmark_cases.YAW_JITTER
        assert (np.bincount(nearest.argmin(axis=1)) >= 4).all()
    p = np.stack([np.append(case.p, case.backdrop) for case in ALL])
    apart = np.abs(p[:, None] - p[None]).max(axis=-1) + 9.0 * np.eye(len(p))
    assert apart.min() > 0.3


def test_there_are_twelve_novel_cameras_in_range(case):
    yaw, pitch = cameras.yaw_pitch(case.cameras)
    assert case.cameras.shape == (13, 25)
    np.testing.assert_allclose((yaw[0], pitch[0]), (case.yaw, case.pitch), atol=1e-5)
    assert np.abs(yaw[1:]).max() == pytest.approx(0.6, abs=1e-5)
    assert np.abs(pitch[1:]).max() == pytest.approx(0.3, abs=1e-5)


def test_painted_views_are_one_from_the_front_and_one_to_each_side():
    for case in ALL[:5]:
        yaw, _ = cameras.yaw_pitch(case.painted_cameras)
        assert abs(yaw[0]) < 0.25
        np.testing.assert_allclose(yaw[1:] - yaw[0], [-benchmark_cases.TURN, benchmark_cases.TURN], atol=1e-4)


def test_a_case_is_the_same_every_time_and_unlike_others():
    first, again = (cases("test")[12] for _ in range(2))
    other = cases("test")[0]
    assert first.kinds == other.kinds
    assert benchmark_cases.outfit(first) == benchmark_cases.outfit(again) != benchmark_cases.outfit(other)
    assert benchmark_cases.painting(first) == benchmark_cases.painting(again) != benchmark_cases.painting(other)


def test_every_head_wears_what_it_says():
    for case in ALL:
        outfit = benchmark_cases.outfit(case)
        assert (outfit.glasses is not None) == ("glasses" in case.kinds)
        assert (outfit.eye_patch in (-1, 1)) == ("patch" in case.kinds)
        worn = None if outfit.headwear is None else {"scarf": "scarf"}.get(outfit.headwear.kind, "hat")
        assert worn == next((kind for kind in ("scarf", "hat") if kind in case.kinds), None)
        marks = {"star": "stickers", "disc": "stickers"}
        drawn = {marks.get(decal.kind, decal.kind) for decal in outfit.decals}
        assert drawn == set(case.kinds) - {"glasses", "patch", "scarf", "hat"}


def test_whatever_is_drawn_can_be_told_from_the_skin():
    for case in ALL:
        drawn = (*benchmark_cases.outfit(case).decals, benchmark_cases.painting(case))
        assert {decal.colour for decal in drawn} <= set(benchmark_cases.inks(case))
        assert {decal.kind for decal in drawn} <= set(DECALS)
        assert 2 <= len(benchmark_cases.inks(case)) < len(benchmark_cases.COLOURS)


@pytest.mark.parametrize(
    ("split", "count", "message"), [("train", 3, "no such split"), ("dev", 99, "24"), ("dev", 0, "24")]
)
def test_unknown_cases_are_refused(split, count, message):
    with pytest.raises(InputError, match=message):
        cases(split, count)


# ---------------------------------------------------------------------------------------------------------------------
# Truth
# ---------------------------------------------------------------------------------------------------------------------


def points_of(camera: np.ndarray, z_depth: np.ndarray) -> np.ndarray:
    """[N, N, 3] in the world, of z_depth [N, N]."""
    directions = np.asarray(cameras.unproject(camera, cameras.pixel_centres(len(z_depth)).reshape(-1, 2)))
    return (camera[3:12:4] + z_depth.reshape(-1, 1) * directions).reshape(*z_depth.shape, 3)


@pytest.mark.parametrize("depth, head", [("z_depth", "mask"), ("coarse_z_depth", "coarse_head")])
def test_depth_ends_on_the_ball_or_on_the_wall(case, truth, depth, head):
    for camera, z_depth, hit in zip(truth.cameras, getattr(truth, depth), getattr(truth, head) > 0, strict=True):
        x, y, z = np.moveaxis(points_of(camera, z_depth), -1, 0)
        assert 0.1 < hit.mean() < 0.9
        np.testing.assert_allclose(np.sqrt(x**2 + y**2 + z**2)[hit], spheres.radius(case.p), atol=1e-5)
        side, cap = np.abs(np.hypot(x, z) - backdrop.RADIUS), np.abs(np.abs(y) - backdrop.HEIGHT)
        assert np.minimum(side, cap)[~hit].max() < 1e-5


def test_visibility_is_that_of_a_ball_before_a_wall(case, truth):
    """A point of the ball is seen if its normal faces the input's camera, one of the wall if the ball is not between;
    both within the picture. At the limb it takes a tolerance, so points near it are left out."""
    origin, radius = truth.cameras[0, 3:12:4], spheres.radius(case.p)
    hidden = 0
    for camera, z_depth, visible, mask in zip(
        truth.cameras[1:], truth.z_depth[1:], truth.visible[1:], truth.mask[1:], strict=True
    ):
        points = points_of(camera, z_depth)
        where, _ = (np.asarray(x) for x in cameras.project(truth.cameras[0], points.reshape(-1, 3)))
        inside = ((where > 0) & (where < 1)).all(axis=-1).reshape(mask.shape)
        to_camera = origin - points
        to_camera /= np.linalg.norm(to_camera, axis=-1, keepdims=True)
        facing = (points * to_camera).sum(-1) / radius
        # Of the wall: how near the sight line passes to the middle of the ball, which lies before it.
        passes = np.linalg.norm(points - (points * to_camera).sum(-1)[..., None] * to_camera, axis=-1) / radius
        ball = mask > 0
        expected = inside & np.where(ball, facing > 0, passes > 1)
        clear = np.where(ball, np.abs(facing) > 0.3, np.abs(passes - 1) > 0.1)
        np.testing.assert_array_equal(visible[clear], expected[clear])
        hidden += (clear & inside & ~expected).sum()
    assert truth.visible[0].all() and hidden > 100


def test_pictures_are_before_the_cases_backdrop(case, truth):
    ball = 2 * spheres.colour(case.p) - 1
    for camera, image, mask in zip(truth.cameras, truth.image, truth.mask, strict=True):
        behind = 2 * np.asarray(backdrop.picture(case.backdrop, camera, RESOLUTION)) - 1
        np.testing.assert_allclose(image, np.where(mask[..., None] > 0, ball, behind), atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def test_truth_survives_its_file(case, truth, tmp_path):
    benchmark_truth.save(tmp_path, case, truth)
    found = benchmark_truth.load(tmp_path, case, Truth)
    for name, tolerance in {"image": 0.5 / 127, "mask": 0.5 / 255, "z_depth": 1e-5, "coarse_z_depth": 1e-5}.items():
        np.testing.assert_allclose(getattr(found, name), getattr(truth, name), atol=tolerance)
        assert getattr(found, name).dtype == np.float32
    for name in ("cameras", "visible", "coarse_head"):
        np.testing.assert_array_equal(getattr(found, name), getattr(truth, name))
    assert [path.name for path in tmp_path.iterdir()] == [f"{case.name}.npz"]
    assert benchmark_truth.check(tmp_path, [case], Truth, SIZES) == tmp_path


def test_painted_heads_survive_theirs(case, tmp_path):
    red, other = case.p.copy(), case.p.copy()
    red[1:4] = 5, -5, -5
    known = benchmark_truth.make_painted(case, spheres.pictures(other), spheres.pictures(red), RESOLUTION)
    benchmark_truth.save(tmp_path, case, known)
    found = benchmark_truth.load(tmp_path, case, Painted)
    np.testing.assert_allclose(found.painted, known.painted, atol=0.5 / 127)
    changed = np.abs(found.painted - found.plain).max(-1) > 0
    middle = slice(RESOLUTION // 2 - 2, RESOLUTION // 2 + 2)
    assert changed[:, middle, middle].all() and not changed[:, 0].any()
    assert benchmark_truth.check(tmp_path, [case], Painted, SIZES) == tmp_path


def test_what_is_not_there_is_said_in_one_line(case, truth, tmp_path):
    make = "python -m tools.benchmarks heads --assets DIR --out"
    with pytest.raises(InputError, match=make):
        benchmark_truth.check(None, [case], Truth, SIZES)
    with pytest.raises(InputError, match=f"dev-01.npz is not there; make it: {make} .* --split dev"):
        benchmark_truth.check(tmp_path, [case], Truth, SIZES)
    benchmark_truth.save(tmp_path, case, truth)
    with pytest.raises(InputError, match="another generator, 32 pixels where this one has 64"):
        benchmark_truth.check(tmp_path, [case], Truth, dataclasses.replace(SIZES, image_resolution=64))
    with pytest.raises(InputError, match="of another benchmark's head"):
        benchmark_truth.load(tmp_path, dataclasses.replace(case, yaw=0.0), Truth)
    (tmp_path / "dev-01.npz").write_bytes(b"half")
    with pytest.raises(InputError, match="cannot be read"):
        benchmark_truth.load(tmp_path, case, Truth)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--out: give a directory"),
        ("--out new --heads 99", "24 heads"),
        ("--out new --assets nowhere", "nowhere"),
        ("--out new --generator nowhere", "nowhere"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    done = command.run(benchmark_heads.main, tmp_path, *arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
