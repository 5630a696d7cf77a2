"""Which pictures the benchmark of cameras takes, and how far off a camera is; pictures of balls."""

import numpy as np
import pytest

from pmv_jax import cameras
from tests import command
from tests import rendered_spheres as spheres
from tools.benchmarks import camera as benchmark_camera
from tools.training.data import Heads


def test_angle_between_cameras():
    front, side = (np.asarray(cameras.look_at(yaw, 0.0, pivot=(0.0, 0.0, 0.0))) for yaw in (0.0, 0.3))
    assert benchmark_camera.angle(front, side) == pytest.approx(np.degrees(0.3), abs=1e-4)
    assert benchmark_camera.angle(side, side) == pytest.approx(0, abs=1e-4)


def test_turns_are_taken_from_the_estimate():
    truth, estimate = (np.asarray(cameras.look_at(*angles)) for angles in ((0.2, 0.1), (0.3, -0.1)))
    views = np.asarray(cameras.look_at(np.array([0.2, 0.5]), np.array([0.1, 0.2])))
    found = benchmark_camera.turned(views, truth, estimate)
    np.testing.assert_allclose(np.stack(cameras.yaw_pitch(found)), [[0.3, 0.6], [-0.1, 0.0]], atol=1e-5)


def test_a_view_in_range_comes_first(tmp_path):
    spheres.shard(tmp_path / "shard_0000.npz", heads=6, views=3, seed=0)
    heads = Heads(tmp_path)
    for head in range(len(heads)):
        views = benchmark_camera.pictures(heads, head)
        ranges = [benchmark_camera.is_in_range(camera) for camera in heads.camera[head]]
        assert bool(views) == any(ranges)
        if views:
            assert benchmark_camera.is_in_range(views[0].camera) and len(views) == 3
            middle = spheres.SIZE // 2
            seen = views[0].image[middle, middle]
            np.testing.assert_allclose(seen, 2 * spheres.colour(heads.p[head]) - 1, atol=1e-2)
            assert np.abs(views[0].image).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [("", "--data: give a directory"), ("--data .", "holds no shard"), ("--data balls", "32 pixels")],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    (tmp_path / "balls").mkdir()
    spheres.shard(tmp_path / "balls" / "shard_0000.npz", heads=1, views=1, seed=0)
    done = command.run(benchmark_camera.main, tmp_path, *arguments.split())
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
