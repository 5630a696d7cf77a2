"""From a generator's views to Gaussian splats that show the same.

Where rays meet the surface lie flat splats, a pixel in size and turned along it: first those of the frontal view, then
of others what is new in them. Geometry is taken as it is found; colours are then those with which the splats show the
views best. With geometry fixed that is a sparse linear least-squares problem, solved in seconds without a GPU.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import linalg

from pmv_jax.cameras import paths
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError
from pmv_jax.meshes.backdrop import Inside
from pmv_jax.meshes.colouring import RenderedView
from pmv_jax.models import frames
from pmv_jax.splats.gaussians import Splats, contributions

# A surface is taken from a view that sees it at no less than this cosine; what none sees so well, at less.
_COSINES = (0.4, 0.15)
_SAME_DEPTH = 0.015  # world units: two views of one surface agree about as well
_SPREAD = 0.8  # standard deviation of a splat by the distance to the next
_THICKNESS = 0.1  # by the same
_OPACITY = 0.95
_SAMPLES = 2  # by which views are finer when fitted: viewers show heads larger than generators render them
_STEPS = 30  # of the solver
_DAMPING = 0.1  # pulls colours that no view shows clearly to what they were seen as
_CLEAR = 0.5  # opacity from which a pixel counts


def training_cameras(config: GeneratorConfig, *, focal: float) -> np.ndarray:
    """Cameras [15, 25] to fit to, from within what generators are trained on; the frontal one first."""
    yaw, pitch = (x.ravel() for x in np.meshgrid([0, -0.3, 0.3, -0.6, 0.6], [0, -0.3, 0.3]))
    return paths.around_head(config, yaw, pitch, focal=focal)


def held_out_cameras(config: GeneratorConfig, *, focal: float) -> np.ndarray:
    """Cameras [8, 25] between those of `training_cameras`, to measure with."""
    yaw, pitch = (x.ravel() for x in np.meshgrid([-0.45, -0.15, 0.15, 0.45], [-0.15, 0.15]))
    return paths.around_head(config, yaw, pitch, focal=focal)


def fit(
    views: Sequence[RenderedView], inside: Inside | None = None, progress: Callable[[int, int], None] | None = None
) -> Splats:
    """Splats that show what views show.

    Args:
      views: with z-depths as fine as splats shall be; the first counts first.
      inside: bounds of what is kept; None keeps all.
      progress: called with the number of views done and of all.

    Raises:
      InputError: there is nothing inside.
    """
    splats = cover(views, inside)
    if not len(splats.positions):
        raise InputError("no view shows a surface, so there is nothing to fit splats to; invert the image again")
    rows, differences = [], []
    for index, view in enumerate(views):
        shares = contributions(splats, view.camera, len(view.image), _SAMPLES)
        seen = shares.sum(axis=1)
        counts = seen > _CLEAR if inside is None else (seen > _CLEAR) & _shows(view, inside)
        wanted = seen[:, None] * (view.image.reshape(-1, 3) + 1) / 2
        rows.append(shares[counts])
        differences.append((wanted - shares @ splats.colours)[counts])
        if progress:
            progress(index + 1, len(views))
    shares, difference = sparse.vstack(rows, format="csr"), np.concatenate(differences)
    change = [linalg.lsmr(shares, d, damp=_DAMPING, maxiter=_STEPS)[0] for d in difference.T]
    return dataclasses.replace(splats, colours=np.clip(splats.colours + np.stack(change, axis=-1), 0, 1))


def psnr(splats: Splats, view: RenderedView, inside: Inside | None = None) -> float:
    """PSNR in dB of the splats against a view, over the pixels that show what is `inside` (None: all)."""
    shown = contributions(splats, view.camera, len(view.image), _SAMPLES) @ splats.colours
    counts = slice(None) if inside is None else _shows(view, inside)
    return float(-10 * np.log10(np.mean(np.square(shown - (view.image.reshape(-1, 3) + 1) / 2)[counts])))


def cover(views: Sequence[RenderedView], inside: Inside | None = None) -> Splats:
    """A splat for each surface point that a view shows and no view before it; colours as the view shows them."""
    surfaces = [_Surface.of(view) for view in views]
    parts, earlier = [], []
    for most, least in itertools.pairwise((np.inf, *_COSINES)):
        for surface in surfaces:
            new = (surface.cosines > least) & (surface.cosines <= most)
            if inside is not None:
                new &= inside(surface.points) > 0
            for other, its_least in earlier:
                new[new] = ~other.has(surface.points[new], its_least)
            for other in surfaces:
                new[new] = ~other.sees_through(surface.points[new])
            parts.append(surface.splats(new))
            earlier.append((surface, least))
    return Splats(*(np.concatenate(values) for values in zip(*map(_fields, parts), strict=True)))


@dataclasses.dataclass(frozen=True)
class _Surface:
    """What a view shows, a point for each pixel of its depth.

    Attributes:
      view: it.
      points, normals, towards: [n * n, 3] world points, unit normals, and unit vectors to the camera.
      cosines: [n * n] between the last two; 0 and less where a surface is seen from behind, or ends.
    """

    view: RenderedView
    points: np.ndarray
    normals: np.ndarray
    towards: np.ndarray
    cosines: np.ndarray

    @classmethod
    def of(cls, view: RenderedView) -> _Surface:
        size = len(view.z_depth)
        cam2world, intrinsics = np.float64(view.camera[:16]).reshape(4, 4), np.float64(view.camera[16:]).reshape(3, 3)
        centres = (np.arange(size) + 0.5) / size
        pixels = np.stack([*np.meshgrid(centres, centres), np.ones((size, size))], axis=-1).reshape(-1, 3)
        directions = pixels @ np.linalg.inv(intrinsics).T @ cam2world[:3, :3].T
        points = cam2world[:3, 3] + view.z_depth.reshape(-1, 1) * directions
        smooth = ndimage.median_filter(view.z_depth, 3)  # single samples that lie off would turn their neighbours
        local = frames.normals(smooth, view.camera).reshape(-1, 3) * [1, -1, -1]
        normals = local @ cam2world[:3, :3].T
        towards = -directions / np.linalg.norm(directions, axis=1, keepdims=True)
        return cls(view, points, normals, towards, np.sum(normals * towards, axis=1))

    def has(self, points: np.ndarray, least: float) -> np.ndarray:
        """Which of the points [N, 3] lie on this surface, where all around it is seen at more than a least cosine."""
        where, depth = self._project(points)
        seen = ndimage.minimum_filter(self.cosines.reshape(self.view.z_depth.shape), 3)
        gap = np.abs(_bilinear(self.view.z_depth, where) - depth)
        return (gap < _SAME_DEPTH) & (_bilinear(seen, where, outside=-1.0) > least)

    def sees_through(self, points: np.ndarray) -> np.ndarray:
        """Which of the points [N, 3] lie in what this view shows to be empty, well before all that it shows around."""
        where, depth = self._project(points)
        return _bilinear(ndimage.minimum_filter(self.view.z_depth, 3), where, outside=0.0) - depth > 2 * _SAME_DEPTH

    def _project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows [N, 2] in (0, 1), and z-depths [N], of points [N, 3]."""
        cam2world, intrinsics = np.float64(self.view.camera[:16]).reshape(4, 4), self.view.camera[16:].reshape(3, 3)
        local = (points - cam2world[:3, 3]) @ cam2world[:3, :3]
        return (local @ intrinsics.T)[:, :2] / local[:, 2:], local[:, 2]

    def splats(self, chosen: np.ndarray) -> Splats:
        """A splat at each of the chosen pixels, as wide as the pixel is on the surface."""
        size = len(self.view.z_depth)
        towards, normals = self.towards[chosen], self.normals[chosen]
        depth = np.sum((self.view.camera[3:12:4] - self.points[chosen]) * towards, axis=1)
        spacing = depth / (size * self.view.camera[16])
        # Along the slope, in which a pixel is longer, and across it.
        along = _unit(
            towards - np.sum(towards * normals, axis=1, keepdims=True) * normals + 1e-9 * _any_tangent(normals)
        )
        axes = np.stack([along, np.cross(normals, along), normals], axis=-1)
        ones = np.ones(len(spacing))
        scales = spacing[:, None] * np.stack(
            [_SPREAD / self.cosines[chosen], _SPREAD * ones, _THICKNESS * ones], axis=-1
        )
        where = (np.argwhere(chosen.reshape(size, size))[:, ::-1] + 0.5) / size
        colours = [_bilinear((channel + 1) / 2, where) for channel in np.moveaxis(self.view.image, -1, 0)]
        return Splats(self.points[chosen], axes, scales, _OPACITY * ones, np.stack(colours, axis=-1))


