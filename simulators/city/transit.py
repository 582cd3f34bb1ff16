"""buses on recorded routes: timetables, delays that grow with the traffic, and the HFP messages of every second"""

from __future__ import annotations

import heapq
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from pulssi.times import US_PER_S, iso, us_datetime
from simulators.city.noise import key_of, normal, uniform
from simulators.city.paths import Path, paths
from simulators.city.rhythm import HELSINKI, traffic_level
from simulators.messages import Event, Message, content_hash
from simulators.recordings.hfp import operating_day

HEADWAY_S: Final = 300
_NIGHT_H: Final = (1, 5)
_NIGHT_EVERY: Final = 4
"""At night every fourth trip runs."""
_SPEED_M_S: Final = 6.5
"""Of the timetable, stops included."""
_SPEED_M_S_MAX: Final = 14.0
_DWELL_S: Final = (6.0, 18.0)
_EARLY_S_MAX: Final = 45.0
_BEFORE_US: Final = 90 * US_PER_S
"""No bus is at its first stop so long before its start."""
_TRIPS_MAX: Final = 2000
"""Trips kept at hand; others are computed again."""
_VEHICLE_BASE: Final = 8000
"""Numbers of simulated buses: no bus of the recordings has such."""


@dataclass(frozen=True, slots=True)
class Trip:
    """One trip: at each stop the timetable and what really happens, us UTC."""

    path: Path
    vehicle: int
    journey: int
    scheduled: np.ndarray
    arrives: np.ndarray
    departs: np.ndarray
    clock: np.ndarray
    metres: np.ndarray
    operating_day: str
    start_text: str

    @property
    def vehicle_id(self) -> str:
        """operator/number, as the topic says it."""
        return f"{self.path.operator}/{self.vehicle:05}"

    @property
    def begin(self) -> int:
        """When the bus comes to its first stop: nothing is told of it before."""
        return int(self.arrives[0])

    @property
    def end(self) -> int:
        """When the bus has left its last stop."""
        return int(self.departs[-1])


