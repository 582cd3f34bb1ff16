"""events: the columns of a frame of vehicle events that delays are made of"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pulssi.errors import PoisonError, Reason
from pulssi.frames import VEHICLES, decode
from pulssi.series import is_device_id
from pulssi.times import US_PER_S

AHEAD_S_MAX = 3600
"""An event that claims to be further in the future than this when it arrives says nothing about delays."""
STOP_VISITS = ("dep", "pas")
"""Leaving a stop or passing it: one event for each visit, measured against the scheduled departure."""
_TIME_MAX = 1 << 53


@dataclass(slots=True)
class Events:
    """Events that have a delay, n rows.

    Attributes:
        event_id: int64; the same message is the same event.
        event_time: int64, us UTC.
        receive_time: int64, us UTC.
        delay_s: int64, positive = late.
        stop_visit: bool; whether on-time share counts it.
        vehicle: int64, index into `names`.
        route: int64, index into `names`, -1 where the event has no route.
        names: device ids, `veh:<operator>:<number>` and `route:<route>:<direction>`.
        clock: newest receive time of the whole frame, us UTC.
    """

    event_id: np.ndarray
    event_time: np.ndarray
    receive_time: np.ndarray
    delay_s: np.ndarray
    stop_visit: np.ndarray
    vehicle: np.ndarray
    route: np.ndarray
    names: list[str]
    clock: int

    def __len__(self) -> int:
        return len(self.event_id)

    def take(self, which: np.ndarray) -> Events:
        """Rows by index or mask; names and clock stay."""
        return Events(
            self.event_id[which],
            self.event_time[which],
            self.receive_time[which],
            self.delay_s[which],
            self.stop_visit[which],
            self.vehicle[which],
            self.route[which],
            self.names,
            self.clock,
        )


def read(frame: bytes) -> Events:
    """Those events of a frame that count: of a journey, with a delay and a credible time.

    Raises:
        PoisonError: not a frame of vehicle events, or one without identity or time.
    """
    batch = decode(frame, VEHICLES)
    for name in ("event_id", "vehicle", "event_time", "receive_time"):
        if batch.column(name).null_count:
            raise PoisonError(Reason.BAD_FRAME, f"{name} is missing")
    received = batch.column("receive_time").to_numpy()
    if len(received) and (received.min() < 0 or received.max() > _TIME_MAX):
        raise PoisonError(Reason.BAD_TIME, "a time is outside the years 1970 to 2255")
    clock = int(received.max()) if len(received) else 0
    counts = pc.and_(pc.equal(batch.column("journey_type"), "journey"), pc.is_valid(batch.column("delay_s")))
    batch = batch.filter(pc.fill_null(counts, False))
    times, received = batch.column("event_time").to_numpy(), batch.column("receive_time").to_numpy()
    credible = (times >= 0) & (times <= received + AHEAD_S_MAX * US_PER_S)
    vehicle, vehicles = _devices(batch.column("vehicle"), "veh")
    routes = pc.binary_join_element_wise(batch.column("route"), batch.column("direction").cast(pa.string()), "/")
    route, route_names = _devices(routes, "route")
    event = pc.is_in(batch.column("event"), pa.array(STOP_VISITS))
    stop_visit = pc.and_(event, pc.is_valid(batch.column("scheduled_time")))
    events = Events(
        batch.column("event_id").to_numpy(),
        times,
        received,
        batch.column("delay_s").to_numpy().astype(np.int64),
        stop_visit.to_numpy(zero_copy_only=False),
        vehicle,
        np.where(route < 0, -1, route + len(vehicles)),
        vehicles + route_names,
        clock,
    )
    return events.take(credible & (vehicle >= 0))


def _devices(names: pa.Array, kind: str) -> tuple[np.ndarray, list[str]]:
    """Index of each name into the list of device ids; -1 for null and for what is no device id."""
    encoded = names.dictionary_encode()
    devices = [f"{kind}:{name.replace('/', ':')}" for name in encoded.dictionary.to_pylist()]
    allowed = np.array([is_device_id(device) for device in devices] + [False])
    index = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(allowed[index], index, -1), devices
