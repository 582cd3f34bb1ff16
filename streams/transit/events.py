"""events: the columns of a frame of vehicle events that delays are made of"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pulssi.errors import PoisonError, Reason
from pulssi.frames import VEHICLES, decode
from pulssi.series import hash64, is_device_id
from pulssi.times import US_PER_S

AHEAD_S_MAX = 3600
"""An event that claims to be further in the future than this when it arrives says nothing about delays."""
STOP_EVENTS = ("ars", "pas", "arr", "dep")
"""Events that tell when a vehicle was at a stop, best first for the arrival: it stands, passes, comes near, leaves."""
_TIME_MAX = 1 << 53
_EPOCH = date(1970, 1, 1)


@dataclass(slots=True)
class Events:
    """Events that have a delay, n rows.

    Attributes:
        event_id: int64; the same message is the same event.
        event_time: int64, us UTC.
        receive_time: int64, us UTC.
        delay_s: int64, positive = late.
        rank: int64, index into `STOP_EVENTS`, -1 where it tells nothing of a stop, a trip and its timetable.
        stop: int64, -1 = none.
        trip: int64, hash of route, direction, operating day and start; 0 = none.
        day: int64, operating day of the trip, days since 1970; 0 = none.
        scheduled_time: int64, us UTC; 0 = none.
        vehicle: int64, index into `names`.
        route: int64, index into `names`, -1 where the event has no route.
        names: device ids, `veh:<operator>:<number>` and `route:<route>:<direction>`.
    """

    event_id: np.ndarray
    event_time: np.ndarray
    receive_time: np.ndarray
    delay_s: np.ndarray
    rank: np.ndarray
    stop: np.ndarray
    trip: np.ndarray
    day: np.ndarray
    scheduled_time: np.ndarray
    vehicle: np.ndarray
    route: np.ndarray
    names: list[str]

    def __len__(self) -> int:
        return len(self.event_id)

    def take(self, which: np.ndarray) -> Events:
        """Rows by index or mask; names stay."""
        columns = {name: getattr(self, name)[which] for name in COLUMNS}
        return Events(**columns, names=self.names)


COLUMNS = tuple(field.name for field in fields(Events) if field.name != "names")


def read(frame: bytes) -> tuple[pa.RecordBatch, int]:
    """All events of a frame, and the newest receive time among them, us UTC.

    Raises:
        PoisonError: not a frame of vehicle events, or one without identity or time.
    """
    batch = decode(frame, VEHICLES)
    try:
        batch.validate(full=True)  # strings: that they end where they say, and are UTF-8
    except pa.ArrowInvalid as error:
        raise PoisonError(Reason.BAD_FRAME, str(error)) from error
    for name in ("event_id", "vehicle", "event_time", "receive_time"):
        if batch.column(name).null_count:
            raise PoisonError(Reason.BAD_FRAME, f"{name} is missing")
    received = batch.column("receive_time").to_numpy()
    if len(received) and (received.min() < 0 or received.max() > _TIME_MAX):
        raise PoisonError(Reason.BAD_TIME, "a time is outside the years 1970 to 2255")
    return batch, int(received.max()) if len(received) else 0


def with_delay(batch: pa.RecordBatch) -> Events:
    """Those events of a frame that count in delays: of a journey, with a delay and a credible time."""
    counts = pc.and_(pc.equal(batch.column("journey_type"), "journey"), pc.is_valid(batch.column("delay_s")))
    batch = batch.filter(pc.fill_null(counts, False))
    times, received = batch.column("event_time").to_numpy(), batch.column("receive_time").to_numpy()
    credible = (times >= 0) & (times <= received + AHEAD_S_MAX * US_PER_S)
    vehicle, vehicles = vehicle_ids(batch)
    route, routes = route_ids(batch)
    rank, trip, day = _visits(batch)
    events = Events(
        batch.column("event_id").to_numpy(),
        times,
        received,
        batch.column("delay_s").to_numpy().astype(np.int64),
        rank,
        filled(batch.column("stop"), -1),
        trip,
        day,
        filled(batch.column("scheduled_time"), 0),
        vehicle,
        np.where(route < 0, -1, route + len(vehicles)),
        vehicles + routes,
    )
    return events.take(credible & (vehicle >= 0))


def filled(column: pa.Array, missing: int) -> np.ndarray:
    """A column as int64, with `missing` for what is null."""
    numbers: np.ndarray = pc.fill_null(column, missing).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def vehicle_ids(batch: pa.RecordBatch) -> tuple[np.ndarray, list[str]]:
    """Index into the names of vehicles for each event, -1 for what is no device id; and these names."""
    return _devices(batch.column("vehicle"), "veh")


def route_ids(batch: pa.RecordBatch) -> tuple[np.ndarray, list[str]]:
    """The same for routes; -1 where an event has none."""
    routes = pc.binary_join_element_wise(batch.column("route"), batch.column("direction").cast(pa.string()), "/")
    return _devices(routes, "route")


def _visits(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank, trip and operating day of each event; -1 and 0 where it is no visit of a known trip to a known stop."""
    rank = filled(pc.index_in(batch.column("event"), pa.array(STOP_EVENTS)), -1)
    for name in ("stop", "scheduled_time", "route", "direction"):
        rank[~batch.column(name).is_valid().to_numpy(zero_copy_only=False)] = -1
    trip, day = np.zeros(len(rank), np.int64), np.zeros(len(rank), np.int64)
    at_stop = np.flatnonzero(rank >= 0)
    if len(at_stop):
        named = batch.column("trip").take(pa.array(at_stop)).dictionary_encode()
        keys = [(hash64(name.encode()), _operating_day(name)) for name in named.dictionary.to_pylist()]
        known = np.array([*keys, (0, 0)], np.int64)[filled(named.indices, -1)]
        trip[at_stop], day[at_stop] = known.T
        rank[at_stop[known[:, 1] == 0]] = -1
    return rank, trip, day


def _operating_day(trip: str) -> int:
    """Days since 1970 of the operating day in `route/direction/operating day/start`; 0 where there is none."""
    try:
        return (date.fromisoformat(trip.split("/")[2]) - _EPOCH).days
    except (IndexError, ValueError):
        return 0


def _devices(names: pa.Array, kind: str) -> tuple[np.ndarray, list[str]]:
    """Index of each name into the list of device ids; -1 for null and for what is no device id."""
    encoded = names.dictionary_encode()
    devices = [f"{kind}:{name.replace('/', ':')}" for name in encoded.dictionary.to_pylist()]
    allowed = np.array([is_device_id(device) for device in devices] + [False])
    index = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(allowed[index], index, -1), devices
