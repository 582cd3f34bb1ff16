"""recorded answers of Digitraffic's REST interface for TMS stations, told as `tms-v2` messages

`/api/tms/v1/stations/data` holds several stations, `/stations/{id}/data` one; sensors that Pulssi has no word for are
left out. Source: digitraffic.fi, Road traffic (2026-08).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from pulssi.times import US_PER_S, parse_iso_us
from simulators.formats import TMS_SENSORS, tms_message
from simulators.messages import Message
from simulators.recordings.base import Record


class TmsRecord(Record):
    """One value of one sensor."""

    def __init__(self, station: int, sensor: int, time: int, value: float, window: tuple[int, int] | None) -> None:
        self.time = time
        self.device_id = f"tms-{station}"
        self._station = station
        self._sensor = sensor
        self._value = value
        self._window = window

    def message(self, shift_us: int, seq: int) -> Message:  # noqa: ARG002  the format has no seq
        """The message of this value at another time."""
        shift_s = shift_us // US_PER_S
        window = None if self._window is None else (self._window[0] + shift_s, self._window[1] + shift_s)
        return tms_message(
            self.time + shift_us, self._station, self._sensor, self.time // US_PER_S + shift_s, self._value, window
        )


def read_answer(data: bytes) -> Iterator[Record]:
    """Values of one answer, in its order.

    Raises:
        ValueError: not such an answer.
    """
    try:
        answer = msgspec.json.decode(data)
        stations = answer.get("stations", [answer])
        for station in stations:
            for sensor in station["sensorValues"]:
                if sensor["id"] in TMS_SENSORS:
                    yield _record(station["id"], sensor)
    except (AttributeError, KeyError, TypeError, msgspec.DecodeError) as error:
        raise ValueError(f"not an answer of /api/tms/v1/stations/data: {error!r}") from error


def _record(station: int, sensor: dict[str, Any]) -> Record:
    start, end = sensor.get("timeWindowStart"), sensor.get("timeWindowEnd")
    window = None
    if "KIINTEA" in sensor["name"] and start is not None and end is not None:
        window = (parse_iso_us(start) // US_PER_S, parse_iso_us(end) // US_PER_S)
    return TmsRecord(station, sensor["id"], parse_iso_us(sensor["measuredTime"]), float(sensor["value"]), window)
