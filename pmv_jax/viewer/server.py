"""The viewer's server: a panel and a camera for each browser window, and one thread that renders for all of them.

viser draws the panel and the mesh, and tells of cameras; pictures are sent to it as a background to what it draws.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import viser
from PIL import Image

from pmv_jax import images
from pmv_jax.cameras import paths as camera_paths
from pmv_jax.checkpoints.demo import default_generator_directory
from pmv_jax.edits import directions, editing
from pmv_jax.edits.directions import Direction
from pmv_jax.errors import InputError
from pmv_jax.inversion.result import Inversion, load_inversion
from pmv_jax.viewer import scene as viewing

_RANGE = 3.0  # of sliders: standard deviations
_WIDEST = 40.0  # degrees of the field of view


# ---------------------------------------------------------------------------------------------------------------------
# What is shown
# ---------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Shown:
    """An inversion with what belongs to it.

    Attributes:
      name: of its directory.
      camera: [25] of the input.
      photograph: the input [H, W, 3] in [-1, 1]; None where only an inversion was kept.
      reconstruction: its view rendered when it was inverted, to look at until more can be; None likewise.
      mesh: a GLB file's bytes; None likewise.
      before: what `python -m pmv_jax.edit` made this head from, where it is still there.
    """

    name: str
    head: viewing.Head
    camera: np.ndarray
    photograph: np.ndarray | None
    reconstruction: np.ndarray | None
    mesh: bytes | None
    before: viewing.Head | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """What of it can be shown."""
        return (
            *viewing.PICTURES[:1],
            *(["input"] if self.photograph is not None else []),
            *viewing.PICTURES[1:],
            *(["mesh"] if self.mesh is not None else []),
        )


def load(directory: Path, directions_file: str | None = None) -> Shown:
    """Reads a result directory, or an inversion alone.

    Args:
      directory: what `python -m pmv_jax.invert` wrote.
      directions_file: of edits; None takes the demo generator's where the inversion is of that generator.

    Raises:
      InputError: there is no inversion, or it cannot be read.
    """
    inversion = load_inversion(directory)
    mesh = directory / "mesh.glb"

    def picture(name: str) -> np.ndarray | None:
        path = directory / name
        return images.load_image(path, inversion.generator.config.image_resolution) if path.is_file() else None

    return Shown(
        name=directory.resolve().name,
        head=viewing.Head(inversion.generator, inversion.ws, _edits(inversion, directions_file)),
        camera=np.asarray(inversion.camera),
        photograph=picture("input.png"),
        reconstruction=picture("reconstruction.png"),
        mesh=mesh.read_bytes() if mesh.is_file() else None,
        before=_before(directory, inversion),
    )


def _before(directory: Path, edited: Inversion) -> viewing.Head | None:
    """The head that an edit's result was made from; None if this is none, or that is gone or has been replaced."""
    try:
        source = Path(json.loads((directory / "edit.json").read_text(encoding="utf-8"))["inversion"])
        inversion = load_inversion(source)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None
    generators = (inversion.generator, edited.generator)
    same = np.array_equal(inversion.camera, edited.camera) and len({*map(editing.fingerprint, generators)}) == 1
    return viewing.Head(inversion.generator, inversion.ws, {}) if same else None


def _edits(inversion: Inversion, file: str | None) -> dict[str, Direction]:
    config = inversion.generator.config
    own = editing.fingerprint(inversion.generator)
    if file:
        found = directions.load_directions(file, config.num_ws, config.w_dim)
        if found.fingerprint not in (None, own):
            warnings.warn(f"{found.path} was found for another generator; its sliders may mean nothing", stacklevel=2)
        return found.directions
    path = default_generator_directory() / directions.DEFAULT_FILE
    if not path.is_file() or json.loads(path.read_text(encoding="utf-8"))["generator"] != own:
        return {}
    return directions.load_directions(path, config.num_ws, config.w_dim).directions


