"""Meshes to files: GLB, PLY and OBJ, with colours at the vertices or in a texture atlas, and STL, without any."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from scipy import ndimage

from pmv_jax.errors import require
from pmv_jax.images import to_uint8
from pmv_jax.meshes.mesh import Mesh
from pmv_jax.meshes.projection import rasterise
from pmv_jax.whole_files import appearing

ColourAt = Callable[[np.ndarray, np.ndarray], np.ndarray]  # points, normals [N, 3] -> colours [N, 3] in [-1, 1]


@dataclasses.dataclass(frozen=True)
class Atlas:
    """A mesh cut into charts that lie flat on a picture.

    Attributes:
      source: [W] the mesh's vertex that each vertex here is a copy of: charts share none.
      faces: [F, 3] int.
      uv: [W, 2] in [0, 1], v up, as OBJ and trimesh have it.
      texture: uint8 [T, T, 3].
    """

    source: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    texture: np.ndarray


def bake(mesh: Mesh, colour_at: ColourAt, size: int) -> Atlas:
    """Lays a mesh out flat (xatlas) and gives each texel the colour of its own place on the surface.

    Args:
      mesh: what to lay out; with more than some 50,000 faces this takes minutes.
      colour_at: gives the colours.
      size: side of the texture in pixels.

    Raises:
      InputError: the extra `pmv_jax[mesh]` is not installed.
    """
    xatlas = require("xatlas", "mesh", "a texture")
    source, faces, uv = xatlas.parametrize(mesh.vertices, mesh.faces.astype(np.uint32))
    points = uv * size
    face, weights = rasterise(points, np.zeros(len(points)), faces, size)
    covered = face >= 0
    corners = source[faces[face[covered]]]
    place = np.einsum("nk,nkc->nc", weights[covered], mesh.vertices[corners])
    normal = np.einsum("nk,nkc->nc", weights[covered], mesh.normals[corners])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    texture = np.zeros((size, size, 3), np.float32)
    texture[covered] = colour_at(place, normal)
    # Beyond the charts' edges their colour goes on, or seams would show where filters reach over them.
    nearest = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    texture = texture[tuple(nearest)]
    return Atlas(source, faces, np.stack([uv[:, 0], 1 - uv[:, 1]], axis=-1), to_uint8(texture))


def write_mesh(path: str | Path, mesh: Mesh, atlas: Atlas | None = None, scale: float = 1.0) -> None:
    """Writes a mesh in the format that the path's suffix asks for, complete or not at all.

    Colours are sRGB in PLY, OBJ and textures. glTF's vertex colours are linear by its specification (section 3.7.2.1);
    viewers turn them into sRGB. Light is part of the colours already, so the GLB's material asks for none to be added.
    (trimesh passes over vertex colours beside a material, unless it is told `skip_materials=True`.)

    Args:
      path: ends in .glb, .ply, .obj or .stl (binary). A PLY takes no texture; an OBJ with a texture has its .mtl and
        .png beside it; an STL holds triangles and nothing else.
      mesh: in world units.
      atlas: in place of colours at the vertices.
      scale: file units in a world unit.

    Raises:
      OSError: it cannot be written.
    """
    path = Path(path)
    for name, content in _files(path, _to_trimesh(path.suffix, mesh, atlas, scale)).items():
        with appearing(path.with_name(name)) as partial:
            partial.write_bytes(content)


def _to_trimesh(suffix: str, mesh: Mesh, atlas: Atlas | None, scale: float) -> trimesh.Trimesh:
    if atlas is None:
        colours = (np.clip(mesh.colours, -1, 1) + 1) / 2
        colours = to_uint8(2 * (to_linear(colours) if suffix == ".glb" else colours) - 1)
        return trimesh.Trimesh(
            scale * mesh.vertices, mesh.faces, vertex_normals=mesh.normals, vertex_colors=colours, process=False
        )
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(atlas.texture), metallicFactor=0.0, roughnessFactor=1.0
    )
    visual = trimesh.visual.TextureVisuals(
        atlas.uv, material=material if suffix == ".glb" else material.to_simple(), image=None
    )
    source = atlas.source
    return trimesh.Trimesh(
        scale * mesh.vertices[source], atlas.faces, vertex_normals=mesh.normals[source], visual=visual, process=False
    )


def _files(path: Path, mesh: trimesh.Trimesh) -> dict[str, bytes]:
    """Contents by file name; what the main file refers to comes before it."""
    if path.suffix == ".glb":
        content = trimesh.exchange.gltf.export_glb(mesh.scene(), include_normals=True, tree_postprocessor=_unlit)
        return {path.name: content}
    if path.suffix == ".ply":
        return {path.name: trimesh.exchange.ply.export_ply(mesh, vertex_normal=True)}
    if path.suffix == ".stl":
        return {path.name: trimesh.exchange.stl.export_stl(mesh)}
    text, others = trimesh.exchange.obj.export_obj(
        mesh, include_normals=True, return_texture=True, mtl_name=f"{path.stem}.mtl"
    )
    return {**{name: data if isinstance(data, bytes) else data.encode() for name, data in others.items()},
            path.name: text.encode()}  # fmt: skip


def _unlit(tree: dict) -> None:
    """Marks every material as lit already (KHR_materials_unlit); what does not know the extension shows it matt."""
    materials = tree.setdefault("materials", [{"pbrMetallicRoughness": {}}])  # none if colours are at vertices
    for material in materials:
        material["extensions"] = {"KHR_materials_unlit": {}}
        material["pbrMetallicRoughness"].update(metallicFactor=0.0, roughnessFactor=1.0)
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive.setdefault("material", 0)
    tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", []), "KHR_materials_unlit"})


def to_linear(colours: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
