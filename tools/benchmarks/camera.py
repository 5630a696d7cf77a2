"""How far off is an estimated camera? Measured on rendered heads that the generator has never seen.

    python -m tools.heads dataset HEADS --seed 50000 --heads 200              # renders them, once
    python -m tools.benchmarks camera --data HEADS [--heads 200] [--nouse_landmarks] [--generator DIR] [--set KEY=VALUE]
    python -m tools.benchmarks camera --data HEADS --inversions 8

One view of each head is looked at, from a yaw within 0.5 and a pitch within 0.3 radians, before a backdrop of the
head's own. The table gives the angle between the estimated and the true viewing direction in degrees, for the camera
search alone, with its refinement, for the encoder that the generator has, alone and with the plane of symmetry
(`inversion.symmetry`), and, where the extra `pmv_jax[face]` is installed, for landmarks, and for these with refinement.

With --inversions, so many heads are inverted twice in place of that: with their true camera, and with the one that is
found, by the search and then together with the latent code. The table gives PSNR at the input view and at the head's
others, first where the true camera went from the input, then the same turn from where the input was taken to be.
"""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

import pmv_jax
from pmv_jax import cameras, images
from pmv_jax.cameras import poses
from pmv_jax.checkpoints import hub
from pmv_jax.checkpoints.encoder import load_encoder
from pmv_jax.commandline.flags import Flags, recipe
from pmv_jax.commandline.run import command
from pmv_jax.config import InversionConfig
from pmv_jax.errors import InputError
from pmv_jax.evaluation import metrics
from pmv_jax.faces import detection, pose
from pmv_jax.inputs import framing
from pmv_jax.inversion import camera as camera_search
from pmv_jax.inversion import pipeline
from pmv_jax.models.encoder import Encoder
from pmv_jax.models.generator import Generator
from tools.training import backdrop
from tools.training.data import Heads

YAW_RANGE, PITCH_RANGE = 0.5, 0.3
PERCENTILES = (10, 25, 50, 75, 90, 95, 100)

FLAGS = Flags()
_DATA = FLAGS.string("data", None, "Directory of shards of rendered heads. Required.")
_HEADS = FLAGS.integer("heads", 200, "Number of heads.", least=1)
_USE_LANDMARKS = FLAGS.switch("use_landmarks", True, "Also measure cameras from detected landmarks.")
_INVERSIONS = FLAGS.integer("inversions", 0, "Heads to invert with true and with estimated cameras.")
_GENERATOR = FLAGS.generator()
_CONFIG = FLAGS.config()
_SET = FLAGS.changes()


class Picture(NamedTuple):
    """A view of a head before its backdrop: image [N, N, 3] in [-1, 1] and camera [25]."""

    image: np.ndarray
    camera: np.ndarray


def pictures(heads: Heads, head: int) -> list[Picture]:
    """All views of a head, one first whose camera is in range; none if there is no such view."""
    numbers = np.random.default_rng(head).standard_normal(backdrop.NUMBERS)
    order = sorted(range(heads.camera.shape[1]), key=lambda view: not is_in_range(heads.camera[head, view]))
    found = []
    for view in order if is_in_range(heads.camera[head, order[0]]) else []:
        camera, pixels = heads.camera[head, view], heads.view(head, view) / np.float32(255)
        found.append(Picture(backdrop.photographed(pixels[..., :3], pixels[..., 3], numbers, camera), camera))
    return found


