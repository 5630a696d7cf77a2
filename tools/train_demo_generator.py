"""Trains the demo generator: an EG3D network in small, supervised by procedural heads with known latents.

    python -m tools.train_demo_generator --out DIR            # hours on two CPU cores; resumes where it stopped
    python -m tools.train_demo_generator --out DIR --one_head # a minute-scale check that the network can be sharp
    python -m tools.train_demo_generator --out DIR --init DIR # the last stage alone, from the weights of a generator

A discriminator would need millions of images. Here the latent of every training head is known, so the network is simply
regressed: it gets a head's parameters as `z` and must render that head. Four stages, each one cosine decay:

1. `rays`: random rays of fresh heads, tri-planes at half resolution. Samples along a ray lie half anywhere, half around
   the true surface, so that few of them teach both colour and geometry.
2. `images`: crops of the final image through the super-resolution head, tri-planes at full resolution; the new block of
   the backbone starts almost silent.
3. `polish`: the same on what the renderer's own samples see, so that nothing floats where training did not look.
4. `surface`: the same for long, with the rendered ray distance in the loss, density free in a thinner layer only, and
   empty space no emptier than it has to be, so that tuning can still fill it.

Every `--checkpoint_minutes` it writes state (to resume), the averaged weights as a generator directory, the PSNR on
held-out heads, and a contact sheet with truth above generated.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from PIL import Image
from tqdm import tqdm

from pmv_jax import cameras
from pmv_jax.checkpoints import orbax as checkpoints
from pmv_jax.commandline.flags import Flags
from pmv_jax.commandline.run import command
from pmv_jax.config import (
    BackboneConfig,
    DecoderConfig,
    GeneratorConfig,
    MappingConfig,
    RenderingConfig,
    SuperresolutionConfig,
)
from pmv_jax.errors import InputError
from pmv_jax.models.generator import Generator, initialise
from pmv_jax.rendering import compositing
from tools.signed_distance_heads import heads

Params = dict[str, Any]

DEMO_CONFIG = GeneratorConfig(
    z_dim=heads.NUM_PARAMETERS,
    c_dim=0,
    w_dim=128,
    image_resolution=128,
    mapping=MappingConfig(num_layers=2, lr_multiplier=1.0),
    backbone=BackboneConfig(
        plane_resolution=128, plane_channels=16, channel_base=2048, channel_max=128, spatial_maps=True
    ),
    decoder=DecoderConfig(hidden_features=32, output_features=16),
    rendering=RenderingConfig(
        neural_resolution=64,
        coarse_samples=16,
        fine_samples=16,
        ray_start=2.35,  # noses end at 2.43, the backdrop at 3.21
        ray_end=3.25,
        plane_axes="xy_xz_zy",
    ),
    superresolution=SuperresolutionConfig(input_resolution=64, block_channels=(32, 16), block_upsamples=(False, True)),
)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One cosine decay from `learning_rate` to `final_rate`."""

    name: str
    steps: int
    learning_rate: float
    final_rate: float
    plane_resolution: int
    heads: int  # a step
    rays: int  # per head; in the image stages the side of the crop, in raw pixels, squared
    images: bool = False  # crops of the final image in place of single rays
    as_rendered: bool = False  # colours from the samples that rendering takes, not from those around the surface
    margin: float = 0.006  # density is free this far before and behind the surface
    geometry_weight: float = 0.1
    distance_weight: float = 0.0  # of the error of the rendered ray distance; it takes `as_rendered`
    # Raw density that empty space is kept from falling below. Where it is far below zero, softplus has no gradient, and
    # an inversion cannot bring a surface there.
    density_floor: float = -np.inf


RECIPE = (
    Stage("rays", 2600, 8e-3, 2.5e-3, 64, heads=8, rays=512),
    Stage("images", 1500, 2.5e-3, 5e-5, 128, heads=4, rays=32 * 32, images=True),
    Stage("polish", 600, 8e-4, 3e-5, 128, heads=2, rays=32 * 32, images=True, as_rendered=True),
    Stage(
        "surface",
        steps=12_000,
        learning_rate=1.5e-3,
        final_rate=2e-5,
        plane_resolution=128,
        heads=2,
        rays=32 * 32,
        images=True,
        as_rendered=True,
        margin=0.002,
        geometry_weight=0.2,
        distance_weight=4.0,
        density_floor=-4.0,
    ),
)
YAW, PITCH = 0.7, 0.4  # training cameras; a margin around the range that is judged
HELD_OUT_YAW, HELD_OUT_PITCH = 0.6, 0.3
HELD_OUT_KEY = 2_000_003
SAMPLES = 20  # along a training ray
EMA = 0.998
FARTHEST_OFF = 0.05
"""A ray's distance counts as no farther off than this: beside an outline it is either that of the head or the
backdrop's, and the picture decides which."""


