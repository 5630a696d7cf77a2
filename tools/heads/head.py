"""A head from its latent: `Studio.load(directory).head(p)` is a lit scene that `rendering.render` takes pictures of."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.heads.accessories import Measure, covered_roots, dress, hidden_skin
from tools.heads.assets import Assets, Proxy, load_assets
from tools.heads.baking import Sky, bake_key, bake_sky, key_seen
from tools.heads.beard import grow_beard
from tools.heads.curves import lerp, linear_from_srgb, smoothstep, srgb_from_linear, to_bytes, unit
from tools.heads.description import Description, describe
from tools.heads.hair import Obstacle, grow_hair
from tools.heads.meshes import vertex_normals
from tools.heads.outfit import NOTHING, Outfit
from tools.heads.rasteriser import Strands
from tools.heads.regions import Regions, find_regions
from tools.heads.rendering import Scene
from tools.heads.roots import SCALP_STRANDS, Beard, Scalp, plant_beard, plant_scalp, strand_shades
from tools.heads.scene import Mesh, Paint, Part, assemble, one_paint, opaque
from tools.heads.shading import BROW, CLOTH, EYE, SKIN, TEETH, Hair, Lamp, Look, Surface
from tools.heads.shape import PUPILS, eye_centres, shape_head
from tools.heads.skin import Masks, Sheets, crop_coordinates, paint_masks, paint_skin, split_sheets

VIEWER = (0.0, 0.0, 2.7)  # where highlights are seen from
LUMINANCE = np.array([0.3, 0.6, 0.1])
LASH_GREY, BROW_GREY = 40, 60
CLOTH_THICKNESS = 0.10  # distances between the pupils, from where clothes begin: hair lies on it


@dataclass(frozen=True)
class Studio:
    """What all heads share: assets and what is computed from them once (10 s)."""

    assets: Assets
    regions: Regions
    sheets: Sheets
    masks: Masks
    scalp: Scalp
    beard: Beard
    irises: np.ndarray
    shades: np.ndarray

    @classmethod
    def load(cls, directory: Path) -> "Studio":
        """From an asset directory."""
        assets = load_assets(directory)
        regions = find_regions(assets)
        scalp = plant_scalp(assets, regions)
        return cls(
            assets=assets,
            regions=regions,
            sheets=split_sheets(assets, regions),
            masks=paint_masks(assets, regions),
            scalp=scalp,
            beard=plant_beard(assets, regions),
            irises=np.stack([_calm_iris(image, brown=k == 0) for k, image in enumerate(assets.iris_images)]),
            shades=strand_shades(scalp),
        )

    def head(self, p: np.ndarray, outfit: Outfit = NOTHING) -> Scene:
        """The lit scene of p [128] and what it wears: deterministic, and smooth in p."""
        description = describe(p)
        assets, regions = self.assets, self.regions
        cage = shape_head(assets, (regions.mouth_inside, regions.mouth_depth), description)
        skin = assets.topology.subdivision @ cage
        normals = vertex_normals(skin, assets.topology.triangles)
        measure = Measure(assets.topology, regions, skin, normals, eye_centres(assets.topology, cage))
        mesh = assemble([*self._parts(description, cage, measure, outfit), *dress(outfit, measure)])
        strands, colours, scalp = self._hair(description, measure, outfit)
        return self._lit(description, cage, mesh, strands, colours, scalp)

    def _parts(self, description: Description, cage: np.ndarray, measure: Measure, outfit: Outfit) -> list[Part]:
        features = description.features
        parts = [self._skin_part(description, measure, outfit), self._eye_part(description, cage)]
        parts.append(_fitted(self.assets.teeth, cage, Paint(_ivory(self.assets.teeth_image), TEETH)))
        parts += self._garments(description, cage)
        images = zip(features.brows, self.assets.brows, self.assets.brow_images, strict=True)
        for weight, brow, image in images:
            if weight > 0:
                opacity = np.clip(image * (features.brow_opacity * weight**0.7), 0, 255)
                parts.append(_fitted(brow, cage, Paint(_hairs(opacity, BROW_GREY), BROW, cutout=True), shadow=False))
        lashes = Paint(_hairs(self.assets.lash_image * features.lash_opacity, LASH_GREY), BROW, cutout=True)
        return [*parts, _fitted(self.assets.lashes, cage, lashes, shadow=False)]

    def _skin_part(self, description: Description, measure: Measure, outfit: Outfit) -> Part:
        head, body = paint_skin(self.sheets, self.masks, description, outfit.decals)
        topology = self.assets.topology
        # Skin under clothes is drawn in a little, so that it never comes through them.
        covered = description.clothes.garments @ self.regions.covered
        uv, on_head = crop_coordinates(topology.uv, len(head))
        paints = (Paint(head, SKIN), Paint(body, SKIN))
        vertices = measure.skin - 0.08 * PUPILS * covered[:, None] * measure.normals
        hidden = hidden_skin(outfit.headwear, self.regions.place)[topology.triangles].all(1)
        paint = np.where(hidden, -1, np.where(on_head, 0, 1))
        return Part(vertices, measure.normals, topology.triangles, uv, paints, paint)

    def _eye_part(self, description: Description, cage: np.ndarray) -> Part:
        """Eyeballs, turned about their centres to where the gaze is."""
        vertices = self.assets.eyes.fit(cage)
        turn = _turned(*description.expression.gaze)
        for centre in eye_centres(self.assets.topology, cage):
            own = np.sign(vertices[:, 0]) == np.sign(centre[0])
            vertices[own] = (vertices[own] - centre) @ turn.T + centre
        iris = to_bytes(np.tensordot(description.features.irises, self.irises, 1))
        return _part(self.assets.eyes, vertices, Paint(iris, EYE, cutout=True))

    def _garments(self, description: Description, cage: np.ndarray) -> list[Part]:
        """Garments; where two are mixed, each has its share of the samples."""
        parts, start = [], 0.0
        chosen = zip(description.clothes.garments, self.assets.garments, self.assets.garment_images, strict=True)
        for weight, garment, image in chosen:
            if weight > 0:
                colour = linear_from_srgb(image) * (0.8 * description.clothes.tint)
                stop = start + weight
                shown = (start, stop if stop < 0.9999 else 1.0)
                parts.append(
                    _fitted(garment, cage, Paint(opaque(to_bytes(srgb_from_linear(colour))), CLOTH, False, shown))
                )
                start = stop
        return parts

    def _hair(self, description: Description, measure: Measure, outfit: Outfit) -> tuple[Strands, np.ndarray, int]:
        """Strands that are there, their colours [S, 3], and how many of them are on the scalp."""
        clothes = CLOTH_THICKNESS * PUPILS * smoothstep(-1.9, -2.4, self.regions.place[:, 1])[:, None]
        skin, normals = measure.skin, measure.normals
        obstacle = Obstacle(skin + clothes * normals, normals)
        scalp, scalp_radii = grow_hair(self.scalp, description.hair, skin, normals, obstacle, measure.eyes.mean(0))
        scalp_radii = scalp_radii * ~covered_roots(outfit.headwear, self.scalp.roots.place)
        beard, beard_radii = grow_beard(self.beard, description.beard, skin, normals)
        radii = np.concatenate([scalp_radii, beard_radii])
        there = np.flatnonzero(radii > 1e-6)
        points = np.concatenate([scalp, beard])[there].astype(np.float32)
        strands = Strands(points, radii[there].astype(np.float32), there.astype(np.int32))
        colours = _strand_colours(self.shades, description)[there].astype(np.float32)
        return strands, colours, int((there < SCALP_STRANDS).sum())

    def _lit(
        self,
        description: Description,
        cage: np.ndarray,
        mesh: Mesh,
        strands: Strands,
        colours: np.ndarray,
        scalp: int,
    ) -> Scene:
        light, casters = description.light, mesh.casters(strands)
        sky = bake_sky(light, casters, mesh.normals)
        matrix, shadow_map = bake_key(light, casters)
        irradiance = self._irradiance(description, sky)
        exposure = self._exposure(
            description, mesh, irradiance, key_seen_at(self.regions.face, mesh, matrix, shadow_map)
        )
        fill_direction, fill_colour, _ = light.soft[0]
        lamp = Lamp(
            direction=_triple(light.key_direction),
            colour=_triple(light.key_colour * exposure),
            shadow_map=shadow_map,
            shadow_matrix=matrix,
            blur=7.0,
            window_direction=_triple(fill_direction),
            window_colour=_triple(fill_colour * exposure),
        )
        skin = description.skin
        look = Look(
            viewer=VIEWER,
            gloss=0.75 * float(skin.gloss),
            roughness=float(skin.roughness),
            sheen=float(description.colour.sheen),
            brows=_triple(description.colour.brows),
            eyes=np.array(sorted(eye_centres(self.assets.topology, cage).tolist()), np.float32),
        )
        soft = mesh.normals.copy()
        soft[: len(self.regions.place)] = self._soft_normals(mesh.normals)
        attributes = np.concatenate([mesh.positions, mesh.normals, soft, irradiance * exposure], 1).astype(np.float32)
        surface = Surface(attributes, mesh.triangles, mesh.uv, mesh.material, mesh.kind)
        hair = Hair(strands.points, (sky.strands * exposure).astype(np.float32), colours, strands.label, scalp)
        return Scene(surface, mesh.textures, hair, strands.radius, lamp, look)

    def _irradiance(self, description: Description, sky: Sky) -> np.ndarray:
        """With light reflected within closed areas, and spread under the skin: [V, 3]."""
        irradiance = sky.shadowed + 0.35 * description.skin.tone * np.maximum(sky.open - sky.shadowed, 0)
        skin = slice(len(self.regions.place))
        irradiance[skin] = self._spread_under_skin(irradiance[skin])
        return irradiance

    def _spread_under_skin(self, light: np.ndarray) -> np.ndarray:
        """Diffused over neighbours [V, 3]: red the farthest."""
        spread, current = light.copy(), light
        for step in range(1, 15):
            current = self.assets.topology.smoothing @ current
            for channel, steps in enumerate((14, 4, 2)):
                if step == steps:
                    spread[:, channel] = current[:, channel]
        return spread

    def _soft_normals(self, normals: np.ndarray) -> np.ndarray:
        soft = normals[: len(self.regions.place)]
        for _ in range(10):
            soft = self.assets.topology.smoothing @ soft
        return unit(soft)

    def _exposure(self, description: Description, mesh: Mesh, irradiance: np.ndarray, seen: np.ndarray) -> float:
        """Factor on all light: the face is about as bright in all pictures, dark skin a little darker."""
        face, light = self.regions.face, description.light
        direct = np.maximum(mesh.normals[face] @ light.key_direction, 0) * seen
        arriving = (irradiance[face] + direct[:, None] * light.key_colour).mean(0) @ LUMINANCE
        return float(light.exposure * 1.12 * (description.skin.tone @ LUMINANCE / 0.33) ** -0.33 / arriving)


def key_seen_at(vertices: np.ndarray, mesh: Mesh, matrix: np.ndarray, shadow_map: np.ndarray) -> np.ndarray:
    """How much of the key light reaches some vertices of a mesh."""
    return key_seen(matrix, shadow_map, mesh.positions[vertices] + 0.007 * mesh.normals[vertices])


def _triple(v: np.ndarray) -> tuple[float, float, float]:
    return tuple(float(x) for x in v)


def _part(proxy: Proxy, vertices: np.ndarray, paint: Paint, shadow: bool = True) -> Part:
    normals = vertex_normals(vertices, proxy.triangles)
    return Part(vertices, normals, proxy.triangles, proxy.uv, *one_paint(proxy.triangles, paint), shadow)


def _fitted(proxy: Proxy, cage: np.ndarray, paint: Paint, shadow: bool = True) -> Part:
    return _part(proxy, proxy.fit(cage), paint, shadow)


def _turned(yaw: float, pitch: float) -> np.ndarray:
    """Rotation [3, 3] of the eyes."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_y @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])


