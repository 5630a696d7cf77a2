"""`python -m pmv_jax.view`: its command, and a real browser on it."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import viser
from PIL import Image
from scipy.spatial.transform import Rotation

from pmv_jax import images
from pmv_jax.cameras import files as camera_files
from pmv_jax.commands.view import main
from pmv_jax.errors import InputError
from pmv_jax.inversion.result import load_inversion
from pmv_jax.meshes import files as mesh_files
from pmv_jax.splats.gaussians import Splats
from pmv_jax.viewer import camera as viewer_cameras
from pmv_jax.viewer import ports
from pmv_jax.viewer.camera import ViewerCamera
from pmv_jax.viewer.head import Head, letterbox, picture
from pmv_jax.viewer.server import serve
from pmv_jax.viewer.splats import serve_splats
from pmv_jax.viewer.subject import load_subject
from tests import command, small_inversion
from tests.results.test_report import BROWSER, DRIVER, FLAGS, tetrahedron

ROOT = Path(__file__).parents[2]


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


def test_ports():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = ports.free_port("127.0.0.1", port)
        assert found > port
    assert ports.free_port("127.0.0.1", port) == port
    with pytest.raises(InputError, match="--host 203.0.113.1: cannot be listened at"):
        ports.free_port("203.0.113.1", 8080)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A result directory, small, and with pictures."""
    folder = tmp_path_factory.mktemp("view") / "head"
    folder.mkdir()
    inversion = small_inversion.make()
    inversion.save(folder / "inversion")
    images.save_image(folder / "input.png", np.broadcast_to(np.float32([1, -1, -1]), (32, 32, 3)))
    mesh_files.write_mesh(folder / "mesh.glb", tetrahedron())
    np.savez(folder.parent / "edits.npz", larger=np.full(small_inversion.CONFIG.w_dim, 5.0))
    return folder


def test_an_edits_result_knows_what_it_was_before(result, tmp_path):
    inversion = load_inversion(result)
    (tmp_path / "edited").mkdir()
    inversion.save(tmp_path / "edited" / "inversion")
    assert load_subject(tmp_path / "edited").before is None
    about = tmp_path / "edited" / "edit.json"
    about.write_text(json.dumps({"inversion": str(result)}))
    assert load_subject(tmp_path / "edited").before is not None
    about.write_text(json.dumps({"inversion": str(tmp_path / "gone")}))
    assert load_subject(tmp_path / "edited").before is None