class Batch(NamedTuple):
    """Rays of `H` heads with their truth. Colours in [-1, 1]."""

    p: Array  # [H, D]
    origins: Array  # [H, R, 3]
    directions: Array  # [H, R, 3]
    ray_distance: Array  # [H, R]
    colour: Array  # [H, R, 3]
    image: Array  # [H, 2 * side, 2 * side, 3] final pixels of the crop; empty unless in the image stage


def sample_cameras(key: Array, count: int, yaw: float = YAW, pitch: float = PITCH) -> Array:
    """[count, 25], uniform in yaw and pitch."""
    u = jax.random.uniform(key, (2, count), minval=-1.0)
    return cameras.look_at(yaw * u[0], pitch * u[1])


def sample_heads(key: Array, count: int, one_head: bool) -> Array:
    """[count, D] fresh heads, or one and the same."""
    return (
        jnp.repeat(heads.sample_parameters(jax.random.key(7), 1), count, 0)
        if one_head
        else heads.sample_parameters(key, count)
    )


def stage_config(stage: Stage) -> GeneratorConfig:
    """The demo network at the plane resolution of a stage."""
    return dataclasses.replace(
        DEMO_CONFIG, backbone=dataclasses.replace(DEMO_CONFIG.backbone, plane_resolution=stage.plane_resolution)
    )


def rays_through(camera: Array, pixels: Array) -> tuple[Array, Array]:
    """camera [H, 25], pixels [H, R, 2] -> origins, unit directions [H, R, 3]."""
    directions = cameras.unproject(camera, pixels)
    directions /= jnp.linalg.norm(directions, axis=-1, keepdims=True)
    return jnp.broadcast_to(cameras.split(camera)[0][:, None, :3, 3], directions.shape), directions


