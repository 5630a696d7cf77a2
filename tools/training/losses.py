"""What is true along the rays of a batch, and how far the network is from it."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax import cameras
from pmv_jax.config import GeneratorConfig, RenderingConfig
from pmv_jax.models.generator import Generator
from pmv_jax.rendering import compositing
from tools.training import backdrop
from tools.training.data import Batch
from tools.training.network import for_crops
from tools.training.pixels import decode_depth
from tools.training.recipe import Stage

FARTHEST_OFF = 0.05
"""A ray's distance counts as no farther off than this: beside an outline it is either that of the head or the
backdrop's, and the picture decides which."""
_BORDER = 8  # final pixels at the edge of a crop, which see the crop's padding in place of the image


class Truth(NamedTuple):
    """Rays with what they see; `R` rays of all views of a head. Colours in [-1, 1]."""

    z: Array  # [H, z_dim]
    origins: Array  # [H, R, 3]
    directions: Array  # [H, R, 3]
    ray_distance: Array  # [H, R]
    hit: Array  # [H, R] bool: a head, not the backdrop
    colour: Array  # [H, R, 3]
    image: Array  # [H * V, N, N, 3] final pixels of crops; empty where pixels are single


def truth_of_pixels(batch: Batch, numbers: Array, size: int) -> Truth:
    """Single pixels (`Heads.scattered`) of pictures of `size` pixels before backdrops with `numbers` [H, 6]."""
    origins, directions, stretch = _rays(batch.camera, (batch.corner[..., ::-1] + 0.5) / size)
    colour, distance, hit = _seen(batch.pixels, origins, directions, stretch, numbers[:, None, None])
    flat = lambda x: x.reshape(x.shape[0], -1, *x.shape[3:])  # noqa: E731
    z = jnp.concatenate([batch.p, numbers], axis=-1)
    image = jnp.zeros((batch.p.shape[0] * batch.camera.shape[1], 0, 0, 3))
    return Truth(z, *map(flat, (origins, directions, distance, hit, colour)), image)


def truth_of_crops(batch: Batch, numbers: Array, network: GeneratorConfig) -> Truth:
    """Crops (`Heads.crops`) before backdrops with `numbers` [H, 6]: rays through the centres of raw pixels.

    A raw pixel has the mean colour of the final pixels that it covers. Its ray runs between the middle four of them,
    and has the mean of the two middle ones of their distances, or the nearer one if they belong to different surfaces.
    """
    heads, views, side = batch.pixels.shape[:3]
    size = network.image_resolution
    scale = size // network.rendering.neural_resolution
    raw = side // scale
    grid = jnp.stack(jnp.meshgrid(jnp.arange(side), jnp.arange(side)), axis=-1).reshape(-1, 2)
    fine = (batch.corner[..., ::-1] + grid + 0.5) / size  # [H, V, side * side, 2]
    origins, directions, stretch = _rays(batch.camera, fine)
    pixels = batch.pixels.reshape(heads, views, -1, 6)
    colour, distance, hit = _seen(pixels, origins, directions, stretch, numbers[:, None, None])

    blocks = lambda x: x.reshape(heads, views, raw, scale, raw, scale, *x.shape[3:])  # noqa: E731
    low, high = scale // 2 - 1, scale // 2 + 1

    def middle(x: Array) -> Array:
        """[H, V, N * N] -> [H, rays, 4]: of the four final pixels around each ray."""
        four = blocks(x)[:, :, :, low:high, :, low:high].swapaxes(3, 4)
        return four.reshape(heads, views * raw * raw, 4)

    order = jnp.argsort(middle(distance), axis=-1)
    near, far = (jnp.take_along_axis(middle(distance), order[..., i : i + 1], -1)[..., 0] for i in (1, 2))
    first_hit = jnp.take_along_axis(middle(hit), order[..., 1:2], -1)[..., 0]
    centres = jnp.stack(jnp.meshgrid(jnp.arange(raw), jnp.arange(raw)), axis=-1).reshape(-1, 2)
    origins, directions, _ = _rays(batch.camera, (batch.corner[..., ::-1] + scale * (centres + 0.5)) / size)
    flat = lambda x: x.reshape(heads, -1, 3)  # noqa: E731
    return Truth(
        z=jnp.concatenate([batch.p, numbers], axis=-1),
        origins=flat(origins),
        directions=flat(directions),
        ray_distance=jnp.where(far - near < 0.02, 0.5 * (near + far), near),
        hit=first_hit,
        colour=flat(blocks(colour).mean((3, 5))),
        image=colour.reshape(heads * views, side, side, 3),
    )


def _rays(camera: Array, places: Array) -> tuple[Array, Array, Array]:
    """camera [H, V, 25], places in the picture [H, V, R, 2] -> origins, unit directions [H, V, R, 3], and the length
    along the ray of one unit of z-depth [H, V, R]."""
    directions = cameras.unproject(camera, places)
    stretch = jnp.linalg.norm(directions, axis=-1)
    origins = jnp.broadcast_to(cameras.split(camera)[0][..., None, :3, 3], directions.shape)
    return origins, directions / stretch[..., None], stretch


