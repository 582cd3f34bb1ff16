"""Which user the servers run as: never root."""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534


@dataclass(frozen=True)
class RunAs:
    """How to start a server as somebody other than root.

    Attributes:
        prefix: a command to put in front of the server's.
        owner: the user who must own the server's folders, None when nothing has to change hands.
    """

    prefix: tuple[str, ...] = ()
    owner: int | None = None

    def own(self, folder: Path) -> None:
        """Give a folder of ours to that user."""
        if self.owner is not None:
            os.chown(folder, self.owner, self.owner)


_DROPPED = RunAs(("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"), NOBODY)
_MAPPED = RunAs(("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"))


def unprivileged(reachable: Iterable[Path]) -> RunAs:
    """How to run a server unprivileged.

    An ordinary user just runs it. Root becomes `nobody` where `nobody` can reach the given folders, else a user without
    privileges in a user namespace, whose files stay root's.

    Args:
        reachable: the folders that the server must be able to enter.

    Returns:
        The way; the empty one when root can do neither (PostgreSQL then refuses to start, and says so).
    """
    if os.geteuid() != 0:
        return RunAs()
    folders = [str(folder) for folder in reachable]

    def can_enter(way: RunAs, folder: str) -> bool:
        test = [*way.prefix, "test", "-x", folder]
        return subprocess.run(test, cwd="/", check=False, capture_output=True).returncode == 0

    return next((way for way in (_DROPPED, _MAPPED) if all(can_enter(way, one) for one in folders)), RunAs())
