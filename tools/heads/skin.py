"""Skin as a texture: painted sheets blended by p, retoned, with blush, freckles, moles, stubble and the scalp's shade.

The sheets are split once into tone (what is left after a wide blur) and detail (the logarithm of the rest), so that
mixes keep their detail. Only a crop about the head is painted at full density; the body is a small sheet of its own.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from tools.heads.assets import Assets
from tools.heads.curves import lerp, linear_from_srgb, smoothstep, srgb_from_linear, to_bytes
from tools.heads.decals import lay_decals
from tools.heads.description import Description
from tools.heads.outfit import Decal
from tools.heads.rasteriser import draw_triangles, empty_samples, one_texture
from tools.heads.regions import Regions

SHEET = 1536  # pixels across a whole sheet at the density of the head's crop
CROP_LEFT, CROP_TOP = 0.634, 0.14  # of the head's crop: u from here to 1, v (from the top) from here
TONE_BLUR = 14.0  # pixels: what is wider is tone, what is finer is detail
DETAIL_GAIN = 1.2
FILL_BLUR = 30.0  # pixels
BODY_SAMPLE = (slice(150, 260), slice(120, 200))  # plain skin on the body's sheet
BODY_GLOSS = 0.3
EPSILON = 1e-4
FOLD = 0.55  # strength of the shade in the folds beside a smiling mouth, or an old one


@dataclass(frozen=True)
class Sheets:
    """The painted skins: `tone` and `detail` [n, h, w, 3] of the head (linear light; log), `body` [n, 512, 512, 3]."""

    tone: np.ndarray
    detail: np.ndarray
    body: np.ndarray


@dataclass(frozen=True)
class Masks:
    """Where things are on the head's crop, [h, w] each: regions in [0, 1], noises of unit spread, dots in [0, 1]; and
    `place` [h, w, 3] on the average head."""

    scalp: np.ndarray
    painted: np.ndarray
    beard: np.ndarray
    lips: np.ndarray
    cheeks: np.ndarray
    sockets: np.ndarray
    folds: np.ndarray
    shiny: np.ndarray
    coarse: np.ndarray
    fine: np.ndarray
    place: np.ndarray
    pores: np.ndarray
    whiskers: np.ndarray
    freckles: np.ndarray
    moles: np.ndarray


def split_sheets(assets: Assets, regions: Regions) -> Sheets:
    """Tone and detail of every sheet (4 s). Where eyebrows may be painted, the tone is filled in from around."""
    height, width = assets.skin_heads[0].shape[:2]
    brows = bake_to_crop(assets, regions.brows[:, None], height, width)
    around = np.maximum(_blurred(1 - brows, FILL_BLUR), EPSILON)
    tones, details = [], []
    for image in assets.skin_heads:
        colour = np.maximum(linear_from_srgb(image), EPSILON)
        tone = _blurred(colour, TONE_BLUR)
        detail = DETAIL_GAIN * np.log(colour / np.maximum(tone, EPSILON))
        tones.append(lerp(tone, _blurred(colour * (1 - brows), FILL_BLUR) / around, brows))
        details.append(detail * (1 - 0.8 * brows))
    body = np.stack([linear_from_srgb(image) for image in assets.skin_bodies])
    return Sheets(np.stack(tones), np.stack(details), body)


def paint_masks(assets: Assets, regions: Regions) -> Masks:
    """Masks over the head's crop, from masks per vertex and seeds."""
    height, width = assets.skin_heads[0].shape[:2]
    place = regions.place
    aside, above = np.abs(place[:, 0]), place[:, 1] - regions.mouth[1]
    cheeks = _blob((aside - 0.78) / 0.38, (above - 0.62) / 0.33) * (place[:, 2] > -0.6)
    nose = _blob(aside / 0.22, (above - 0.62) / 0.22) * (place[:, 2] > 0.2)
    sockets = _blob((aside - 0.5) / 0.36, (place[:, 1] + 0.22) / 0.16) * (place[:, 2] > -0.5)
    shiny = smoothstep(0.55, 0.2, aside) * ((above > 0.3) | (above < -0.35))  # forehead, nose and chin
    layers = [
        regions.scalp,
        regions.painted,
        regions.beard,
        assets.topology.lips,
        np.clip(cheeks + 0.8 * nose, 0, 1),
        sockets,
    ]
    layers += [_smile_folds(aside, above) * (place[:, 2] > -0.6), shiny]
    layers += [_solid_noise(place, 3, seed=1), _solid_noise(place, 9, seed=2)]
    baked = bake_to_crop(assets, np.stack(layers, 1), height, width)
    random = np.random.RandomState(7)
    pores = gaussian_filter(random.randn(height, width).astype(np.float32), 0.8)
    dots = [_dots(random, height, width, *kind) for kind in ((0.93, 0.7), (0.997, 1.6), (0.99998, 1.3))]
    on_head = bake_to_crop(assets, place, height, width)
    return Masks(*np.moveaxis(baked, 2, 0), on_head, pores / pores.std(), *dots)


