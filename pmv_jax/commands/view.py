"""Shows finished inversions in the browser: turn, zoom, depth, normals, mesh, and edits by sliders.

    python -m pmv_jax.view --inversion DIR [--inversion DIR]... [--port N] [--host NAME] [--directions FILE]
    python -m pmv_jax.view --splat FILE.ply [--port N] [--host NAME]

Drag to turn, scroll to come nearer, drag with the right button to shift. While the camera moves, pictures are coarse;
when it rests, they are rendered in full. "Save picture" and "Save camera" download what is shown (PNG) and from where
(JSON with EG3D's 25 numbers, as --camera of python -m pmv_jax.invert takes it).

    python -m pmv_jax.view --inversion out/portrait
    python -m pmv_jax.view --inversion out/anna --inversion out/bert --port 9000

Every view is open, also those that generators are not trained on (beyond 0.6 radians of yaw and 0.3 of pitch, at
another distance or field of view); the panel then says so. The page is for this machine only; --host 0.0.0.0 opens it
to the network, without a password.

With --splat it shows a file of python -m pmv_jax.splat, which the browser draws by itself.

Needs the extra `pmv_jax[view]`.

Exit codes: 0 stopped by Ctrl-C, 2 bad input or usage.
"""

# JAX and everything that needs it are imported inside functions, so that --help and wrong flags answer at once.

from __future__ import annotations

import contextlib
import socket
import threading
import warnings
from pathlib import Path
from typing import Any

from pmv_jax.commandline.flags import Flags, inversion_directory
from pmv_jax.commandline.run import command
from pmv_jax.errors import InputError, require
from pmv_jax.viewer.ports import free_port

FLAGS = Flags()
_INVERSIONS = FLAGS.strings("inversion", "Result of python -m pmv_jax.invert; can be repeated.")
_SPLAT = FLAGS.string("splat", None, "File of Gaussian splats, .ply, in place of inversions.")
_PORT = FLAGS.integer("port", 8080, "Port; the next free one where it is in use.", least=1, most=65535)
_HOST = FLAGS.string("host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets other machines in.")
_DIRECTIONS = FLAGS.string("directions", None, "File with named directions. Default: the demo generator's.")


@command(FLAGS)
def main() -> None:
    directories = _directories()
    port = free_port(_HOST.value, _PORT.value)
    if _DIRECTIONS.value and not Path(_DIRECTIONS.value).is_file():
        raise InputError(f"--directions {_DIRECTIONS.value}: no such file; give a .json, .npy or .npz file")
    if port != _PORT.value:
        warnings.warn(f"port {_PORT.value} is in use; taking {port}", stacklevel=2)

    require("viser", "view", "the viewer")
    with contextlib.suppress(KeyboardInterrupt), _served(directories, port):
        print(f"http://{_address(_HOST.value)}:{port}  (Ctrl-C stops)", flush=True)
        threading.Event().wait()


def _directories() -> list[Path]:
    """Of the inversions; none with --splat."""
    if _SPLAT.value is None:
        return [inversion_directory(given) for given in _INVERSIONS.value or [None]]
    for flag in (_INVERSIONS, _DIRECTIONS):
        if flag.value:
            raise InputError(f"--splat and --{flag.name} exclude each other; show one, then the other")
    return []


def _served(directories: list[Path], port: int) -> contextlib.AbstractContextManager[Any]:
    """The server that shows what is asked for."""
    if _SPLAT.value is not None:
        from pmv_jax.splats.files import read_ply
        from pmv_jax.viewer.splats import serve_splats

        return serve_splats(read_ply(Path(_SPLAT.value)), _HOST.value, port)
    from pmv_jax.viewer.server import serve
    from pmv_jax.viewer.subject import load_subject

    return serve([load_subject(directory, _DIRECTIONS.value) for directory in directories], _HOST.value, port)


def _address(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
