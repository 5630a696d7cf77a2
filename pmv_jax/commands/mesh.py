"""Turns a finished inversion into a triangle mesh for other programs.

    python -m pmv_jax.mesh --inversion DIR [--out FILE] [--resolution N] [--texture N] [--faces N] [--level X]
                           [--backdrop] [--metres] [--force]

The suffix of --out chooses the format: .glb (Blender, three.js), .ply, .obj or .stl (binary; the shape alone). Marching
cubes find the surface; normals and colours as the generator renders them are at the vertices. --texture bakes an atlas
of N pixels a side instead, in which what the input picture shows is painted from it (extra `pmv_jax[mesh]`).
A .mrc holds no triangles but the density on a grid, laid out as by EG3D's gen_samples.py (for ChimeraX; it needs the
extra `pmv_jax[mrc]`).

    python -m pmv_jax.mesh --inversion out/portrait
    python -m pmv_jax.mesh --inversion out/portrait --out head.obj --texture 2048 --faces 30000
    python -m pmv_jax.mesh --inversion out/portrait --out head.ply --resolution 512
    python -m pmv_jax.mesh --inversion out/portrait --out head.mrc --resolution 512

y is up and the face looks towards +z. Units are EG3D's, in which cameras are given, too: a head is some 0.45 wide;
--metres scales it to life size. Kept is the head as the frontal view frames it, cut off and capped just before the
backdrop that fields have behind it; --backdrop keeps everything.

Exit codes: 0 done, 2 bad input or usage.
"""

# JAX and everything that needs it are imported inside functions, so that --help and wrong flags answer at once.

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pmv_jax.commandline.flags import Flags, check_out, inversion_directory
from pmv_jax.commandline.progress import ProgressBars
from pmv_jax.commandline.run import command
from pmv_jax.errors import InputError, require
from pmv_jax.images import load_image

if TYPE_CHECKING:
    from pmv_jax.inversion.result import Inversion
    from pmv_jax.meshes.extraction import Field

FLAGS = Flags()
_INVERSION = FLAGS.inversion()
_FILE = FLAGS.string("out", None, "File to write: .glb, .ply, .obj, .stl or .mrc. Default: <inversion>/head.glb.")
_RESOLUTION = FLAGS.integer("resolution", 256, "Points of the grid along a side of the box.", least=16, most=1024)
_TEXTURE = FLAGS.integer(
    "texture", None, "Side of a texture atlas. Default: colours at the vertices.", least=64, most=8192
)
_FACES = FLAGS.integer("faces", None, "Decimate to so many triangles. With --texture: 20000.", least=100)
_LEVEL = FLAGS.number("level", None, "Raw density of the surface. Default: where rendering sees it.")
_BACKDROP = FLAGS.switch("backdrop", False, "Keep what stands behind the head, and everything else in the box.")
_METRES = FLAGS.switch("metres", False, "Life size, in metres, in place of EG3D's units.")
_FORCE = FLAGS.force()

_SUFFIXES, _TEXTURED = (".glb", ".ply", ".obj", ".stl", ".mrc"), (".glb", ".obj")
_TEXTURED_FACES = 20_000  # what is laid out flat when nothing else is said: cutting charts takes a minute for 50,000
# The eyes of EG3D's FFHQ crops are 0.157 units apart (0.27 of the picture's width at their depth), those of adults
# 63 mm in the mean (Dodgson, "Variation and extrema of human interpupillary distance", 2004).
_METRES_PER_UNIT = 0.4
_INPUT_WEIGHT = 100.0  # of the input picture against a rendered view


@command(FLAGS)
def main() -> None:
    start = time.monotonic()
    directory = inversion_directory(_INVERSION.value)
    out = Path(os.path.abspath(_FILE.value or directory / "head.glb"))
    _check_out(out)
    if _TEXTURE.value:
        require("xatlas", "mesh", "--texture")

    from pmv_jax.inversion.result import load_inversion
    from pmv_jax.meshes import extraction

    inversion = load_inversion(directory)
    look_up = extraction.field(inversion.generator, inversion.planes)
    with ProgressBars() as bars:
        write = _write_density if out.suffix == ".mrc" else _write_mesh
        summary = write(out, inversion, look_up, bars)
    print(f"{summary}, in {time.monotonic() - start:.0f} s: {out}")


