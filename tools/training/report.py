"""How near the network is to heads that it has never seen, and to unseen views of those it has."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from pmv_jax.models.generator import Generator
from tools.training import backdrop, losses
from tools.training.data import Batch, Heads

FAR_OFF = 0.03  # a depth error from which a ray is missed, in world units


@functools.partial(jax.jit, static_argnames=("config",))
def _compare(variables, batch: Batch, numbers, config):
    """One view: the truth, the picture [N, N, 3], and figures."""
    generator = Generator(config, variables)
    truth = losses.truth_of_crops(batch, numbers, config)
    ws = generator.mapping(truth.z, None)
    planes = generator.planes(ws[0])
    camera = batch.camera[0, 0]
    out = generator.render(planes, ws[0], camera)
    rays = truth.origins[:1], truth.directions[:1]
    found = generator.model.apply(variables, planes[None], *rays, method="median_distance")[0]
    image, raw = jnp.clip(out["image"], -1, 1), jnp.clip(out["image_raw"], -1, 1).reshape(-1, 3)
    mask = batch.pixels[0, 0, ..., 3] / 255.0
    error = image - truth.image[0]
    inside = jnp.sum(jnp.square(error).mean(-1) * mask) / mask.sum()
    distance, hit = truth.ray_distance[0], truth.hit[0]
    wall = backdrop.distance(truth.origins[0], truth.directions[0])
    solid = found < wall - 0.05
    off = jnp.where(hit, found - distance, jnp.nan)
    close = jnp.abs(off) < FAR_OFF
    figures = {
        "psnr": losses.psnr(error),
        "psnr_inside": -10 * jnp.log10(inside / 4),
        "raw_psnr": losses.psnr(raw - truth.colour[0]),
        "depth_bias": jnp.nanmedian(off),
        "depth_error": jnp.nanmedian(jnp.abs(off)),
        "depth_scatter": jnp.nanstd(jnp.where(close, off, jnp.nan)),
        "depth_missed": jnp.sum(hit & ~close) / hit.sum(),
        "mask_iou": jnp.sum(solid & hit) / jnp.sum(solid | hit),
    }
    return truth.image[0], image, figures


def view_of(heads: Heads, head: int, view: int) -> Batch:
    """A whole picture as a batch."""
    corner = np.zeros((1, 1, 1, 2), np.int32)
    return Batch(heads.p[head][None], heads.camera[head, view][None, None], corner, heads.view(head, view)[None, None])


def figures(generator: Generator, heads: Heads, count: int, views: int = 1) -> dict[str, float]:
    """Means over `views` pictures of each of the first `count` heads, each before a backdrop of its own."""
    scores = []
    for head in range(min(count, len(heads))):
        numbers = np.random.default_rng(head).standard_normal((1, backdrop.NUMBERS), dtype=np.float32)
        for view in range(views):
            scores.append(_compare(generator.variables, view_of(heads, head, view), numbers, generator.config)[2])
    return {name: round(float(jnp.nanmean(jnp.stack([s[name] for s in scores]))), 5) for name in scores[0]}


def contact_sheet(generator: Generator, heads: Heads, chosen: list[int]) -> Image.Image:
    """Truth above generated for some heads, their views from left to right."""
    rows = []
    for head in chosen:
        numbers = np.random.default_rng(head).standard_normal((1, backdrop.NUMBERS), dtype=np.float32)
        order = np.argsort(heads.camera[head, :, 3])  # by the camera's place on the x axis
        pairs = [_compare(generator.variables, view_of(heads, head, v), numbers, generator.config)[:2] for v in order]
        rows += [np.concatenate([np.asarray(p[i]) for p in pairs], axis=1) for i in (0, 1)]
    pixels = np.clip((np.concatenate(rows) + 1) * 127.5, 0, 255).round().astype(np.uint8)
    return Image.fromarray(pixels)
