"""hours: the hourly means of every air series that are still needed

An hour is named by its beginning, in hours since the epoch, UTC. Each series has a ring of hours; a cell says whose
hour it holds, so that nothing has to be cleared when time jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from pulssi.air_classes import COMPOUNDS
from pulssi.frames import Indicators
from pulssi.messages import SeriesInfo
from pulssi.quality import Quality
from streams.air.channels import agreed_mean, apart
from streams.sensors import Sensors

KEPT_BEYOND_HORIZON = 48
"""Hours that are kept of each series besides those of the horizon."""

CONTEXT = 33
"""Hours before a changed hour that its rows look at, at most: to the start of a local day of 25 hours, and 7 more."""

DIGITS = 9
"""Decimals of a mean: the order of a sum must not decide on which side of a limit it lies."""

Describe = Callable[[int], SeriesInfo | None]
"""From a series id to its description; must give the same answer for the same series for ever."""

_NO_HOUR = -1
_PLACE = {compound: place for place, compound in enumerate(COMPOUNDS)}


class Slots(NamedTuple):
    """Hourly means of the compounds of some stations, arrays [points, compounds, hours], oldest hour first.

    Attributes:
        mean: ug/m3, NaN = none or not complete enough.
        present: whether the hour was heard of at all, complete or not.
        revision: rises with everything that changed the hour; 0 where not present.
        n_excluded: readings that were left out.
        flags: quality bits.
        receive_time: newest receive time, us.
        changed: source position of the newest change since the last `settle`, -1 = none.
    """

    mean: np.ndarray
    present: np.ndarray
    revision: np.ndarray
    n_excluded: np.ndarray
    flags: np.ndarray
    receive_time: np.ndarray
    changed: np.ndarray


class Hours:
    """Rings of hours by series, and the stations that the series belong to.

    Args:
        length: hours kept of each series, counted back from the newest hour of its station.
        completeness_min: share of the expected readings that makes an hour valid.
        describe: descriptions of series.
        sensors: which devices are low-cost.

    Attributes:
        stations: one description of each station, in the order in which they came.
        newest: [stations] newest hour.
    """

    COLUMNS: Mapping[str, np.dtype[np.generic]] = {
        "hour": np.dtype(np.int32),
        "mean": np.dtype(np.float64),
        "revision": np.dtype(np.int32),
        "n_excluded": np.dtype(np.int32),
        "flags": np.dtype(np.int32),
        "receive_time": np.dtype(np.int64),
    }

    def __init__(self, length: int, completeness_min: float, describe: Describe, sensors: Sensors) -> None:
        self.length = length
        self._sensors = sensors
        self._completeness_min = completeness_min
        self._describe = describe
        self.ids: list[int] = []
        self.stations: list[SeriesInfo] = []
        self.newest = np.zeros(0, np.int64)
        self._series: dict[int, int] = {}
        self._station_of: dict[str, int] = {}
        self._owner: list[int] = []
        self._first = np.full((0, len(COMPOUNDS)), -1, np.int64)
        self._more: dict[tuple[int, int], list[int]] = {}
        self._columns = {name: np.zeros((0, length), dtype) for name, dtype in self.COLUMNS.items()}
        self._changed = np.zeros((0, length), np.int64)
        self._heard = np.zeros((0, length), np.int32)

    def series_of(self, series_id: int) -> int:
        """Number of a series, -1 when it is of no compound of an index."""
        found = self._series.get(series_id)
        return self._add(series_id) if found is None else found

    def station_of(self, series: int) -> int:
        """Number of the station of a series."""
        return self._owner[series]

    def heard(self, station: int, hour: int) -> bool:
        """Whether any series of the station has spoken of the hour."""
        return bool(self._heard[station, hour % self.length] == hour)

    def put(self, series: int, hour: int, rows: Indicators, row: int) -> None:
        """Take in an hourly window; one of an older revision changes nothing."""
        cell = (series, hour % self.length)
        columns = self._columns
        if columns["hour"][cell] == hour and columns["revision"][cell] > rows.revision[row]:
            return
        complete = rows.n[row] > 0 and rows.completeness[row] >= self._completeness_min
        columns["hour"][cell] = hour
        columns["mean"][cell] = round(float(rows.mean[row]), DIGITS) if complete else np.nan
        for name in ("revision", "n_excluded", "flags", "receive_time"):
            columns[name][cell] = getattr(rows, name)[row]
        self._changed[cell] = rows.position[row]
        self._hear(self._owner[series], hour)

    def settle(self) -> None:
        """What changed until now has been dealt with."""
        self._changed.fill(-1)

    def around(self, station: np.ndarray, newest: np.ndarray, hours: int) -> Slots:
        """The `hours` hours up to `newest` of each station, [points, compounds, hours]."""
        hour = newest[:, None] + np.arange(1 - hours, 1)
        series = self._first[station]
        found = self._slots(series[:, :, None], hour[:, None, :])
        for (one, compound), members in self._more.items():
            for point in np.flatnonzero(station == one).tolist():
                self._unite(found, (point, compound), np.array(members), hour[point])
        return found

    def _slots(self, series: np.ndarray, hour: np.ndarray) -> Slots:
        """Cells of series (-1 = none) and hours, broadcast."""
        cells = (np.maximum(series, 0), hour % self.length)
        columns = {name: column[cells] for name, column in self._columns.items()}
        present = (series >= 0) & (columns["hour"] == hour)
        return Slots(
            np.where(present, columns["mean"], np.nan),
            present,
            np.where(present, columns["revision"].astype(np.int64) + 1, 0),
            np.where(present, columns["n_excluded"], 0),
            np.where(present, columns["flags"], 0),
            np.where(present, columns["receive_time"], 0),
            np.where(present, self._changed[cells], -1),
        )

    def _unite(self, found: Slots, at: tuple[int, int], members: np.ndarray, hour: np.ndarray) -> None:
        """Several series of one compound as one."""
        each = self._slots(members[:, None], hour[None, :])
        found.mean[at] = agreed_mean(COMPOUNDS[at[1]], each.mean)
        found.present[at] = each.present.any(axis=0)
        found.revision[at], found.n_excluded[at] = each.revision.sum(axis=0), each.n_excluded.sum(axis=0)
        found.flags[at] = np.bitwise_or.reduce(each.flags, axis=0)
        found.flags[at][apart(COMPOUNDS[at[1]], each.mean)] |= int(Quality.CHANNELS)
        found.receive_time[at], found.changed[at] = each.receive_time.max(axis=0), each.changed.max(axis=0)

    def _add(self, series_id: int) -> int:
        info = self._describe(series_id)
        if info is None or info.quantity not in _PLACE or self._sensors.supersedes(info):
            self._series[series_id] = -1
            return -1
        series = self._series[series_id] = len(self.ids)
        self.ids.append(series_id)
        station = self._station_of.setdefault(info.device_id, len(self.stations))
        if station == len(self.stations):
            self.stations.append(info)
        self._owner.append(station)
        self._grow(len(self.ids), len(self.stations))
        compound = _PLACE[info.quantity]
        first = int(self._first[station, compound])
        if first < 0:
            self._first[station, compound] = series
        else:
            self._more.setdefault((station, compound), [first]).append(series)
        return series

    def _grow(self, series: int, stations: int) -> None:
        if series > len(self._changed):
            more = max(series - len(self._changed), len(self._changed), 64)
            blank = np.zeros((more, self.length), np.int64)
            for name, column in self._columns.items():
                fill = blank + (_NO_HOUR if name == "hour" else 0)
                self._columns[name] = np.concatenate((column, fill.astype(column.dtype)))
            self._changed = np.concatenate((self._changed, blank - 1))
        if stations > len(self.newest):
            more = max(stations - len(self.newest), len(self.newest), 16)
            self.newest = np.concatenate((self.newest, np.full(more, _NO_HOUR, np.int64)))
            self._first = np.concatenate((self._first, np.full((more, len(COMPOUNDS)), -1, np.int64)))
            self._heard = np.concatenate((self._heard, np.full((more, self.length), _NO_HOUR, np.int32)))

    def _hear(self, station: int, hour: int) -> None:
        self._heard[station, hour % self.length] = hour
        self.newest[station] = max(self.newest[station], hour)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a snapshot."""
        n = len(self.ids)
        return {"ids": np.array(self.ids, np.int64), **{name: column[:n] for name, column in self._columns.items()}}

    def fill(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put what `arrays` gave into a new object."""
        known = [self.series_of(series_id) for series_id in arrays["ids"].tolist()]
        kept = np.flatnonzero(np.array(known, np.int64) >= 0)
        for name, column in self._columns.items():
            column[: len(kept)] = arrays[name][kept]
        for series, station in enumerate(self._owner):
            hour = self._columns["hour"][series]
            np.maximum(self._heard[station], hour, out=self._heard[station])
            self.newest[station] = max(self.newest[station], int(hour.max()))
