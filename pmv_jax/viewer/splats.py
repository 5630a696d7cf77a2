"""A file of Gaussian splats in the browser, which draws them itself: there is nothing to render here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import viser

from pmv_jax import cameras
from pmv_jax.splats.gaussians import Splats
from pmv_jax.viewer.server import running

_AROUND = 2.7  # world units, of the first view: the distance of EG3D's cameras from a head
_ENLARGED = 10.0  # in the browser: viser sends covariances in 16 bits, which are few for splats of 0.002 squared


@contextlib.contextmanager
def serve_splats(shown: Splats, host: str, port: int) -> Iterator[viser.ViserServer]:
    """Runs a server that shows splats, first from the front, for as long as the context lasts.

    Args:
      shown: the splats; the face looks towards +z.
      host: address to listen at.
      port: a free one.
    """
    middle = _ENLARGED * np.median(shown.positions, axis=0)
    front = np.asarray(cameras.look_from(np.float32(middle + (0, 0, _ENLARGED * _AROUND)), np.float32(middle)))
    with running(host, port, front, middle) as server:
        server.scene.add_gaussian_splats(
            "/splats",
            centers=np.float32(_ENLARGED * shown.positions),
            covariances=np.float32(_ENLARGED**2 * shown.covariances),
            rgbs=np.float32(shown.colours),
            opacities=np.float32(shown.opacities[:, None]),
        )
        yield server
