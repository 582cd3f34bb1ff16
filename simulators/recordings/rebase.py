"""other times for a recording: its end becomes now, its differences stay

All shifts are whole minutes: trips start at minutes, panes and averages begin at minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pulssi.times import US_PER_S
from simulators.recordings.base import Record

_MINUTE_US = 60 * US_PER_S


class Rebase(NamedTuple):
    """One record with the time that it gets."""

    time: int
    shift_us: int
    record: Record


def rebased(records: Sequence[Record], end: int, *, squeeze_s: int | None = None) -> list[Rebase]:
    """Records in order, moved so that the last one is at most a minute before `end`.

    Args:
        records: in order of receipt.
        end: us UTC.
        squeeze_s: silences longer than this are cut to between one and two minutes; None keeps them. No trip should
            hold such a silence, since what lies before moves further than what lies after.
    """
    if not records:
        return []
    out: list[Rebase] = []
    shift = (end - records[-1].time) // _MINUTE_US * _MINUTE_US
    after = records[-1].time
    for record in reversed(records):
        gap = after - record.time
        if squeeze_s is not None and gap > squeeze_s * US_PER_S:
            shift += (gap - _MINUTE_US) // _MINUTE_US * _MINUTE_US
        out.append(Rebase(record.time + shift, shift, record))
        after = record.time
    out.reverse()
    return out
