"""Meshes of closed-form fields and of the demo generator's heads, their files, and `python -m pmv_jax.mesh`."""

import functools
import sys
import types
from pathlib import Path
from typing import NamedTuple

import mrcfile
import numpy as np
import pytest
import trimesh
from scipy import spatial

from pmv_jax import cameras, images
from pmv_jax.cameras import paths as camera_paths
from pmv_jax.commands import mesh as command_module
from pmv_jax.commands.mesh import main
from pmv_jax.config import GeneratorConfig
from pmv_jax.errors import InputError
from pmv_jax.meshes import extraction, volumes
from pmv_jax.meshes import files as mesh_files
from pmv_jax.meshes.backdrop import backdrop_depth, in_front_of_backdrop
from pmv_jax.meshes.colouring import RenderedView, colours_from_views
from pmv_jax.meshes.mesh import Mesh, decimate
from pmv_jax.meshes.projection import draw, project, rasterise
from pmv_jax.models import frames
from pmv_jax.results import writing
from tests import command, shipped, small_inversion
from tools.training.pixels import decode_depth

ROOT = Path(__file__).parents[2]
FRONT = np.asarray(cameras.look_at(0.0, 0.0))
CENTRE, RADIUS, WALL = np.array([0.05, 0.0, 0.1]), 0.15, -0.3


def colour_at(points):
    """A smooth picture in space, [-1, 1]."""
    return np.float32(np.sin(10 * points + [0, 1, 2]))


def ball(points):
    """A ball: density falls by 1000 a unit of distance and is 5 on the surface."""
    return np.float32(1000 * (RADIUS - np.linalg.norm(points - CENTRE, axis=1)) + 5), colour_at(points)


def ball_before_wall(points):
    """The ball and a thick wall behind it, joined by a rod."""
    rod = 0.02 - np.linalg.norm(points[:, :2] - CENTRE[:2], axis=1)
    rod = np.minimum(rod, CENTRE[2] - points[:, 2])
    density = np.maximum(ball(points)[0], 1000 * np.maximum(WALL - points[:, 2], rod) + 5)
    return np.float32(density), colour_at(points)


def depth_of_ball(camera, size=64):
    """z-depth [size, size] of the ball before the wall."""
    origins, directions = (np.asarray(x, np.float64) for x in cameras.rays(camera, size))
    offset = origins - CENTRE
    along = -np.sum(offset * directions, -1)
    square = along**2 - np.sum(offset**2, -1) + RADIUS**2
    wall = (WALL - origins[:, 2]) / directions[:, 2]
    distance = np.where(square > 0, along - np.sqrt(np.maximum(square, 0)), wall)
    return np.asarray(cameras.ray_distance_to_z_depth(distance.reshape(size, size), camera))


def make(look_up=ball, **options):
    return extraction.extract(look_up, **{"resolution": 48, "level": 5.0, "box_size": 1.0, **options})


def test_a_ball_is_round_closed_and_turned_outwards():
    mesh = make()
    offset = mesh.vertices - CENTRE
    np.testing.assert_allclose(np.linalg.norm(offset, axis=1), RADIUS, atol=6e-4)
    assert np.sum(mesh.normals * offset, axis=1).min() > 0.98 * RADIUS
    assert mesh.boundary_edges == 0
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.02)
    np.testing.assert_allclose(mesh.colours, colour_at(mesh.vertices), atol=1e-6)


def test_slabs_join_without_a_seam(monkeypatch):
    whole = make()
    monkeypatch.setattr(extraction, "SLAB_POINTS", 48 * 48 * 5)
    seen = []
    slabs = make(progress=lambda *at: seen.append(at))
    assert seen[-1] == (10, 10) and slabs.boundary_edges == 0
    assert len(slabs.vertices) == len(whole.vertices) and len(slabs.faces) == len(whole.faces)
    assert spatial.cKDTree(whole.vertices).query(slabs.vertices)[0].max() < 1e-6


def test_slabs_join_where_the_cut_is(monkeypatch):
    inside = in_front_of_backdrop(depth_of_ball(FRONT), FRONT)
    near = lambda points: np.minimum(inside(points), 0.2 - points[:, 2])  # noqa: E731  cuts through the ball as well
    whole = make(ball_before_wall, inside=near)
    monkeypatch.setattr(extraction, "SLAB_POINTS", 48 * 48 * 5)
    slabs = make(ball_before_wall, inside=near)
    assert slabs.boundary_edges == whole.boundary_edges == 0 and len(slabs.faces) == len(whole.faces)


