"""station_indices: from the hourly windows of one partition to the air quality indices of its stations

A station is a device: all its series are in one partition. Every row is a function of the hourly means that its rule
looks at, and its revision is how often one of them came or changed, so neither depends on how the input was batched. A
row says NaN and -1 where a rule has too little to go by, once the hours are there that could have been enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from pulssi.air_classes import COMPOUNDS
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import SeriesInfo
from pulssi.quantities import QUANTITIES
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S
from streams.air.days import Days
from streams.air.hours import CONTEXT, KEPT_BEYOND_HORIZON, Describe, Hours, Slots
from streams.air.rules import BEFORE_DAY, COMPLETENESS_MIN, DAILY, HOURLY, HOURS, Outcome, Rule, daily, hourly
from streams.blob import pack, unpack
from streams.indicator_rows import by_position
from streams.sensors import Sensors

VERSION = 1
"""Of the snapshot."""

HOUR_S = 3600
DAY_S = 86_400
"""Window length of daily rows, also on the two days of a year that have 23 or 25 hours: it names the kind of row."""

_HOUR_US = HOUR_S * US_PER_S
_POINTS_MAX = 4096

_ALL = (*HOURLY, *DAILY)


def _by_compound(rules: Sequence[Rule], nothing: int) -> np.ndarray:
    """`reach` of the rules, [rules, compounds]; `nothing` for compounds that a rule does not look at."""
    return np.array([[rule.reach.get(place, nothing) for place in range(len(COMPOUNDS))] for rule in rules])


_HOURLY_REACH = _by_compound(HOURLY, 0)
_BEFORE = _by_compound(DAILY, -1)
"""Hours before a day that each daily rule looks at; -1 = it does not look at the compound."""

_Point = tuple[int, int]
"""Station, and hour or day."""


class StationIndices:
    """Air quality indices of the stations of one partition.

    Args:
        settings: horizon, time zone, traffic stations.
        describe: descriptions of series.
        snapshot: what `snapshot()` gave, or None.
        sensors: which devices are low-cost: of their particles only the checked series count.

    Raises:
        PoisonError: the snapshot cannot be read.

    Attributes:
        too_late: hours that came too late to be put beside the others of their station.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        describe: Describe,
        snapshot: bytes | None = None,
        sensors: Sensors | None = None,
    ) -> None:
        length = -(-settings.horizon_s // HOUR_S) + KEPT_BEYOND_HORIZON
        self._late_hours = length - CONTEXT
        self._hours = Hours(length, COMPLETENESS_MIN, describe, sensors or Sensors())
        self._days = Days(settings.zone)
        self._roadside = frozenset(settings.roadside_stations)
        self._ids = np.zeros((0, len(_ALL)), np.int64)
        self._said = np.zeros((0, len(_ALL)), np.bool_)
        self._fresh_hours: dict[_Point, int] = {}
        self._changed_hours: set[_Point] = set()
        self._fresh_days: dict[_Point, int] = {}
        self._looked_at: dict[int, int] = {}  # oldest hour that what is to be told of a station looks at
        self.too_late = 0
        if snapshot is not None:
            _facts, arrays = unpack(snapshot, VERSION)
            self._hours.fill(arrays)
            self._grow()
            self._said[:] = arrays["said"]

    def take(self, windows: Indicators) -> tuple[Indicators, list[SeriesInfo]]:
        """Take WINDOW rows in order of position, among others; only whole hours that begin at the full hour count.

        Returns:
            AIR_INDEX rows in order of position, and descriptions of series that come up for the first time.
        """
        whole = (windows.window_s == HOUR_S) & (windows.kind == IndicatorKind.WINDOW)
        whole &= windows.window_start % _HOUR_US == 0
        if not whole.any():
            return Indicators.empty(), []
        rows = windows.take(whole)
        rows = rows.take(np.lexsort((rows.series_id, rows.window_start, rows.position)))  # stations go hour by hour
        found: list[tuple[Indicators, list[SeriesInfo]]] = []
        for row, one in enumerate(rows.series_id.tolist()):
            series = self._hours.series_of(one)
            if series >= 0:
                found += self._put(series, int(rows.window_start[row] // _HOUR_US), rows, row)
        found.append(self._settle())
        return by_position([part for part, _infos in found]), [info for _part, infos in found for info in infos]

    def snapshot(self) -> bytes:
        """The whole state, exactly."""
        self._grow()
        return pack(VERSION, {}, {**self._hours.arrays(), "said": self._said})

    # Hours in

    def _put(self, series: int, hour: int, rows: Indicators, row: int) -> list[tuple[Indicators, list[SeriesInfo]]]:
        station, position = self._hours.station_of(series), int(rows.position[row])
        before = int(self._hours.newest[station])
        if hour < before - self._late_hours:
            self.too_late += 1
            return []
        found = []
        if hour > before >= 0:
            for day in {self._days.of(one) for one in (before, before + BEFORE_DAY, hour)}:
                if before < self._days.start(day + 1) - 1 <= hour:
                    self._tell_day(station, day, position)
            if self._looked_at.get(station, hour) <= hour - self._hours.length:
                found.append(self._settle())
        if not self._hours.heard(station, hour):
            self._fresh_hours[station, hour] = position
        self._hours.put(series, hour, rows, row)
        self._changed_hours.add((station, hour))
        self._look_at(station, hour - HOURS)
        newest = int(self._hours.newest[station])
        for day in {self._days.of(hour), self._days.of(hour + BEFORE_DAY)}:
            if self._days.start(day + 1) - 1 <= newest:
                self._tell_day(station, day, -1)
        return found

    def _tell_day(self, station: int, day: int, position: int) -> None:
        """A day that is over at `position` is to be told, or, with -1, what has changed in it since."""
        self._fresh_days[station, day] = max(position, self._fresh_days.get((station, day), -1))
        self._look_at(station, self._days.start(day) - BEFORE_DAY)

    def _look_at(self, station: int, hour: int) -> None:
        self._looked_at[station] = min(hour, self._looked_at.get(station, hour))

    # Rows out

    def _settle(self) -> tuple[Indicators, list[SeriesInfo]]:
        """Rows of everything that changed since the last time."""
        points = {
            (station, hour)
            for station, first in self._changed_hours
            for hour in range(first, min(first + HOURS, int(self._hours.newest[station]) + 1))
            if self._hours.heard(station, hour)
        }
        parts: list[Indicators] = []
        infos: list[SeriesInfo] = []
        ordered = sorted(points)
        for start in range(0, len(ordered), _POINTS_MAX):
            self._hourly(ordered[start : start + _POINTS_MAX], parts, infos)
        by_length: dict[int, list[_Point]] = {}
        for station, day in sorted(self._fresh_days):
            by_length.setdefault(self._days.start(day + 1) - self._days.start(day), []).append((station, day))
        for length, days in sorted(by_length.items()):
            self._daily(days, length, parts, infos)
        self._hours.settle()
        self._fresh_hours.clear()
        self._changed_hours.clear()
        self._fresh_days.clear()
        self._looked_at.clear()
        return Indicators.concat([Indicators.empty(), *parts]), infos

    def _hourly(self, points: Sequence[_Point], parts: list[Indicators], infos: list[SeriesInfo]) -> None:
        station, hour = (np.array(column, np.int64) for column in zip(*points, strict=True))
        fresh = np.array([self._fresh_hours.get(point, -1) for point in points], np.int64)
        roadside = np.array([self._hours.stations[one].device_id in self._roadside for one in station.tolist()])
        slots = self._hours.around(station, hour, HOURS)
        said, possible = hourly(slots.mean, roadside), hourly(_as_if_complete(slots), roadside)
        number, point, rows = _rows(said, possible, slots, _HOURLY_REACH, fresh)
        rows.window_start[:], rows.window_s[:] = hour[point] * _HOUR_US, HOUR_S
        parts.append(self._named(rows, number, station[point], infos))

    def _daily(self, points: Sequence[_Point], length: int, parts: list[Indicators], infos: list[SeriesInfo]) -> None:
        station = np.array([one for one, _day in points], np.int64)
        start = np.array([self._days.start(day) for _one, day in points], np.int64)
        fresh = np.array([self._fresh_days[point] for point in points], np.int64)
        slots = self._hours.around(station, start + length - 1, BEFORE_DAY + length)
        said, possible = daily(slots.mean), daily(_as_if_complete(slots))
        number, point, rows = _rows(said, possible, slots, np.where(_BEFORE >= 0, length + _BEFORE, 0), fresh)
        rows.window_start[:], rows.window_s[:] = start[point] * _HOUR_US, DAY_S
        parts.append(self._named(rows, len(HOURLY) + number, station[point], infos))

    def _named(
        self,
        rows: Indicators,
        number: np.ndarray,
        station: np.ndarray,
        infos: list[SeriesInfo],
    ) -> Indicators:
        """Put series ids into rows of the rules with these numbers; describe the series that are new."""
        self._grow()
        rows.series_id[:] = self._ids[station, number]
        for new in np.flatnonzero(~self._said[station, number]).tolist():
            at = (int(station[new]), int(number[new]))
            if not self._said[at]:
                self._said[at] = True
                infos.append(_described(self._hours.stations[at[0]], _ALL[at[1]], int(self._ids[at])))
        return rows

    def _grow(self) -> None:
        """Ids of the series of stations that are new."""
        stations, had = self._hours.stations, len(self._ids)
        if len(stations) == had:
            return
        ids = [[series_id(one.device_id, rule.quantity, rule.channel) for rule in _ALL] for one in stations[had:]]
        self._ids = np.concatenate((self._ids, np.array(ids, np.int64)))
        self._said = np.concatenate((self._said, np.zeros((len(ids), len(_ALL)), np.bool_)))


def _as_if_complete(slots: Slots) -> np.ndarray:
    """Hourly means that are there for every hour that was heard of: what a rule could say at most."""
    return np.where(slots.present, 1.0, np.nan)


def _rows(
    said: Sequence[Outcome],
    possible: Sequence[Outcome],
    slots: Slots,
    reach: np.ndarray,
    fresh: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, Indicators]:
    """Rows of what changed, with the number of the rule and of the point of each.

    Args:
        said: what each rule says.
        possible: what it would say were all hours complete.
        slots: the hours of the points.
        reach: [rules, compounds] how many of the newest hours each rule looks at.
        fresh: [points] position at which a point came up, -1 = it was there before.
    """
    position = np.maximum(_over(np.maximum, slots.changed, reach, -1).max(axis=-1), fresh[:, None])
    sayable = ~np.isnan(np.stack([one.value for one in possible], axis=-1))
    point, number = np.nonzero((position >= 0) & sayable)
    rows = Indicators.empty(len(point))
    for name in ("min", "max", "std", "p50", "p95", "p99"):
        getattr(rows, name).fill(np.nan)
    for column, name in (("value", "value"), ("class_", "class_"), ("mean", "concentration"), ("last", "dominant")):
        getattr(rows, column)[:] = np.stack([getattr(one, name) for one in said], axis=-1)[point, number]
    rows.kind[:] = IndicatorKind.AIR_INDEX
    rows.position[:] = position[point, number]
    rows.n[:] = _over(np.add, (~np.isnan(slots.mean)).astype(np.int64), reach, 0).sum(axis=-1)[point, number]
    rows.n_excluded[:] = _over(np.add, slots.n_excluded, reach, 0).sum(axis=-1)[point, number]
    rows.revision[:] = _over(np.add, slots.revision, reach, 0).sum(axis=-1)[point, number] - 1
    rows.flags[:] = np.bitwise_or.reduce(_over(np.bitwise_or, slots.flags, reach, 0), axis=-1)[point, number]
    rows.receive_time[:] = _over(np.maximum, slots.receive_time, reach, 0).max(axis=-1)[point, number]
    heard = _over(np.logical_or, slots.present, reach, 0) > 0
    rows.completeness[:] = rows.n / np.maximum((heard * reach).sum(axis=-1)[point, number], 1)
    return number, point, rows


def _over(combine: np.ufunc, hours: np.ndarray, reach: np.ndarray, nothing: int) -> np.ndarray:
    """The newest hours that each rule looks at as one, [points, rules, compounds]; `nothing` where there are none."""
    so_far = combine.accumulate(hours[..., ::-1], axis=-1)
    return np.where(reach > 0, so_far[:, np.arange(reach.shape[1]), np.maximum(reach - 1, 0)], nothing)


def _described(station: SeriesInfo, rule: Rule, number: int) -> SeriesInfo:
    quantity = QUANTITIES[rule.quantity]
    return msgspec.structs.replace(
        station, series_id=number, quantity=rule.quantity, channel=rule.channel, unit=quantity.unit, kind=quantity.kind
    )