def start(cwd: Path, arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "pmv_jax.view", *arguments.split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--inversion is missing"),
        ("--inversion head --port 70000", "--port"),
        ("--inversion head --host nowhere.invalid", "--host nowhere.invalid: cannot be listened at"),
        ("--inversion head --directions none.json", "--directions none.json: no such file"),
        ("--inversion head --inversion nothing", "nothing: no inversion here"),
        ("--splat none.ply", "splats none.ply: No such file"),
        ("--splat head/mesh.glb", "head/mesh.glb: is no .ply of Gaussian splats"),
        ("--splat head.ply --inversion head", "--splat and --inversion exclude each other"),
    ],
)
def test_bad_input_is_one_line(result, arguments, message):
    (result.parent / "nothing").mkdir(exist_ok=True)
    code, out, error = command.run(main, result.parent, *arguments.split())
    assert code == 2 and out == ""
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_command_says_where_it_is_and_takes_another_port(result):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(result.parent, f"--inversion head --port {port}")
        line = process.stdout.readline()
        address = line.split()[0]
        found = int(address.rsplit(":", 1)[1])
        assert address.startswith("http://127.0.0.1:") and found > port
        with socket.create_connection(("127.0.0.1", found), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in client.recv(100)
    process.terminate()
    out, error = process.communicate(timeout=120)
    said = [line for line in error.splitlines() if "cpu_aot_loader" not in line]  # jaxlib 0.10.0 of programs it kept
    assert (process.returncode, out, said) == (0, "", [f"warning: port {port} is in use; taking {found}"])


def test_splats_are_served_as_they_are(monkeypatch):
    """Enlarged, as viser takes them, which checks their shapes; windows look at the face from the front."""
    random, taken = np.random.default_rng(0), []
    draw = lambda *shape: random.uniform(0.1, 0.9, shape)  # noqa: E731
    given = Splats(draw(5, 3), Rotation.random(5, random_state=0).as_matrix(), 0.01 * draw(5, 3), draw(5), draw(5, 3))
    add = viser.SceneApi.add_gaussian_splats
    monkeypatch.setattr(viser.SceneApi, "add_gaussian_splats", lambda *a, **k: (taken.append(k), add(*a, **k)))
    with serve_splats(given, "127.0.0.1", ports.free_port("127.0.0.1", 18095)) as server:
        (sent,) = taken
        middle = 10 * np.median(given.positions, axis=0)
        np.testing.assert_allclose(server.initial_camera.position - middle, [0, 0, 27], atol=1e-3)
        np.testing.assert_allclose(server.initial_camera.look_at, middle)
    np.testing.assert_allclose(sent["centers"], 10 * given.positions, rtol=1e-6)
    np.testing.assert_array_equal(sent["opacities"][:, 0], np.float32(given.opacities))
    along = np.einsum("nji,njk,nki->ni", given.axes, sent["covariances"], given.axes)
    np.testing.assert_allclose(along, 100 * given.scales**2, rtol=1e-4)
    assert np.abs(np.float16(sent["covariances"]) - sent["covariances"]).max() < 1e-3 * sent["covariances"].max()


def test_rendering_ends_with_the_server(result):
    port = ports.free_port("127.0.0.1", 18090)
    with pytest.raises(KeyboardInterrupt), serve([load_subject(result)], "127.0.0.1", port):
        assert "renderer" in {thread.name for thread in threading.enumerate()}
        raise KeyboardInterrupt
    assert "renderer" not in {thread.name for thread in threading.enumerate()}


# ---------------------------------------------------------------------------------------------------------------------
# The browser
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(result):
    """The server, in this process, with a headless Chromium on it: server, driver, folder of downloads, renderer."""
    if BROWSER is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver on this machine")
    webdriver = pytest.importorskip("selenium.webdriver")
    head = load_subject(result, str(result.parent / "edits.npz"))
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={result.parent / 'profile'}", "--window-size=900,600"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    downloads = result.parent / "downloads"
    with serve([head], "127.0.0.1", ports.free_port("127.0.0.1", 18080)) as (server, renderer):
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
        driver.get(f"http://127.0.0.1:{server.get_port()}")
        yield server, driver, downloads, renderer
        driver.quit()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {condition}")


def camera_now(server) -> np.ndarray:
    (client,) = server.get_clients().values()
    given = client.camera
    return viewer_cameras.from_viewer(ViewerCamera(given.wxyz, given.position, given.fov), given.aspect)


def shown(driver) -> np.ndarray:
    """The canvas on the screen, its lower part, which no message covers [H, W, 3] in [0, 255]."""
    canvas = driver.find_element("css selector", "canvas")
    picture = np.asarray(Image.open(io.BytesIO(canvas.screenshot_as_png)).convert("RGB"), float)
    return picture[picture.shape[0] // 2 :]


def expected(result, camera: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    inversion = load_inversion(result)
    image = Head(inversion.generator, inversion.ws, {}).render(camera, {}, still=True)[0]
    height = 2 * shape[0]
    return letterbox(image, shape[1], height).astype(float)[-shape[0] :]


def test_browser_shows_the_head_from_the_inputs_camera(page, result):
    server, driver, _, _ = page
    wait_for(lambda: server.get_clients())
    original = load_inversion(result).camera
    wait_for(lambda: np.allclose(camera_now(server), original, atol=1e-4))

    def agrees():
        picture = shown(driver)
        wanted = expected(result, original, picture.shape)
        print(np.abs(picture - wanted).mean(), picture.std())
        return np.abs(picture - wanted).mean() < 8 and picture.std() > 20

    wait_for(agrees)
    complaints = [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "ERROR")]
    assert not [entry for entry in complaints if "favicon" not in entry["message"]]
    asked = driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert not [name for name in asked if not name.startswith((driver.current_url, "data:", "blob:"))]


def press(driver, label: str) -> None:
    next(b for b in driver.find_elements("tag name", "button") if b.text.strip() == label).click()


def test_dragging_turns_the_head_and_buttons_turn_it_back(page, result):
    from selenium.webdriver import ActionChains

    server, driver, _, _ = page
    original = load_inversion(result).camera
    canvas = driver.find_element("css selector", "canvas")
    ActionChains(driver, duration=50).move_to_element(canvas).click_and_hold().move_by_offset(60, 0).release().perform()
    wait_for(lambda: abs(viewer_cameras.place(camera_now(server), small_inversion.CONFIG).yaw - 0.2) > 0.1)
    wait_for(lambda: np.abs(shown(driver) - expected(result, camera_now(server), shown(driver).shape)).mean() < 8)
    press(driver, "Front")
    wait_for(lambda: abs(viewer_cameras.place(camera_now(server), small_inversion.CONFIG).yaw) < 1e-3)
    press(driver, "Input's view")
    wait_for(lambda: np.allclose(camera_now(server), original, atol=1e-4))


def test_view_and_camera_are_saved(page, result):
    server, driver, downloads, _ = page
    press(driver, "Save camera")
    wait_for(lambda: (downloads / "head_camera.json").is_file())
    camera = camera_files.load_camera(downloads / "head_camera.json")
    np.testing.assert_allclose(camera, camera_now(server), atol=1e-6)
    press(driver, "Save picture")
    wait_for(lambda: (downloads / "head_reconstruction.png").is_file())
    picture = images.load_image(downloads / "head_reconstruction.png", 32)
    inversion = load_inversion(result)
    image = Head(inversion.generator, inversion.ws, {}).render(camera, {}, still=True)[0]
    np.testing.assert_allclose(picture, image, atol=0.02)
    assert set(json.loads((downloads / "head_camera.json").read_text())) == {"camera"}


def choose(driver, now: str, label: str) -> None:
    boxes = driver.find_elements("tag name", "input")
    next(box for box in boxes if box.get_attribute("value") == now).click()
    wait_for(lambda: [o for o in driver.find_elements("css selector", "[role=option]") if o.text == label])
    next(o for o in driver.find_elements("css selector", "[role=option]") if o.text == label).click()


def test_input_is_shown(page):
    _, driver, _, _ = page
    choose(driver, "reconstruction", "input")

    def is_red():
        middle = shown(driver)[:, shown(driver).shape[1] // 2 - 20 :][:, :40]
        return middle[..., 0].mean() > 230 and middle[..., 1:].mean() < 30

    wait_for(is_red)
    choose(driver, "input", "reconstruction")


def test_depth_and_mesh_are_shown(page, result):
    server, driver, _, _ = page
    choose(driver, "reconstruction", "depth")
    inversion = load_inversion(result)
    camera = camera_now(server)
    seen = Head(inversion.generator, inversion.ws, {}).render(camera, {}, still=True)

    def is_depth():
        screen = shown(driver)
        square = picture("depth", *seen, camera)
        wanted = letterbox(square, screen.shape[1], 2 * len(screen)).astype(float)[-len(screen) :]
        return np.abs(screen - wanted).mean() < 8

    wait_for(is_depth)
    choose(driver, "depth", "mesh")

    def is_colourful():  # the tetrahedron, which three.js draws from the GLB file, on a grey ground
        return 0.02 < (np.ptp(shown(driver), axis=-1) > 60).mean() < 0.7

    wait_for(is_colourful)
    choose(driver, "mesh", "reconstruction")
    wait_for(lambda: np.abs(shown(driver) - expected(result, camera_now(server), shown(driver).shape)).mean() < 8)


def test_a_slider_edits_the_head(page, result):
    server, driver, _, renderer = page
    (window,) = renderer.windows
    before = shown(driver)
    window.sliders["larger"].value = 2.0
    inversion = load_inversion(result)
    head = Head(inversion.generator, inversion.ws + np.float32(10), {})

    def agrees():
        picture = shown(driver)
        image = head.render(camera_now(server), {}, still=True)[0]
        wanted = letterbox(image, picture.shape[1], 2 * len(picture)).astype(float)[-len(picture) :]
        return np.abs(picture - wanted).mean() < 8

    wait_for(agrees)
    assert np.abs(shown(driver) - before).mean() > 12
    box = driver.find_element("xpath", "//label[contains(., 'Before the edit')]/following::input[@type='checkbox'][1]")
    driver.execute_script("arguments[0].click()", box)  # the library hides the box itself behind a drawn one
    wait_for(lambda: np.abs(shown(driver) - before).mean() < 8)
    driver.execute_script("arguments[0].click()", box)
    wait_for(agrees)