def _hairs(opacity: np.ndarray, grey: int) -> np.ndarray:
    """RGBA uint8 of brows or lashes with an opacity [h, w] in [0, 255]."""
    return np.concatenate([np.full((*opacity.shape, 3), grey, np.uint8), opacity.astype(np.uint8)[..., None]], -1)


def _ivory(teeth: np.ndarray) -> np.ndarray:
    return opaque(np.clip(teeth * np.array([0.95, 0.91, 0.86]), 0, 255).astype(np.uint8))


def _calm_iris(image: np.ndarray, brown: bool) -> np.ndarray:
    """An iris sheet [h, w, 4] in [0, 1], darker in its colours and in the white."""
    colour = image[..., :3].astype(np.float32) / 255
    saturation = (colour.max(-1) - colour.min(-1)) / np.maximum(colour.max(-1), 0.05)
    iris = smoothstep(0.3, 0.5, saturation)[..., None]
    colour = lerp(
        colour * np.array([0.84, 0.81, 0.79]), colour * (np.array([0.62, 0.66, 0.8]) if brown else 0.78), iris
    )
    return np.concatenate([colour, image[..., 3:] / 255], -1)


def _strand_colours(shades: np.ndarray, description: Description) -> np.ndarray:
    """[strands, 3]: lighter and darker ones, and white ones among those that go grey."""
    colour = description.colour
    scalp = np.arange(len(shades))[:, None] < SCALP_STRANDS
    base = np.where(scalp, colour.hair, colour.beard)
    white = smoothstep(-0.05, 0.05, colour.grey * 0.6 - 0.05 - shades[:, 2:3])
    return lerp(base, np.maximum(base * 1.6, 0.13), white) * np.exp((shades[:, :1] - 0.5) * colour.variation)
