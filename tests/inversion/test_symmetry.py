"""Face and mirror image: a painted ellipsoid, whose plane of symmetry and surface are known in closed form."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.cameras.poses import of_camera, to_camera
from pmv_jax.inversion.stage import Photograph
from pmv_jax.inversion.symmetry import Symmetry, fitted
from tests.small_inversion import CONFIG

SIDE = 64
AXES = np.array([0.15, 0.2, 0.17])  # of the ellipsoid around the pivot
POSE = np.float32([0.4, 0.1, 0.0, 0.0, 0.0])
WIDTH = 0.01


def seen(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image [n, n, 3], matte [n, n] and relief [n, n] of the ellipsoid, painted alike on both sides."""
    camera, pivot = to_camera(jnp.asarray(pose), CONFIG), np.asarray(CONFIG.camera_pivot)
    origins, directions = (np.asarray(x, np.float64) for x in cameras.rays(camera, SIDE))
    start, along = (origins - pivot) / AXES, directions / AXES
    a, b, c = (along**2).sum(-1), (start * along).sum(-1), (start**2).sum(-1) - 1
    root = b**2 - a * c
    hit = root > 0
    distance = np.where(hit, (-b - np.sqrt(np.maximum(root, 0))) / a, 0)
    points = origins + distance[:, None] * directions
    x, y = np.abs(points[:, 0]) / AXES[0], (points[:, 1] - pivot[1]) / AXES[1]
    waves = [np.sin(7 * x + 2 * y), np.cos(5 * x * y + 6 * y), np.sin(9 * x * x - 4 * y)]
    colour = np.where(hit[:, None], 0.8 * np.stack(waves, axis=-1), 0)
    _, depth = cameras.project(camera, jnp.asarray(points, jnp.float32))
    _, middle = cameras.project(camera, jnp.asarray(pivot, jnp.float32)[None])
    relief = np.where(hit, np.asarray(depth) - float(middle[0]), 0.1)
    return tuple(np.float32(v).reshape(SIDE, SIDE, *v.shape[1:]) for v in (colour, hit, relief))


def fit(
    image: np.ndarray, matte: np.ndarray, relief: np.ndarray, pose: np.ndarray | None, camera: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    camera = to_camera(jnp.asarray(pose), CONFIG) if camera is None else camera
    pose = None if pose is None else jnp.asarray(pose)
    return fitted(image, relief, np.full_like(relief, WIDTH), matte, camera, pose, config=CONFIG)


def inner(matte: np.ndarray) -> np.ndarray:
    """Of the head, without its rim, where relief is steep."""
    around = np.stack([np.roll(matte, shift, (0, 1)) for shift in ((4, 0), (-4, 0), (0, 4), (0, -4))])
    return (matte * around.min(0)) > 0.5


def test_what_is_symmetric_stays():
    image, matte, relief = seen(POSE)
    camera, pose, after = fit(image, matte, relief, POSE)
    np.testing.assert_allclose(pose, POSE, atol=0.02)
    np.testing.assert_allclose(camera, to_camera(pose, CONFIG))
    assert np.abs(after - relief)[inner(matte)].mean() < 0.003


@pytest.mark.parametrize("off", [(-0.07, 0, 0, 0, 0), (0.05, 0, 0.03, 0.004, 0)])
def test_a_pose_that_is_off_comes_back(off):
    image, matte, relief = seen(POSE)
    wrong = POSE + np.float32(off)
    pose = np.asarray(fit(image, matte, relief, wrong)[1])
    assert np.abs(pose - POSE)[0] < 0.5 * abs(off[0])
    assert np.abs(pose - POSE)[2] < max(0.7 * off[2], 0.01)
    np.testing.assert_array_equal(pose[[1, 4]], wrong[[1, 4]])  # of which symmetry tells nothing


def test_a_surface_that_is_off_comes_back_and_a_given_camera_stays():
    """Of the half that is seen less steeply, where the surface is off, half the error or more goes."""
    image, matte, relief = seen(POSE)
    rows, columns = np.indices(relief.shape) / SIDE
    bump = 0.02 * np.exp(-((rows - 0.5) ** 2 + (columns - 0.42) ** 2) / 0.006).astype(np.float32)
    camera = np.asarray(to_camera(jnp.asarray(POSE), CONFIG))
    kept, pose, after = fit(image, matte, relief + bump, None, camera)
    np.testing.assert_array_equal(kept, camera)
    assert pose is None
    there = bump > 0.01
    assert np.abs(after - relief)[there].mean() < 0.6 * bump[there].mean()


def test_the_mirror_image_is_fitted_as_the_mirror_image():
    image, matte, relief = seen(POSE)
    wrong = POSE + np.float32([0.04, 0, 0, 0, 0])
    signs = np.float32([-1, 1, -1, -1, 1])
    _, pose, after = fit(image, matte, relief, wrong)
    _, other, flipped = fit(image[:, ::-1], matte[:, ::-1], relief[:, ::-1], signs * wrong)
    np.testing.assert_allclose(signs * other, pose, atol=5e-3)
    assert np.abs(flipped[:, ::-1] - after)[inner(matte)].mean() < 1e-3


def test_where_there_is_no_head_nothing_moves():
    image, _, relief = seen(POSE)
    _, pose, after = fit(image, np.zeros((SIDE, SIDE), np.float32), relief, POSE)
    np.testing.assert_array_equal(pose, POSE)
    np.testing.assert_array_equal(after, relief)


def test_a_row_of_the_method_leaves_photographs_without_a_surface():
    @dataclasses.dataclass
    class Draft:
        photographs: tuple

        def replace(self, photographs):
            return Draft(photographs)

    known = Photograph(np.zeros((8, 8, 3)), np.asarray(of_camera(to_camera(jnp.zeros(2), CONFIG))))
    with pytest.raises(StopIteration) as end:
        next(Symmetry().run(Draft((known,))))
    assert end.value.value.photographs[0] is known
