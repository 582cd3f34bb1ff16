"""event times as devices write them"""

from __future__ import annotations

from pulssi.errors import PoisonError, Reason
from pulssi.times import parse_iso_us


def iso_us(text: str) -> int:
    """Microseconds UTC of an ISO 8601 date-time with a zone.

    Raises:
        PoisonError: it is none, or names no zone.
    """
    try:
        return parse_iso_us(text)
    except (ValueError, OverflowError) as error:
        raise PoisonError(Reason.BAD_TIME, str(error)[:120]) from error
