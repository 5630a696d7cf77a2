"""The benchmark's heads: splits, reproducible truth, and visibility against a brute-force twin."""

import jax
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.errors import InputError
from tools.benchmarks import heads as benchmark_heads
from tools.signed_distance_heads import heads

RESOLUTION, COARSE = 32, 16
KINDS = {"text", "stripes", "freckles", "paint", "birthmarks", "stickers", "glasses", "patch", "scarf"}


@pytest.fixture(scope="module")
def case() -> benchmark_heads.Case:
    (case,) = (case for case in benchmark_heads.cases("dev") if {"patch", "scarf"} <= set(case.outfit) and case.yaw > 0)
    return case


@pytest.fixture(scope="module")
def truth(case) -> benchmark_heads.Truth:
    return benchmark_heads.truth(case, RESOLUTION, COARSE)


def test_splits_have_other_heads_but_the_same_make_up():
    dev, test = benchmark_heads.cases("dev"), benchmark_heads.cases("test")
    assert len(dev) == len(test) >= 24
    assert not {case.seed for case in dev} & {case.seed for case in test}
    assert len({case.name for case in dev + test}) == len(dev + test)
    for split in (dev, test):
        assert {kind for case in split for kind in case.outfit} == KINDS
        yaws = np.array([case.yaw for case in split])
        nearest = np.abs(yaws[:, None] - [-0.4, -0.2, 0.0, 0.2, 0.4])
        assert nearest.min(axis=1).max() <= benchmark_heads.YAW_JITTER
        assert (np.bincount(nearest.argmin(axis=1)) >= 4).all()
    parameters = np.stack([benchmark_heads.parameters(case) for case in dev + test])
    apart = np.abs(parameters[:, None] - parameters[None]).max(axis=-1) + 9.0 * np.eye(len(parameters))
    assert apart.min() > 0.3


def test_there_are_twelve_novel_cameras_in_range(case):
    views = benchmark_heads.case_cameras(case)
    yaw, pitch = cameras.yaw_pitch(views)
    assert views.shape == (13, 25)
    np.testing.assert_allclose((yaw[0], pitch[0]), (case.yaw, case.pitch), atol=1e-5)
    assert np.abs(yaw[1:]).max() == pytest.approx(0.6, abs=1e-5)
    assert np.abs(pitch[1:]).max() == pytest.approx(0.3, abs=1e-5)


def test_a_case_is_the_same_every_time_and_unlike_others():
    first, again = (benchmark_heads.cases("test", 24)[12] for _ in range(2))
    other = benchmark_heads.cases("test")[0]
    assert first.outfit == other.outfit
    for make in (benchmark_heads.case_decals, benchmark_heads.case_accessories):
        jax.tree.map(np.testing.assert_array_equal, make(first), make(again))
    pairs = zip(benchmark_heads.case_decals(first), benchmark_heads.case_decals(other), strict=True)
    assert any((a.texture != b.texture).any() or (a.centre != b.centre).any() for a, b in pairs)


def test_every_head_wears_what_it_says():
    for case in benchmark_heads.cases("dev") + benchmark_heads.cases("test"):
        worn = benchmark_heads.case_accessories(case)
        for kind in ("glasses", "patch", "scarf"):
            assert bool(getattr(worn, kind)) == (kind in case.outfit)
        marks = [decal for decal in benchmark_heads.case_decals(case) if decal.texture[..., 3].max() > 0.5]
        assert bool(marks) == bool(set(case.outfit) - {"glasses", "patch", "scarf"})
        assert len(benchmark_heads.case_decals(case)) == benchmark_heads.SLOTS


@pytest.mark.parametrize(
    ("split", "count", "message"), [("train", 3, "no such split"), ("dev", 99, "24"), ("dev", 0, "24")]
)
def test_unknown_cases_are_refused(split, count, message):
    with pytest.raises(InputError, match=message):
        benchmark_heads.cases(split, count)


def test_truth_has_all_views_and_no_gaps(truth):
    assert truth.image.shape == (13, RESOLUTION, RESOLUTION, 3)
    assert truth.coarse_z_depth.shape == (13, COARSE, COARSE)
    for name, value in vars(truth).items():
        assert np.isfinite(value).all(), name
    assert truth.visible[0].all()
    assert (truth.visible[1:].mean(axis=(1, 2)) > 0.2).all() and (truth.visible[1:].mean(axis=(1, 2)) < 0.95).all()


def test_depth_lies_on_the_head(case, truth):
    """Fully covered pixels end on the head's surface, with what it wears; both resolutions agree about it."""
    worn, p = benchmark_heads.case_accessories(case), benchmark_heads.parameters(case)
    depths = ((truth.z_depth, truth.mask == 1.0), (truth.coarse_z_depth, truth.coarse_head))
    points = [
        world_points(camera, z_depth)[mask.reshape(-1)]
        for z_depths, masks in depths
        for camera, z_depth, mask in zip(truth.cameras[:4], z_depths, masks, strict=False)
    ]
    distance = np.abs(heads.signed_distance(p, np.concatenate(points), worn))
    assert len(distance) > 1000 and np.mean(distance < 2e-3) > 0.99
    bare = np.abs(heads.signed_distance(p, np.concatenate(points)))
    assert np.mean(bare > 5e-3) > 0.02  # the patch and the scarf stand out


def test_visibility_agrees_with_brute_force(case, truth):
    """A point is hidden if the straight line from the input's camera to it passes through the head."""
    worn, p = benchmark_heads.case_accessories(case), benchmark_heads.parameters(case)
    random = np.random.default_rng(0)
    for view in (1, 7, 12):
        points = world_points(truth.cameras[view], truth.z_depth[view])
        chosen = random.choice(len(points), 150, replace=False)
        where, depth = (np.asarray(x) for x in cameras.project(truth.cameras[0], points[chosen]))
        inside = ((where > 0) & (where < 1)).all(axis=-1)
        origin = truth.cameras[0].reshape(-1)[[3, 7, 11]]
        share = np.linspace(0.75, 1 - 0.015 / 2.7, 300)[:, None, None]
        along = origin + share * (points[chosen] - origin)
        clear = np.asarray(heads.signed_distance(p, along.reshape(-1, 3), worn)).reshape(300, -1).min(axis=0) > 0
        found = truth.visible[view].reshape(-1)[chosen]
        assert np.mean(found == (inside & clear)) > 0.96
        assert found.any() and not found.all()


def world_points(camera: np.ndarray, z_depth: np.ndarray) -> np.ndarray:
    """[N * N, 3] of z_depth [N, N]."""
    pixels = cameras.pixel_centres(z_depth.shape[0]).reshape(-1, 2)
    origin = camera.reshape(-1)[[3, 7, 11]]
    return np.asarray(origin + z_depth.reshape(-1, 1) * cameras.unproject(camera, pixels))