# ---------------------------------------------------------------------------------------------------------------------
# The server
# ---------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serve(shown: list[Shown], host: str, port: int) -> Iterator[tuple[viser.ViserServer, Studio]]:
    """The server and, beside it, the rendering, for as long as the context lasts.

    Both are ended whatever ends the context: a thread that is compiling when the interpreter leaves aborts the process.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # its banner gives addresses that are not always right
        server = viser.ViserServer(host, port, label="pmv_jax", verbose=False)
    server.scene.set_up_direction("+y")
    server.gui.main_panel.dock_right()
    # No share button: it would open a tunnel through a public server.
    server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
    first = shown[0]
    camera = viewing.to_viewer(first.camera, 1.0)
    server.initial_camera.position = camera.position
    server.initial_camera.look_at = viewing.looked_at(first.camera, first.head.generator.config.camera_pivot)
    server.initial_camera.up = -first.camera[1:12:4].astype(np.float64)
    server.initial_camera.fov = camera.fov
    studio = Studio(shown, viewing.Newest())
    try:
        server.on_client_connect(studio.enter)
        server.on_client_disconnect(studio.leave)
        yield server, studio
    finally:
        studio.stop()
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


class Studio:
    """Renders for all viewers, one picture at a time, in a thread of its own."""

    def __init__(self, shown: list[Shown], wishes: viewing.Newest[int, None]) -> None:
        self._shown, self._wishes = shown, wishes
        self._windows: dict[int, Window] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="studio", daemon=True)
        self._thread.start()

    @property
    def windows(self) -> tuple[Window, ...]:
        """Those that are open."""
        return tuple(self._windows.values())

    def enter(self, client: viser.ClientHandle) -> None:
        """A browser window has come."""
        window = Window(client, self._shown, lambda: self._wishes.put(client.client_id, None))
        self._windows[client.client_id] = window
        self._wishes.put(client.client_id, None)

    def leave(self, client: viser.ClientHandle) -> None:
        """It has been closed."""
        self._windows.pop(client.client_id, None)
        self._wishes.drop(client.client_id)

    def stop(self) -> None:
        """Ends the thread, once what it is at is done."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        prepared = self._shown[0]
        prepared.head.prepare(prepared.camera)
        while not self._stopped.is_set():
            taken = self._wishes.take(0.5)
            window = None if taken is None else self._windows.get(taken[0])
            if window is None:
                continue
            try:
                window.draw(still=taken[2])  # what is shown is read now, not when it was wished for
            except Exception:  # one window's trouble, a lost connection for example, is not that of others
                traceback.print_exc()


