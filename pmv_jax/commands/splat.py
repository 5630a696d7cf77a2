"""Turns a finished inversion into Gaussian splats, as a file that splat viewers open.

    python -m pmv_jax.splat --inversion DIR [--out FILE.ply] [--resolution N] [--backdrop] [--force]

Splats are fitted to the generator's views from within what it was trained on, and measured at views in between. The
file has the form of the code of 3D Gaussian splatting (Kerbl et al. 2023). As in its scenes y is down; the face looks
towards -z. Units are EG3D's: a head is some 0.45 wide. Kept is what stands before the backdrop; --backdrop keeps all.

Exit codes: 0 done, 2 bad input or usage.
"""

# JAX and everything that needs it are imported inside functions, so that --help and wrong flags answer at once.

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pmv_jax.commandline.flags import Flags, check_out, inversion_directory
from pmv_jax.commandline.run import command
from pmv_jax.errors import InputError

if TYPE_CHECKING:
    from pmv_jax.inversion.result import Inversion
    from pmv_jax.meshes.colouring import RenderedView

FLAGS = Flags()
_INVERSION = FLAGS.inversion()
_FILE = FLAGS.string("out", None, "File to write, .ply. Default: <inversion>/head_splats.ply.")
_RESOLUTION = FLAGS.integer(
    "resolution", None, "Splats along a side of a view. Default: the generator's pixels.", least=16, most=1024
)
_BACKDROP = FLAGS.switch("backdrop", False, "Keep what stands behind the head.")
_FORCE = FLAGS.force()


@command(FLAGS)
def main() -> None:
    start = time.monotonic()
    directory = inversion_directory(_INVERSION.value)
    out = Path(os.path.abspath(_FILE.value or directory / "head_splats.ply"))
    if out.suffix != ".ply":
        raise InputError(f"--out {out}: unknown format {out.suffix!r}; end it in .ply")
    check_out(out, _FORCE.value)

    from pmv_jax.inversion.result import load_inversion
    from pmv_jax.meshes.backdrop import in_front_of_backdrop
    from pmv_jax.splats import files, fitting

    inversion = load_inversion(directory)
    config, focal = inversion.generator.config, float(inversion.camera[16])
    trained, held_out = (of(config, focal=focal) for of in (fitting.training_cameras, fitting.held_out_cameras))
    views = _views(inversion, np.concatenate([trained, held_out]), _RESOLUTION.value or config.image_resolution)
    inside = None if _BACKDROP.value else in_front_of_backdrop(views[0].z_depth, views[0].camera)
    with tqdm(total=len(trained), desc="fitting") as bar:
        splats = fitting.fit(views[: len(trained)], inside, lambda done, total: bar.update(done - bar.n))
    figure = np.mean([fitting.psnr(splats, view, inside) for view in views[len(trained) :]])
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_ply(out, splats)
    print(
        f"{len(splats.positions)} splats, {out.stat().st_size / 1e6:.1f} MB, {figure:.1f} dB at {len(held_out)} views "
        f"that they were not fitted to, in {time.monotonic() - start:.0f} s: {out}"
    )


def _views(inversion: Inversion, cameras: np.ndarray, resolution: int) -> list[RenderedView]:
    """What the generator shows from cameras [V, 25], with z-depths of `resolution` points a side."""
    import jax.numpy as jnp

    from pmv_jax.meshes.colouring import RenderedView
    from pmv_jax.models import frames

    planes, generator = inversion.planes, inversion.generator
    with tqdm(desc="rendering", total=len(cameras)) as bar:
        shown = frames.render_views(inversion.render, cameras, lambda done, _: bar.update(done - bar.n))
        images = [image for image, _ in shown]
    return [
        RenderedView(image, np.asarray(generator.z_depth(planes, jnp.asarray(camera), resolution)), camera)
        for image, camera in zip(images, cameras, strict=True)
    ]
