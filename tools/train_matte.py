"""Trains the network that tells heads from backdrops, on rendered heads over backdrops of many kinds.

    python -m tools.train_matte --data DIR --out weights/matte [--minutes 25] [--seed 0]

DIR holds shards of rendered heads, shard_*.npz with `rgb` uint8 [heads, views, N, N, 3] over grey and `mask` uint8
[heads, views, N, N], the coverage. The last shard is held out. Backdrops are made up: gradients, blots, noise with the
spectrum of photographs, pieces of scikit-image's sample pictures, and other heads, so that a neighbour counts as
backdrop. Writes DIR/network.npz, float16, once a minute.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from PIL import Image, ImageFilter

from pmv_jax.checkpoints.matte import save_matte
from pmv_jax.models.matte import RESOLUTION, MatteNetwork

_DATA = flags.DEFINE_string("data", None, "Folder of shards.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder for the weights.", required=True)
_MINUTES = flags.DEFINE_float("minutes", 25.0, "How long to train.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.")

BATCH = 16
NEW, POOL = 4, 2000  # made at each step, and kept: making one takes as long as learning from four
RATE = 3e-3
STORED = 160  # side of the heads in memory: a little more than the network takes, for turning and scaling
_PHOTOGRAPHS = (
    "coffee",
    "chelsea",
    "rocket",
    "brick",
    "grass",
    "gravel",
    "motorcycle_left",
    "motorcycle_right",
    "retina",
)

Random = np.random.Generator


def main(_: list[str]) -> None:
    random, paths = np.random.default_rng(_SEED.value), sorted(Path(_DATA.value).glob("shard_*.npz"))
    heads, held_out = load_heads(paths[:-1]), load_heads(paths[-1:])
    photographs = load_photographs()
    network = MatteNetwork()
    params = network.init(jax.random.key(_SEED.value), jnp.zeros((1, RESOLUTION, RESOLUTION, 3)))
    schedule, optimiser, step = training(network)
    state, begun, written, count = optimiser.init(params), time.monotonic(), time.monotonic(), 0
    test = [sample(held_out, photographs, np.random.default_rng(i)) for i in range(32)]
    test_images, test_masks = (jnp.asarray(np.stack(part)) for part in zip(*test, strict=True))
    evaluate = jax.jit(lambda params: jnp.mean((network.apply(params, test_images) > 0) != (test_masks > 0.5)))
    pool = deque([sample(heads, photographs, random) for _ in range(10 * NEW)], maxlen=POOL)
    while (share := (time.monotonic() - begun) / (60 * _MINUTES.value)) < 1:
        pool.extend(sample(heads, photographs, random) for _ in range(NEW))
        batch = [pool[i] for i in random.integers(len(pool), size=BATCH)]
        images, masks = (np.stack(part) for part in zip(*batch, strict=True))
        params, state, loss = step(params, state, images, masks, schedule(share))
        count += 1
        if time.monotonic() - written > 60 or count == 10:
            written = time.monotonic()
            save_matte(Path(_OUT.value), params)
            wrong = 100 * float(evaluate(params))
            print(f"{count} steps, {share:.0%}: loss {loss:.4f}, {wrong:.2f} % of held-out pixels wrong", flush=True)
    save_matte(Path(_OUT.value), params)
    print(f"{count} steps: {100 * float(evaluate(params)):.2f} % of held-out pixels wrong")


def training(network: MatteNetwork) -> tuple[Callable, optax.GradientTransformation, Callable]:
    """The learning rate over the share of time, the optimiser, and its step."""
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.add_decayed_weights(1e-4))

    def schedule(share: float) -> float:
        return RATE * min(1.0, share / 0.02) * 0.5 * (1 + np.cos(np.pi * share))

    @jax.jit
    def step(params, state, images, masks, rate):
        def loss(params):
            logits = network.apply(params, images)
            entropy = optax.sigmoid_binary_cross_entropy(logits, masks).mean()
            chance = jax.nn.sigmoid(logits)
            overlap = 2 * jnp.sum(chance * masks, (1, 2)) / (jnp.sum(chance + masks, (1, 2)) + 1)
            return entropy + 0.5 * jnp.mean(1 - overlap)

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(grads, state, params)
        return jax.tree.map(lambda p, u: p - rate * u, params, updates), state, value

    return schedule, optimiser, step


# ---------------------------------------------------------------------------------------------------------------------
# Pictures. Heads are PIL pictures of mode RGBA; what is learned from is float32.
# ---------------------------------------------------------------------------------------------------------------------


def load_heads(paths: list[Path]) -> list[Image.Image]:
    """Every view of every head; colours are of the head alone, as far as coverage tells them."""
    heads = []
    for path in paths:
        with np.load(path) as shard:
            rgb, mask = (shard[key].reshape(-1, *shard[key].shape[2:]) for key in ("rgb", "mask"))
        for colour, coverage in zip(rgb, mask, strict=True):
            alpha = np.maximum(coverage[..., None].astype(np.float32) / 255, 1e-2)
            alone = np.clip((colour - 127.5 * (1 - alpha)) / alpha, 0, 255).astype(np.uint8)
            picture = Image.fromarray(np.concatenate([alone, coverage[..., None]], -1))
            heads.append(picture.resize((STORED, STORED), Image.Resampling.BOX))
    return heads


def load_photographs() -> list[Image.Image]:
    """Sample pictures of scikit-image that show no person."""
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    paths = [path for path in sorted(folder.iterdir()) if path.stem in _PHOTOGRAPHS]
    return [Image.open(path).convert("RGB") for path in paths]


def sample(heads: list[Image.Image], photographs: list[Image.Image], random: Random) -> tuple[np.ndarray, np.ndarray]:
    """One picture [128, 128, 3] in [-1, 1] and its coverage [128, 128]."""
    layer = np.asarray(placed(heads[random.integers(len(heads))], random, 0.12), np.float32) / 255
    back = backdrop(heads, photographs, random)
    colour, coverage = layer[..., :3], layer[..., 3:]
    colour = toned(colour, random)
    if random.random() < 0.3:  # a backdrop in the head's own colours
        back = back - back.mean((0, 1)) + (colour * coverage).sum((0, 1)) / (coverage.sum() + 1)
    picture = colour * coverage + back * (1 - coverage)
    picture = toned(picture, random, 0.5)
    if random.random() < 0.3:
        blurred = Image.fromarray((255 * picture.clip(0, 1)).astype(np.uint8))
        blurred = blurred.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.2)))
        picture = np.asarray(blurred, np.float32) / 255
    picture = picture + random.normal(0, random.uniform(0, 0.03), picture.shape)
    if random.random() < 0.1:
        picture = np.repeat(picture.mean(-1, keepdims=True), 3, -1)
    return (2 * picture.clip(0, 1) - 1).astype(np.float32), coverage[..., 0]


def placed(head: Image.Image, random: Random, reach: float) -> Image.Image:
    """A head turned, scaled, shifted by up to `reach` of the side, perhaps mirrored."""
    if random.random() < 0.5:
        head = head.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle, scale = random.normal(0, 0.08), np.exp(random.normal(0.02, 0.08)) * STORED / RESOLUTION
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    shift = random.uniform(-reach, reach, 2) * STORED * (1, 0.5)
    margin, middle = STORED // 2, RESOLUTION / 2
    offset = STORED / 2 + margin + shift - np.array([[cos, -sin], [sin, cos]]) @ (middle, middle)
    matrix = (cos, -sin, offset[0], sin, cos, offset[1])
    # A head that its picture cuts must not end there: what is cut off goes on with the border's colours.
    extended = Image.fromarray(np.pad(np.asarray(head), ((margin,) * 2, (margin,) * 2, (0, 0)), mode="edge"))
    return extended.transform((RESOLUTION, RESOLUTION), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def backdrop(heads: list[Image.Image], photographs: list[Image.Image], random: Random) -> np.ndarray:
    """[128, 128, 3] in about [0, 1]."""
    kind = random.choice(["plain", "blots", "noise", "photograph", "heads", "heads"])
    base = random.uniform(0, 1, 3) * (1 - random.random() * 0.5)
    if random.random() < 0.4:
        base = np.repeat(base.mean(), 3)
    slope = random.normal(0, 0.25, (2, 1, 1, 3))
    y, x = np.mgrid[-0.5 : 0.5 : RESOLUTION * 1j, -0.5 : 0.5 : RESOLUTION * 1j][..., None]
    back = base + slope[0] * x + slope[1] * y
    if kind == "blots":
        for _ in range(random.integers(1, 9)):
            centre, radius = random.uniform(-0.6, 0.6, 2), random.uniform(0.03, 0.5, 2)
            inside = np.maximum(np.abs(x - centre[0]) / radius[0], np.abs(y - centre[1]) / radius[1])
            if random.random() < 0.5:
                inside = np.hypot((x - centre[0]) / radius[0], (y - centre[1]) / radius[1])
            soft = np.clip((1 - inside) / random.uniform(0.02, 0.5), 0, 1)
            back = back + soft * (random.uniform(0, 1, 3) - back) * random.uniform(0.3, 1)
    elif kind == "noise":
        frequency = np.hypot(np.fft.fftfreq(RESOLUTION)[:, None], np.fft.fftfreq(RESOLUTION)[None])
        decay = (frequency + 1 / RESOLUTION) ** -random.uniform(0.8, 2)
        noise = np.fft.fft2(random.normal(size=(RESOLUTION, RESOLUTION, 3)), axes=(0, 1))
        waves = np.fft.ifft2(decay[..., None] * noise, axes=(0, 1)).real
        mix = np.eye(3) * random.uniform(0, 1) + 0.5
        back = back + random.uniform(0.02, 0.25) * (waves / waves.std()) @ mix
    elif kind == "photograph":
        back = toned(piece(photographs[random.integers(len(photographs))], random), random)
    elif kind == "heads":  # neighbours
        if random.random() < 0.5:
            back = toned(piece(photographs[random.integers(len(photographs))], random), random)
        for _ in range(random.integers(1, 3)):
            layer = np.asarray(placed(heads[random.integers(len(heads))], random, 0.7), np.float32) / 255
            back = back + layer[..., 3:] * (toned(layer[..., :3], random) - back)
    return _blurred(back, random)


def _blurred(back: np.ndarray, random: Random) -> np.ndarray:
    radius = int(random.choice([0, 0, 1, 2, 5]))
    if radius == 0:
        return back
    picture = Image.fromarray((255 * back.clip(0, 1)).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(picture, np.float32) / 255


def piece(photograph: Image.Image, random: Random) -> np.ndarray:
    side = int(random.uniform(0.25, 1) * min(photograph.size))
    left, top = (random.integers(length - side + 1) for length in photograph.size)
    box = (left, top, left + side, top + side)
    return np.asarray(photograph.resize((RESOLUTION, RESOLUTION), Image.Resampling.BILINEAR, box), np.float32) / 255


def toned(picture: np.ndarray, random: Random, strength: float = 1.0) -> np.ndarray:
    """Other exposure, contrast and white balance."""
    gain = np.exp(strength * (random.normal(0, 0.2) + random.normal(0, 0.1, 3)))
    return np.clip(picture * gain + strength * random.normal(0, 0.04), 0, 1) ** np.exp(
        strength * random.normal(0, 0.25)
    )


if __name__ == "__main__":
    app.run(main)