def _seen(
    pixels: Array, origins: Array, directions: Array, stretch: Array, numbers: Array
) -> tuple[Array, Array, Array]:
    """Colour in [-1, 1], ray distance, and whether a head is hit, of `pixels` [..., 6] and their rays."""
    values = pixels.astype(jnp.float32)
    z_depth = decode_depth(values[..., 4], values[..., 5])
    wall = backdrop.distance(origins, directions)
    behind = backdrop.colour(numbers, origins + wall[..., None] * directions)
    colour = backdrop.put_behind(values[..., :3] / 255, values[..., 3] / 255, behind)
    hit = z_depth > 0
    return 2 * colour - 1, jnp.where(hit, z_depth * stretch, wall), hit


def guided_distances(key: Array, surface: Array, config: RenderingConfig, count: int) -> Array:
    """Increasing sample distances [..., count]: half stratified over the ray, half around the surface [...]."""
    half = count // 2
    strata_key, near_key = jax.random.split(key)
    jitter = jax.random.uniform(strata_key, (*surface.shape, half))
    anywhere = config.ray_start + (jnp.arange(half) + jitter) / half * (config.ray_end - config.ray_start)
    width = jnp.where(jnp.arange(count - half) % 2 == 0, 0.008, 0.03)
    near = surface[..., None] + width * jax.random.normal(near_key, (*surface.shape, count - half))
    return jnp.sort(jnp.concatenate([anywhere, near], axis=-1), axis=-1)


def geometry_loss(densities: Array, distances: Array, surface: Array, margin: float) -> Array:
    """Free space before the surface is to be empty and a layer behind it solid: mean opacity of a 0.02-long step."""
    offset = distances - surface[..., None]
    alpha = 1 - jnp.exp(-0.02 * jax.nn.softplus(densities - 1))
    before, behind = offset < -margin, (offset > margin) & (offset < 0.04)
    mean = lambda x, mask: jnp.sum(x * mask) / jnp.maximum(mask.sum(), 1)  # noqa: E731
    return mean(alpha, before) + mean(1 - alpha, behind)


def loss(
    params: dict[str, Any], generator: Generator, truth: Truth, key: Array, stage: Stage
) -> tuple[Array, dict[str, Array]]:
    """L1 on colours, opacity, geometry, ray distance, what is too empty and, in the image stages, the final image.

    Returns:
      The loss, and figures to log.
    """
    config = generator.config
    variables = {**generator.variables, "params": params}
    apply = functools.partial(generator.model.apply, variables)
    ws = apply(truth.z, None, method="mapping")
    planes = apply(ws, "none", method="planes")
    guide_key, render_key = jax.random.split(key)
    surface = truth.ray_distance
    distances = guided_distances(guide_key, surface, config.rendering, stage.guided)
    points = truth.origins[..., None, :] + distances[..., None] * truth.directions[..., None, :]
    densities, features = apply(planes, points.reshape(len(points), -1, 3), method="density")
    densities = densities.reshape(distances.shape)
    features = features.reshape(*distances.shape, -1)
    if stage.as_rendered:
        colour, distance = apply(planes, truth.origins, truth.directions, render_key, method="render_rays")
        distance_loss = jnp.minimum(jnp.abs(distance - surface), FARTHEST_OFF).mean()
    else:
        colour, distance_loss = jax.vmap(compositing.composite)(features, densities, distances)[0], 0.0
    opacity = jax.vmap(compositing.render_weights_from_density)(densities, distances).sum(-1)
    near = jnp.abs(distances - surface[..., None]) < 0.02
    at_surface = jnp.abs(2 * features[..., :3] - 1 - truth.colour[:, :, None]).mean(-1)
    geometry = geometry_loss(densities, distances, surface, stage.margin)
    raw_error = colour[..., :3] - truth.colour
    total = (
        jnp.abs(raw_error).mean()
        + 0.25 * jnp.mean(1 - opacity)
        + stage.geometry_weight * geometry
        + 0.1 * jnp.sum(at_surface * near) / near.sum()
        + stage.distance_weight * distance_loss
        + 0.005 * jax.nn.relu(stage.density_floor - densities).mean()
    )
    figures = {"raw_psnr": psnr(raw_error), "geometry": geometry, "distance": distance_loss}
    if stage.images:
        image = _superresolved(variables, config, colour, ws, stage.side)
        error = (image - truth.image)[:, _BORDER:-_BORDER, _BORDER:-_BORDER]
        edges = jnp.abs(jnp.diff(error, axis=1)).mean() + jnp.abs(jnp.diff(error, axis=2)).mean()
        total = 0.5 * total + jnp.abs(error).mean() + jnp.square(error).mean() + 0.5 * edges
        figures["psnr"] = psnr(error)
    return total, {"loss": total, **figures}


def _superresolved(variables: dict[str, Any], config: GeneratorConfig, colour: Array, ws: Array, side: int) -> Array:
    """Final crops of raw ones: colour [H, V * side * side, F] -> [H * V, N, N, 3]."""
    raw = colour.reshape(-1, side, side, colour.shape[-1])
    crops = Generator(for_crops(config, side), variables)
    return crops.model.apply(variables, raw, jnp.repeat(ws, len(raw) // len(ws), axis=0), method="superresolve")


def psnr(error: Array) -> Array:
    """In dB, of errors of pictures in [-1, 1]."""
    return -10 * jnp.log10(jnp.mean(jnp.square(error)) / 4)
