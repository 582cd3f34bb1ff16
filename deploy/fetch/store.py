"""The folder of downloaded things: each is fetched once, by one process at a time, and complete or absent."""

import fcntl
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


def once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Fill a folder once, whoever asks first; others wait for it.

    Args:
        folder: the finished folder.
        fill: puts the content into a folder that it is given, which lies beside and becomes `folder`.

    Returns:
        `folder`, complete.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                fill(fresh)
                fresh.chmod(0o755)
                os.replace(fresh, folder)  # noqa: PTH105 (the name says that a finished folder takes the place)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return folder
