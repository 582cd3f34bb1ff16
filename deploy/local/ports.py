"""Ports and probes on loopback."""

import random
import socket
from collections.abc import Callable

FREE_PORTS = range(20_000, 32_000)
"""Below the range of outgoing connections, so that a killed server finds its port free again."""


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on."""
    for port in random.SystemRandom().sample(FREE_PORTS, 200):
        if is_free(host, port):
            return port
    raise OSError(f"no free port on {host}")


def answers(host: str, port: int, request: bytes, part: bytes) -> Callable[[], bool]:
    """A probe: whether a server answers a request, and its first bytes contain `part`."""

    def probe() -> bool:
        with socket.create_connection((host, port), timeout=0.2) as connection:
            connection.sendall(request)
            return part in connection.recv(16)

    return probe
