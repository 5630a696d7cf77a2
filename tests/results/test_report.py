"""The report as a browser shows it: loads from disk, complains of nothing, and moves when it is touched."""

import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from pmv_jax.meshes.mesh import Mesh
from pmv_jax.results import report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader""".split()
SIZE = 32


def tetrahedron() -> Mesh:
    vertices = np.float32([[0, 0, 0.3], [0.3, 0, -0.1], [-0.3, 0, -0.1], [0, 0.4, 0]])
    faces = np.int32([[0, 1, 3], [1, 2, 3], [2, 0, 3], [0, 2, 1]])
    return Mesh(vertices, faces, np.float32([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1]]))


def picture(red: float, green: float = 0.0) -> np.ndarray:
    return np.broadcast_to(np.float32([red, green, 0.0]), (SIZE, SIZE, 3))


def make(**changes) -> report.Report:
    yaws, pitches = (-0.6, -0.3, 0.0, 0.3, 0.6), (-0.2, 0.0, 0.2)
    stage = {"name": "latent", "steps": 9, "seconds": 2.5, "loss_first": 1.0, "loss_last": None}
    contents = {
        "title": 'a <b>"portrait"</b>',
        "image": picture(1.0),
        "reconstruction": picture(-1.0),
        "depth": picture(0.3),
        "normals": picture(0.6),
        "turntable": report.Turntable(yaws, pitches, [picture(yaw, 3 * pitch) for pitch in pitches for yaw in yaws]),
        "pseudo_views": [{"warp": picture(0.1), "visibility": picture(0.2), "blend": picture(0.3)}] * 2,
        "mesh": tetrahedron(),
        "losses": {"latent": np.geomspace(1, 0.01, 9), "joint": np.ones(1), "none": np.zeros(0)},
        "figures": {"psnr": 27.1234, "ssim": 0.9, "ms_ssim": None, "lpips": None, "seed": 7, "device": "cpu",
                    "peak_memory_bytes": 2**30, "stages": [stage], "camera": [0.5] * 25},
        "config": {"seed": 7, "latent": {"steps": 9}},
    }  # fmt: skip
    return report.Report(**{**contents, **changes})


def test_page_holds_everything_and_asks_for_nothing():
    page = report.render_html(make())
    without_svg = re.sub(r"<svg.*?</svg>", "", page, flags=re.S)
    assert not re.search(r"https?://|src=\"(?!data:)|href=\"(?!data:)|@import|url\(", without_svg)
    assert "27.12 dB" in page and "LPIPS" not in page and "&#34;steps&#34;: 9" in page and "1.00 GiB" in page
    assert "a &lt;b&gt;" in page and "<b>&#34;portrait" not in page
    assert page.count("<svg") == 1 and "currentColor" in page and "#010203" not in page
    for data in re.findall(r"data:image/webp;base64,([^\"]+)", page):
        import base64

        Image.open(io.BytesIO(base64.b64decode(data))).load()


def test_doubts_stand_at_the_top():
    figures = make().figures
    page = report.render_html(make(figures={**figures, "doubts": ["only 51 % is <photograph>"]}))
    assert page.index("Doubtful: only 51 % is &lt;photograph&gt;.") < page.index("<main")
    assert "Doubtful" not in report.render_html(make())


def test_parts_that_do_not_exist_are_left_out():
    page = report.render_html(make(mesh=None, pseudo_views=[], losses={}))
    assert "Pseudo-views" not in page and "WebGL" not in page and "<svg" not in page


def test_largest_page_is_light(tmp_path):
    """As large as the official generator makes it, of pictures that compress badly for pictures."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (80, 80, 3), np.uint8)
    busy = np.asarray(Image.fromarray(coarse).resize((512, 512), Image.Resampling.BICUBIC))
    turntable = report.Turntable(np.linspace(-0.6, 0.6, 13), np.linspace(-0.3, 0.3, 5), [busy] * 65)
    side = np.arange(100)
    grid = np.stack(np.meshgrid(side, side, [0]), -1).reshape(-1, 3).astype(np.float32)
    corner = (side[:-1, None] * 100 + side[:-1]).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 100], -1), np.stack([corner + 1, corner + 101, corner + 100], -1)]
    )  # noqa: E501
    report.write_report(
        tmp_path / "report.html",
        make(
            image=busy, reconstruction=busy, depth=busy, normals=busy, turntable=turntable,
            pseudo_views=[{"warp": busy, "visibility": busy, "blend": busy}] * 12,
            mesh=Mesh(grid, faces.astype(np.int32), random.uniform(-1, 1, grid.shape).astype(np.float32)),
        ),
    )  # fmt: skip
    size = (tmp_path / "report.html").stat().st_size
    print(f"{size / 1e6:.1f} MB")
    assert size < 15e6


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium on the page."""
    if BROWSER is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver on this machine")
    webdriver = pytest.importorskip("selenium.webdriver")
    folder = tmp_path_factory.mktemp("report")
    report.write_report(folder / "report.html", make())
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1200,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.get((folder / "report.html").as_uri())
    yield driver
    driver.quit()


def shown(browser, selector: str) -> np.ndarray:
    """The element as it is on the screen [H, W, 3]."""
    element = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    # Two frames later everything asked for has been drawn.
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB"), float)


def drag(browser, selector: str, x: int, y: int = 0) -> None:
    from selenium.webdriver import ActionChains

    element = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    actions = ActionChains(browser, duration=20).move_to_element(element).click_and_hold()
    actions.move_by_offset(x, y).release().perform()


def press(browser, selector: str, key: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.find_element("css selector", selector).send_keys(getattr(Keys, key))


def red(area: np.ndarray) -> float:
    """Mean of the red channel in [-1, 1]."""
    return area[..., 0].mean() / 127.5 - 1


def test_browser_loads_it_without_complaint(browser):
    for selector in ("#turntable", "#mesh", "#swipe"):
        shown(browser, selector)
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "ERROR")] == []
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert not [name for name in asked if not name.startswith("data:")]


def test_slider_moves(browser):
    slider = "#swipe input"
    element = browser.find_element("css selector", slider)
    browser.execute_script("const s = arguments[0]; s.value = 50; s.oninput()", element)
    area = shown(browser, "#swipe")
    left, right = area[:, 10 : area.shape[1] // 3], area[:, -area.shape[1] // 3 : -10]
    assert red(left) > 0.9 and red(right) < -0.9  # the input left, the reconstruction right
    drag(browser, slider, int(0.4 * area.shape[1]))
    assert red(shown(browser, "#swipe")[:, -area.shape[1] // 3 : -area.shape[1] // 6]) > 0.9
    for _ in range(3):
        press(browser, slider, "ARROW_LEFT")
    value = float(browser.find_element("css selector", slider).get_property("value"))
    assert 80 < value < 92


def test_dragging_and_keys_turn_the_head(browser):
    assert red(shown(browser, "#turntable")) == pytest.approx(0, abs=0.05)
    drag(browser, "#turntable", 60)  # to the right: the camera goes left, to negative yaw
    turned = red(shown(browser, "#turntable"))
    assert turned < -0.2
    press(browser, "#turntable", "ARROW_LEFT")
    assert red(shown(browser, "#turntable")) > turned + 0.2
    browser.find_element("id", "front").click()
    assert red(shown(browser, "#turntable")) == pytest.approx(0, abs=0.05)
    press(browser, "#turntable", "ARROW_UP")
    assert "pitch 11°" in browser.find_element("id", "angles").text


def test_mesh_is_drawn_and_turns(browser):
    first = shown(browser, "#mesh")
    saturated = np.ptp(first, axis=-1) > 60  # the tetrahedron is colourful, what is behind it is not
    assert 0.05 < saturated.mean() < 0.7
    drag(browser, "#mesh", 50)
    second = shown(browser, "#mesh")
    assert np.abs(second - first).mean() > 2
    press(browser, "#mesh", "ARROW_DOWN")
    assert np.abs(shown(browser, "#mesh") - second).mean() > 1
    browser.find_element("id", "shading").click()
    assert (np.ptp(shown(browser, "#mesh"), axis=-1) > 60).mean() < 0.01  # clay is grey


def test_parts_of_pseudo_views_are_chosen(browser):
    for part, level in (("warp", 0.1), ("visibility", 0.2), ("blend", 0.3)):
        browser.find_element("css selector", f"#parts button[data-part={part}]").click()
        visible = [image for image in browser.find_elements("css selector", "#views img") if image.is_displayed()]
        assert len(visible) == 2 and all(image.get_attribute("class") == part for image in visible)
        assert red(shown(browser, f"#views img.{part}")) == pytest.approx(level, abs=0.05)


def test_light_and_dark(browser):
    brightness = []
    for _ in range(2):
        browser.find_element("id", "theme").click()
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        brightness.append(np.mean(list(map(int, re.findall(r"\d+", paper)[:3]))))
    assert max(brightness) > 200 and min(brightness) < 50


def test_narrow_screen(browser):
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        wide = "[...document.querySelectorAll('section, canvas, svg, table')].map(e => e.getBoundingClientRect().right)"
        assert max(browser.execute_script(f"return {wide}")) <= 390
        assert shown(browser, "#turntable").shape[1] > 250
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