def _shows(view: RenderedView, inside: Inside) -> np.ndarray:
    """Which pixels of a view [H * W] show what is inside the bounds."""
    size, surface = len(view.image), _Surface.of(view)
    kept = (inside(surface.points) > 0).reshape(view.z_depth.shape)
    near = np.minimum((np.arange(size) + 0.5) / size * len(kept), len(kept) - 1).astype(int)
    return kept[np.ix_(near, near)].ravel()


def _bilinear(image: np.ndarray, where: np.ndarray, outside: float | None = None) -> np.ndarray:
    """image [H, W] at columns and rows [N, 2] in (0, 1) -> [N]; outside, the border's values or the one given."""
    at = [where[:, 1] * image.shape[0] - 0.5, where[:, 0] * image.shape[1] - 0.5]
    mode = {"mode": "nearest"} if outside is None else {"mode": "constant", "cval": outside}
    return ndimage.map_coordinates(np.float64(image), at, order=1, **mode)


def _any_tangent(normals: np.ndarray) -> np.ndarray:
    """Unit vectors [N, 3] at right angles to normals [N, 3]."""
    helper = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    return _unit(np.cross(normals, helper))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _fields(splats: Splats) -> tuple[np.ndarray, ...]:
    return tuple(getattr(splats, field.name) for field in dataclasses.fields(splats))