class Buses:
    """All buses of the city, each trip a pure function of its place in the timetable."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.paths = paths()
        self._trips: OrderedDict[tuple[int, int], Trip] = OrderedDict()
        self._longest_us = [int(path.distance[-1] / _SPEED_M_S * 1.6 * US_PER_S) for path in self.paths]

    @property
    def vehicles(self) -> list[str]:
        """Every vehicle that may be seen."""
        return [
            f"{path.operator}/{self._vehicle(number, slot):05}"
            for number, path in enumerate(self.paths)
            for slot in range(self._pool(number))
        ]

    def messages(self, start: int, end: int, interval_us: int, *, stops_only: bool = False) -> Iterator[Message]:
        """HFP messages with event times in [start, end), in order of time.

        Args:
            start: us UTC.
            end: us UTC.
            interval_us: between two positions of a bus.
            stops_only: of the stop events only arrivals and departures, as for a backlog.
        """
        parts = [
            _trip_messages(trip, start, end, interval_us, stops_only=stops_only) for trip in self.trips(start, end)
        ]
        return heapq.merge(*parts, key=lambda message: message.send_time)

    def trips(self, start: int, end: int) -> list[Trip]:
        """Trips under way in [start, end)."""
        headway_us = HEADWAY_S * US_PER_S
        found = []
        for number in range(len(self.paths)):
            for slot in range((start - self._longest_us[number]) // headway_us, (end + _BEFORE_US) // headway_us + 1):
                if not self._runs(slot):
                    continue
                trip = self._trip(number, slot)
                if trip.begin < end and trip.end >= start:
                    found.append(trip)
        return found

    @staticmethod
    def _runs(slot: int) -> bool:
        hour = us_datetime(slot * HEADWAY_S * US_PER_S).astimezone(HELSINKI).hour
        return slot % _NIGHT_EVERY == 0 or not _NIGHT_H[0] <= hour < _NIGHT_H[1]

    def _pool(self, number: int) -> int:
        """How many buses serve a path, so that each has ended one trip before it starts another."""
        return self._longest_us[number] // (HEADWAY_S * US_PER_S) + 2

    def _vehicle(self, number: int, slot: int) -> int:
        return _VEHICLE_BASE + 50 * number + slot % self._pool(number)

    def _trip(self, number: int, slot: int) -> Trip:
        trip = self._trips.get((number, slot))
        if trip is None:
            trip = self._trips[number, slot] = self._make(number, slot)
            if len(self._trips) > _TRIPS_MAX:
                self._trips.popitem(last=False)
        return trip

    def _make(self, number: int, slot: int) -> Trip:
        path = self.paths[number]
        start = (slot * HEADWAY_S + number % 5 * 60) * US_PER_S
        at_m = np.array([metres for metres, _ in path.stops])
        scheduled = start + (at_m / _SPEED_M_S // 60 * 60 * US_PER_S).astype(np.int64)
        arrives, departs = self._run(number, slot, at_m, scheduled)
        local = us_datetime(start).astimezone(HELSINKI)
        return Trip(
            path,
            self._vehicle(number, slot),
            1 + slot % 5000,
            scheduled,
            arrives,
            departs,
            np.stack([arrives, departs], 1).ravel(),
            np.repeat(at_m, 2),
            operating_day(local).isoformat(),
            f"{local:%H:%M}",
        )

    def _run(self, number: int, slot: int, at_m: np.ndarray, scheduled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Arrivals and departures: a delay that wanders, grows in the rush, and is caught up at the speed limit."""
        key = key_of(self._seed, "trip", number, slot)
        n = len(at_m)
        level = traffic_level(scheduled)
        drift_s = 14 * (level - 0.35) + 12 * normal(key, np.arange(n))
        delay_s = 10 + 50 * float(uniform(key, n)[0]) * level + np.cumsum(drift_s)
        dwell_s = _DWELL_S[0] + (_DWELL_S[1] - _DWELL_S[0]) * uniform(key, n + 1 + np.arange(n))
        arrives, departs = np.empty(n, np.int64), np.empty(n, np.int64)
        ready = int(scheduled[0] - 60 * US_PER_S)
        for i in range(n):
            wanted = int(scheduled[i] + max(delay_s[i], -_EARLY_S_MAX) * US_PER_S)
            drive_us = int((at_m[i] - at_m[i - 1]) / _SPEED_M_S_MAX * US_PER_S) if i else 0
            arrives[i] = max(wanted, ready + drive_us)
            departs[i] = ready = int(arrives[i] + dwell_s[i] * US_PER_S)
        return arrives, departs


