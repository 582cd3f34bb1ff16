"""compound_network: the stations of one compound beside one another, slot by slot"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import msgspec
import numpy as np

from pulssi.air_classes import COMPOUNDS
from pulssi.frames import IndicatorKind, Indicators
from pulssi.geography import Places
from pulssi.messages import SeriesInfo
from pulssi.quantities import QUANTITIES
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S
from streams.air import neighbour_rows
from streams.air.days import Days
from streams.air.reference_watch import Pair, ReferenceWatch
from streams.air.sites import Sites, sites_at
from streams.air.slots import Slots
from streams.quality.neighbours import PAST, distances_m
from streams.sensors import Sensors

LATE_S: Final = 10 * 3600
"""How much further than the horizon a station may be behind the newest one and still be put beside it."""

DAY_S: Final = 86_400
"""Window length of daily rows, also on days of 23 and 25 hours."""

NEIGHBOURS, REFERENCE = "neighbours", "reference"
"""What `sensor_health` is about, behind the compound in its channel."""

_HOUR_S: Final = 3600
_DAY_HOURS_MAX: Final = 25


class Step(NamedTuple):
    """What one record says of one slot, arrays by station, each station once."""

    slot: int
    position: int
    station: np.ndarray
    mean: np.ndarray
    revision: np.ndarray
    receive_time: np.ndarray


class CompoundNetwork:
    """Stations of one compound.

    Args:
        compound: a word of the vocabulary.
        settings: length of windows, horizon, radius of the neighbourhood, time zone.
        sensors: which devices are low-cost, and which reference each is held against.
        places: where stations stand, and since when.

    Attributes:
        stations: one description of each station, in the order in which they came.
        newest: newest slot, -1 = none.
        too_late: windows that came too late to be put beside those of others.
    """

    def __init__(self, compound: str, settings: StreamsSettings, sensors: Sensors, places: Places) -> None:
        self.stations: list[SeriesInfo] = []
        self.newest = -1
        self.too_late = 0
        self._compound = compound
        self._settings = settings
        self._sensors = sensors
        self._places = places
        self._window_s = settings.neighbour_window_s
        self._slot_us = self._window_s * US_PER_S
        self._late = -(-(settings.horizon_s + LATE_S) // self._window_s)
        day = -(-_DAY_HOURS_MAX * _HOUR_S // self._window_s)
        self._slots = Slots(self._late + max(PAST, day) + 2)
        self._days = Days(settings.zone)
        self._references = ReferenceWatch()
        self._said: set[int] = set()

    def add(self, info: SeriesInfo) -> int:
        """Number of a new station."""
        self.stations.append(info)
        self._slots.grow(len(self.stations))
        return len(self.stations) - 1

    def take(self, step: Step) -> tuple[list[Indicators], list[SeriesInfo]]:
        """Take one step in; rows of what changed with it, and descriptions of series that come up first."""
        if step.slot < self.newest - self._late:
            self.too_late += len(step.station)
            return [], []
        parts: list[tuple[Indicators, np.ndarray, str]] = []
        before = self.newest
        if step.slot > before:
            if before >= 0:
                parts += self._daily(before, step)
                parts += self._waiting(before, step)
            self.newest = step.slot
        changed = np.zeros(len(self.stations), np.bool_)
        changed[self._slots.put(step.station, step.slot, step.mean, step.revision, step.receive_time)] = True
        if changed.any():
            for slot in range(step.slot, min(step.slot + PAST, self.newest) + 1):
                parts += self._beside(slot, changed, step.position)
        return [rows for rows, _station, _about in parts if len(rows)], self._new(parts)

    # Neighbours

    def _beside(self, slot: int, changed: np.ndarray, position: int) -> Iterator[tuple[Indicators, np.ndarray, str]]:
        """Rows of the stations that changed and of those around them, except those that still wait for others."""
        sites = sites_at(self.stations, self._places, slot * self._slot_us)
        around = neighbour_rows.near(sites, self._settings.neighbour_radius_m)
        chosen = changed | (around & changed).any(axis=1)
        if slot == self.newest:
            chosen &= ~neighbour_rows.waits(self._slots, around, slot)
        yield self._judged(slot, sites, around, chosen, position)

    def _waiting(self, slot: int, step: Step) -> Iterator[tuple[Indicators, np.ndarray, str]]:
        """Rows of the stations that waited for others at what was the newest slot until now."""
        sites = sites_at(self.stations, self._places, slot * self._slot_us)
        around = neighbour_rows.near(sites, self._settings.neighbour_radius_m)
        yield self._judged(slot, sites, around, neighbour_rows.waits(self._slots, around, slot), step.position)

    def _judged(
        self, slot: int, sites: Sites, around: np.ndarray, chosen: np.ndarray, position: int
    ) -> tuple[Indicators, np.ndarray, str]:
        said = neighbour_rows.judge(
            self._slots, around, sites, slot, slot_us=self._slot_us, chosen=chosen, compound=self._compound
        )
        rows = self._rows(said.station, NEIGHBOURS, said.health, said.mean, said.flags)
        rows.window_start[:], rows.window_s[:] = slot * self._slot_us, self._window_s
        rows.n[:], rows.completeness[:] = said.n, 1.0
        rows.revision[:], rows.receive_time[:], rows.position[:] = said.revision, said.receive_time, position
        return rows, said.station, NEIGHBOURS

    # References

    def _daily(self, before: int, step: Step) -> Iterator[tuple[Indicators, np.ndarray, str]]:
        """Rows of the local days that nothing can change any more, since the newest slot moves on from `before`."""
        last = before - self._late  # slots before it were closed already
        for day in range(self._days.of(self._hour(last)), self._days.of(self._hour(step.slot - self._late)) + 1):
            start, stop = (self._slot_of(self._days.start(one)) for one in (day, day + 1))
            if last < stop <= step.slot - self._late:
                yield from self._day(start, stop, step.position)

    def _day(self, start: int, stop: int, position: int) -> Iterator[tuple[Indicators, np.ndarray, str]]:
        stop = min(stop, start + self._slots.length)
        mean, _changes, receive_time = self._slots.past(start, stop)
        pairs = self._pairs(mean, start, stop)
        if not pairs:
            return
        said = self._references.judge(pairs, mean)
        sensor, reference = (np.array([getattr(one, side) for one in pairs]) for side in ("sensor", "reference"))
        rows = self._rows(sensor, REFERENCE, said.health, said.mean, said.flags)
        rows.window_start[:], rows.window_s[:] = start * self._slot_us, DAY_S
        rows.n[:], rows.completeness[:] = said.n, said.n / (stop - start)
        rows.receive_time[:] = np.maximum(receive_time[sensor].max(axis=1), receive_time[reference].max(axis=1))
        rows.position[:] = position
        yield rows, sensor, REFERENCE

    def _pairs(self, mean: np.ndarray, start: int, stop: int) -> list[Pair]:
        """Sensors that were heard on a day and have a reference that was, each where it stood all day."""
        sensors = [self._sensors.of(one.device_id) for one in self.stations]
        sites = sites_at(self.stations, self._places, stop * self._slot_us - 1)
        usable = ~np.isnan(mean).all(axis=1) & (sites.since <= start * self._slot_us)
        low_cost = np.array([one is not None for one in sensors])
        distance = distances_m(sites.lat, sites.lon)
        found = []
        for number in np.flatnonzero(usable & low_cost).tolist():
            sensor = sensors[number]
            named = sensor.reference if sensor else None
            candidates = [
                (distance[number, other], self.stations[other].device_id, other)
                for other in np.flatnonzero(usable & ~low_cost).tolist()
                if (self.stations[other].device_id == named if named else self._is_beside(distance[number, other]))
            ]
            if candidates:
                reference = min(candidates, key=lambda one: one[1:] if named else one)[2]
                method = sensor.method_at(start * self._slot_us) if sensor else None
                who = (self.stations[one].device_id for one in (number, reference))
                since = (str(sites.since[one]) for one in (number, reference))
                found.append(Pair(number, reference, " ".join((*who, *since, str(method)))))
        return found

    def _is_beside(self, distance_m: float) -> bool:
        return bool(distance_m <= self._settings.reference_radius_m)

    def _hour(self, slot: int) -> int:
        return slot * self._window_s // _HOUR_S

    def _slot_of(self, hour: int) -> int:
        return hour * _HOUR_S // self._window_s

    # Rows

    def _rows(
        self, station: np.ndarray, about: str, health: np.ndarray, mean: np.ndarray, flags: np.ndarray
    ) -> Indicators:
        rows = Indicators.empty(len(station))
        for name in ("min", "max", "std", "p50", "p95", "p99"):
            getattr(rows, name).fill(np.nan)
        ids = [self._described(one, about).series_id for one in station.tolist()]
        rows.series_id[:], rows.kind[:] = ids, IndicatorKind.AIR_INDEX
        rows.value[:], rows.class_[:] = np.where(health < 0, np.nan, health), health
        rows.mean[:], rows.last[:], rows.flags[:] = mean, COMPOUNDS.index(self._compound), flags
        return rows

    def _new(self, parts: list[tuple[Indicators, np.ndarray, str]]) -> list[SeriesInfo]:
        found = []
        for _rows, station, about in parts:
            for one in station.tolist():
                info = self._described(one, about)
                if info.series_id not in self._said:
                    self._said.add(info.series_id)
                    found.append(info)
        return found

    def _described(self, station: int, about: str) -> SeriesInfo:
        base, word, channel = self.stations[station], QUANTITIES["sensor_health"], f"{self._compound}:{about}"
        return msgspec.structs.replace(
            base,
            series_id=series_id(base.device_id, word.name, channel),
            quantity=word.name,
            channel=channel,
            unit=word.unit,
            kind=word.kind,
        )

    # State

    def state(self) -> tuple[dict[str, int | str | list[int]], dict[str, np.ndarray]]:
        """Facts and arrays of a snapshot."""
        arrays = {
            "ids": np.array([one.series_id for one in self.stations], np.int64),
            "said": np.array(sorted(self._said), np.int64),
            **{f"slots.{name}": getattr(self._slots, name) for name in Slots.COLUMNS},
            **{f"references.{name}": array for name, array in self._references.arrays().items()},
        }
        return {"newest": self.newest, "pairs": "\n".join(self._references.names)}, arrays

    def fill(self, facts: Mapping[str, int | str | list[int]], arrays: Mapping[str, np.ndarray]) -> None:
        """Put what `state` gave into a new object, to which the stations have been added in their order."""
        self.newest = int(str(facts["newest"]))
        self._said = set(arrays["said"].tolist())
        for name in Slots.COLUMNS:
            setattr(self._slots, name, arrays[f"slots.{name}"].copy())
        own = "references."
        of_references = {name.removeprefix(own): one for name, one in arrays.items() if name.startswith(own)}
        self._references.fill(str(facts["pairs"]).splitlines(), of_references)
