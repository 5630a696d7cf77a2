"""Parts of a head put together for the rasteriser: one list of triangles, one pool of textures."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tools.heads.baking import Casters
from tools.heads.rasteriser import Strands, Textures


class Paint(NamedTuple):
    """A texture and what it is of: RGBA uint8 [h, w, 4] (rows from the top), a kind of `shading`, whether alpha is
    opacity, and the share of noise for which it is shown (see `Textures`)."""

    image: np.ndarray
    kind: int
    cutout: bool = False
    shown: tuple[float, float] = (0.0, 1.0)


class Part(NamedTuple):
    """A mesh of its own: vertices and normals [v, 3], triangles [t, 3], uv [t, 6], its paints and which of them each
    triangle has, [t] (-1: it is not drawn); whether it throws shadows."""

    vertices: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    paints: tuple[Paint, ...]
    paint: np.ndarray
    shadow: bool = True


@dataclass(frozen=True)
class Mesh:
    """All parts: [V, 3], [V, 3], [T, 3], [T, 6], [T] with the textures and their kinds; the first `casting` triangles
    throw shadows."""

    positions: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    material: np.ndarray
    textures: Textures
    kind: np.ndarray
    casting: int

    def casters(self, strands: Strands) -> Casters:
        """What throws shadows, with hair."""
        first = slice(self.casting)
        shown = (self.triangles[first], self.uv[first], self.material[first])
        return Casters(self.positions, *shown, self.textures, strands)


def one_paint(part: np.ndarray, paint: Paint) -> tuple[tuple[Paint, ...], np.ndarray]:
    """`paints` and `paint` of a part whose triangles [t, 3] all have the same."""
    return (paint,), np.zeros(len(part), np.int32)


def opaque(rgb: np.ndarray) -> np.ndarray:
    """RGB uint8 -> RGBA."""
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], -1)


def assemble(parts: list[Part]) -> Mesh:
    """Joins parts; those that throw shadows come first, and their order is kept."""
    parts = sorted(parts, key=lambda part: not part.shadow)
    vertices = np.cumsum([0, *(len(part.vertices) for part in parts)])
    paints = np.cumsum([0, *(len(part.paints) for part in parts)])
    numbered = list(zip(parts, vertices.tolist(), paints.tolist(), strict=False))
    used = [paint for part in parts for paint in part.paints]

    def joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
        return np.ascontiguousarray(np.concatenate(arrays), dtype)

    return Mesh(
        positions=joined([part.vertices for part in parts], np.float32),
        normals=joined([part.normals for part in parts], np.float32),
        triangles=joined([part.triangles + first for part, first, _ in numbered], np.int32),
        uv=joined([part.uv for part in parts], np.float32),
        material=joined([np.where(part.paint < 0, -1, part.paint + first) for part, _, first in numbered], np.int32),
        textures=pool_textures(used),
        kind=np.array([paint.kind for paint in used], np.int32),
        casting=sum(len(part.triangles) for part in parts if part.shadow),
    )


def pool_textures(paints: list[Paint]) -> Textures:
    """The rasteriser's textures."""
    sizes = [paint.image.size for paint in paints]
    return Textures(
        pool=np.concatenate([np.ascontiguousarray(paint.image).ravel() for paint in paints]),
        start=np.cumsum([0, *sizes[:-1]]).astype(np.int64),
        size=np.array([paint.image.shape[1::-1] for paint in paints], np.int32),
        cutout=np.array([paint.cutout for paint in paints]),
        shown=np.array([paint.shown for paint in paints], np.float32),
    )