def _trip_messages(trip: Trip, start: int, end: int, interval_us: int, *, stops_only: bool) -> list[Message]:
    """Messages of one bus in [start, end), in order of time."""
    phase = (trip.vehicle * 137_000) % interval_us
    first = max(start, trip.begin)
    count = -(-(first - phase) // interval_us)
    found: list[tuple[int, str, int]] = []
    while (time := count * interval_us + phase) < min(end, trip.end):
        found.append((time, "vp", -1))
        count += 1
    found += _stop_events(trip, start, end, stops_only=stops_only)
    return [_message(trip, time, event, stop) for time, event, stop in sorted(found)]


_AROUND: Final = (
    ("due", "a", -15.0),
    ("arr", "a", -4.0),
    ("ars", "a", 0.0),
    ("doo", "a", 1.0),
    ("doc", "d", -2.5),
    ("pde", "d", -1.5),
    ("dep", "d", 0.0),
)
"""Events around a stop: seconds from the arrival or the departure."""


def _stop_events(trip: Trip, start: int, end: int, *, stops_only: bool) -> list[tuple[int, str, int]]:
    out = []
    near = np.flatnonzero((trip.departs >= start) & (trip.arrives < end - _AROUND[0][2] * US_PER_S))
    for stop in near.tolist():
        for event, side, offset_s in _AROUND:
            if stops_only and event not in {"ars", "dep"}:
                continue
            time = int((trip.arrives if side == "a" else trip.departs)[stop]) + int(offset_s * US_PER_S)
            if max(start, trip.begin) <= time < end:
                out.append((time, event, stop))
    return out


def _message(trip: Trip, time: int, event: str, stop: int) -> Message:
    """One HFP message; `stop` is the number of the stop that it is about, -1 for a position."""
    path = trip.path
    time = time // 1000 * 1000
    metres, speed = _motion(trip, time)
    lat, lon, heading = path.at(metres)
    here = int(np.searchsorted(trip.arrives, time, "right")) - 1
    at_stop = here >= 0 and time <= trip.departs[here]
    coming = stop if event in {"due", "arr", "ars"} else here + (not at_stop or event == "dep")
    next_stop = str(path.stops[coming][1]) if coming < len(path.stops) else "EOL"
    about = stop if stop >= 0 else here if at_stop else -1
    late_s = _late_s(trip, max(here, 0))
    fields: dict[str, object] = {
        "desi": path.line,
        "dir": path.direction,
        "oper": int(path.operator),
        "veh": trip.vehicle,
        "tst": iso(time),
        "tsi": time // US_PER_S,
        "spd": round(speed, 2),
        "hdg": round(heading),
        "lat": round(lat, 6),
        "long": round(lon, 6),
        "acc": 0.0,
        "dl": -late_s,
        "odo": round(metres),
        "drst": int(at_stop and event not in {"ars", "dep", "pde"}),
        "oday": trip.operating_day,
        "jrn": trip.journey,
        "line": path.line_number,
        "start": trip.start_text,
        "loc": "GPS",
        "stop": path.stops[about][1] if about >= 0 else None,
        "route": path.route,
        "occu": 0,
    }
    delay_s: int | None = late_s
    if stop >= 0:
        planned = int(trip.scheduled[stop])
        fields["ttarr"] = fields["ttdep"] = iso(planned)
        if event not in {"doo", "doc"}:
            delay_s = round((time - planned) / US_PER_S)
    topic = (
        f"/hfp/v2/journey/ongoing/{event}/bus/{trip.vehicle_id}/{path.route}/{path.direction}/{path.headsign}"
        f"/{trip.start_text}/{next_stop}/{0 if stop >= 0 else 5}/{geohash(lat, lon)}"
    ).encode()
    payload = json.dumps({event.upper(): fields}, separators=(",", ":")).encode()
    known = Event(content_hash(topic, payload), time, trip.vehicle_id, delay_s)
    return Message(time, trip.vehicle_id, topic, payload, event=known)


def _motion(trip: Trip, time: int) -> tuple[float, float]:
    """Metres from the start and metres a second."""
    i = int(np.searchsorted(trip.clock, time, "right"))
    if i == 0 or i >= len(trip.clock):
        return float(trip.metres[0 if i == 0 else -1]), 0.0
    length = float(trip.metres[i] - trip.metres[i - 1])
    lasting = int(trip.clock[i] - trip.clock[i - 1]) / US_PER_S
    part = int(time - trip.clock[i - 1]) / US_PER_S / lasting if lasting else 0.0
    return float(trip.metres[i - 1]) + length * part, length / lasting if lasting else 0.0


def _late_s(trip: Trip, stop: int) -> int:
    """How late the bus knows itself to be: as of the last stop, positive = late."""
    return round(int(trip.arrives[stop] - trip.scheduled[stop]) / US_PER_S)


def geohash(lat: float, lon: float) -> str:
    """HFP's own geohash of a position: integer parts, then pairs of decimals, as `60;24/17/28/39`."""
    a, b = f"{lat:.3f}", f"{lon:.3f}"
    pairs = "/".join(x + y for x, y in zip(a.split(".")[1], b.split(".")[1], strict=True))
    return f"{a.split('.', maxsplit=1)[0]};{b.split('.', maxsplit=1)[0]}/{pairs}"