def test_backdrop_is_cut_and_the_cut_capped():
    depth = depth_of_ball(FRONT)
    assert 2.7 - CENTRE[2] < backdrop_depth(depth) < 2.7 - WALL
    inside = in_front_of_backdrop(depth, FRONT)
    mesh = make(ball_before_wall, inside=inside)
    assert mesh.boundary_edges == 0 and inside(mesh.vertices).min() > -1e-3
    assert mesh.vertices[:, 2].min() > WALL + 0.01
    open_mesh = make(ball_before_wall)
    assert open_mesh.boundary_edges > 0 and open_mesh.vertices[:, 2].min() == pytest.approx(WALL, abs=0.01)


def test_no_backdrop_no_cut():
    random = np.random.default_rng(0)
    assert backdrop_depth(random.uniform(2.4, 2.9, (64, 64))) == np.inf
    assert backdrop_depth(np.full((64, 64), 2.5)) == np.inf


def test_level_is_found_where_rays_end():
    assert extraction.surface_level(ball_before_wall, depth_of_ball(FRONT), FRONT) == pytest.approx(5, abs=0.5)


def test_empty_field_is_an_error():
    empty = lambda points: (np.full(len(points), -3.0, np.float32), colour_at(points))  # noqa: E731
    with pytest.raises(InputError, match="the density reaches 5 nowhere"):
        make(empty)
    with pytest.raises(InputError, match="nowhere"):
        extraction.head_mesh(
            empty, [RenderedView(np.zeros((8, 8, 3)), depth_of_ball(FRONT), FRONT)], resolution=16, box_size=1.0
        )


def test_decimation():
    mesh = make(faces=1000)
    assert len(mesh.faces) <= 1000
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - CENTRE, axis=1), RADIUS, atol=3e-3)
    smaller = decimate(make(), 1000)
    assert len(smaller.faces) <= 1000 and np.abs(smaller.colours - colour_at(smaller.vertices)).mean() < 0.1


def test_colours_are_those_of_the_side_that_a_view_sees():
    """And not of what lies behind."""
    mesh = make()
    red = np.broadcast_to(np.float32([1, -1, -1]), (32, 32, 3))
    painted = colours_from_views(
        mesh.vertices, mesh.normals, mesh.colours, [RenderedView(red, depth_of_ball(FRONT), FRONT)]
    )
    facing = mesh.normals[:, 2]
    np.testing.assert_allclose(painted[facing > 0.6], red[0, :1].repeat(np.sum(facing > 0.6), 0), atol=0.02)
    np.testing.assert_allclose(painted[facing < 0], mesh.colours[facing < 0], atol=1e-5)


def test_rasteriser_agrees_with_brute_force():
    random = np.random.default_rng(1)
    size, points, depth = 12, random.uniform(-2, 14, (30, 2)), random.uniform(1, 2, 30)
    faces = random.permutation(30).reshape(10, 3)
    found, weights = rasterise(points, depth, faces, size)
    for row in range(size):
        for column in range(size):
            best = (np.inf, -1)
            for index, face in enumerate(faces):
                matrix = np.vstack([points[face].T, np.ones(3)])
                bary = np.linalg.solve(matrix, [column + 0.5, row + 0.5, 1])
                if bary.min() >= 0:
                    best = min(best, (bary @ depth[face], index))
            assert found[row, column] == best[1]
            if best[1] >= 0:
                place = weights[row, column] @ points[faces[best[1]]]
                np.testing.assert_allclose(place, [column + 0.5, row + 0.5], atol=1e-9)


@pytest.mark.parametrize("suffix", [".glb", ".ply", ".obj"])
def test_files_are_read_back(tmp_path, suffix):
    mesh = make(resolution=24)
    mesh_files.write_mesh(tmp_path / f"m{suffix}", mesh, scale=2.0)
    assert [path.name for path in tmp_path.iterdir()] == [f"m{suffix}"]
    # Beside a material, even one without a texture, trimesh takes no notice of colours at the vertices.
    options = {"skip_materials": True} if suffix == ".glb" else {"maintain_order": True}
    read = trimesh.load_mesh(tmp_path / f"m{suffix}", process=False, **options)
    np.testing.assert_allclose(read.vertices, 2 * mesh.vertices, atol=1e-5)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    assert np.sum(read.vertex_normals * mesh.normals, axis=1).min() > 0.97  # trimesh weighs faces by angle
    expected = (np.clip(mesh.colours, -1, 1) + 1) / 2
    if suffix == ".glb":  # linear light, by glTF's specification
        expected = mesh_files.to_linear(expected)
        assert b"KHR_materials_unlit" in (tmp_path / "m.glb").read_bytes()
    np.testing.assert_allclose(read.visual.vertex_colors[:, :3] / 255, expected, atol=0.006)
    assert read.is_watertight and read.volume > 0


