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


_DROP = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def _nobody_with(*capabilities: str) -> RunAs:
    """`nobody`, keeping some of root's capabilities."""
    kept = ",".join(f"+{one}" for one in capabilities)
    keep = (f"--inh-caps={kept}", f"--ambient-caps={kept}", "--securebits=+no_setuid_fixup") if capabilities else ()
    return RunAs((*_DROP, *keep, "--"), NOBODY)


_WAYS = (
    _nobody_with(),
    _nobody_with("dac_read_search"),
    RunAs(("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")),
    _nobody_with("dac_override"),
)
"""From the least power to the most."""


def unprivileged(reachable: Iterable[Path]) -> RunAs:
    """How to run a server as somebody other than root, who can reach its folders.

    An ordinary user just runs it. Root becomes `nobody`. Where a folder above is closed to `nobody` (a checkout in
    root's home), `nobody` keeps the right to pass it, or stays owner of root's files in a user namespace, whichever
    this machine or container allows.

    Args:
        reachable: the folders that the server must be able to enter.

    Returns:
        The way; the empty one when root can do none of it (PostgreSQL then refuses to start, and says so).
    """
    if os.geteuid() != 0:
        return RunAs()
    folders = [str(folder) for folder in reachable]

    def can_enter(way: RunAs, folder: str) -> bool:
        test = [*way.prefix, "test", "-x", folder]
        return subprocess.run(test, cwd="/", check=False, capture_output=True).returncode == 0

    return next((way for way in _WAYS if all(can_enter(way, one) for one in folders)), RunAs())
