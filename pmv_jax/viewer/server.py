"""The viewer's server: a window for each browser, and one thread that renders for all of them."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Iterator

import numpy as np
import viser

from pmv_jax.viewer import camera as viewer_cameras
from pmv_jax.viewer.requests import LatestRequests
from pmv_jax.viewer.subject import Subject
from pmv_jax.viewer.window import Window

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def serve(shown: list[Subject], host: str, port: int) -> Iterator[tuple[viser.ViserServer, Renderer]]:
    """Runs the server and, beside it, the rendering, for as long as the context lasts.

    Both are ended whatever ends the context: a thread that is compiling when the interpreter leaves aborts the process.

    Args:
      shown: the heads to choose from, at least one.
      host: address to listen at.
      port: a free one.
    """
    camera = shown[0].camera
    middle = viewer_cameras.looked_at(camera, shown[0].head.generator.config.camera_pivot)
    with running(host, port, camera, middle) as server:
        renderer = Renderer(shown, LatestRequests())
        try:
            server.on_client_connect(renderer.enter)
            server.on_client_disconnect(renderer.leave)
            yield server, renderer
        finally:
            renderer.stop()


@contextlib.contextmanager
def running(host: str, port: int, camera: np.ndarray, middle: np.ndarray) -> Iterator[viser.ViserServer]:
    """Runs a server without anything to see, for as long as the context lasts.

    Args:
      host: address to listen at.
      port: a free one.
      camera: [25], from where windows look at first.
      middle: [3], the point in the world that they turn around.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # its banner gives addresses that are not always right
        server = viser.ViserServer(host, port, label="pmv_jax", verbose=False)
    try:
        server.scene.set_up_direction("+y")
        server.gui.main_panel.dock_right()
        # No share button: it would open a tunnel through a public server.
        server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        first = viewer_cameras.to_viewer(camera, 1.0)
        server.initial_camera.position = first.position
        server.initial_camera.look_at = middle
        server.initial_camera.up = -camera[1:12:4].astype(np.float64)
        server.initial_camera.fov = first.fov
        yield server
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()


class Renderer:
    """Renders for all windows, one picture at a time, in a thread of its own."""

    def __init__(self, shown: list[Subject], requests: LatestRequests[int, None]) -> None:
        """
        Args:
          shown: the heads to choose from; the first is made ready at once.
          requests: of pictures, by viser's number of the client.
        """
        self._shown, self._requests = shown, requests
        self._windows: dict[int, Window] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="renderer", daemon=True)
        self._thread.start()

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that are open."""
        return tuple(self._windows.values())

    def enter(self, client: viser.ClientHandle) -> None:
        """Adds a browser window that has been opened."""
        window = Window(client, self._shown, lambda: self._requests.put(client.client_id, None))
        self._windows[client.client_id] = window
        self._requests.put(client.client_id, None)

    def leave(self, client: viser.ClientHandle) -> None:
        """Forgets one that has been closed."""
        self._windows.pop(client.client_id, None)
        self._requests.drop(client.client_id)

    def stop(self) -> None:
        """Ends the thread, once the picture that it is at is done."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        prepared = self._shown[0]
        prepared.head.prepare(prepared.camera)
        while not self._stopped.is_set():
            taken = self._requests.take(0.5)
            window = None if taken is None else self._windows.get(taken[0])
            if window is None:
                continue
            try:
                window.draw(still=taken[2])  # what is shown is read now, not when it was asked for
            except Exception:  # one window's trouble, a lost connection for example, is not that of others
                _LOG.exception("a picture for one window failed")
