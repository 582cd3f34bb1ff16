"""retention: whole days are dropped once they are older than the setting says"""

from __future__ import annotations

import time
from datetime import timedelta

import psycopg

from pulssi.logs import Log
from pulssi.settings import Settings
from pulssi.times import now_us, us_datetime
from storage.database import connect, is_transient
from storage.tables import PARTITIONED

_INTERVAL_S = 3600.0


class Retention:
    """Drops old days once an hour.

    Args:
        settings: `sink.retention_days` and where the database is.
        log: where to write what went.
    """

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._due = 0.0

    def run(self) -> None:
        """Drop what is too old, when it is time to look; a database that is away is asked again next time."""
        days = self._settings.sink.retention_days
        if days == 0 or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _INTERVAL_S
        try:
            dropped = drop(self._settings, days)
        except psycopg.Error as error:
            if not is_transient(error):
                raise
            self._log.warning("retention put off", why=str(error))
        else:
            self._log.info("retention", days=days, dropped=dropped)


def drop(settings: Settings, days: int) -> dict[str, int]:
    """Drop days that ended more than `days` days ago; how many went, by table."""
    before = us_datetime(now_us()) - timedelta(days=days)
    with connect(settings.database, "writer") as connection:
        return {
            table.name: connection.execute("SELECT drop_days(%s::regclass, %s)", (table.name, before)).fetchall()[0][0]
            for table in PARTITIONED
        }
