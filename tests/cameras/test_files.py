import json

import numpy as np
import pytest

from pmv_jax.cameras import look_at
from pmv_jax.cameras.files import find_problem, load_camera
from pmv_jax.errors import InputError

CAMERA = np.asarray(look_at(0.3, -0.1))


def changed(**entries: float) -> np.ndarray:
    """CAMERA with some entries replaced: changed(n16=0.5)."""
    camera = CAMERA.copy()
    for name, value in entries.items():
        camera[int(name[1:])] = value
    return camera


@pytest.mark.parametrize("shape", [(25,), (1, 25), (25, 1)])
def test_npy(tmp_path, shape):
    np.save(tmp_path / "c.npy", CAMERA.astype(np.float64).reshape(shape))
    loaded = load_camera(tmp_path / "c.npy")
    assert loaded.dtype == np.float32 and (loaded == CAMERA).all()


@pytest.mark.parametrize("wrap", [lambda c: c, lambda c: {"camera": c}, lambda c: {"psnr": 30, "camera": c}])
def test_json(tmp_path, wrap):
    (tmp_path / "c.json").write_text(json.dumps(wrap(CAMERA.tolist())))
    assert (load_camera(tmp_path / "c.json") == CAMERA).all()


def test_dataset_json_chooses_by_image_name(tmp_path):
    other = np.asarray(look_at(-0.2, 0.1))
    labels = [["00/a.png", CAMERA.tolist()], ["00/b.png", other.tolist()], ["01/b.png", CAMERA.tolist()]]
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": labels}))
    assert (load_camera(path, "elsewhere/a.png") == CAMERA).all()
    assert (load_camera(path, tmp_path / "00" / "b.png") == other).all()
    assert (load_camera(path, "01/b.png") == CAMERA).all()
    with pytest.raises(InputError, match="no entry for 'aa.png'; the nearest is 'a.png'"):
        load_camera(path, "aa.png")
    with pytest.raises(InputError, match="no entry for 'b.png'"):
        load_camera(path, "02/b.png")
    with pytest.raises(InputError, match="name the image"):
        load_camera(path)


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (np.zeros(24), r"shape \[24\]"),
        (np.zeros((5, 5)), r"shape \[5, 5\]"),
        (np.full(25, np.nan), "not finite"),
        (np.zeros(25), "last row"),
        (changed(n16=np.inf), "not finite"),
        (changed(n0=0.0), "not a rotation"),
        (changed(n3=-2.0, n7=0.0, n11=-2.0), "looks away"),
        (changed(n16=-4.0), "focal lengths must be positive"),
        (changed(n16=2183.5, n20=2183.5, n18=256, n21=256), "pixels"),
        (changed(n18=256), "pixels"),
        (changed(n18=-0.5), "outside the image"),
        (changed(n24=2.0), "intrinsics are not"),
        (np.concatenate([np.diag([-1.0, -1, -1, 1]).ravel(), CAMERA[16:]]), "mirrors"),
        (np.concatenate([CAMERA[:16].reshape(4, 4).T.ravel(), CAMERA[16:]]), "transposed"),
    ],
)
def test_what_is_no_camera_is_refused_in_one_line(tmp_path, camera, message):
    np.save(tmp_path / "c.npy", camera)
    (tmp_path / "c.json").write_text(json.dumps(camera.tolist()))
    for path in (tmp_path / "c.npy", tmp_path / "c.json"):
        with pytest.raises(InputError, match=message) as caught:
            load_camera(path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.txt", b"1 2 3", "unknown kind"),
        ("c.npy", b"", "not a .npy file"),
        ("c.npy", b"hello", "not a .npy file"),
        ("c.json", b"", "not valid JSON"),
        ("c.json", b"\xff\xfe", "not valid JSON"),
        ("c.json", b"[" * 100000, "not valid JSON"),
        ("c.json", b"{}", "neither a list"),
        ("c.json", b"3", "neither a list"),
        ("c.json", b'{"labels": 3}', "pairs"),
        ("c.json", b'{"labels": null}', "neither a list"),
        ("c.json", b'["a", {}]', "else than numbers"),
        ("c.json", b"[[1, 2], 3]", "else than numbers"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_camera(tmp_path / name, "a.png")


def test_missing_file_and_pickles_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_camera(tmp_path / "c.npy")
    np.save(tmp_path / "c.npy", np.array([{}] * 25, object), allow_pickle=True)
    with pytest.raises(InputError, match="not a .npy file of numbers"):
        load_camera(tmp_path / "c.npy")


def test_every_camera_around_the_head_is_accepted():
    for yaw in np.linspace(-1.5, 1.5, 7):
        for pitch in (-0.5, 0.0, 0.5):
            assert find_problem(np.asarray(look_at(yaw, pitch))) is None