def ray_batch(key: Array, stage: Stage, one_head: bool) -> Batch:
    """Random rays: half anywhere, half around the middle of the picture, where the face is."""
    head_key, camera_key, pixel_key, face_key = jax.random.split(key, 4)
    p = sample_heads(head_key, stage.heads, one_head)
    camera = sample_cameras(camera_key, stage.heads)
    shape = (stage.heads, stage.rays // 2, 2)
    face = jnp.array([0.5, 0.5]) + jnp.array([0.16, 0.2]) * jax.random.normal(face_key, shape)
    pixels = jnp.concatenate([jax.random.uniform(pixel_key, shape), jnp.clip(face, 0.0, 1.0)], axis=1)
    origins, directions = rays_through(camera, pixels)
    truth = jax.vmap(heads.trace)(p, origins, directions)
    return Batch(p, origins, directions, truth.ray_distance, truth.colour, jnp.zeros((stage.heads, 0, 0, 3)))


def image_batch(key: Array, stage: Stage, one_head: bool) -> Batch:
    """Square crops aligned with the raw image's pixels, with the final image's pixels as truth (2x2 samples each)."""
    size, side = DEMO_CONFIG.rendering.neural_resolution, int(stage.rays**0.5)
    head_key, camera_key, corner_key = jax.random.split(key, 3)
    p = sample_heads(head_key, stage.heads, one_head)
    camera = sample_cameras(camera_key, stage.heads)
    corner = jax.random.randint(corner_key, (stage.heads, 1, 1, 2), 0, size - side + 1) / size

    def crop(scale: int) -> tuple[Array, Array]:
        grid = cameras.pixel_centres(scale * side) * side / size
        return rays_through(camera, (corner + grid).reshape(stage.heads, -1, 2))

    origins, directions = crop(1)
    truth = jax.vmap(heads.trace)(p, origins, directions)
    fine = jax.vmap(lambda *rays: heads.trace(*rays).colour)(p, *crop(4))
    image = fine.reshape(stage.heads, 2 * side, 2, 2 * side, 2, 3).mean((2, 4))
    raw = fine.reshape(stage.heads, side, 4, side, 4, 3).mean((2, 4)).reshape(stage.heads, -1, 3)
    return Batch(p, origins, directions, truth.ray_distance, raw, image)


def guided_distances(key: Array, surface: Array, config: RenderingConfig) -> Array:
    """Increasing sample distances [H, R, SAMPLES]: half stratified over the ray, half around the surface [H, R]."""
    half = SAMPLES // 2
    strata_key, near_key = jax.random.split(key)
    jitter = jax.random.uniform(strata_key, (*surface.shape, half))
    anywhere = config.ray_start + (jnp.arange(half) + jitter) / half * (config.ray_end - config.ray_start)
    width = jnp.where(jnp.arange(SAMPLES - half) % 2 == 0, 0.008, 0.03)
    near = surface[..., None] + width * jax.random.normal(near_key, (*surface.shape, SAMPLES - half))
    return jnp.sort(jnp.concatenate([anywhere, near], axis=-1), axis=-1)


def geometry_loss(densities: Array, distances: Array, surface: Array, margin: float) -> Array:
    """Free space before the surface is to be empty and a layer behind it solid: mean opacity of a 0.02-long step."""
    offset = distances - surface[..., None]
    alpha = 1 - jnp.exp(-0.02 * jax.nn.softplus(densities - 1))
    before, behind = offset < -margin, (offset > margin) & (offset < 0.06)
    mean = lambda x, mask: jnp.sum(x * mask) / jnp.maximum(mask.sum(), 1)  # noqa: E731
    return mean(alpha, before) + mean(1 - alpha, behind)


def loss_fn(
    params: Params, generator: Generator, batch: Batch, key: Array, stage: Stage
) -> tuple[Array, dict[str, Array]]:
    """L1 on colours, opacity, geometry, ray distance, what is too empty and, in the image stages, the final image."""
    config = generator.config
    apply = functools.partial(generator.model.apply, {**generator.variables, "params": params})
    ws = apply(batch.p, None, method="mapping")
    planes = apply(ws, "none", method="planes")
    count = batch.p.shape[0]
    guide_key, render_key = jax.random.split(key)
    distances = guided_distances(guide_key, batch.ray_distance, config.rendering)
    points = batch.origins[..., None, :] + distances[..., None] * batch.directions[..., None, :]
    densities, features = apply(planes, points.reshape(count, -1, 3), method="density")
    densities = densities.reshape(distances.shape)
    features = features.reshape(*distances.shape, -1)
    colour, _ = jax.vmap(compositing.composite)(features, densities, distances)
    distance_loss = 0.0
    if stage.as_rendered:
        colour, distance = apply(planes, batch.origins, batch.directions, render_key, method="render_rays")
        distance_loss = jnp.minimum(jnp.abs(distance - batch.ray_distance), FARTHEST_OFF).mean()
    opacity = jax.vmap(compositing.weights)(densities, distances).sum(-1)
    near = jnp.abs(distances - batch.ray_distance[..., None]) < 0.02
    at_surface = jnp.abs(2 * features[..., :3] - 1 - batch.colour[:, :, None]).mean(-1)
    raw_error = colour[..., :3] - batch.colour
    loss = (
        jnp.abs(raw_error).mean()
        + 0.25 * jnp.mean(1 - opacity)
        + stage.geometry_weight * geometry_loss(densities, distances, batch.ray_distance, stage.margin)
        + 0.1 * jnp.sum(at_surface * near) / near.sum()
        + stage.distance_weight * distance_loss
        + 0.005 * jax.nn.relu(stage.density_floor - densities).mean()
    )
    metrics = {"raw_psnr": _psnr(raw_error)}
    if stage.images:
        side = int(stage.rays**0.5)
        raw = colour.reshape(count, side, side, -1)
        crop_sr = dataclasses.replace(config.superresolution, input_resolution=side)
        crop_model = type(generator.model)(
            dataclasses.replace(config, image_resolution=2 * side, superresolution=crop_sr)
        )
        image = crop_model.apply({**generator.variables, "params": params}, raw, ws, method="superresolve")
        error = image - batch.image
        inner = error[:, 4:-4, 4:-4]  # the crop's padding is not the image's
        edges = jnp.abs(jnp.diff(inner, axis=1)).mean() + jnp.abs(jnp.diff(inner, axis=2)).mean()
        loss = 0.5 * loss + jnp.abs(inner).mean() + jnp.square(inner).mean() + 0.5 * edges
        metrics["psnr"] = _psnr(inner)
    return loss, metrics


def _psnr(error: Array) -> Array:
    return -10 * jnp.log10(jnp.mean(jnp.square(error)) / 4)


class State(NamedTuple):
    params: Params
    average: Params
    optimiser: Any
    step: Array


def make_optimiser(stage: Stage) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, stage.learning_rate, min(100, stage.steps // 4), stage.steps, stage.final_rate
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, 0.9, 0.99))


