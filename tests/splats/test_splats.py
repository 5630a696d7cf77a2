"""Splats of a painted ball, fitted, written, read back and drawn by code that shares nothing with ours."""

import numpy as np
import pytest

from pmv_jax import cameras
from pmv_jax.errors import InputError
from pmv_jax.meshes.colouring import RenderedView
from pmv_jax.splats import files, fitting
from pmv_jax.splats.gaussians import Splats, contributions

SIZE, RADIUS, CENTRE, FAR = 48, 0.2, np.array([0.02, -0.03, 0.1]), 3.2
ANGLES = [(0, 0), (-0.4, 0), (0.4, 0), (0, -0.3), (0, 0.3)]


def view_of(yaw, pitch):
    """The ball, painted smoothly, before grey; its z-depth."""
    camera = np.asarray(cameras.look_at(yaw, pitch))
    origins, directions = (np.asarray(x, np.float64) for x in cameras.rays(camera, SIZE))
    along = -np.sum((origins - CENTRE) * directions, axis=1)
    square = along**2 - np.sum((origins - CENTRE) ** 2, axis=1) + RADIUS**2
    distance = np.where(square > 0, along - np.sqrt(np.maximum(square, 0)), FAR)
    points = origins + distance[:, None] * directions
    image = np.where(square[:, None] > 0, 0.7 * np.sin(12 * points + [0, 1, 2]), 0.0)
    depth = cameras.ray_distance_to_z_depth(distance.reshape(SIZE, SIZE), camera)
    return RenderedView(image.reshape(SIZE, SIZE, 3), np.asarray(depth), camera)


def in_ball(points):
    return RADIUS + 0.02 - np.linalg.norm(points - CENTRE, axis=1)


@pytest.fixture(scope="module")
def fitted():
    return fitting.fit([view_of(*angles) for angles in ANGLES], in_ball)


