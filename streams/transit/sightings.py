"""sightings: what every event of a vehicle says of where it is and whether it is on a journey, as numbers"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pulssi.series import hash64
from streams.transit.events import filled, route_ids, vehicle_ids

NONE = -(1 << 62)
"""Stands where there is no number."""
JOURNEY_ENDS = ("vjout", "bout", "dout")
"""Events after which a vehicle serves nobody: signed off from the journey or the block, the driver signed out.

Source: Digitransit, High-frequency positioning, 2026.
"""
AFTER_LAST_STOP = "EOL"
"""The next stop of a vehicle that has left the last one."""
MOVING_M_S = 2.0
"""A vehicle that says it is this fast moves, whatever its position says: positions stick when satellites are lost."""
UNITS_PER_DEGREE = 10_000_000
COLUMNS = (
    "event_id",
    "vehicle",
    "journey_type",
    "event",
    "route",
    "direction",
    "trip",
    "stop",
    "next_stop",
    "lat",
    "lon",
    "speed",
    "door",
    "delay_s",
    "event_time",
    "receive_time",
)
"""Columns of a frame that a sighting is made of."""


class Sighting(IntEnum):
    """Rows of a matrix of sightings, int64 of shape (9, n)."""

    ID = 0
    TIME = 1  # us UTC, of the event; when it was received if that was before
    RECEIVE_TIME = 2  # us UTC
    VEHICLE = 3  # number
    ROUTE = 4  # number of route and direction, -1 where the vehicle is not in service
    TRIP = 5
    LAT = 6  # 1e-7 degrees, NONE where not known
    LON = 7
    EXCUSED = 8  # 1 where it moves by its speed, is at a stop, or has a door open


def no_sightings() -> np.ndarray:
    """A matrix without columns."""
    return np.empty((len(Sighting), 0), np.int64)


class Names:
    """Device ids by number."""

    def __init__(self, names: list[str] | None = None) -> None:
        self.all = list(names or [])
        self._number = {name: number for number, name in enumerate(self.all)}

    def __len__(self) -> int:
        return len(self.all)

    def find(self, wanted: list[str], names_max: int) -> np.ndarray:
        """Number of each; new ones are added up to `names_max`, then -1."""
        for name in wanted:
            if name not in self._number and len(self) < names_max:
                self._number[name] = len(self)
                self.all.append(name)
        return np.array([self._number.get(name, -1) for name in wanted], np.int64)

    def keep(self, which: np.ndarray) -> np.ndarray:
        """Forget all others; the new number of each old one, -1 where forgotten, and -1 at the end for "none"."""
        renamed = np.full(len(self) + 1, -1, np.int64)
        renamed[which] = np.arange(len(which))
        self.all = [self.all[old] for old in which.tolist()]
        self._number = {name: number for number, name in enumerate(self.all)}
        return renamed


def sightings(batch: pa.RecordBatch, vehicles: Names, routes: Names, names_max: int) -> np.ndarray:
    """All events of vehicles that have a number; those beyond `names_max` have none.

    In service is who is on a journey that has a delay, since HFP tells delays of journeys under way only, and has not
    ended it.
    """
    found = np.empty((len(Sighting), batch.num_rows), np.int64)
    received = batch.column("receive_time").to_numpy()
    found[Sighting.ID] = batch.column("event_id").to_numpy()
    found[Sighting.TIME] = np.minimum(batch.column("event_time").to_numpy(), received)
    found[Sighting.RECEIVE_TIME] = received
    found[Sighting.VEHICLE] = _numbers(*vehicle_ids(batch), vehicles, names_max)
    serves = _in_service(batch)
    found[Sighting.ROUTE] = -1
    found[Sighting.ROUTE, serves] = _numbers(*route_ids(batch.filter(pa.array(serves))), routes, names_max)
    found[Sighting.TRIP] = _trips(batch.column("trip"))
    found[Sighting.LAT], found[Sighting.LON] = _position(batch)
    door_open, moves = pc.greater(batch.column("door"), 0), pc.greater_equal(batch.column("speed"), MOVING_M_S)
    found[Sighting.EXCUSED] = _mask(batch.column("stop").is_valid()) | _mask(door_open) | _mask(moves)
    return found[:, found[Sighting.VEHICLE] >= 0]


def _mask(condition: pa.Array) -> np.ndarray:
    """Bool; false where it is null."""
    mask: np.ndarray = pc.fill_null(condition, False).to_numpy(zero_copy_only=False)
    return mask


def _numbers(index: np.ndarray, names: list[str], known: Names, names_max: int) -> np.ndarray:
    """Number of the name that each index stands for, -1 for none."""
    used = np.unique(index[index >= 0])
    number = np.full(len(names) + 1, -1, np.int64)
    number[used] = known.find([names[one] for one in used.tolist()], names_max)
    numbers: np.ndarray = number[index]
    return numbers


def _in_service(batch: pa.RecordBatch) -> np.ndarray:
    on_way = _mask(pc.equal(batch.column("journey_type"), "journey")) & _mask(batch.column("delay_s").is_valid())
    ended = _mask(pc.is_in(batch.column("event"), pa.array(JOURNEY_ENDS)))
    serves: np.ndarray = on_way & ~ended & ~_mask(pc.equal(batch.column("next_stop"), AFTER_LAST_STOP))
    return serves


def _trips(column: pa.Array) -> np.ndarray:
    named = column.dictionary_encode()
    trips = np.array([*(hash64(name.encode()) for name in named.dictionary.to_pylist()), 0], np.int64)
    of_event: np.ndarray = trips[filled(named.indices, -1)]
    return of_event


def _position(batch: pa.RecordBatch) -> np.ndarray:
    """Latitude and longitude as whole numbers; NONE in both where there is no position on this planet."""
    degrees = np.stack([batch.column(name).to_numpy(zero_copy_only=False) for name in ("lat", "lon")])
    known = (np.abs(degrees) <= np.array([[90.0], [180.0]])).all(axis=0)
    return np.where(known, np.rint(np.where(known, degrees, 0.0) * UNITS_PER_DEGREE).astype(np.int64), NONE)