def _write_density(out: Path, inversion: Inversion, look_up: Field, bars: ProgressBars) -> str:
    from pmv_jax.meshes import volumes

    resolution, box_size = _RESOLUTION.value, inversion.generator.config.rendering.box_size
    out.parent.mkdir(parents=True, exist_ok=True)
    volumes.write_density(
        out, look_up, resolution=resolution, box_size=box_size, progress=bars.stage("density on a grid")
    )
    return f"density at {resolution} x {resolution} x {resolution} points"


def _write_mesh(out: Path, inversion: Inversion, look_up: Field, bars: ProgressBars) -> str:
    from pmv_jax.cameras import paths as camera_paths
    from pmv_jax.meshes import extraction
    from pmv_jax.meshes import files as mesh_files
    from pmv_jax.meshes.colouring import RenderedView, colours_from_views
    from pmv_jax.models import frames

    config = inversion.generator.config
    around = camera_paths.all_round(config, focal=float(inversion.camera[16]))
    cameras = np.concatenate([around, inversion.camera[None]])
    rendered = frames.render_views(inversion.render, cameras)
    views = [RenderedView(image, depth, camera) for (image, depth), camera in zip(rendered, cameras, strict=True)]
    mesh = extraction.head_mesh(
        look_up,
        views,
        resolution=_RESOLUTION.value,
        box_size=config.rendering.box_size,
        level=_LEVEL.value,
        backdrop=_BACKDROP.value,
        faces=_FACES.value or (_TEXTURED_FACES if _TEXTURE.value else None),
        progress=bars.stage("marching cubes"),
    )
    atlas = None
    if _TEXTURE.value:
        photograph = _photograph(Path(_INVERSION.value), views[-1].image)
        views.append(views[-1]._replace(image=photograph, weight=_INPUT_WEIGHT))
        colour_at = lambda points, normals: colours_from_views(points, normals, look_up(points)[1], views)  # noqa: E731
        atlas = mesh_files.bake(mesh, colour_at, _TEXTURE.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    mesh_files.write_mesh(out, mesh, atlas, _METRES_PER_UNIT if _METRES.value else 1.0)
    edges = mesh.boundary_edges
    shape = f"{edges} edges open or shared by more than two faces" if edges else "watertight"
    return f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces, {shape}"


def _photograph(directory: Path, rendered: np.ndarray) -> np.ndarray:
    """The input picture of a result directory [H, W, 3], with what its crop made up, or, with a warning, all of it, as
    rendered [H, W, 3]."""
    from pmv_jax.evaluation.metrics import believed
    from pmv_jax.results.writing import read_weights

    path = directory / "input.png"
    if not path.is_file():
        warnings.warn(f"{path}: no such file; the texture shows the generator's colours only", stacklevel=2)
        return rendered
    photograph, weights = load_image(path, len(rendered)), read_weights(directory, len(rendered))
    return photograph if weights is None else believed(photograph, rendered, weights)[0]


def _check_out(out: Path) -> None:
    if out.suffix not in _SUFFIXES:
        raise InputError(f"--out {out}: unknown format {out.suffix!r}; end it in {', '.join(_SUFFIXES)}")
    if out.suffix == ".mrc":
        given = [
            flag.name for flag in (_TEXTURE, _FACES, _LEVEL, _BACKDROP, _METRES) if flag.value not in (None, False)
        ]
        if given:
            raise InputError(f"--{given[0]}: {out.name} will hold densities, no mesh; leave it out, or write .glb")
        require("mrcfile", "mrc", f"--out {out.name}: .mrc")
    if _TEXTURE.value and out.suffix not in _TEXTURED:
        raise InputError(f"--texture: {out.suffix} files hold none; end --out in {' or '.join(_TEXTURED)}")
    check_out(out, _FORCE.value)
