"""The folder of downloaded things: each is fetched once, by one process at a time, and complete or absent."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


class MissingToolError(RuntimeError):
    """Something that the local services need cannot be had on this machine.

    Args:
        what: what is missing.
        why: what was tried and what it said.
        cure: what a person can do about it.
    """

    def __init__(self, what: str, why: str, cure: str = "") -> None:
        self.what, self.why, self.cure = what, why, cure
        super().__init__(f"{what}: {why}." + (f" {cure}" if cure else ""))


def once(dist: Path, name: str, recipe: bytes, fill: Callable[[Path], None]) -> Path:
    """Fill a folder once, whoever asks first; others wait for it.

    Args:
        dist: the folder of downloaded things.
        name: what the folder holds.
        recipe: all that its content depends on; another recipe makes another folder.
        fill: puts the content into a folder that it is given, which lies beside the finished one and becomes it.

    Returns:
        The finished folder.
    """
    folder = dist / f"{name}-{hashlib.sha256(recipe).hexdigest()[:10]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            for leftover in dist.glob(f".{folder.name}.*/"):  # of a process that was killed while it filled
                shutil.rmtree(leftover)
            fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                fill(fresh)
                fresh.chmod(0o755)
                _let_everybody_read(fresh)
                fresh.rename(folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _let_everybody_read(folder: Path) -> None:
    """Open a folder to the users that servers run as, whatever the umask was."""
    for top, folders, files in os.walk(folder):
        for path in (Path(top) / name for name in (*folders, *files)):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
