"""How far off is an estimated camera? Measured on procedural heads that the demo generator has never seen.

    python -m tools.benchmark_camera [--heads 200] [--generator DIR] [--set camera.refine_steps=0]...

Every head is rendered once, from a yaw within 0.5 and a pitch within 0.3 radians. The table gives the angle between the
estimated and the true viewing direction in degrees, for the camera search alone (the best of the grid), with its
refinement through the generator, and, where the extra `pmv_jax[face]` is installed, for landmarks and their refinement.
"""

from __future__ import annotations

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from PIL import Image
from tqdm import tqdm

import pmv_jax
from pmv_jax import cameras, entry, images
from pmv_jax.config import InversionConfig, override
from pmv_jax.demo import default_generator_directory
from pmv_jax.faces import detection, pose
from pmv_jax.inversion import camera_search, latent
from pmv_jax.inversion.pipeline import search_camera
from tools import procedural_heads as heads

YAW_RANGE, PITCH_RANGE = 0.5, 0.3
FIRST_SEED = 2000
PERCENTILES = (50, 75, 90, 100)

_HEADS = flags.DEFINE_integer("heads", 200, "Number of heads.", lower_bound=1)
for _name in ("generator", "set", "help"):
    flags.declare_key_flag(_name)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between the viewing directions of two cameras [25]."""
    forward_a, forward_b = (np.asarray(camera)[:16].reshape(4, 4)[:3, 2] for camera in (a, b))
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(forward_a, forward_b)), forward_a @ forward_b)))


def main() -> None:
    generator = pmv_jax.load_generator(entry.GENERATOR.value or default_generator_directory())
    config = override(InversionConfig(), entry.SET.value)
    size = generator.config.image_resolution
    render = jax.jit(functools.partial(heads.render, resolution=size))
    stats = latent.statistics(generator, camera_search.to_camera(jnp.zeros(2), generator.config))
    errors: dict[str, list[float]] = {"search": [], "search, refined": [], "landmarks": [], "landmarks, refined": []}
    seconds = []
    for index in tqdm(range(_HEADS.value)):
        p = heads.sample_parameters(jax.random.key(FIRST_SEED + index), 1)[0]
        yaw, pitch = np.random.default_rng(FIRST_SEED + index).uniform(-1, 1, 2) * (YAW_RANGE, PITCH_RANGE)
        truth = cameras.look_at(yaw, pitch)
        image = render(p, truth).image
        begun = time.monotonic()
        best = camera_search.candidates(generator, stats, image, config=config.camera, loss_config=config.loss)[0]
        errors["search"].append(angle(camera_search.to_camera(best, generator.config), truth))
        errors["search, refined"].append(angle(search_camera(image, generator, config), truth))
        seconds.append(time.monotonic() - begun)
        found = detection.detect(Image.fromarray(images.to_uint8(image))) if detection.is_available() else []
        if found:
            guess = pose.estimate(found[0].landmarks / size).camera
            errors["landmarks"].append(angle(guess, truth))
            errors["landmarks, refined"].append(angle(search_camera(image, generator, config, guess), truth))
        last = ", ".join(f"{name} {values[-1]:.1f}" for name, values in errors.items() if values)
        tqdm.write(f"{index:4}  yaw {yaw:+.2f}, pitch {pitch:+.2f}: {last}")
    print("angle to the true viewing direction, degrees; percentile " + " ".join(f"{q:>6}" for q in PERCENTILES))
    for name, values in errors.items():
        if values:
            row = " ".join(f"{value:6.2f}" for value in np.percentile(values, PERCENTILES))
            print(f"{name:20} {len(values):4} heads {'':22} {row}")
    print(f"seconds for a search with its refinement, median: {np.median(seconds):.1f}")


if __name__ == "__main__":
    entry.run(main)
