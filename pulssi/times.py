"""time: int64 microseconds UTC everywhere, an injected clock where a test wants one"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

US_PER_S = 1_000_000
US_PER_MS = 1_000

Clock = Callable[[], int]
"""Returns the current time in microseconds UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


def now_us() -> int:
    """The wall clock in microseconds UTC."""
    return time.time_ns() // 1_000


def parse_iso_us(text: str) -> int:
    """Microseconds UTC of an ISO 8601 date-time that names its zone.

    Raises:
        ValueError: not a date-time, or without a zone (a zoneless time is nobody's time).
    """
    moment = datetime.fromisoformat(text)
    if "\0" in text:  # where fromisoformat stops reading
        raise ValueError(f"{text!r} holds a NUL")
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return datetime_us(moment)


def datetime_us(moment: datetime) -> int:
    """Microseconds UTC of an aware datetime, exact."""
    return (moment - _EPOCH) // _US


def us_datetime(us: int) -> datetime:
    """The aware UTC datetime of `us` microseconds."""
    return _EPOCH + timedelta(microseconds=us)


def iso(us: int) -> str:
    """ISO 8601 in UTC with a trailing Z, milliseconds when they are enough."""
    moment = us_datetime(us)
    spec = "milliseconds" if us % US_PER_MS == 0 else "microseconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")
