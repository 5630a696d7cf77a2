"""Reads the assets that heads are made of: base mesh, morph targets, identity modes, fitted meshes and textures.

They are training inputs and never committed: `python -m tools.heads.build_assets` makes their directory from public
sources, README.md says which. The directory is named by a flag or by the environment variable PMV_HEADS_ASSETS.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from PIL import Image

from pmv_jax.errors import InputError
from tools.heads import catalogue
from tools.heads.latent import GROUPS

ENVIRONMENT = "PMV_HEADS_ASSETS"
FILES = ("topology.npz", "targets_macro.npz", "targets_local.npz", "targets_expression.npz")
FILES += ("ict_modes.npz", "proxies.npz", "teeth.jpg")
EYE_VERTICES = (np.arange(13606, 13614), np.arange(13614, 13622))  # helper vertices of the base mesh about each eye


@dataclass(frozen=True)
class Topology:
    """The base mesh: a control cage of C vertices, and the surface of V vertices and T triangles that is drawn.

    Attributes:
      base: [C, 3] the cage at rest.
      subdivision: sparse [V, C], one Catmull-Clark step. Its first rows are the cage's `head` vertices, in that order.
      smoothing: sparse [V, V], half a vertex and half the mean of its neighbours.
      triangles, uv: [T, 3] vertices and [T, 6] texture coordinates (u, v of each corner, v upwards).
      lips: [V] in [0, 1].
      head, inner: [H] vertices of the cage that are on the head, and how far each is inside the mouth, in [0, 1].
      eyes: cage vertices about the two eyes.
    """

    base: np.ndarray
    subdivision: sp.csr_matrix
    smoothing: sp.csr_matrix
    triangles: np.ndarray
    uv: np.ndarray
    lips: np.ndarray
    head: np.ndarray
    inner: np.ndarray
    eyes: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Target:
    """A morph target: `offset` [n, 3] of the cage's vertices `index` [n]."""

    index: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class Proxy:
    """A mesh fitted to the cage: each of its n vertices is a weighted mean of three cage vertices and an offset.

    Attributes:
      index, weight, offset: [n, 3] each.
      scale: [3, 3], for each axis two cage vertices and their distance at rest: offsets grow with that distance.
      triangles, uv: [t, 3], [t, 6] as in `Topology`.
      hidden: [h] cage vertices that it covers; empty but for garments.
    """

    name: str
    index: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    hidden: np.ndarray

    def fit(self, cage: np.ndarray) -> np.ndarray:
        """Vertices [n, 3] on a cage [C, 3]."""
        stretch = np.ones(3)
        for axis, (a, b, rest) in enumerate(self.scale):
            if rest:
                stretch[axis] = abs(cage[int(a), axis] - cage[int(b), axis]) / rest
        return (cage[self.index] * self.weight[:, :, None]).sum(1) + self.offset * stretch


@dataclass(frozen=True)
class Assets:
    """Everything that is read. Textures are uint8: skins [h, w, 3], irises [h, w, 4], brows and lashes [h, w]."""

    topology: Topology
    macro: dict[str, Target]
    local: dict[str, Target]
    expression: dict[str, Target]
    identity: np.ndarray
    eyes: Proxy
    teeth: Proxy
    lashes: Proxy
    brows: tuple[Proxy, ...]
    garments: tuple[Proxy, ...]
    skin_heads: tuple[np.ndarray, ...]
    skin_bodies: tuple[np.ndarray, ...]
    iris_images: tuple[np.ndarray, ...]
    brow_images: tuple[np.ndarray, ...]
    garment_images: tuple[np.ndarray, ...]
    lash_image: np.ndarray
    teeth_image: np.ndarray


def assets_directory(flag: str | None = None) -> Path:
    """Where the assets are: the flag, else the environment's PMV_HEADS_ASSETS; `InputError` where there are none."""
    named = flag or os.environ.get(ENVIRONMENT)
    if not named:
        raise InputError(f"where are the assets of heads? give --assets or {ENVIRONMENT} (see tools/heads/README.md)")
    missing = [name for name in FILES if not (Path(named) / name).is_file()]
    if missing:
        raise InputError(f"{named}: no {missing[0]} here; make the assets by python -m tools.heads.build_assets")
    return Path(named)


