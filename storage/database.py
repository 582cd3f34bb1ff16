"""connections: as which role, with which limits, and what to do while the database is away"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import psycopg
from psycopg_pool import ConnectionPool

from pulssi.logs import Log, Presence
from pulssi.settings import DatabaseSettings

Role = Literal["owner", "writer", "reader"]
Connection = psycopg.Connection[Any]
Result = TypeVar("Result")

_READER_TIMEOUT_S = 10
_WRITER_IDLE_S = 10


def options(role: Role) -> str:
    """Server settings of a session: UTC for everyone, time-outs by role.

    A writer that was stopped inside a transaction loses it after 10 s, so that whoever took over its partitions does
    not wait for the locked offsets for ever.
    """
    common = "-c timezone=UTC -c client_min_messages=warning"
    return {
        "owner": common,
        "writer": f"{common} -c idle_in_transaction_session_timeout={_WRITER_IDLE_S}s",
        "reader": f"{common} -c statement_timeout={_READER_TIMEOUT_S}s -c default_transaction_read_only=on",
    }[role]


def connect(settings: DatabaseSettings, role: Role = "owner", *, autocommit: bool = False) -> Connection:
    """One connection.

    Raises:
        psycopg.OperationalError: the database is away or refuses us.
    """
    return psycopg.connect(**settings.conninfo(role), options=options(role), autocommit=autocommit)


def open_pool(settings: DatabaseSettings, role: Role = "reader", *, size_max: int = 4) -> ConnectionPool[Connection]:
    """A pool whose connections are tried before they are handed out: after a restart half of them would be dead."""
    return ConnectionPool(
        kwargs={**settings.conninfo(role), "options": options(role)},
        min_size=1,
        max_size=size_max,
        check=ConnectionPool.check_connection,
        open=True,
        name=f"pulssi-{role}",
    )


def pauses(base_s: float = 0.1, s_max: float = 5.0) -> Iterator[float]:
    """Seconds to wait before each next try, for ever: doubling up to `s_max`, half of it random."""
    pause = base_s
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311  jitter, not a secret
        pause = min(2 * pause, s_max)


def is_transient(error: psycopg.Error) -> bool:
    """Whether the same work may succeed later: the server is away, restarting, out of something or chose us as victim.

    Class 54 (a row larger than the server can index, say) is an OperationalError by name but never goes away.
    """
    if isinstance(error, psycopg.OperationalError | psycopg.errors.IdleInTransactionSessionTimeout):
        return not (error.sqlstate or "").startswith("54")
    return isinstance(error, psycopg.InterfaceError)


def persist(
    work: Callable[[], Result],
    *,
    log: Log,
    stopped: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], object] = time.sleep,
) -> Result | None:
    """Do `work` until the database takes it; one log line when it goes away, one when it is back.

    Returns:
        What `work` returned; None when `stopped` said so before.

    Raises:
        psycopg.Error: whatever waiting does not heal.
    """
    presence = Presence(log, "database")
    for pause in pauses():
        if stopped():
            break
        try:
            result = work()
        except psycopg.Error as error:
            if not is_transient(error):
                raise
            presence.away(error)
            sleep(pause)
        else:
            presence.back()
            return result
    return None