def test_stl_is_read_back(tmp_path):
    mesh = make(resolution=24)
    mesh_files.write_mesh(tmp_path / "m.stl", mesh, scale=2.0)
    assert (tmp_path / "m.stl").stat().st_size == 84 + 50 * len(mesh.faces)  # binary
    read = trimesh.load_mesh(tmp_path / "m.stl", process=False)
    np.testing.assert_allclose(read.triangles, 2 * mesh.vertices[mesh.faces], atol=1e-6)
    read.merge_vertices()
    assert read.is_watertight and read.volume > 0


@pytest.mark.parametrize("slab", [2**21, 32 * 32 * 5])
def test_density_is_read_back_as_eg3d_lays_it_out(tmp_path, monkeypatch, slab):
    monkeypatch.setattr(volumes, "SLAB_POINTS", slab)
    size, box = 32, 0.8
    volumes.write_density(tmp_path / "v.mrc", ball, resolution=size, box_size=box)
    assert [path.name for path in tmp_path.iterdir()] == ["v.mrc"]
    assert mrcfile.validate(tmp_path / "v.mrc")
    read = mrcfile.read(tmp_path / "v.mrc")
    # gen_samples.py: a grid from corner to corner, indexed x, y, z, flipped along its first axis, its border filled.
    ends = np.linspace(-box / 2, box / 2, size)
    x, y, z = np.meshgrid(ends, ends, ends, indexing="ij")
    expected = ball(np.stack([x, y, z], axis=-1).reshape(-1, 3))[0].reshape((size,) * 3)[::-1].copy()
    border = np.ones_like(expected, bool)
    border[3:-3, 3:-3, 3:-3] = False
    expected[border] = -1000
    np.testing.assert_allclose(read, expected, atol=1e-3)


def test_colours_to_linear_light():
    np.testing.assert_allclose(mesh_files.to_linear(np.array([0, 0.02, 0.5, 1])), [0, 0.001548, 0.2140, 1], atol=1e-4)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_atlas_shows_the_colour_of_its_place(tmp_path, suffix):
    mesh = make(resolution=24)
    atlas = mesh_files.bake(mesh, lambda points, normals: colour_at(points), 256)
    mesh_files.write_mesh(tmp_path / f"m{suffix}", mesh, atlas)
    read = trimesh.load_mesh(tmp_path / f"m{suffix}", process=False)
    assert isinstance(read.visual, trimesh.visual.TextureVisuals) and len(read.faces) == len(mesh.faces)
    middles = read.triangles_center
    picture = read.visual.material.baseColorTexture if suffix == ".glb" else read.visual.material.image
    texture = np.asarray(picture.convert("RGB"), float) / 127.5 - 1
    u, v = read.visual.uv[read.faces].mean(axis=1).T
    texel = texture[np.clip(((1 - v) * 256).astype(int), 0, 255), np.clip((u * 256).astype(int), 0, 255)]
    assert np.abs(texel - colour_at(middles)).mean() < 0.05


class Head(NamedTuple):
    """A mesh of a head that the generator was not trained on, and the true view from the front: image [N, N, 3] over
    grey in [-1, 1], z_depth [N, N] with 0 where there is no head, and its camera."""

    mesh: Mesh
    image: np.ndarray
    z_depth: np.ndarray
    camera: np.ndarray


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> list[Head]:
    generator, rendered = shipped.generator(), shipped.held_out(tmp_path_factory.mktemp("heads"))
    views = camera_paths.all_round(generator.config, focal=generator.config.camera_focal)
    made = []
    for head, code in enumerate(shipped.codes(rendered)[:2]):
        planes = generator.planes(code)
        render = functools.partial(frames.render, generator, planes, code)
        pairs = zip(frames.render_views(render, views), views, strict=True)
        pictures = [RenderedView(image, depth, camera) for (image, depth), camera in pairs]
        look_up = extraction.field(generator, planes)
        mesh = extraction.head_mesh(look_up, pictures, resolution=128, box_size=generator.config.rendering.box_size)
        pixels = rendered.view(head, 0)
        z_depth = np.where(pixels[..., 3] == 255, decode_depth(pixels[..., 4], pixels[..., 5]), 0)
        made.append(Head(mesh, pixels[..., :3] / 127.5 - 1, z_depth, rendered.camera[head, 0]))
    return made


def in_face(points):
    return (np.abs(points - [0, 0.03, 0.2]) < [0.15, 0.22, 0.15]).all(axis=1)