def is_in_range(camera: np.ndarray) -> bool:
    """Whether a camera [25] is one to be found."""
    yaw, pitch = cameras.yaw_pitch(camera)
    return bool(abs(yaw) <= YAW_RANGE and abs(pitch) <= PITCH_RANGE)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between the viewing directions of two cameras [25]."""
    forward_a, forward_b = (np.asarray(camera)[:16].reshape(4, 4)[:3, 2] for camera in (a, b))
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(forward_a, forward_b)), forward_a @ forward_b)))


@command(FLAGS)
def main() -> None:
    if _DATA.value is None:
        raise InputError("--data: give a directory of heads; python -m tools.heads dataset DIR makes one")
    generator = pmv_jax.load_generator(_GENERATOR.value)
    config, heads = recipe(_CONFIG.value, _SET.value), Heads(_DATA.value)
    if heads.size != generator.config.image_resolution:
        raise InputError(f"--data {_DATA.value}: has pictures of {heads.size} pixels, the generator paints others")
    if _INVERSIONS.value:
        compare_inversions(generator, config, heads, _INVERSIONS.value)
    else:
        encoder = load_encoder(hub.local_directory(_GENERATOR.value), generator)
        measure_angles(generator, encoder, config, heads, _HEADS.value)


def compare_inversions(generator: Generator, recipe: InversionConfig, heads: Heads, count: int) -> None:
    """What an estimated camera costs an inversion: prints the table of `--inversions`."""
    table = []
    for head in range(min(count, len(heads))):
        if not (views := pictures(heads, head)):
            continue
        (image, truth), others = views[0], np.stack([view.camera for view in views[1:]])
        novel = jnp.stack([view.image for view in views[1:]])
        row = [angle(pipeline.search_camera(image, generator, recipe), truth)]
        for camera in (truth, None):
            inversion = pmv_jax.invert(image, camera, generator, recipe)
            row.append(angle(inversion.camera, truth))
            for around in (others, turned(others, truth, inversion.camera)):
                made = inversion.render(np.concatenate([inversion.camera[None], around]))["image"]
                row += [metrics.psnr(made[0], image), jax.vmap(metrics.psnr)(made[1:], novel).mean()]
        table.append(row)
        print(f"{head}: camera off by {row[0]:.2f} degrees, after the latent stage {row[6]:.2f}; "
              f"input, novel views, dB: true {row[2]:.2f} {row[3]:.2f}, estimated {row[7]:.2f} {row[8]:.2f}, "
              f"turned from the estimate {row[10]:.2f}", flush=True)  # fmt: skip
    mean = np.mean(table, axis=0)
    print(f"means over {len(table)} heads: camera off by {mean[0]:.2f} degrees, after the latent stage {mean[6]:.2f}; "
          f"loss, dB: input {mean[2] - mean[7]:.2f}, novel views {mean[3] - mean[8]:.2f}, "
          f"turned from the estimate {mean[3] - mean[10]:.2f}")  # fmt: skip


def turned(views: np.ndarray, truth: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Cameras [V, 25] as far in yaw and pitch from an estimate [25] as views [V, 25] are from the truth [25]."""
    (yaw, pitch), *ends = (cameras.yaw_pitch(camera) for camera in (views, truth, estimate))
    by = [after - before for before, after in zip(*ends, strict=True)]
    return np.asarray(cameras.look_at(yaw + by[0], pitch + by[1]))


def measure_angles(
    generator: Generator, encoder: Encoder | None, recipe: InversionConfig, heads: Heads, count: int
) -> None:
    """How far off estimated cameras are: prints the table of angles."""
    config = recipe.camera
    size, key = generator.config.image_resolution, jax.random.key(0)
    codes = camera_search.random_codes(generator)
    nothing = camera_search.unknown(codes, config)
    size_of = {"resolution": config.resolution}
    first = camera_search.draw(nothing, codes, generator, jax.random.fold_in(key, 0), heads=config.heads, **size_of)
    believed = np.ones((size, size), np.float32)

    def refined(estimate: camera_search.Estimate, image: jax.Array) -> np.ndarray:
        state, steps = camera_search.start(estimate), config.refine_steps
        state, _ = camera_search.run(
            state, generator, image, believed, key, steps, heads=config.refine_heads, **size_of
        )
        return poses.to_camera(state.variables.pose, generator.config)

    ways = ("search", "search, refined", "encoder", "encoder, symmetric", "landmarks", "landmarks, refined")
    errors: dict[str, list[float]] = {way: [] for way in ways}
    seconds = []
    for index in tqdm(range(min(count, len(heads)))):
        if not (views := pictures(heads, index)):
            continue
        image, truth = views[0]
        begun = time.monotonic()
        found, _ = camera_search.answer(first, nothing, image, believed, resolution=config.resolution)
        errors["search"].append(angle(poses.to_camera(found.pose, generator.config), truth))
        errors["search, refined"].append(angle(refined(found, image), truth))
        seconds.append(time.monotonic() - begun)
        if encoder is not None:
            errors["encoder"].append(angle(poses.to_camera(encoder(image).pose[:5], generator.config), truth))
            matte = framing.matte_of(image, encoder)
            found = pipeline.search_camera(image, generator, recipe, matte=matte, encoder=encoder)
            errors["encoder, symmetric"].append(angle(found, truth))
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