@functools.partial(jax.jit, static_argnames=("stage", "seed", "chunk", "one_head"), donate_argnames=("state",))
def train_chunk(
    state: State, buffers: Params, stage: Stage, seed: int, chunk: int, one_head: bool
) -> tuple[State, dict[str, Array]]:
    """`chunk` steps; the data of a step follow from its number, so a resumed run repeats nothing."""
    optimiser = make_optimiser(stage)
    stage_key = jax.random.fold_in(jax.random.key(seed), [s.name for s in RECIPE].index(stage.name))

    def step(state: State, _: None) -> tuple[State, dict[str, Array]]:
        data_key, sample_key = jax.random.split(jax.random.fold_in(stage_key, state.step))
        batch = (image_batch if stage.images else ray_batch)(data_key, stage, one_head)
        generator = Generator(stage_config(stage), {"params": state.params, "buffers": buffers})
        grads, metrics = jax.grad(loss_fn, has_aux=True)(state.params, generator, batch, sample_key, stage)
        updates, optimiser_state = optimiser.update(grads, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        average = jax.tree.map(lambda a, p: EMA * a + (1 - EMA) * p, state.average, params)
        return State(params, average, optimiser_state, state.step + 1), metrics

    state, metrics = jax.lax.scan(step, state, length=chunk)
    return state, jax.tree.map(jnp.mean, metrics)


def grow(old: Params, new: Params) -> Params:
    """Copies `old` into the larger network `new`; what is new paints nothing yet."""
    merged = jax.tree_util.tree_map_with_path(lambda path, x: _lookup(old, path, x), new)
    fresh = set(new["backbone"]["synthesis"]) - set(old["backbone"]["synthesis"])
    for block in fresh:
        torgb = merged["backbone"]["synthesis"][block]["torgb"]
        torgb["weight"] = torgb["weight"] * 0.02
    return merged


def _lookup(tree: Params, path: tuple, default: Array) -> Array:
    for entry_ in path:
        if entry_.key not in tree:
            return default
        tree = tree[entry_.key]
    return tree


def start(stage: Stage, seed: int, params: Params | None) -> tuple[State, Params]:
    """State at the first step of a stage, continuing from the averaged parameters of the stage before."""
    fresh = initialise(stage_config(stage), jax.random.key(seed))
    new = fresh.params
    if params is not None:
        new = grow(params, new)
    else:
        for block in new["superresolution"].values():
            block["torgb"]["weight"] *= 0.05  # the raw image shines through at first
    copy = functools.partial(jax.tree.map, jnp.array)
    return State(new, copy(new), make_optimiser(stage).init(new), jnp.zeros((), jnp.int32)), fresh.variables["buffers"]


def finish(config: GeneratorConfig, params: Params, buffers: Params) -> Generator:
    """A generator with the average w of 16384 heads in its buffers."""
    generator = Generator(config, {"params": params, "buffers": buffers})
    ws = generator.mapping(heads.sample_parameters(jax.random.key(1), 16384), None)[:, 0]
    buffers = {**buffers, "backbone": {**buffers["backbone"], "mapping": {"w_avg": ws.mean(0)}}}
    return Generator(config, {"params": params, "buffers": buffers})


@functools.partial(jax.jit, static_argnames=("resolution",))
def true_image(p: Array, camera: Array, resolution: int) -> Array:
    return heads.render(p, camera, resolution).image


def held_out(generator: Generator, count: int, one_head: bool) -> dict[str, float]:
    """Mean PSNR, final and raw image, over `count` heads and cameras never trained on."""
    head_key, camera_key = jax.random.split(jax.random.key(HELD_OUT_KEY))
    p = sample_heads(head_key, count, one_head)
    camera = sample_cameras(camera_key, count, HELD_OUT_YAW, HELD_OUT_PITCH)
    scores: dict[str, list[float]] = {"psnr": [], "raw_psnr": []}
    for i in range(count):
        out = generator.synthesis(generator.mapping(p[i : i + 1], None), camera[i : i + 1], noise_mode="none")
        truth = true_image(p[i], camera[i], generator.config.image_resolution)
        size = generator.config.rendering.neural_resolution
        raw = truth.reshape(size, 2, size, 2, 3).mean((1, 3))
        scores["psnr"].append(float(_psnr(jnp.clip(out["image"][0], -1, 1) - truth)))
        scores["raw_psnr"].append(float(_psnr(jnp.clip(out["image_raw"][0], -1, 1) - raw)))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def contact_sheet(generator: Generator, one_head: bool, count: int = 4) -> Image.Image:
    """Truth above generated for `count` held-out heads at five yaws."""
    p = sample_heads(jax.random.split(jax.random.key(HELD_OUT_KEY))[0], count, one_head)
    camera = cameras.look_at(jnp.linspace(-0.6, 0.6, 5), jnp.zeros(5))
    rows = []
    for i in range(count):
        ws = generator.mapping(p[i : i + 1], None)
        truth = [true_image(p[i], c, generator.config.image_resolution) for c in camera]
        made = [generator.synthesis(ws, c[None], noise_mode="none")["image"][0] for c in camera]
        rows += [jnp.concatenate(truth, 1), jnp.concatenate(made, 1)]
    pixels = np.asarray(jnp.clip((jnp.concatenate(rows) + 1) * 127.5, 0, 255)).round().astype(np.uint8)
    return Image.fromarray(pixels)


FLAGS = Flags()
_ONE_HEAD = FLAGS.switch("one_head", False, "train on a single head: can the network be sharp at all?")
_INIT = FLAGS.string("init", None, "generator directory from whose weights the last stage alone is trained")
_SCALE = FLAGS.number("scale", 1.0, "multiplies the steps of every stage")
_MINUTES = FLAGS.number("checkpoint_minutes", 10.0, "time between checkpoints")
_CHUNK = FLAGS.integer("chunk", 50, "steps run on the device at a time")
_OUT = FLAGS.out()
_SEED = FLAGS.seed()


@command(FLAGS)
def main() -> None:
    out, seed, one_head = Path(_OUT.value or "out/demo_generator"), _SEED.value or 0, _ONE_HEAD.value
    stages = [dataclasses.replace(s, steps=max(_CHUNK.value, int(s.steps * _SCALE.value))) for s in RECIPE]
    first, saved = _resume(out)
    params = None
    if saved is None and _INIT.value:
        generator = checkpoints.load_generator(_INIT.value)
        if generator.config != DEMO_CONFIG:
            raise InputError(f"{_INIT.value}: its network is not that of DEMO_CONFIG, which --init continues to train")
        first, params = len(stages) - 1, generator.params
    out.mkdir(parents=True, exist_ok=True)
    for index, stage in enumerate(stages[first:], first):
        state, buffers = start(stage, seed, params)
        if saved is not None:
            state, saved = jax.tree.unflatten(jax.tree.structure(state), saved), None
        last = time.time()
        bar = tqdm(total=stage.steps, initial=int(state.step), desc=stage.name, mininterval=5)
        while int(state.step) < stage.steps:
            state, metrics = train_chunk(state, buffers, stage, seed, _CHUNK.value, one_head)
            bar.update(_CHUNK.value)
            bar.set_postfix({name: f"{float(value):.2f}" for name, value in metrics.items()})
            done = int(state.step) >= stage.steps
            if done or time.time() - last > 60 * _MINUTES.value:
                _checkpoint(out, index, stage, state, buffers, one_head)
                last = time.time()
        bar.close()
        params = state.average


def _checkpoint(out: Path, index: int, stage: Stage, state: State, buffers: Params, one_head: bool) -> None:
    generator = finish(stage_config(stage), state.average, buffers)
    report = {"stage": stage.name, "step": int(state.step), **held_out(generator, 8, one_head)}
    tqdm.write(json.dumps(report))
    with open(out / "log.jsonl", "a") as log:
        log.write(json.dumps(report) + "\n")
    contact_sheet(generator, one_head).save(out / f"{stage.name}_{int(state.step):06d}.png")
    provenance = {"made_by": "tools/train_demo_generator.py", "licence": "same as this repository", "recipe": report}
    checkpoints.save_generator(out / "generator", generator, provenance, dtype="bfloat16", replace=True)
    leaves = {f"{i:05d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    temporary = out / "state.tmp.npz"
    np.savez(temporary, stage=index, **leaves)
    temporary.rename(out / "state.npz")


def _resume(out: Path) -> tuple[int, list[Array] | None]:
    """Index of the stage to go on with and the leaves of its state."""
    path = out / "state.npz"
    if not path.exists():
        return 0, None
    with np.load(path) as data:
        names = sorted(name for name in data.files if name != "stage")
        return int(data["stage"]), [jnp.asarray(data[name]) for name in names]


if __name__ == "__main__":
    sys.exit(main())