@pytest.mark.slow
def test_generated_heads_lie_on_the_true_surface(heads):
    for mesh, _, z_depth, camera in heads:
        assert mesh.boundary_edges == 0
        size = len(z_depth)
        where, depth = project(camera, mesh.vertices)
        column, row = np.clip((where * size).astype(int), 0, size - 1).T
        facing = np.sum(mesh.normals * (camera[3:12:4] - mesh.vertices), axis=1) > 1.0  # of 2.7: not seen edge-on
        seen = in_face(mesh.vertices) & facing & (z_depth[row, column] > 0)
        there = np.abs(depth - z_depth[row, column])[seen]
        pixels = cameras.pixel_centres(size).reshape(-1, 2)
        points = camera[3:12:4] + z_depth.reshape(-1, 1) * np.asarray(cameras.unproject(camera, pixels))
        points = points[in_face(points) & (z_depth.ravel() > 0)]
        back = spatial.cKDTree(mesh.vertices).query(points)[0]
        print(f"mesh to surface {np.median(there):.4f}, surface to mesh {np.median(back):.4f}")
        print(f"nine of ten: {np.percentile(there, 90):.4f}, {np.percentile(back, 90):.4f}")
        assert len(points) > 5000 and np.median(there) < 0.013 and np.median(back) < 0.01
        assert np.percentile(there, 90) < 0.04 and np.percentile(back, 90) < 0.03


@pytest.mark.slow
def test_generated_heads_have_the_colours_of_the_true_picture(heads):
    for mesh, truth, z_depth, camera in heads:
        image, covered = draw(mesh, camera, len(truth))
        head = z_depth > 0
        psnr = 10 * np.log10(4 / np.mean((image - truth)[covered & head] ** 2))
        print(f"{psnr:.1f} dB on {(covered & head).sum() / head.sum():.0%} of the head")
        assert psnr > 17 and (covered & head).sum() > 0.78 * head.sum()


def mesh_command(folder: Path, arguments: str) -> command.Done:
    return command.run(main, folder, *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--inversion is missing"),
        ("--inversion x --out a.fbx", "unknown format '.fbx'"),
        ("--inversion x --out a.ply --texture 512", ".ply files hold none"),
        ("--inversion x --out a.stl --texture 512", ".stl files hold none"),
        ("--inversion x --out a.mrc --faces 1000", "--faces: a.mrc will hold densities"),
        ("--inversion x --out a.mrc --backdrop", "--backdrop: a.mrc will hold densities"),
        ("--inversion x --out taken.glb", "taken.glb: exists; give --force"),
        ("--inversion x --out folder.glb --force", "folder.glb: is a folder; give another name"),
        ("--inversion x --resolution 4", "resolution"),
        ("--inversion nothing", "nothing: no inversion here"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, arguments, message):
    (tmp_path / "taken.glb").touch()
    (tmp_path / "nothing").mkdir()
    (tmp_path / "folder.glb").mkdir()
    done = mesh_command(tmp_path, arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr
    assert len(list(tmp_path.iterdir())) == 3


def test_command(tmp_path):
    small_inversion.make().save(tmp_path / "result")
    done = mesh_command(tmp_path, "--inversion result --out sub/head.glb --resolution 32 --backdrop --texture 128")
    assert done.returncode == 0, done.stderr
    assert "faces" in done.stdout and "input.png: no such file" in done.stderr
    assert trimesh.load_mesh(tmp_path / "sub" / "head.glb").faces.shape[0] > 100


def test_a_texture_has_nothing_that_the_crop_made_up(tmp_path):
    rendered = np.full((16, 16, 3), 0.25, np.float32)
    images.save_image(tmp_path / "input.png", np.ones((16, 16, 3), np.float32))
    np.testing.assert_allclose(command_module._photograph(tmp_path, rendered), 1)
    weights = np.ones((16, 16), np.float32)
    weights[:, :3] = 0
    images.save_image(tmp_path / writing.WEIGHTS, 2 * weights - 1)
    expected = np.where(weights[..., None] > 0, 1, rendered)
    np.testing.assert_allclose(command_module._photograph(tmp_path, rendered), expected, atol=0.01)


def test_command_writes_densities(tmp_path, monkeypatch):
    head = types.SimpleNamespace(generator=types.SimpleNamespace(config=GeneratorConfig()), planes=None)
    monkeypatch.setattr("pmv_jax.inversion.result.load_inversion", lambda directory: head)
    monkeypatch.setattr(extraction, "field", lambda generator, planes: ball)
    done = mesh_command(tmp_path, "--inversion result --out sub/head.mrc --resolution 32")
    assert done.returncode == 0 and "density at 32 x 32 x 32 points" in done.stdout, done.stderr
    assert mrcfile.read(tmp_path / "sub" / "head.mrc").max() > 0


def test_mrc_without_its_library_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mrcfile", None)
    done = mesh_command(tmp_path, "--inversion x --out a.mrc")
    assert done.returncode == 2 and "pip install 'pmv_jax[mrc]'" in done.stderr


def test_command_without_a_surface_leaves_nothing(tmp_path):
    small_inversion.make().save(tmp_path / "result")
    done = mesh_command(tmp_path, "--inversion result --out none.glb --resolution 32 --level 1e9")
    assert done.returncode == 2 and "the density reaches 1e+09 nowhere" in done.stderr
    assert not (tmp_path / "none.glb").exists()
