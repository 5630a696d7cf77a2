"""Ports of this machine that a server can take."""

from __future__ import annotations

import contextlib
import socket

from pmv_jax.errors import InputError


def free_port(host: str, first: int) -> int:
    """The first port from `first` on that can be listened at.

    Raises:
      InputError: no port is free, or `host` is not an address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        _listen(family, address)
    except OSError as error:
        raise InputError(f"--host {host}: cannot be listened at ({error.strerror}); try 127.0.0.1") from error
    for port in range(first, 65536):
        with contextlib.suppress(OSError):
            _listen(family, (address[0], port, *address[2:]))
            return port
    raise InputError(f"--port {first}: in use or not allowed, like all ports above it; choose a lower one")


def _listen(family: int, address: tuple) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
