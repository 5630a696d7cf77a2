"""One browser window: its panel, its camera, and what it shows.

viser draws the panel and the mesh, and tells of cameras; pictures are sent to it as a background to what it draws.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable

import numpy as np
import viser
from PIL import Image

from pmv_jax import images
from pmv_jax.cameras import paths as camera_paths
from pmv_jax.viewer import camera as viewer_cameras
from pmv_jax.viewer.camera import ViewerCamera
from pmv_jax.viewer.head import BACKDROP, letterbox, picture
from pmv_jax.viewer.subject import Subject

_SLIDER_RANGE = 3.0  # of edits: standard deviations
_WIDEST = 40.0  # degrees of the field of view


class Window:
    """One browser window: its panel, its camera, and what it shows."""

    def __init__(self, client: viser.ClientHandle, shown: list[Subject], ask: Callable[[], None]) -> None:
        """
        Args:
          client: viser's side of it.
          shown: the heads to choose from; the first is shown at first.
          ask: asks for a new picture; `draw` is then called from the thread that renders.
        """
        self._client, self._ask = client, ask
        self._all = {_label(item, shown): item for item in shown}
        self._shown = shown[0]
        self._square_fov = self._field_of_view()
        self._mesh: viser.GlbHandle | None = None
        self.sliders: dict[str, viser.GuiSliderHandle[float]] = {}
        gui = client.gui
        if len(shown) > 1:
            names = gui.add_dropdown("Head", tuple(self._all), initial_value=next(iter(self._all)))
            names.on_update(lambda _: self._choose(names.value))
        self._kind = gui.add_dropdown("Show", self._shown.kinds, initial_value=self._shown.kinds[0])
        self._kind.on_update(lambda _: ask())
        self._fov = gui.add_slider("Field of view", 2.0, _WIDEST, 0.1, round(math.degrees(self._square_fov), 1))
        self._fov.on_update(lambda _: self._slid())
        gui.add_button("Front").on_click(lambda _: self._go(self._front()))
        gui.add_button("Input's view").on_click(lambda _: self._go(self._shown.camera))
        self.before = gui.add_checkbox("Before the edit", False, hint="The head without what was, and is here, edited.")
        self.before.on_update(lambda _: ask())
        self._about = gui.add_markdown("")
        gui.add_button("Save picture").on_click(lambda _: self._save_picture())
        gui.add_button("Save camera").on_click(lambda _: self._save_camera())
        self._folder = gui.add_folder("Edits", expand_by_default=False)
        self._add_sliders()
        radius = self._shown.head.generator.config.camera_radius
        client.camera.min_orbit_distance = viewer_cameras.NEAREST * radius
        client.camera.max_orbit_distance = viewer_cameras.FARTHEST * radius
        client.camera.on_update(lambda _: self._moved())
        if self._shown.reconstruction is not None:
            self._send(self._shown.reconstruction)
        self._moved()

    def camera(self) -> np.ndarray:
        """EG3D's camera [25] of what the window shows now."""
        camera = self._client.camera
        return viewer_cameras.from_viewer(ViewerCamera(camera.wxyz, camera.position, camera.fov), camera.aspect)

    def draw(self, still: bool) -> None:
        """Renders and sends the picture for the window's camera as it is now."""
        shown, kind, camera = self._shown, self._kind.value, self.camera()
        if kind not in shown.kinds:  # another head is being chosen at this moment
            return
        self._show_mesh(shown if kind == "mesh" else None)
        if kind == "mesh":
            square = np.full((1, 1, 3), BACKDROP, np.uint8)
        elif kind == "input":
            square = shown.photograph
        else:
            square = self._rendered(shown, kind, camera, still)
        self._send(square)
        if still:
            self._describe(shown, kind, camera)

    def _rendered(self, shown: Subject, kind: str, camera: np.ndarray, still: bool) -> np.ndarray:
        if self.before.value:
            return picture(kind, *(shown.before or shown.head).render(camera, {}, still), camera)
        return picture(kind, *shown.head.render(camera, self._strengths(shown), still), camera)

    def _send(self, square: np.ndarray) -> None:
        camera = self._client.camera
        sheet = letterbox(square, camera.image_width, camera.image_height)
        self._client.scene.set_background_image(sheet, format="jpeg", jpeg_quality=90)
        self._client.flush()

    def _describe(self, shown: Subject, kind: str, camera: np.ndarray) -> None:
        config = shown.head.generator.config
        seen = viewer_cameras.place(camera, config)
        text = (
            f"yaw {math.degrees(seen.yaw):+.0f}°, pitch {math.degrees(seen.pitch):+.0f}°, distance {seen.distance:.2f}"
        )
        if seen.is_unknown:
            text += "\n\n**Beyond the views that the generator was trained on.**"
        if kind == "mesh" and any(self._strengths(shown).values()):
            text += "\n\nThe mesh is that of the head without edits."
        if shown.mesh is None:
            text += "\n\nThere is no mesh.glb in its directory."
        if not shown.head.edits:
            text += "\n\nNo directions are known for this generator: give --directions."
        self._about.content = text

    def _strengths(self, shown: Subject) -> dict[str, float]:
        return {name: slider.value for name, slider in self.sliders.items() if name in shown.head.edits}

    def _add_sliders(self) -> None:
        for handle in self.sliders.values():
            handle.remove()
        sliders = {}
        with self._folder:
            for name in self._shown.head.edits:
                slider = self._client.gui.add_slider(name.replace("_", " "), -_SLIDER_RANGE, _SLIDER_RANGE, 0.1, 0.0)
                slider.on_update(lambda _: self._ask())
                sliders[name] = slider
        self.sliders = sliders  # at once: another thread reads them
        self._folder.visible = bool(sliders)
        self.before.visible = bool(sliders) or self._shown.before is not None

    def _choose(self, label: str) -> None:
        self._shown = self._all[label]
        self._kind.options = self._shown.kinds
        if self._mesh is not None:
            self._mesh.remove()
            self._mesh = None
        self._add_sliders()
        self._ask()

    def _show_mesh(self, shown: Subject | None) -> None:
        if shown is not None and self._mesh is None:
            self._mesh = self._client.scene.add_glb("/mesh", shown.mesh)
        if self._mesh is not None:
            self._mesh.visible = shown is not None

    def _field_of_view(self) -> float:
        return viewer_cameras.field_of_view(self._shown.camera)

    def _front(self) -> np.ndarray:
        config = self._shown.head.generator.config
        return camera_paths.around_head(config, np.zeros(1), np.zeros(1), focal=float(self._shown.camera[20]))[0]

    def _go(self, camera: np.ndarray) -> None:
        handle = self._client.camera
        with self._client.atomic():
            # In this order: to set the position shifts the point looked at, and to set that turns the camera.
            handle.up_direction = -camera[1:12:4].astype(np.float64)
            handle.position = camera[3:12:4].astype(np.float64)
            handle.look_at = viewer_cameras.looked_at(camera, self._shown.head.generator.config.camera_pivot)
        self._square_fov = viewer_cameras.field_of_view(camera)
        self._fov.value = round(math.degrees(self._square_fov), 1)
        self._moved()

    def _slid(self) -> None:
        if abs(self._fov.value - math.degrees(self._square_fov)) > 0.051:  # else it only shows what was set, rounded
            self._square_fov = math.radians(self._fov.value)
            self._moved()

    def _moved(self) -> None:
        """Keeps the square's field of view when the window's proportions change, and asks for a new picture."""
        camera = self._client.camera
        camera.fov = viewer_cameras.vertical_fov(self._square_fov, camera.aspect)
        self._ask()

    def _save_picture(self) -> None:
        kind, camera = self._kind.value, self.camera()
        if kind == "mesh":
            height, width = self._client.camera.image_height, self._client.camera.image_width
            square = _central_square(self._client.get_render(height, width, transport_format="png"))
        elif kind == "input":
            square = self._shown.photograph
        else:
            square = self._rendered(self._shown, kind, camera, still=True)
        file = io.BytesIO()
        Image.fromarray(images.to_uint8(square)).save(file, "PNG")
        self._client.send_file_download(f"{self._shown.name}_{kind}.png", file.getvalue(), save_immediately=True)

    def _save_camera(self) -> None:
        text = json.dumps({"camera": self.camera().tolist()}, indent=1)
        self._client.send_file_download(f"{self._shown.name}_camera.json", text.encode(), save_immediately=True)


def _label(item: Subject, shown: list[Subject]) -> str:
    """Its name, with a number where several share it."""
    same = [other for other in shown if other.name == item.name]
    return item.name if len(same) == 1 else f"{item.name} ({[other is item for other in same].index(True) + 1})"


def _central_square(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]
