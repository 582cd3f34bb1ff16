"""days: local days in hours since the epoch; an hour belongs to the day in which it begins"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo

_S_PER_HOUR = 3600


class Days:
    """Days of one time zone, numbered as `datetime.date` numbers them.

    Args:
        zone: name of the zone, such as `Europe/Helsinki`.
    """

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)
        self.of = lru_cache(maxsize=4096)(self._of)
        self.start = lru_cache(maxsize=1024)(self._start)

    def _of(self, hour: int) -> int:
        """The day of an hour."""
        return datetime.fromtimestamp(hour * _S_PER_HOUR, self._zone).toordinal()

    def _start(self, day: int) -> int:
        """The first hour of a day."""
        midnight = datetime.combine(date.fromordinal(day), time(), self._zone)
        return -(-int(midnight.astimezone(UTC).timestamp()) // _S_PER_HOUR)
