"""How far off is an estimated camera? Measured on procedural heads that the demo generator has never seen.

    python -m tools.benchmarks camera [--heads 200] [--nouse_landmarks] [--generator DIR] [--set KEY=VALUE]
    python -m tools.benchmarks camera --inversions 8

Every head is rendered once, from a yaw within 0.5 and a pitch within 0.3 radians. The table gives the angle between the
estimated and the true viewing direction in degrees, for the camera search alone, with its refinement, and, where the
extra `pmv_jax[face]` is installed, for landmarks and their refinement.

With --inversions, so many heads are inverted twice in place of that: with their true camera, and with the one that is
found, by the search and then together with the latent code. The table gives PSNR at the input view and at four others
(`TURNS`), first where the true camera went from the input, then the same turn from where the input was taken to be.
"""

from __future__ import annotations

import functools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

import pmv_jax
from pmv_jax import cameras, images
from pmv_jax.cameras import poses
from pmv_jax.commandline.flags import Flags, recipe
from pmv_jax.commandline.run import command
from pmv_jax.config import CameraSearchConfig, InversionConfig
from pmv_jax.evaluation import metrics
from pmv_jax.faces import detection, pose
from pmv_jax.inversion import camera as camera_search
from pmv_jax.inversion import pipeline
from pmv_jax.models.generator import Generator
from tools.signed_distance_heads import heads

YAW_RANGE, PITCH_RANGE = 0.5, 0.3
FIRST_SEED = 50_000
"""Choices were made on 32 heads from seed 40,000."""
PERCENTILES = (10, 25, 50, 75, 90, 95, 100)

TURNS = ((-0.3, 0.0), (0.3, 0.0), (0.0, -0.2), (0.0, 0.2))
"""Yaw and pitch of the other views against the input's, radians."""

FLAGS = Flags()
_HEADS = FLAGS.integer("heads", 200, "Number of heads.", least=1)
_USE_LANDMARKS = FLAGS.switch("use_landmarks", True, "Also measure cameras from detected landmarks.")
_INVERSIONS = FLAGS.integer("inversions", 0, "Heads to invert with true and with estimated cameras.")
_GENERATOR = FLAGS.generator()
_CONFIG = FLAGS.config()
_SET = FLAGS.changes()


def view(seed: int, resolution: int) -> tuple[jax.Array, np.ndarray]:
    """A head from a random camera: image [N, N, 3] and camera [25]."""
    yaw, pitch = np.random.default_rng(seed).uniform(-1, 1, 2) * (YAW_RANGE, PITCH_RANGE)
    camera = cameras.look_at(yaw, pitch)
    return _render(_parameters(seed), camera, resolution), np.asarray(camera)


def _parameters(seed: int) -> jax.Array:
    return heads.sample_parameters(jax.random.key(seed), 1)[0]


