"""Mosquitto: from PATH, else from Debian's package."""

import os
import shutil
from pathlib import Path

from deploy.fetch.debs import unpack
from deploy.fetch.store import MissingToolError
from deploy.local.ports import answers
from deploy.local.supervisor import Child
from deploy.local.user import unprivileged

HERE = Path(__file__).parent
LIMITS = HERE.parent / "mosquitto/conf.d/limits.conf"
RELEASE = "trixie"
"""2.0.21; Debian 12's 2.0.11 ignores the in-flight window."""
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin"
"""Where it is installed although an ordinary user's PATH does not lead there."""
CONNECT = b"\x10\x12\x00\x04MQTT\x05\x02\x00\x05\x00\x00\x05probe"
"""MQTT 5 CONNECT, clean start, keep-alive 5 s, client id `probe`."""
CONNACK = b"\x20"
SOCKET_BYTES_MAX = 107
"""Of the path of a Unix socket, in Linux."""


def find(dist: Path) -> Path:
    """The program.

    Raises:
        MissingToolError: it is not installed and its package cannot be had.
    """
    installed = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}")
    if installed:
        return Path(installed)
    try:
        return unpacked(dist)
    except MissingToolError as error:
        raise MissingToolError("Mosquitto", error.why, "Install it, for example: apt-get install mosquitto") from error


def unpacked(dist: Path) -> Path:
    """The program of Debian's package."""
    tree = unpack("mosquitto", ["mosquitto"], dist, programs=["usr/sbin"], release=RELEASE)
    return tree.path / "usr/sbin/mosquitto"


def socket_path(data: Path) -> Path | None:
    """Where the broker listens for the gateway beside TCP; None where it cannot: Mosquitto ends the path at a space."""
    path = data / "broker.sock"
    return path if len(os.fsencode(path)) <= SOCKET_BYTES_MAX and " " not in str(path) else None


def child(program: Path, data: Path, log_path: Path, host: str, port: int) -> Child:
    """The broker as a child, its configuration written beside its data."""
    data.mkdir(parents=True, exist_ok=True)
    run_as = unprivileged([data, program.parent])
    run_as.own(data)
    own = (HERE / "mosquitto.conf").read_text(encoding="utf-8").format(host=host, port=port, data=data)
    path = socket_path(data)
    if path is not None:
        own = f"{own}listener 0 {path}\n"
    configuration = data / "mosquitto.conf"
    configuration.write_text(own + LIMITS.read_text(encoding="utf-8"), encoding="utf-8")
    return Child(
        "mosquitto",
        [program, "-c", configuration],
        log_path,
        ready=answers(host, port, CONNECT, CONNACK),
        run_as=run_as.prefix,
    )
