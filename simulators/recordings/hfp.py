"""recorded HSL High-Frequency Positioning v2: a line is `<received, ISO 8601> <topic> <JSON>`

Times are changed in the text itself, so that every other byte stays as it was recorded. What is expected of each
message (vehicle, event time, delay) is computed here on its own, not with the gateway's decoder: it is the other side
of a test. Source: digitransit.fi, APIs, High-frequency positioning (2026-06).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pulssi.times import US_PER_S, datetime_us, iso, parse_iso_us, us_datetime
from simulators.messages import Event, Message, content_hash
from simulators.recordings.base import Record

HELSINKI = ZoneInfo("Europe/Helsinki")
DAY_CHANGE_MINUTES = 4 * 60 + 30
"""A trip that starts before this time of day belongs to the operating day before."""

_INSTANT = re.compile(r'"(tst|ttarr|ttdep)":"([^"]+)"')
_SECONDS = re.compile(r'"tsi":(\d+)')
_DAY = re.compile(r'"oday":"(\d{4}-\d{2}-\d{2})"')
_START = re.compile(r'"start":"(\d{2}:\d{2})"')
_START_LEVEL = 12
"""Index of start_time among the levels of the topic, which begins with an empty one."""

_ARRIVALS = {"due", "arr", "ars", "pas"}
_DEPARTURES = {"dep", "pde"}


def read_lines(lines: Iterable[str]) -> Iterator[Record]:
    """Records of a dump, in its order.

    Raises:
        ValueError: a line is not of this form.
    """
    for line in lines:
        received, rest = line.rstrip("\n").split(" ", 1)
        at = rest.index(" {")
        yield HfpRecord(parse_iso_us(received), rest[:at], rest[at + 1 :])


class HfpRecord(Record):
    """One recorded message of one vehicle."""

    def __init__(self, time: int, topic: str, payload: str) -> None:
        self.time = time
        self.device_id = vehicle_of(topic)
        self._topic = topic
        self._payload = payload

    def message(self, shift_us: int, seq: int) -> Message:  # noqa: ARG002  the format has no seq
        """The message as it would have come `shift_us` later."""
        topic, payload = (self._topic, self._payload) if not shift_us else self._shifted(shift_us)
        return as_message(self.time + shift_us, topic.encode(), payload.encode())

    def _shifted(self, shift_us: int) -> tuple[str, str]:
        payload = _INSTANT.sub(
            lambda found: f'"{found[1]}":"{_move_iso(found[2], shift_us)}"',
            self._payload,
        )
        payload = _SECONDS.sub(lambda found: f'"tsi":{int(found[1]) + shift_us // US_PER_S}', payload)
        day, start = _DAY.search(payload), _START.search(payload)
        if day is None or start is None:
            return self._topic, payload
        new_day, new_start = move_start(day[1], start[1], shift_us)
        payload = _DAY.sub(f'"oday":"{new_day}"', payload)
        payload = _START.sub(f'"start":"{new_start}"', payload)
        levels = self._topic.split("/")
        if len(levels) > _START_LEVEL and levels[_START_LEVEL] == start[1]:
            levels[_START_LEVEL] = new_start
        return "/".join(levels), payload


def _move_iso(text: str, shift_us: int) -> str:
    return iso(parse_iso_us(text) + shift_us)


def move_start(day: str, start: str, shift_us: int) -> tuple[str, str]:
    """Operating day and local start of a trip that runs `shift_us` later.

    The operating day ends about 04:30 of the next day, while the start stays on the 24-hour clock.
    """
    clock = datetime.fromisoformat(f"{day}T{start}")
    if clock.hour * 60 + clock.minute < DAY_CHANGE_MINUTES:
        clock += timedelta(days=1)
    moved = us_datetime(datetime_us(clock.replace(tzinfo=HELSINKI)) + shift_us).astimezone(HELSINKI)
    return operating_day(moved).isoformat(), f"{moved:%H:%M}"


def operating_day(local: datetime) -> date:
    """The operating day of a trip that starts at this local time."""
    early = local.hour * 60 + local.minute < DAY_CHANGE_MINUTES
    return local.date() - timedelta(days=1) if early else local.date()


def as_message(send_time: int, topic: bytes, payload: bytes) -> Message:
    """An HFP message with what is expected of it."""
    text = topic.decode()
    (fields,) = json.loads(payload).values()
    event_time = parse_iso_us(fields["tst"])
    vehicle = vehicle_of(text)
    delay = delay_s(text.split("/")[5], fields, event_time)
    event = Event(content_hash(topic, payload), event_time, vehicle, delay)
    return Message(send_time, vehicle, topic, payload, event=event)


def vehicle_of(topic: str) -> str:
    """operator/number of the topic: together they are unique."""
    levels = topic.split("/")
    return f"{levels[7]}/{levels[8]}"


def delay_s(event: str, fields: dict[str, Any], event_time: int) -> int | None:
    """Seconds late: against the timetable where the message names it, else HFP's own `dl` with its sign turned.

    `dl` is whole minutes on departures and up to 50 s off, so the timetable goes first.
    """
    scheduled = fields.get("ttarr") if event in _ARRIVALS else fields.get("ttdep") if event in _DEPARTURES else None
    if scheduled is not None:
        return round((event_time - parse_iso_us(scheduled)) / US_PER_S)
    ahead_s = fields.get("dl")
    return None if ahead_s is None else -int(ahead_s)
