"""Scenes of squares, whose pictures have a closed form."""

import numpy as np

from tools.heads.rendering import Scene
from tools.heads.scene import Paint, Part, assemble, one_paint
from tools.heads.shading import CLOTH, Hair, Lamp, Look, Surface

QUAD_UV = np.array([[0, 0, 1, 0, 1, 1], [0, 0, 1, 1, 0, 1]], np.float64)


def grey_quad(half: float, z: float, level: int = 128) -> Part:
    """A square of half a side `half` that faces +z at height z, of one grey."""
    corners = np.array([[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    image = np.full((2, 2, 4), [level, level, level, 255], np.uint8)
    normals = np.tile([0.0, 0.0, 1.0], (4, 1))
    return Part(corners, normals, triangles, QUAD_UV, *one_paint(triangles, Paint(image, CLOTH)))


def plain_scene(parts: list[Part]) -> Scene:
    """Parts under white surroundings of radiance 1, with the key light off and without hair."""
    mesh = assemble(parts)
    irradiance = np.ones_like(mesh.positions)
    attributes = np.concatenate([mesh.positions, mesh.normals, mesh.normals, irradiance], 1)
    surface = Surface(attributes.astype(np.float32), mesh.triangles, mesh.uv, mesh.material, mesh.kind)
    none = np.zeros((0, 4, 3), np.float32)
    hair = Hair(none, none, np.zeros((0, 3), np.float32), np.zeros(0, np.int32), 0)
    dark = (0.0, 0.0, 0.0)
    far = np.full((4, 4), 1e9, np.float32)
    lamp = Lamp((0.0, 0.0, 1.0), dark, far, np.zeros((3, 4), np.float32), 1.0, (0.0, 0.0, 1.0), dark)
    look = Look((0.0, 0.0, 2.7), 0.5, 0.5, 1.0, dark, np.zeros((2, 3), np.float32))
    return Scene(surface, mesh.textures, hair, np.zeros(0, np.float32), lamp, look)