def load_assets(directory: Path) -> Assets:
    """Reads an asset directory (0.3 s)."""
    proxies = np.load(directory / "proxies.npz")
    garment_names = [garment.name for garment in catalogue.GARMENTS]
    modes = np.load(directory / "ict_modes.npz")["modes"]

    def image(name: str, mode: str) -> np.ndarray:
        return np.asarray(Image.open(directory / name).convert(mode))

    return Assets(
        topology=_topology(directory / "topology.npz"),
        macro=_targets(directory / "targets_macro.npz"),
        local=_targets(directory / "targets_local.npz"),
        expression=_targets(directory / "targets_expression.npz"),
        identity=modes[: len(GROUPS["identity"])].astype(np.float64),
        eyes=_proxy(proxies, "eyes", "high-poly"),
        teeth=_proxy(proxies, "teeth", "teeth_base"),
        lashes=_proxy(proxies, "lash", catalogue.LASHES),
        brows=tuple(_proxy(proxies, "brow", name) for name in catalogue.BROWS),
        garments=tuple(_proxy(proxies, "cloth", name) for name in garment_names),
        skin_heads=tuple(image(f"skin_{sheet.name}_head.jpg", "RGB") for sheet in catalogue.SKINS),
        skin_bodies=tuple(image(f"skin_{sheet.name}_body.jpg", "RGB") for sheet in catalogue.SKINS),
        iris_images=tuple(image(f"eye_{name}.png", "RGBA") for name in catalogue.IRISES),
        brow_images=tuple(image(f"{name}.png", "L") for name in catalogue.BROWS),
        garment_images=tuple(image(f"cloth_{name}.jpg", "RGB") for name in garment_names),
        lash_image=image(f"{catalogue.LASHES}.png", "L"),
        teeth_image=image("teeth.jpg", "RGB"),
    )


def _topology(path: Path) -> Topology:
    stored = np.load(path)
    base, quads, quad_uv = stored["base"].astype(np.float64), stored["quads"], stored["quad_uv"].astype(np.float64)
    rows = (stored["S_data"], stored["S_indices"], stored["S_indptr"])
    subdivision = sp.csr_matrix(rows, shape=(len(stored["S_indptr"]) - 1, len(base)))
    place = {original: place for place, original in enumerate(stored["orig"].tolist())}
    head = stored["head_vertices"]
    return Topology(
        base=base,
        subdivision=subdivision,
        smoothing=_smoothing(quads, subdivision.shape[0]),
        triangles=np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1).reshape(-1, 3),
        uv=np.concatenate([quad_uv[:, [0, 1, 2]], quad_uv[:, [0, 2, 3]]], 1).reshape(-1, 6),
        lips=stored["lips"].astype(np.float32),
        head=head,
        inner=stored["inner"].astype(np.float32)[: len(head)],
        eyes=tuple(np.array([place[vertex] for vertex in eye.tolist()]) for eye in EYE_VERTICES),
    )


def _smoothing(quads: np.ndarray, count: int) -> sp.csr_matrix:
    edges = np.concatenate([quads[:, [corner, (corner + 1) % 4]] for corner in range(4)])
    edges = np.concatenate([edges, edges[:, ::-1]])
    adjacent = sp.csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    adjacent.data[:] = 1  # an edge counts once, in however many quads it is
    degree = np.maximum(np.asarray(adjacent.sum(1)).ravel(), 1)
    return sp.csr_matrix(0.5 * sp.eye(count) + 0.5 * sp.diags(1 / degree) @ adjacent)


def _targets(path: Path) -> dict[str, Target]:
    stored = np.load(path)
    index, offset, start = stored["index"], stored["offset"].astype(np.float64), stored["start"]
    spans = zip(stored["names"], start[:-1], start[1:], strict=True)
    return {str(name): Target(index[a:b], offset[a:b]) for name, a, b in spans}


def _proxy(stored: np.lib.npyio.NpzFile, kind: str, name: str) -> Proxy:
    prefix = f"{kind}{stored[f'{kind}_names'].tolist().index(name)}_"
    fields = ("index", "weight", "offset", "scale", "triangles", "uv")
    hidden = stored[f"{prefix}hidden"] if f"{prefix}hidden" in stored else np.zeros(0, np.int32)
    return Proxy(name, *(stored[prefix + field] for field in fields), hidden)
