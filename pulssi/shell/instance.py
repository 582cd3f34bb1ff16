"""the name under which a worker is a static member of its consumer group

A worker that is killed and started again under the same name gets its partitions back at once, without waiting for the
session to time out. Two living workers must never share one, so each name is locked on this machine while it is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import IO

from pulssi.errors import ConfigurationError

_SLOTS_MAX = 256
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")


class Instance:
    """A locked name; the kernel frees it when the process ends, however it ends.

    Attributes:
        name: the group instance id.
    """

    def __init__(self, group: str, bootstrap: str) -> None:
        """Take `PULSSI_INSTANCE`, else the first free one of <host>-0, <host>-1 ...

        Raises:
            ConfigurationError: another worker on this machine has `PULSSI_INSTANCE`.
        """
        self._folder = _folder(f"{bootstrap}\0{group}")
        given = os.environ.get("PULSSI_INSTANCE")
        host = _UNFIT.sub("-", socket.gethostname())
        names = [_UNFIT.sub("-", given)] if given else [f"{host}-{slot}" for slot in range(_SLOTS_MAX)]
        for name in names:
            lock = self._lock(name)
            if lock is not None:
                self.name, self._held = name, lock
                return
        raise ConfigurationError(f"PULSSI_INSTANCE: another worker of {group} already runs here as {names[0]}")

    def _lock(self, name: str) -> IO[str] | None:
        file = (self._folder / name).open("w", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def release(self) -> None:
        """Free the name."""
        self._held.close()


def _folder(scope: str) -> Path:
    """A folder of this user's own, one for each group of each Kafka."""
    base = Path(tempfile.gettempdir()) / f"pulssi-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.getuid():
        raise ConfigurationError(f"{base} belongs to somebody else")
    folder = base / hashlib.sha256(scope.encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