def _blurred(image: np.ndarray, radius: float) -> np.ndarray:
    return gaussian_filter(image, (radius, radius, 0), truncate=3)


def _smile_folds(aside: np.ndarray, above: np.ndarray) -> np.ndarray:
    """From the wings of the nose round the corners of the mouth: narrow there, and softer outwards."""
    along = (0.55 - above) / 0.75  # 0 at the nose, 1 below the corners
    middle = 0.30 + 0.42 * np.clip(along, 0, 1) ** 0.8
    across = aside - middle
    ridge = np.exp(-((across / np.where(across > 0, 0.09, 0.05)) ** 2))
    return ridge * smoothstep(-0.15, 0.1, along) * smoothstep(1.1, 0.6, along)


def _blob(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.exp(-(x**2 + y**2))


def _solid_noise(place: np.ndarray, frequency: float, seed: int) -> np.ndarray:
    lattice = np.random.RandomState(seed).randn(24, 24, 24)
    return map_coordinates(lattice, (place * frequency % 23).T, order=1, mode="wrap")


def _dots(random: np.random.RandomState, height: int, width: int, rarity: float, blur: float) -> np.ndarray:
    dots = gaussian_filter((random.rand(height, width) > rarity).astype(np.float32), blur)
    return dots / dots.max()


def crop_coordinates(uv: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates [T, 6] of the sheet -> of the head's crop where triangles are on it; [T], where they are."""
    margin, depth = 0.002, height / SHEET
    u, v = uv[:, 0::2], 1 - uv[:, 1::2]
    inside = (u > CROP_LEFT + margin) & (v > CROP_TOP + margin) & (v < CROP_TOP + depth - margin)
    inside = inside.all(1)
    cropped = uv.copy()
    cropped[inside, 0::2] = (u[inside] - CROP_LEFT) / (1 - CROP_LEFT)
    cropped[inside, 1::2] = 1 - (v[inside] - CROP_TOP) / depth
    return cropped, inside


def bake_to_crop(assets: Assets, values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Values per vertex [V, k] -> images over the head's crop [height, width, k]; 0 where there is no skin."""
    uv = assets.topology.uv.reshape(-1, 3, 2)
    x = (uv[..., 0] - CROP_LEFT) / (1 - CROP_LEFT) * width
    y = (1 - uv[..., 1] - CROP_TOP) * SHEET
    screen = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3).astype(np.float32)
    triangles = np.arange(len(screen), dtype=np.int32).reshape(-1, 3)
    samples, plain = empty_samples(height, width), np.zeros(len(triangles), np.int32)
    draw_triangles(samples, screen, triangles, assets.topology.uv.astype(np.float32), plain, one_texture(), False)
    weights = np.concatenate([samples.place, 1 - samples.place.sum(-1, keepdims=True)], -1)
    corners = values[assets.topology.triangles[np.maximum(samples.primitive, 0)]]
    return ((corners * weights[..., None]).sum(2) * (samples.primitive >= 0)[..., None]).astype(np.float32)


def paint_skin(
    sheets: Sheets, masks: Masks, description: Description, decals: tuple[Decal, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """RGBA uint8 of the head's crop [h, w, 4] and of the body [512, 512, 4]; alpha is gloss."""
    skin = description.skin
    colour, body = _blended(sheets, masks, description)
    colour = _tinted(colour, np.clip(masks.cheeks * (1 + 0.3 * masks.coarse), 0, 1) * skin.blush, (1.12, 0.80, 0.80))
    colour = _tinted(colour, np.clip(masks.sockets, 0, 1) * skin.sockets, (0.78, 0.68, 0.72))
    colour = _tinted(colour, np.clip(masks.lips * 1.3, 0, 1) * skin.lip_strength, skin.lip_tint)
    fold = FOLD * min(1.0, 0.8 * description.expression.smile + 0.4 * description.person.age)
    colour = _tinted(colour, masks.folds * fold, (0.62, 0.52, 0.50))
    colour = _spotted(colour, masks, description)
    colour = _shaded_scalp(colour, masks, description)
    colour = lay_decals(_bearded(colour, masks, description), masks.place, decals)
    gloss = 0.28 + 0.22 * masks.shiny + 0.3 * np.clip(masks.lips, 0, 1) + 0.07 * masks.pores
    gloss = np.clip(gloss - 0.25 * masks.beard * description.beard.stubble - 0.3 * masks.scalp, 0, 1)
    head = np.concatenate([srgb_from_linear(colour), gloss[..., None]], -1)
    body = np.concatenate([srgb_from_linear(body), np.full((*body.shape[:2], 1), BODY_GLOSS)], -1)
    return to_bytes(head), to_bytes(body)


def _blended(sheets: Sheets, masks: Masks, description: Description) -> tuple[np.ndarray, np.ndarray]:
    """Head and body of the mixed sheets, brought to the tone of the skin; lips keep a part of their own."""
    skin = description.skin
    colour = _mixed(sheets.tone, skin.tones) * np.exp(_mixed(sheets.detail, skin.details))
    body, target = _mixed(sheets.body, skin.tones), skin.tone
    gain = target / colour[masks.cheeks > 0.3].mean(0)
    body_gain = 0.35 * gain + 0.65 * 0.97 * target / body[BODY_SAMPLE].reshape(-1, 3).mean(0)
    return colour * gain ** (1 - 0.25 * np.clip(masks.lips[..., None], 0, 1)), body * body_gain


def _mixed(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    used = np.flatnonzero(weights)  # few of them: most weights are pruned to 0
    return np.tensordot(weights[used].astype(np.float32), images[used], 1)


def _tinted(colour: np.ndarray, strength: np.ndarray, tint: tuple | np.ndarray) -> np.ndarray:
    return colour * (1 + strength[..., None] * (np.asarray(tint, np.float32) - 1))


def _spotted(colour: np.ndarray, masks: Masks, description: Description) -> np.ndarray:
    """Blotches, pores, freckles and moles."""
    skin = description.skin
    coarse, fine = masks.coarse[..., None], masks.fine[..., None]
    colour = colour * np.exp(skin.blotches * (0.05 * coarse * np.array([0.5, 1, 1.1]) + 0.03 * fine))
    colour = colour * (1 + 0.03 * masks.pores[..., None])
    where = np.clip(masks.cheeks + 0.35 * masks.shiny + 0.1, 0, 1) * np.clip(masks.fine + 0.6, 0, 1)
    colour = _tinted(colour, masks.freckles * where * skin.freckles, 1 - np.array([0.30, 0.45, 0.5]))
    return _tinted(colour, np.clip(masks.moles * skin.moles, 0, 0.75), 1 - np.array([0.8, 0.9, 0.95]))


def _shaded_scalp(colour: np.ndarray, masks: Masks, description: Description) -> np.ndarray:
    """The painted stubble of the sheets is replaced by plain skin with a shade of the hair."""
    plain = description.skin.tone * (0.92 + 0.03 * masks.pores + 0.04 * masks.coarse)[..., None]
    colour = lerp(colour, plain, np.clip(masks.painted, 0, 1)[..., None])
    shade = (np.clip(masks.scalp, 0, 1) * description.hair.scalp_shade)[..., None]
    return lerp(colour, description.colour.hair * 0.55 + colour * 0.10, shade)


def _bearded(colour: np.ndarray, masks: Masks, description: Description) -> np.ndarray:
    """A shade under stubble and beards, and the dots of whiskers."""
    hair = np.minimum(description.colour.beard, 0.25)
    stubble = (masks.beard * description.beard.stubble)[..., None]
    colour = lerp(colour, colour * 0.45 + hair * 0.15, 0.35 * stubble)
    colour = lerp(colour, colour * 0.25 + hair * 0.35, masks.beard[..., None] * description.beard.full * 0.6)
    return lerp(colour, hair * 0.5, np.clip(stubble * masks.whiskers[..., None] * 1.2, 0, 0.85))