class Window:
    """One browser window: its panel, its camera, and what it shows."""

    def __init__(self, client: viser.ClientHandle, shown: list[Shown], wish: Callable[[], None]) -> None:
        self._client, self._wish = client, wish
        self._all = {_label(item, shown): item for item in shown}
        self._shown = shown[0]
        self._square_fov = self._field_of_view()
        self._mesh: viser.GlbHandle | None = None
        self.sliders: dict[str, viser.GuiSliderHandle[float]] = {}
        gui = client.gui
        if len(shown) > 1:
            heads = gui.add_dropdown("Head", tuple(self._all), initial_value=next(iter(self._all)))
            heads.on_update(lambda _: self._choose(heads.value))
        self._kind = gui.add_dropdown("Show", self._shown.kinds, initial_value=self._shown.kinds[0])
        self._kind.on_update(lambda _: wish())
        self._fov = gui.add_slider("Field of view", 2.0, _WIDEST, 0.1, round(math.degrees(self._square_fov), 1))
        self._fov.on_update(lambda _: self._slid())
        gui.add_button("Front").on_click(lambda _: self._go(self._front()))
        gui.add_button("Input's view").on_click(lambda _: self._go(self._shown.camera))
        self.before = gui.add_checkbox("Before the edit", False, hint="The head without what was, and is here, edited.")
        self.before.on_update(lambda _: wish())
        self._about = gui.add_markdown("")
        gui.add_button("Save picture").on_click(lambda _: self._save_picture())
        gui.add_button("Save camera").on_click(lambda _: self._save_camera())
        self._folder = gui.add_folder("Edits", expand_by_default=False)
        self._add_sliders()
        radius = self._shown.head.generator.config.camera_radius
        client.camera.min_orbit_distance = viewing.NEAREST * radius
        client.camera.max_orbit_distance = viewing.FARTHEST * radius
        client.camera.on_update(lambda _: self._moved())
        if self._shown.reconstruction is not None:
            self._send(self._shown.reconstruction)
        self._moved()

    def camera(self) -> np.ndarray:
        """EG3D's camera [25] of what the window shows now."""
        camera = self._client.camera
        return viewing.from_viewer(viewing.ViewerCamera(camera.wxyz, camera.position, camera.fov), camera.aspect)

    def draw(self, still: bool) -> None:
        """Renders and sends the picture for the window's camera as it is now."""
        shown, kind, camera = self._shown, self._kind.value, self.camera()
        if kind not in shown.kinds:  # another head is being chosen at this moment
            return
        self._show_mesh(shown if kind == "mesh" else None)
        if kind == "mesh":
            square = np.full((1, 1, 3), viewing.BACKDROP, np.uint8)
        elif kind == "input":
            square = shown.photograph
        else:
            square = self._rendered(shown, kind, camera, still)
        self._send(square)
        if still:
            self._describe(shown, kind, camera)

    def _rendered(self, shown: Shown, kind: str, camera: np.ndarray, still: bool) -> np.ndarray:
        if self.before.value:
            return viewing.picture(kind, *(shown.before or shown.head).render(camera, {}, still), camera)
        return viewing.picture(kind, *shown.head.render(camera, self._strengths(shown), still), camera)

    def _send(self, square: np.ndarray) -> None:
        camera = self._client.camera
        sheet = viewing.letterbox(square, camera.image_width, camera.image_height)
        self._client.scene.set_background_image(sheet, format="jpeg", jpeg_quality=90)
        self._client.flush()

    def _describe(self, shown: Shown, kind: str, camera: np.ndarray) -> None:
        config = shown.head.generator.config
        seen = viewing.place(camera, config)
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

    def _strengths(self, shown: Shown) -> dict[str, float]:
        return {name: slider.value for name, slider in self.sliders.items() if name in shown.head.edits}

    def _add_sliders(self) -> None:
        for handle in self.sliders.values():
            handle.remove()
        sliders = {}
        with self._folder:
            for name in self._shown.head.edits:
                slider = self._client.gui.add_slider(name.replace("_", " "), -_RANGE, _RANGE, 0.1, 0.0)
                slider.on_update(lambda _: self._wish())
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
        self._wish()

    def _show_mesh(self, shown: Shown | None) -> None:
        if shown is not None and self._mesh is None:
            self._mesh = self._client.scene.add_glb("/mesh", shown.mesh)
        if self._mesh is not None:
            self._mesh.visible = shown is not None

    def _field_of_view(self) -> float:
        return viewing.field_of_view(self._shown.camera)

    def _front(self) -> np.ndarray:
        config = self._shown.head.generator.config
        return camera_paths.around_head(config, np.zeros(1), np.zeros(1), focal=float(self._shown.camera[20]))[0]

    def _go(self, camera: np.ndarray) -> None:
        handle = self._client.camera
        with self._client.atomic():
            # In this order: to set the position shifts the point looked at, and to set that turns the camera.
            handle.up_direction = -camera[1:12:4].astype(np.float64)
            handle.position = camera[3:12:4].astype(np.float64)
            handle.look_at = viewing.looked_at(camera, self._shown.head.generator.config.camera_pivot)
        self._square_fov = viewing.field_of_view(camera)
        self._fov.value = round(math.degrees(self._square_fov), 1)
        self._moved()

    def _slid(self) -> None:
        if abs(self._fov.value - math.degrees(self._square_fov)) > 0.051:  # else it only shows what was set, rounded
            self._square_fov = math.radians(self._fov.value)
            self._moved()

    def _moved(self) -> None:
        """Keeps the square's field of view when the window's proportions change, and asks for a new picture."""
        camera = self._client.camera
        camera.fov = viewing.vertical_fov(self._square_fov, camera.aspect)
        self._wish()

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


def _label(item: Shown, shown: list[Shown]) -> str:
    """Its name, with a number where several share it."""
    same = [other for other in shown if other.name == item.name]
    return item.name if len(same) == 1 else f"{item.name} ({[other is item for other in same].index(True) + 1})"


def _central_square(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]