@functools.partial(jax.jit, static_argnames=("resolution",))
def _render(p: jax.Array, camera: jax.Array, resolution: int) -> jax.Array:
    return heads.render(p, camera, resolution).image


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between the viewing directions of two cameras [25]."""
    forward_a, forward_b = (np.asarray(camera)[:16].reshape(4, 4)[:3, 2] for camera in (a, b))
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(forward_a, forward_b)), forward_a @ forward_b)))


@command(FLAGS)
def main() -> None:
    generator = pmv_jax.load_generator(_GENERATOR.value)
    config = recipe(_CONFIG.value, _SET.value)
    if _INVERSIONS.value:
        compare_inversions(generator, config, _INVERSIONS.value)
    else:
        measure_angles(generator, config.camera)


def compare_inversions(generator: Generator, recipe: InversionConfig, count: int) -> None:
    """What an estimated camera costs an inversion: prints the table of `--inversions`."""
    size, table = generator.config.image_resolution, []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        image, truth = view(seed, size)
        others = _turned(truth)
        novel = [_render(_parameters(seed), camera, size) for camera in others]
        row = [angle(pipeline.search_camera(image, generator, recipe), truth)]
        for camera in (truth, None):
            inversion = pmv_jax.invert(image, camera, generator, recipe)
            row.append(angle(inversion.camera, truth))
            for views in (others, _turned(inversion.camera)):
                made = inversion.render(np.concatenate([inversion.camera[None], views]))["image"]
                row += [metrics.psnr(made[0], image), jax.vmap(metrics.psnr)(made[1:], jnp.stack(novel)).mean()]
        table.append(row)
        print(f"{seed}: camera off by {row[0]:.2f} degrees, after the latent stage {row[6]:.2f}; "
              f"input, novel views, dB: true {row[2]:.2f} {row[3]:.2f}, estimated {row[7]:.2f} {row[8]:.2f}, "
              f"turned from the estimate {row[10]:.2f}", flush=True)  # fmt: skip
    mean = np.mean(table, axis=0)
    print(f"means over {count} heads: camera off by {mean[0]:.2f} degrees, after the latent stage {mean[6]:.2f}; "
          f"loss, dB: input {mean[2] - mean[7]:.2f}, novel views {mean[3] - mean[8]:.2f}, "
          f"turned from the estimate {mean[3] - mean[10]:.2f}")  # fmt: skip


def _turned(camera: np.ndarray) -> np.ndarray:
    """The cameras [4, 25] of `TURNS` from one."""
    yaw, pitch = cameras.yaw_pitch(camera)
    return np.asarray(cameras.look_at(*(np.array(TURNS) + (float(yaw), float(pitch))).T))


def measure_angles(generator: Generator, config: CameraSearchConfig) -> None:
    """How far off estimated cameras are: prints the table of angles."""
    size, key = generator.config.image_resolution, jax.random.key(0)
    codes = camera_search.random_codes(generator)
    nothing = camera_search.unknown(codes, config)
    size_of = {"resolution": config.resolution}
    first = camera_search.draw(nothing, codes, generator, jax.random.fold_in(key, 0), heads=config.heads, **size_of)

    believed = np.ones((generator.config.image_resolution,) * 2, np.float32)

    def refined(estimate: camera_search.Estimate, image: jax.Array) -> np.ndarray:
        state, steps = camera_search.start(estimate), config.refine_steps
        state, _ = camera_search.run(
            state, generator, image, believed, key, steps, heads=config.refine_heads, **size_of
        )
        return poses.to_camera(state.variables.pose, generator.config)

    errors: dict[str, list[float]] = {"search": [], "search, refined": [], "landmarks": [], "landmarks, refined": []}
    seconds = []
    for index in tqdm(range(_HEADS.value)):
        image, truth = view(FIRST_SEED + index, size)
        begun = time.monotonic()
        found, _ = camera_search.answer(first, nothing, image, believed, resolution=config.resolution)
        errors["search"].append(angle(poses.to_camera(found.pose, generator.config), truth))
        errors["search, refined"].append(angle(refined(found, image), truth))
        seconds.append(time.monotonic() - begun)
        faces = []
        if _USE_LANDMARKS.value and detection.is_available():
            faces = detection.detect(Image.fromarray(images.to_uint8(image)))
        if faces:
            guess = pose.estimate(faces[0].landmarks / size).camera
            errors["landmarks"].append(angle(guess, truth))
            around = camera_search.around(jnp.asarray(guess), codes)
            errors["landmarks, refined"].append(angle(refined(around, image), truth))
        last = ", ".join(f"{name} {values[-1]:.1f}" for name, values in errors.items() if values)
        yaw, pitch = cameras.yaw_pitch(truth)
        tqdm.write(f"{index:4}  yaw {yaw:+.2f}, pitch {pitch:+.2f}: {last}")
    print("angle to the true viewing direction, degrees; percentile " + " ".join(f"{q:>6}" for q in PERCENTILES))
    for name, values in errors.items():
        if values:
            row = " ".join(f"{value:6.2f}" for value in np.percentile(values, PERCENTILES))
            print(f"{name:20} {len(values):4} heads {'':22} {row}")
    print(f"seconds a head, without the first draw, which all heads share, median: {np.median(seconds):.1f}")


if __name__ == "__main__":
    sys.exit(main())
