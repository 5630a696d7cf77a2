"""Pictures of a lit scene: colour, coverage and depth from any of EG3D's cameras."""

from typing import NamedTuple

import numpy as np

from tools.heads.curves import srgb_from_linear
from tools.heads.rasteriser import FAR, Strands, Textures, draw_strands, draw_triangles, empty_samples
from tools.heads.shading import Hair, Lamp, Look, Surface, shade

SAMPLES = 3  # per pixel and axis; odd, so that one is at the pixel's centre: depth is read there
GREY = 0.5  # sRGB, behind the head


class Scene(NamedTuple):
    """A head, lit, without a camera."""

    surface: Surface
    textures: Textures
    hair: Hair
    radius: np.ndarray  # [S] of the strands, world units
    lamp: Lamp
    look: Look


class View(NamedTuple):
    """A picture: `rgb` [N, N, 3] sRGB in [0, 1] over the background, `mask` [N, N] coverage in [0, 1], `z_depth` [N, N]
    along the optical axis at the pixels' centres, 0 where nothing is."""

    rgb: np.ndarray
    mask: np.ndarray
    z_depth: np.ndarray


def project(camera: np.ndarray, points: np.ndarray, size: int) -> np.ndarray:
    """Points [..., 3] in the world -> float32 [..., 3]: x and y in samples of a picture `size` across, z-depth.

    `pmv_jax.cameras.project`, in NumPy and for a camera [25] whose intrinsics have no skew.
    """
    pose, intrinsics = camera[:16].reshape(4, 4).astype(np.float64), camera[16:].reshape(3, 3).astype(np.float64)
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    depth = local[..., 2]
    x = local[..., 0] / depth * intrinsics[0, 0] + intrinsics[0, 2]
    y = local[..., 1] / depth * intrinsics[1, 1] + intrinsics[1, 2]
    return np.stack([x * size, y * size, depth], -1).astype(np.float32)


def render(scene: Scene, camera: np.ndarray, size: int = 256, factor: int = SAMPLES, background: float = GREY) -> View:
    """A scene from a camera [25] of `pmv_jax.cameras`, `size` pixels across, of `factor` x `factor` samples each."""
    width = size * factor
    surface, hair = scene.surface, scene.hair
    samples = empty_samples(width, width)
    corners = project(camera, surface.attributes[:, :3], width)
    draw_triangles(samples, corners, surface.triangles, surface.uv, surface.material, scene.textures, True)
    strands = Strands(hair.points, scene.radius, hair.label)
    scale = float(camera[16]) * width
    draw_strands(samples, project(camera, hair.points, width), strands, scale, True, len(surface.triangles))
    image, mask = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    shade(samples, surface, scene.textures, hair, scene.lamp, scene.look, factor, image, mask)
    z_depth = samples.depth[factor // 2 :: factor, factor // 2 :: factor]
    covered = mask[..., None]
    rgb = srgb_from_linear(image / np.maximum(covered, 1e-6)) * covered + background * (1 - covered)
    return View(rgb, mask, np.where(z_depth < FAR, z_depth, 0))
