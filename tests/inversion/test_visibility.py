"""`warp_to_view` on scenes with a closed-form answer: textured spheres before a textured plane."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmv_jax.cameras import look_at
from pmv_jax.inversion.visibility import warp_to_view

warp = jax.jit(warp_to_view)
SEEDS = range(4)


class Scene:
    """Three spheres before a wall, each with a texture of smooth waves in space; everything in NumPy, in float64."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.wall = random.uniform(-0.15, -0.05)
        self.centres = random.uniform((-0.14, -0.14, 0), (0.14, 0.14, 0.15), (3, 3))
        self.radii = random.uniform(0.05, 0.12, 3)
        self.frequencies, self.phases = random.uniform(20, 45, (4, 3, 3)), random.uniform(0, 6, (4, 3))
        angles = random.uniform((-0.25, -0.15), (0.25, 0.15)), random.uniform((-0.4, -0.25), (0.4, 0.25))
        self.camera, self.target = (np.asarray(look_at(*a), np.float64) for a in angles)

    def hit(self, origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First hit along origin + t * directions [..., 3]: t [...], and of what, 0 for the wall."""
        nearest = (self.wall - origin[2]) / directions[..., 2]
        what = np.zeros(nearest.shape, int)
        for number, (centre, radius) in enumerate(zip(self.centres, self.radii, strict=True), start=1):
            a, b = np.sum(directions**2, -1), np.sum(directions * (origin - centre), -1)
            root = b**2 - a * (np.sum((origin - centre) ** 2) - radius**2)
            t = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
            what, nearest = np.where(t < nearest, number, what), np.minimum(t, nearest)
        return nearest, what

    def view(self, camera: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colours [size, size, 3] in [-0.7, 0.7], z-depths and hit points."""
        pose, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
        x, y = np.meshgrid(*2 * [(np.arange(size) + 0.5) / size])
        # Local directions have unit depth: t is z-depth.
        directions = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(intrinsics).T @ pose[:3, :3].T
        z_depth, what = self.hit(pose[:3, 3], directions)
        points = pose[:3, 3] + z_depth[..., None] * directions
        waves = np.einsum("...ij,...j->...i", self.frequencies[what], points) + self.phases[what]
        return 0.7 * np.sin(waves), z_depth, points

    def seen(self, points: np.ndarray, size: int) -> np.ndarray:
        """Whether the input camera sees points [..., 3]: nothing before them, and inside of the outermost pixels."""
        pose, intrinsics = self.camera[:16].reshape(4, 4), self.camera[16:].reshape(3, 3)
        offsets = points - pose[:3, 3]
        projected = offsets @ pose[:3, :3] @ intrinsics.T
        inside = np.abs(projected[..., :2] / projected[..., 2:] - 0.5).max(-1) < 0.5 - 0.5 / size
        return inside & (self.hit(pose[:3, 3], offsets)[0] > 1 - 1e-3)


@functools.cache
def arguments(seed: int, size: int, depth_size: int) -> tuple[np.ndarray, ...]:
    """What `warp_to_view` takes, in float32."""
    scene = Scene(seed)
    image, depth = scene.view(scene.camera, size)[0], scene.view(scene.camera, depth_size)[1]
    target_depth = scene.view(scene.target, depth_size)[1]
    return tuple(np.float32(x) for x in (image, depth, scene.camera, target_depth, scene.target))


def quality(seed: int, size: int, depth_size: int) -> tuple[float, float]:
    """Intersection over union of estimated and true visibility, and PSNR where both say visible."""
    scene = Scene(seed)
    truth, _, points = scene.view(scene.target, size)
    seen = scene.seen(points, size)
    colour, visibility = (np.asarray(x) for x in warp(*arguments(seed, size, depth_size)))
    assert visibility.min() >= 0 and visibility.max() <= 1 + 1e-6
    both, either = (visibility > 0.5) & seen, (visibility > 0.5) | seen
    return both.sum() / either.sum(), 10 * np.log10(4 / np.mean((colour - truth)[both] ** 2))


# Depth at half the resolution rounds off the edges of the spheres, by a pixel or so.
@pytest.mark.parametrize(("size", "depth_size", "overlap", "psnr"), [(256, 256, 0.97, 45), (128, 64, 0.92, 40)])
def test_visibility_and_colours_agree_with_ray_casting(size, depth_size, overlap, psnr):
    figures = np.array([quality(seed, size, depth_size) for seed in SEEDS])
    print(f"\nIoU and PSNR at {size}, depth {depth_size}:", figures.round(3).tolist())
    assert (figures.mean(0) >= (overlap, psnr)).all(), figures


def test_compiled_and_batched_calls_equal_the_plain_one():
    image, depth, camera, _, _ = arguments(0, 64, 32)
    angles = np.array([-0.3, 0.0, 0.2])
    cameras = np.asarray(look_at(angles, 0.1))
    depths = np.stack([Scene(0).view(np.float64(c), 32)[1] for c in cameras]).astype(np.float32)
    batched = jax.jit(jax.vmap(warp_to_view, (None, None, None, 0, 0)))(image, depth, camera, depths, cameras)
    for index in range(len(angles)):
        one = (image, depth, camera, depths[index], cameras[index])
        for plain, compiled, mapped in zip(warp_to_view(*one), warp(*one), batched, strict=True):
            # Where a limit is steep, rounding in another order moves visibility a little.
            np.testing.assert_allclose(compiled, plain, atol=5e-3)
            np.testing.assert_allclose(mapped[index], plain, atol=5e-3)


def test_the_same_camera_gives_the_image_back():
    image, depth, camera, *_ = arguments(1, 64, 64)
    colour, visibility = warp(image, depth, camera, depth, camera)
    np.testing.assert_allclose(colour, image, atol=1e-3)
    # The outermost pixels lie on the edge of what counts as inside; surfaces seen edge-on are not trusted.
    assert np.mean(np.asarray(visibility)[1:-1, 1:-1] > 0.999) > 0.97
    flat = np.full((64, 64), 2.7, np.float32)
    np.testing.assert_allclose(warp(image, flat, camera, flat, camera)[1][1:-1, 1:-1], 1)


@pytest.mark.parametrize(("gap", "yaw"), [(0.05, 0.0), (0.3, 0.3)])
def test_what_is_behind_something_is_hidden(gap, yaw):
    # The input shows a board that fills it; the target looks at a wall behind it.
    image = np.zeros((32, 32, 3), np.float32)
    board, wall = np.full((32, 32), 2.6, np.float32), np.full((32, 32), 2.6 + gap, np.float32)
    assert np.asarray(warp(image, board, look_at(0.0, 0.0), wall, look_at(yaw, 0.1 * yaw))[1]).max() == 0


def test_what_the_image_does_not_show_is_not_visible():
    image, depth = np.zeros((32, 32, 3), np.float32), np.full((32, 32), 2.7, np.float32)
    camera = look_at(0.0, 0.0)
    wide = look_at(0.0, 0.0, focal=2.0)
    visibility = np.asarray(warp(image, depth, camera, depth, wide)[1])
    assert (visibility[:8] == 0).all() and (visibility[:, :8] == 0).all() and (visibility[10:22, 10:22] > 0.999).all()


def test_gradients_are_finite():
    image, depth, camera, target_depth, target = (jnp.asarray(x) for x in arguments(2, 32, 16))

    def total(image, depth, target_depth, target):
        colour, visibility = warp_to_view(image, depth, camera, target_depth, target)
        return jnp.mean(visibility[..., None] * colour)

    gradients = jax.jit(jax.grad(total, (0, 1, 2, 3)))(image, depth, target_depth, target)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert np.abs(gradients[0]).max() > 0