def read_ply(path):
    """Columns by name; knows nothing of who wrote it."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").split("\n")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"] and lines[2].startswith("element vertex ")
    names = [line.split()[2] for line in lines if line.startswith("property float ")]
    values = np.frombuffer(body, "<f4").reshape(int(lines[2].split()[2]), len(names))
    return dict(zip(names, values.T.astype(float), strict=True))


def draw(table, camera, size, background):
    """Splats one by one, from the farthest to the nearest, over a background; y down in the file, up in the camera."""
    turn = np.diag([1.0, -1, -1])
    world, k = camera[:16].reshape(4, 4).astype(float), camera[16:].reshape(3, 3) * size
    rotation, origin = turn @ world[:3, :3], turn @ world[:3, 3]
    picture = np.array(np.broadcast_to(background, (size, size, 3)), float)
    local = (np.stack([table["x"], table["y"], table["z"]], 1) - origin) @ rotation
    for i in np.argsort(-local[:, 2]):
        w, x, y, z = (table[f"rot_{j}"][i] for j in range(4))
        turned = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        square = np.diag([np.exp(2 * table[f"scale_{j}"][i]) for j in range(3)])
        px, py, pz = local[i]
        jacobian = np.array([[k[0, 0] / pz, 0, -k[0, 0] * px / pz**2], [0, k[1, 1] / pz, -k[1, 1] * py / pz**2]])
        flat = jacobian @ rotation.T @ turned @ square @ turned.T @ rotation @ jacobian.T + 0.3 * np.eye(2)
        column, row = k[0, 0] * px / pz + k[0, 2], k[1, 1] * py / pz + k[1, 2]
        reach = int(4 * np.sqrt(np.trace(flat))) + 1
        rows = slice(max(int(row) - reach, 0), max(int(row) + reach, 0))
        columns = slice(max(int(column) - reach, 0), max(int(column) + reach, 0))
        dy, dx = np.mgrid[:size, :size][:, rows, columns] + 0.5 - np.array([row, column])[:, None, None]
        inverse = np.linalg.inv(flat)
        power = inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2
        alpha = np.minimum(0.99, np.exp(-power / 2) / (1 + np.exp(-table["opacity"][i])))[..., None]
        alpha[alpha < 1 / 255] = 0
        colour = 0.5 + 0.28209479177387814 * np.array([table[f"f_dc_{j}"][i] for j in range(3)])
        picture[rows, columns] = alpha * colour + (1 - alpha) * picture[rows, columns]
    return picture


def test_another_reader_and_renderer_show_the_ball(fitted, tmp_path):
    files.write_ply(tmp_path / "ball.ply", fitted)
    table, view = read_ply(tmp_path / "ball.ply"), view_of(0.2, 0.15)  # none of those it was fitted to
    assert len(table) == 62 and [p.name for p in tmp_path.iterdir()] == ["ball.ply"]
    np.testing.assert_allclose(sum(table[f"rot_{i}"] ** 2 for i in range(4)), 1, atol=1e-5)
    picture, wanted = draw(table, view.camera, SIZE, 0.5), (view.image + 1) / 2
    error = np.square(picture - wanted)
    assert -10 * np.log10(error[view.z_depth < 3].mean()) > 27
    assert -10 * np.log10(error.mean()) > 25  # the outline, too


def test_a_file_comes_back(fitted, tmp_path):
    files.write_ply(tmp_path / "ball.ply", fitted)
    again = files.read_ply(tmp_path / "ball.ply")
    np.testing.assert_allclose(again.positions, fitted.positions, atol=1e-6)
    np.testing.assert_allclose(again.colours, np.clip(fitted.colours, 0, 1), atol=1e-6)
    np.testing.assert_allclose(again.opacities, fitted.opacities, atol=1e-6)
    np.testing.assert_allclose(again.covariances, fitted.covariances, atol=1e-5 * np.abs(fitted.covariances).max())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data[:-1], "is cut short"),
        (lambda data: data.replace(b"property float rot_3\n", b""), "is no .ply of Gaussian splats"),
        (lambda data: data.replace(b"binary_little_endian", b"ascii"), "is no .ply of Gaussian splats"),
        (lambda data: data.partition(b"end_header")[0], "is no .ply of Gaussian splats"),
        (lambda data: data[: data.index(b"end_header") + 11] + b"\xff" * len(data.partition(b"end_header\n")[2]),
         "can be seen"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(fitted, tmp_path, change, problem):
    files.write_ply(tmp_path / "ball.ply", fitted)
    (tmp_path / "ball.ply").write_bytes(change((tmp_path / "ball.ply").read_bytes()))
    with pytest.raises(InputError, match=problem):
        files.read_ply(tmp_path / "ball.ply")


def test_contributions_are_what_drawing_one_by_one_gives(fitted, tmp_path):
    files.write_ply(tmp_path / "ball.ply", fitted)
    camera = view_of(0.2, 0.15).camera
    shares = contributions(fitted, camera, SIZE)
    ours = (shares @ fitted.colours).reshape(SIZE, SIZE, 3)
    assert 0 <= shares.min() and shares.sum(axis=1).max() <= 1 + 1e-9
    np.testing.assert_allclose(ours, draw(read_ply(tmp_path / "ball.ply"), camera, SIZE, 0.0), atol=1e-5)


def test_fitting_colours_beats_taking_them_as_seen(fitted):
    views = [view_of(*angles) for angles in ANGLES]
    as_seen = fitting.cover(views, in_ball)
    assert fitting.psnr(fitted, view_of(0.2, 0.15), in_ball) > fitting.psnr(as_seen, view_of(0.2, 0.15), in_ball) + 1


def test_splats_lie_on_the_surface_once(fitted):
    outward = (fitted.positions - CENTRE) / RADIUS
    np.testing.assert_allclose(np.linalg.norm(outward, axis=1), 1, atol=0.02)
    assert np.median(np.sum(outward * fitted.axes[:, :, 2], axis=1)) > 0.99  # the third axis is the normal
    np.testing.assert_allclose(np.linalg.det(fitted.axes), 1, atol=1e-6)
    seen = np.sum(view_of(0, 0).z_depth < 3)
    assert len(np.unique(fitted.positions, axis=0)) == len(fitted.positions)
    assert seen / 2 < len(fitted.positions) < 3 * seen  # five views of the same, and no five layers


def test_what_another_view_sees_through_is_no_surface():
    front, side = view_of(0, 0), view_of(0.4, 0)
    depth = side.z_depth.copy()
    depth[20:26, 4:10] = 2.3  # in the air beside the ball
    splats = fitting.cover([front, side._replace(z_depth=depth)])
    assert np.linalg.norm(splats.positions - np.asarray(side.camera[3:12:4]), axis=1).min() > 2.35


def test_a_nearer_splat_hides_a_farther_one():
    camera = np.asarray(cameras.look_at(0.0, 0.0))
    both = Splats(
        np.array([[0, 0, 0.0], [0, 0, 0.5]]),
        np.stack(2 * [np.eye(3)]),
        np.full((2, 3), 0.05),
        np.full(2, 0.9),
        np.eye(3)[:2],
    )
    middle = contributions(both, camera, 33).toarray()[33 * 16 + 16]
    np.testing.assert_allclose(middle, [0.9 * 0.1, 0.9], atol=0.01)


def test_nothing_to_fit_is_said():
    with pytest.raises(InputError, match="no view shows a surface"):
        fitting.fit([view_of(0, 0)], lambda points: np.full(len(points), -1.0))
