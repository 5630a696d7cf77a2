"""Does tuning on pseudo-views beat tuning on the input alone? Measured on tattooed heads whose novel views are known.

    python -m tools.benchmarks.tattoo [--heads 4]

Procedural heads that the demo generator has never seen, with tattoos that it cannot make, are inverted from yaw 0.3
with their true camera: once by the default recipe, once with as many tuning steps on the input alone and no joint
tuning (PTI). The table gives PSNR at the input and at the true views 0.3 rad to either side.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

import pmv_jax
from pmv_jax import cameras
from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.commandline import run as entry
from pmv_jax.config import InversionConfig
from pmv_jax.evaluation.metrics import psnr
from tools.signed_distance_heads import decals, heads

YAWS = (0.3, 0.0, 0.6)  # the input, then its novel views
FIRST_SEED = 1000
WORDS = ("LOVE", "HOPE", "JAX", "3D")


def recipes() -> dict[str, InversionConfig]:
    """The default recipe, and the same with all tuning steps spent on the input."""
    ours = InversionConfig()
    steps = ours.tuning.steps + ours.joint.steps
    single = dataclasses.replace(
        ours,
        tuning=dataclasses.replace(ours.tuning, steps=steps),
        joint=dataclasses.replace(ours.joint, steps=0),
    )
    return {"pmv": ours, "single view": single}


_HEADS = flags.DEFINE_integer("heads", 4, "Number of heads.", lower_bound=1)
flags.declare_key_flag("generator")
flags.declare_key_flag("help")


def main() -> None:
    generator = pmv_jax.load_generator(entry.GENERATOR.value or default_generator_directory())
    render = jax.jit(functools.partial(heads.render, resolution=generator.config.image_resolution))
    views = np.stack([np.asarray(cameras.look_at(yaw, 0.0)) for yaw in YAWS])
    print("head  method       input   novel views (dB)")
    for index in tqdm(range(_HEADS.value)):
        p = heads.sample_parameters(jax.random.key(FIRST_SEED + index), 1)[0]
        marks = (decals.freckles_decal(), decals.stripes_decal(), decals.text_decal(WORDS[index % len(WORDS)]))
        truth = [np.asarray(render(p, camera, decals=marks).image) for camera in views]
        for name, config in recipes().items():
            made = pmv_jax.invert(truth[0], views[0], generator, config).render(views)["image"]
            scores = [float(psnr(np.clip(a, -1, 1), b)) for a, b in zip(made, truth, strict=True)]
            tqdm.write(f"{index:4}  {name:11}  {scores[0]:5.2f}   " + " ".join(f"{s:5.2f}" for s in scores[1:]))


if __name__ == "__main__":
    entry.run(main)
