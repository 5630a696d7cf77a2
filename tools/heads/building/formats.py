"""The files of the sources: Wavefront meshes, MakeHuman's morph targets and fitted meshes, pointers of Git LFS."""

import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pmv_jax.errors import InputError

BASE_VERTICES = 19158  # of MakeHuman's base mesh hm08


@dataclass(frozen=True)
class Mesh:
    """A Wavefront mesh: vertices [V, 3], uv [U, 2]; faces and face_uv, a tuple of corners each; group of each face."""

    vertices: np.ndarray
    uv: np.ndarray
    faces: list[tuple[int, ...]]
    face_uv: list[tuple[int, ...]]
    groups: list[str]

    def triangles(self) -> tuple[np.ndarray, np.ndarray]:
        """Faces as fans of triangles [T, 3], and their texture coordinates [T, 6]."""
        corners, texels = [], []
        for face, face_uv in zip(self.faces, self.face_uv, strict=True):
            for k in range(1, len(face) - 1):
                corners.append((face[0], face[k], face[k + 1]))
                texels.append((face_uv[0], face_uv[k], face_uv[k + 1]))
        return np.array(corners, np.int32), self.uv[np.array(texels)].reshape(-1, 6).astype(np.float32)


@dataclass(frozen=True)
class Fitted:
    """A `.mhclo`: how a mesh follows the base mesh; fields as in `assets.Proxy`, numbers of the whole base mesh."""

    index: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    hidden: np.ndarray


def read_mesh(path: Path) -> Mesh:
    """Reads a `.obj`."""
    vertices, uv, faces, face_uv, groups, group = [], [], [], [], [], ""
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()[:3]])
        elif kind == "vt":
            uv.append([float(x) for x in rest.split()[:2]])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            corners = [corner.split("/") for corner in rest.split()]
            faces.append(tuple(int(corner[0]) - 1 for corner in corners))
            face_uv.append(tuple(int(corner[1]) - 1 if len(corner) > 1 and corner[1] else 0 for corner in corners))
            groups.append(group)
    return Mesh(np.array(vertices), np.array(uv or [[0, 0]]), faces, face_uv, groups)


def read_target(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads a `.target` or `.target.gz`: base vertices [n] and their offsets [n, 3]."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    table = np.array(rows, np.float64).reshape(-1, 4)
    return table[:, 0].astype(np.int64), table[:, 1:]


def read_fitted(path: Path) -> Fitted:
    """Reads a `.mhclo`."""
    scale, rows, hidden, part = np.zeros((3, 3)), [], [], ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in ("x_scale", "y_scale", "z_scale"):
            scale["xyz".index(words[0][0])] = [float(x) for x in words[1:4]]
        elif words[0] in ("verts", "delete_verts"):
            part = words[0]
        elif part == "verts" and re.fullmatch(r"[\d\s.eE+-]+", line):
            # One number is a base vertex that the mesh's vertex sits on.
            rows.append([float(x) for x in words] if len(words) == 9 else [float(words[0])] * 3 + [1, 0, 0, 0, 0, 0])
        elif part == "delete_verts":
            for first, last in re.findall(r"(\d+)(?:\s*-\s*(\d+))?", line):
                hidden += range(int(first), int(last or first) + 1)
    table = np.array(rows)
    index, weight, offset = table[:, :3].astype(np.int64), table[:, 3:6], table[:, 6:]
    return Fitted(index, weight, offset, scale, np.array(sorted(set(hidden)), np.int64))


def resolve_pointer(path: Path, others: list[Path]) -> Path:
    """The file itself, or, if it is a pointer of Git LFS, a file with its bytes.

    Args:
      others: directories that may hold them under the pointer's file name or any other: what counts is the SHA-256.
    """
    if not path.is_file():
        raise InputError(f"{path}: not there; is the checkout the one that tools/heads/README.md names?")
    head = path.read_bytes()[:200]
    match = re.search(rb"oid sha256:([0-9a-f]{64})\nsize (\d+)", head)
    if not match:
        return path
    wanted, size = match[1].decode(), int(match[2])
    candidates = (other for directory in others for other in sorted(directory.rglob(f"*{path.suffix}")))
    for other in candidates:
        if other.stat().st_size == size and hashlib.sha256(other.read_bytes()).hexdigest() == wanted:
            return other
    raise InputError(
        f"{path}: a pointer of Git LFS; run git lfs pull there, or give a folder with its bytes by --bytes"
    )
