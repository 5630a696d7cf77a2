"""GLB files in programs that they are for: three.js in a browser, and Blender; both show what `projection.draw` does.

Neither is one of this project's requirements, so these tests are slow ones and go without what is not there. three.js
is looked for in the folder that PMV_JAX_THREE names, `node_modules/three` after `npm install three`:

    PMV_JAX_THREE=node_modules/three pytest -m slow tests/test_mesh_elsewhere.py
"""

import functools
import http.server
import io
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmv_jax import cameras
from pmv_jax.meshes import files as mesh_files
from pmv_jax.meshes.projection import draw
from pmv_jax.viewer import camera as viewer_cameras
from tests.doors.test_mesh import ball, colour_at, make
from tests.results.test_report import BROWSER, DRIVER, FLAGS

SIZE = 256
CAMERA = np.asarray(cameras.look_at(0.5, 0.2))

PAGE = """<!doctype html><body style="margin: 0; background: #fff"><canvas width="{size}" height="{size}"></canvas>
<script type="importmap">
{{"imports": {{"three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/"}}}}
</script>
<script type="module">
import * as THREE from "three";
import {{GLTFLoader}} from "three/addons/loaders/GLTFLoader.js";
new GLTFLoader().load("head.glb", file => {{
  const scene = new THREE.Scene().add(file.scene);
  scene.background = new THREE.Color("white");
  const camera = new THREE.PerspectiveCamera({fov}, 1, 0.1, 10);
  camera.position.set(...{position});
  camera.lookAt(...{target});
  const renderer = new THREE.WebGLRenderer({{canvas: document.querySelector("canvas"), antialias: true}});
  renderer.render(scene, camera);
  document.title = "drawn";
}}, undefined, error => document.title = "failed: " + error);
</script>"""

BLENDER = """
import bpy, json, math, mathutils, sys
about = json.load(open(sys.argv[-1]))
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=about["glb"])
scene = bpy.context.scene
data = bpy.data.cameras.new("camera")
data.angle = about["fov"]
camera = bpy.data.objects.new("camera", data)
scene.collection.objects.link(camera)
y_up = mathutils.Matrix.Rotation(math.pi / 2, 4, "X")  # Blender's own z is up; its importer turns glTF's y to it
camera.matrix_world = y_up @ mathutils.Matrix(about["cam2world"])
scene.camera = camera
scene.world = bpy.data.worlds.new("white")
scene.world.use_nodes = True
scene.world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
scene.render.engine = "CYCLES"
scene.cycles.samples = 4
scene.cycles.use_denoising = False
scene.view_settings.view_transform = "Standard"
scene.render.resolution_x = scene.render.resolution_y = about["size"]
scene.render.filepath = about["png"]
bpy.ops.render.render(write_still=True)
"""


@pytest.fixture(scope="module", params=["vertices", "texture"])
def folder(request, tmp_path_factory):
    """A coloured ball as head.glb, coloured both ways, and its picture as this project draws it [H, W, 3]."""
    folder = tmp_path_factory.mktemp(request.param)
    mesh = make(ball)
    atlas = mesh_files.bake(mesh, lambda points, _: colour_at(points), 512) if request.param == "texture" else None
    mesh_files.write_mesh(folder / "head.glb", mesh, atlas)
    image, covered = draw(mesh, CAMERA, SIZE)
    assert 0.1 < covered.mean() < 0.9
    return folder, (image + 1) * 127.5


def agrees(picture: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two pictures [H, W, 3] in [0, 255] are the same but for their edges."""
    difference = np.abs(picture.astype(float) - expected)
    print(f"mean difference {difference.mean():.2f}, beyond 16 in {np.mean(difference.max(-1) > 16):.1%} of the pixels")
    return difference.mean() < 2 and np.mean(difference.max(-1) > 16) < 0.03


@pytest.mark.slow
def test_three_js_shows_it(folder):
    three = os.environ.get("PMV_JAX_THREE")
    if not three or BROWSER is None or DRIVER is None:
        pytest.skip("PMV_JAX_THREE names no three.js, or there is no chromium with chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver")
    directory, expected = folder
    (directory / "three").symlink_to(Path(three).resolve())
    page = PAGE.format(
        size=SIZE,
        fov=np.rad2deg(viewer_cameras.field_of_view(CAMERA)),
        position=CAMERA[3:12:4].tolist(),
        target=viewer_cameras.looked_at(CAMERA, (0, 0, 0.2)).tolist(),
    )
    (directory / "index.html").write_text(page)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={directory / 'profile'}", "--window-size=600,600"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get(f"http://127.0.0.1:{server.server_port}/index.html")
        end = time.monotonic() + 60
        while not driver.title and time.monotonic() < end:
            time.sleep(0.1)
        assert driver.title == "drawn"
        shot = driver.find_element("css selector", "canvas").screenshot_as_png
        assert agrees(np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")), expected)
    finally:
        driver.quit()
        server.shutdown()


@pytest.mark.slow
def test_blender_shows_it(folder):
    blender = shutil.which("blender")
    if blender is None:
        pytest.skip("no blender on this machine")
    directory, expected = folder
    about = {
        "glb": str(directory / "head.glb"),
        "png": str(directory / "blender.png"),
        "size": SIZE,
        "fov": viewer_cameras.field_of_view(CAMERA),
        # Blender's cameras look along -z, with y up.
        "cam2world": (CAMERA[:16].reshape(4, 4) @ np.diag([1, -1, -1, 1])).tolist(),
    }
    (directory / "about.json").write_text(json.dumps(about))
    (directory / "show.py").write_text(BLENDER)
    command = [blender, "--background", "--factory-startup", "--python-exit-code", "1"]
    command += ["--python", str(directory / "show.py"), "--", str(directory / "about.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert agrees(np.asarray(Image.open(directory / "blender.png").convert("RGB")), expected)
