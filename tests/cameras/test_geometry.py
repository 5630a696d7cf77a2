"""Cameras: every conversion has an inverse, and both agree with what the words mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax import cameras

COUNT = 256

# Compiled as a whole: operation by operation these tests would take longer.
look_at = jax.jit(cameras.look_at, static_argnames=("pivot", "radius"))
project = jax.jit(cameras.project)
rays = jax.jit(cameras.rays, static_argnums=1)
unproject = jax.jit(cameras.unproject)
yaw_pitch = jax.jit(cameras.yaw_pitch)
ray_distance_to_z_depth = jax.jit(cameras.ray_distance_to_z_depth)
z_depth_to_ray_distance = jax.jit(cameras.z_depth_to_ray_distance)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def matrices(camera):
    """cam2world [..., 4, 4] and intrinsics [..., 3, 3] as NumPy arrays."""
    camera = np.asarray(camera)
    return camera[..., :16].reshape(*camera.shape[:-1], 4, 4), camera[..., 16:].reshape(*camera.shape[:-1], 3, 3)


def random_cameras(rng, count=COUNT):
    """Any position, rotation, aspect ratio, skew and principal point: [count, 25]."""
    rotation = np.linalg.qr(rng.standard_normal((count, 3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))[:, None, None]
    cam2world = np.tile(np.eye(4), (count, 1, 1))
    cam2world[:, :3, :3] = rotation
    cam2world[:, :3, 3] = 2 * rng.standard_normal((count, 3))
    intrinsics = np.tile(np.eye(3), (count, 1, 1))
    intrinsics[:, [0, 1], [0, 1]] = rng.uniform(0.5, 5, (count, 2))
    intrinsics[:, 0, 1] = rng.uniform(-0.2, 0.2, count)
    intrinsics[:, :2, 2] = rng.uniform(0.3, 0.7, (count, 2))
    return np.concatenate([cam2world.reshape(count, 16), intrinsics.reshape(count, 9)], axis=1).astype(np.float32)


def assert_close(ours, expected, tolerance=1e-5):
    np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance)


def test_split_and_join_are_inverse(rng):
    numbers = rng.standard_normal((2, 5, 25)).astype(np.float32)
    cam2world, intrinsics = cameras.split(numbers)
    assert cam2world.shape == (2, 5, 4, 4) and intrinsics.shape == (2, 5, 3, 3)
    np.testing.assert_array_equal(cam2world[1, 2, 0, 3], numbers[1, 2, 3])  # row-major
    np.testing.assert_array_equal(cameras.join(cam2world, intrinsics), numbers)


def test_project_undoes_unproject(rng):
    camera = random_cameras(rng)
    pixels = rng.uniform(-0.5, 1.5, (COUNT, 20, 2)).astype(np.float32)
    depths = rng.uniform(0.5, 5, (COUNT, 20)).astype(np.float32)
    position = matrices(camera)[0][:, None, :3, 3]
    points = position + depths[..., None] * unproject(camera, pixels)
    back, z_depth = project(camera, points)
    assert_close(back, pixels, 1e-4)
    assert_close(z_depth, depths)


def test_points_behind_the_camera_have_negative_depth(rng):
    camera = random_cameras(rng)
    cam2world = matrices(camera)[0]
    behind = cam2world[:, :3, 3] - cam2world[:, :3, 2]
    assert_close(project(camera, behind[:, None])[1], -np.ones((COUNT, 1)))


def test_rays_go_through_pixel_centres(rng):
    camera = random_cameras(rng)
    origins, directions = rays(camera, 6)
    assert_close(np.linalg.norm(directions, axis=-1), np.ones((COUNT, 36)))
    pixels, _ = project(camera, origins + 3 * directions)
    expected = np.stack(np.meshgrid((np.arange(6) + 0.5) / 6, (np.arange(6) + 0.5) / 6), -1).reshape(36, 2)
    assert_close(pixels, np.tile(expected, (COUNT, 1, 1)), 1e-4)


def test_ray_distance_and_z_depth_are_inverse_and_mean_the_same_points(rng):
    camera = random_cameras(rng)
    distance = rng.uniform(0.5, 5, (COUNT, 6, 6)).astype(np.float32)
    z_depth = ray_distance_to_z_depth(distance, camera)
    assert_close(z_depth_to_ray_distance(z_depth, camera), distance)
    origins, directions = rays(camera, 6)
    points = origins + distance.reshape(COUNT, 36, 1) * directions
    assert_close(project(camera, points)[1], z_depth.reshape(COUNT, 36), 1e-4)


def test_ray_distance_exceeds_z_depth_by_a_percent_in_the_corners_of_ffhq():
    camera = look_at(0.0, 0.0)
    z_depth = ray_distance_to_z_depth(np.ones((512, 512), np.float32), camera)
    corner = np.sqrt(1 + 2 * (0.5 * 511 / 512 / cameras.FFHQ_FOCAL) ** 2)
    assert_close(1 / z_depth[0, 0], corner)
    assert 1.013 < corner < 1.014


def test_yaw_pitch_undoes_look_at(rng):
    yaw = rng.uniform(-3, 3, COUNT).astype(np.float32)
    pitch = rng.uniform(-1.4, 1.4, COUNT).astype(np.float32)
    for radius, pivot in ((2.7, (0.0, 0.0, 0.2)), (0.5, (0.1, -0.2, 0.05))):
        back = yaw_pitch(look_at(yaw, pitch, pivot=pivot, radius=radius))
        assert_close(back[0], yaw, 1e-4)
        assert_close(back[1], pitch, 1e-4)


def test_look_at_looks_at_its_pivot_without_roll(rng):
    yaw, pitch = (rng.uniform(-1.2, 1.2, COUNT).astype(np.float32) for _ in range(2))
    pivot, radius = (0.1, -0.05, 0.2), 2.0
    camera = look_at(yaw, pitch, pivot=pivot, radius=radius)
    cam2world, intrinsics = matrices(camera)
    rotation, position = cam2world[:, :3, :3], cam2world[:, :3, 3]
    assert_close(np.linalg.norm(position, axis=-1), np.full(COUNT, radius))
    assert_close(np.einsum("nij,nik->njk", rotation, rotation), np.tile(np.eye(3), (COUNT, 1, 1)))
    assert_close(np.linalg.det(rotation), np.ones(COUNT))
    assert_close(rotation[:, 1, 0], np.zeros(COUNT))  # x, right, is level
    assert (rotation[:, 1, 1] < 0).all()  # y points down
    pixels, _ = project(camera, np.broadcast_to(np.float32(pivot), (COUNT, 1, 3)))
    assert_close(pixels, np.full((COUNT, 1, 2), 0.5))
    assert_close(intrinsics[:, 0, 0], np.full(COUNT, cameras.FFHQ_FOCAL))


def test_a_mirrored_camera_sees_the_mirrored_world_with_left_and_right_exchanged(rng):
    camera = cameras.rolled(cameras.look_at(0.4, -0.2, focal=3.0), 0.1)
    camera = camera.at[18].set(0.47)  # the principal point, beside the middle
    points = rng.uniform(-0.3, 0.3, (20, 3)).astype(np.float32)
    where, depth = cameras.project(camera, points)
    mirrored, mirrored_depth = cameras.project(cameras.mirrored(camera), points * np.float32([-1, 1, 1]))
    np.testing.assert_allclose(mirrored, np.abs(np.asarray(where) - [1, 0]), atol=1e-5)
    np.testing.assert_allclose(mirrored_depth, depth, atol=1e-5)
    np.testing.assert_allclose(cameras.mirrored(cameras.mirrored(camera)), camera, atol=1e-7)


def test_signs_of_yaw_and_pitch():
    position = matrices(look_at(np.float32([0, 0.3, 0]), np.float32([0, 0, 0.3])))[0][:, :3, 3]
    assert_close(position[0], [0, 0, 2.7])  # in front of a face that looks along +z
    assert position[1, 0] > 0.1 and position[2, 1] < -0.1


@pytest.mark.parametrize(
    "function",
    [
        lambda camera: cameras.rays(camera, 5),
        lambda camera: cameras.project(camera, camera[..., :15].reshape(*camera.shape[:-1], 5, 3)),
        lambda camera: cameras.ray_distance_to_z_depth(camera[..., :16].reshape(*camera.shape[:-1], 4, 4), camera),
        cameras.yaw_pitch,
    ],
)
def test_batches_are_single_cameras_side_by_side(rng, function):
    camera = random_cameras(rng, 4)
    batch, mapped = jax.jit(function)(camera), jax.jit(jax.vmap(function))(camera)
    jax.tree.map(assert_close, batch, mapped)


def test_field_of_view_of_ffhq():
    focal = cameras.intrinsics_from_fov(18.837)[0, 0]  # the value in EG3D's scripts; along the diagonal, hence 1.414
    assert_close(focal, cameras.FFHQ_FOCAL, 1e-3)
    assert_close(cameras.intrinsics_from_focal(jnp.array([1.0, 2.0]))[1], [[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])


def test_gradients_reach_yaw_and_pitch():
    def height(yaw, pitch):
        return cameras.project(cameras.look_at(yaw, pitch), jnp.array([[0.1, 0.2, 0.3]]))[0].sum()

    gradients = jax.jit(jax.grad(height, (0, 1)))(0.0, 0.0)
    assert all(np.isfinite(g) and g != 0 for g in gradients)
