"""incident_watch: incidents between the stations of roads, live

Reads the minutes of flow and speed of both stations of each pair from `pulssi.groups` and says for every minute that is
whole whether an incident stands between them: our own detector, once it has learned what is usual at this time of day,
and California #7 beside it, as a series of its own for comparison.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from pulssi.corridors import Pair, lanes, load_stations, pairs
from pulssi.errors import PoisonError, Reason
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import SeriesInfo
from pulssi.quantities import QUANTITIES
from pulssi.series import partition_of, series_id
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S
from streams.blob import pack, unpack
from streams.grouping import ranges, starts_of
from streams.groups import Describe, Interest
from streams.season import Calendar
from streams.traffic.cells import DIRECTIONS
from streams.traffic.incidents import California7, Samples, occupancy_from
from streams.traffic.pair_minutes import (
    DOWN_FLOW,
    DOWN_SPEED,
    NEVER,
    SIGNALS,
    UP_FLOW,
    UP_SPEED,
    PairMinutes,
    Told,
    Whole,
)
from streams.traffic.seasonal_contrast import SeasonalContrast, local

VERSION = 2
"""Of the snapshot."""

WINDOW_S: Final = 60
QUANTITIES_SAID: Final = ("incident", "incident_california_7")
EVIDENCE_MIN: Final = 14.0
CALIFORNIA_7: Final = (4.0, 0.7, 17.0)
"""Thresholds of both, by `pulssi bench incidents` on sliding five minutes for 0.02 false alarms per detector-day."""
EFFECTIVE_LENGTH_M: Final = 6.5
"""Of a vehicle and the detector: turns flow and speed into occupancy."""
REPEATS_MAX: Final = 8
"""Equal minutes in a row from which a station hangs: a vehicle stays in a sliding mean for five."""
SILENT_MIN: Final = 30
"""Minutes without a sample after which a pair begins anew: what stood there says nothing about now."""

_WINDOW_US = WINDOW_S * US_PER_S
_OWN: Final = ("before", "repeats", "since", "heard", "said")
_SIGNALS: Final = {
    UP_FLOW: ("upstream", "flow"),
    UP_SPEED: ("upstream", "speed_mean"),
    DOWN_FLOW: ("downstream", "flow"),
    DOWN_SPEED: ("downstream", "speed_mean"),
}
_ROADS: Final = {station.device_id: station.road for station in load_stations()}


def _group(road: int) -> str:
    return f"road:{road}"


def _group_of(info: SeriesInfo) -> str | None:
    if info.quantity not in {"flow", "speed_mean"} or info.channel not in DIRECTIONS:
        return None
    road = _ROADS.get(info.device_id)
    return None if road is None else _group(road)


INTEREST: Final = Interest(WINDOW_S, _group_of)
"""Minutes of flow and speed of each direction of a station, together with those of its road."""


class IncidentWatch:
    """Incidents of the roads that belong to one partition of `pulssi.groups`; a `streams.groups.Part`.

    Args:
        partition: number of the partition.
        partitions: how many there are.
        settings: how far stations may be apart; time zone and holidays.
        describe: descriptions of series.
        snapshot: what `snapshot()` gave, or None.

    Raises:
        PoisonError: the snapshot cannot be read, or is of other pairs of stations.
    """

    def __init__(
        self, partition: int, partitions: int, settings: StreamsSettings, describe: Describe, snapshot: bytes | None
    ) -> None:
        self.pairs = tuple(
            pair for pair in pairs(load_stations()) if partition_of(_group(pair.road), partitions) == partition
        )
        n = len(self.pairs)
        self._describe = describe
        self._series = _Series(self.pairs)
        self._lanes = np.array([[lanes()[one] for one in (pair.upstream, pair.downstream)] for pair in self.pairs])
        self._lanes = self._lanes.reshape(n, 2).T
        self.minutes = PairMinutes(n, settings.group_lateness_s_max // WINDOW_S)
        calendar = local(Calendar(settings.zone, settings.holidays))
        self._contrast = SeasonalContrast(n, EVIDENCE_MIN, calendar=calendar)
        self._california = California7((n,), *CALIFORNIA_7)
        self._before = np.full((SIGNALS, n), np.nan)
        self._repeats = np.zeros((2, n), np.int64)
        self._since = np.full(n, -1, np.int64)
        self._heard = np.full(n, NEVER, np.int64)
        self._said = np.zeros(n, np.bool_)
        if snapshot is not None:
            self._restore(snapshot)

    @property
    def too_late(self) -> int:
        """Minutes that came too late to be put beside those of the other station."""
        return self.minutes.too_late

    def take(self, rows: Indicators) -> tuple[Indicators, list[SeriesInfo]]:
        """Take minutes of flow and speed, among other rows; the first revision of a row counts.

        Returns:
            TRAFFIC rows in order of their minutes, and descriptions of series that come up for the first time.
        """
        wanted = (rows.window_s == WINDOW_S) & (rows.kind == IndicatorKind.WINDOW) & np.isfinite(rows.mean)
        at = np.flatnonzero(wanted & (rows.window_start % _WINDOW_US == 0))
        owner, pair, signal = self._series.find(rows.series_id[at])
        if len(owner) == 0:
            return Indicators.empty(), []
        at = at[owner]
        minute = rows.window_start[at] // _WINDOW_US
        whole = self.minutes.take(Told(pair, signal, minute, rows.mean[at], rows.receive_time[at], rows.position[at]))
        if len(whole.pair) == 0:
            return Indicators.empty(), []
        bounds = [*starts_of(whole.minute).tolist(), len(whole.pair)]
        parts = [self._judge(whole.take(slice(*bound))) for bound in pairwise(bounds)]
        return Indicators.concat(parts), self._new_series(np.unique(whole.pair))

    def snapshot(self) -> bytes:
        """The whole state, exactly."""
        return pack(VERSION, {"pairs": _names(self.pairs)}, self._arrays())

    def _judge(self, now: Whole) -> Indicators:
        """Rows of one minute of some pairs."""
        silent = now.pair[now.minute - self._heard[now.pair] > SILENT_MIN]
        self._heard[now.pair] = now.minute
        self._contrast.restart(silent)
        self._california.restart(silent)
        samples = self._samples(now)
        standing = self._contrast.update(samples)
        ours = np.where(self._contrast.known, standing, np.nan)[now.pair]
        theirs = self._california.update(samples)[now.pair].astype(np.float64)
        return Indicators.concat([self._ours(now, ours), self._rows(1, now, theirs)])

    def _ours(self, now: Whole, stands: np.ndarray) -> Indicators:
        """Rows of our own detector; NaN where it has not learned enough, which ends no incident."""
        since = self._since[now.pair]
        began = np.where((since < 0) & (stands > 0), now.minute, since)
        began = np.where(stands == 0, -1, began)
        self._since[now.pair] = began
        rows = self._rows(0, now, stands)
        rows.mean[:] = self._contrast.strength[now.pair]
        rows.last[:] = np.where(began < 0, 0, (now.minute + 1 - began) * WINDOW_S)
        return rows

    def _samples(self, now: Whole) -> Samples:
        """The minute as detectors want it; pairs that are not in it, and stations that hang, have gaps."""
        same = (now.value == self._before[:, now.pair]).reshape(2, 2, -1).all(axis=1)
        moving = now.value[[UP_FLOW, DOWN_FLOW]] > 0
        repeats = np.where(same & moving, self._repeats[:, now.pair] + 1, 0)
        self._before[:, now.pair], self._repeats[:, now.pair] = now.value, repeats
        hanging = (repeats >= REPEATS_MAX).any(axis=0)
        full = np.full((SIGNALS, len(self.pairs)), np.nan)
        full[:, now.pair] = np.where(hanging, np.nan, now.value)
        up, down = (
            occupancy_from(full[flow], full[speed], EFFECTIVE_LENGTH_M, lane)
            for (flow, speed), lane in zip(((UP_FLOW, UP_SPEED), (DOWN_FLOW, DOWN_SPEED)), self._lanes, strict=True)
        )
        return Samples(int(now.minute[0] + 1) * _WINDOW_US, up, down, full[UP_FLOW], full[DOWN_FLOW])

    def _rows(self, quantity: int, now: Whole, stands: np.ndarray) -> Indicators:
        rows = Indicators.empty(len(now.pair))
        for name in ("mean", "min", "max", "std", "last", "p50", "p95", "p99"):
            getattr(rows, name).fill(np.nan)
        rows.series_id[:] = self._series.said[now.pair, quantity]
        rows.kind[:] = IndicatorKind.TRAFFIC
        rows.window_s[:] = WINDOW_S
        rows.window_start[:] = now.minute * _WINDOW_US
        rows.n[:] = 1
        rows.completeness[:] = 1.0
        rows.value[:], rows.class_[:] = stands, np.where(np.isnan(stands), -1, stands)
        rows.receive_time[:], rows.position[:] = now.receive_time, now.position
        return rows

    # Series

    def _new_series(self, pair: np.ndarray) -> list[SeriesInfo]:
        new = pair[~self._said[pair]].tolist()
        self._said[new] = True
        return [self._info(self.pairs[one], quantity) for one in new for quantity in QUANTITIES_SAID]

    def _info(self, pair: Pair, quantity: str) -> SeriesInfo:
        """Of a series of the upstream station, where the queue comes to, with the names of both."""
        channel, word = str(pair.direction), QUANTITIES[quantity]
        up, down = (self._describe(series_id(one, "flow", channel)) for one in (pair.upstream, pair.downstream))
        names = [(info and info.name) or device for info, device in ((up, pair.upstream), (down, pair.downstream))]
        return SeriesInfo(
            series_id=series_id(pair.upstream, quantity, channel),
            device_id=pair.upstream,
            quantity=quantity,
            unit=word.unit,
            kind=word.kind,
            channel=channel,
            name=" \u2192 ".join(names),
            lat=up.lat if up else None,
            lon=up.lon if up else None,
            district=up.district if up else None,
        )

    # State

    def _arrays(self) -> dict[str, np.ndarray]:
        own = {name: getattr(self, f"_{name}") for name in _OWN}
        detectors = {
            f"{name}.{column}": getattr(detector, column)
            for name, detector in (("contrast", self._contrast), ("california", self._california))
            for column in detector.COLUMNS
        }
        return {**own, **detectors, **{f"minutes.{name}": one for name, one in self.minutes.arrays().items()}}

    def _restore(self, snapshot: bytes) -> None:
        facts, arrays = unpack(snapshot, VERSION)
        if facts["pairs"] != _names(self.pairs):
            raise PoisonError(Reason.BAD_RECORD, "a snapshot of other pairs of stations")
        for name in _OWN:
            setattr(self, f"_{name}", arrays[name].copy())
        for name, detector in (("contrast", self._contrast), ("california", self._california)):
            for column in detector.COLUMNS:
                setattr(detector, column, arrays[f"{name}.{column}"].copy())
        own = "minutes."
        self.minutes.fill({name.removeprefix(own): one for name, one in arrays.items() if name.startswith(own)})


class _Series:
    """Which series are which signals of which pairs, and what is said of a pair.

    Attributes:
        said: [pairs, quantities] ids of the series that we make.
    """

    def __init__(self, of: tuple[Pair, ...]) -> None:
        table = [
            (series_id(getattr(pair, side), quantity, str(pair.direction)), number, signal)
            for number, pair in enumerate(of)
            for signal, (side, quantity) in _SIGNALS.items()
        ]
        self._ids, self._pair, self._signal = np.array(sorted(table), np.int64).reshape(-1, 3).T.copy()
        said = [[series_id(pair.upstream, one, str(pair.direction)) for one in QUANTITIES_SAID] for pair in of]
        self.said = np.array(said, np.int64).reshape(-1, len(QUANTITIES_SAID))

    def find(self, series_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Index into `series_ids`, pair and signal of each use; a station is part of two pairs in each direction."""
        first = self._ids.searchsorted(series_ids)
        at, owner = ranges(first, self._ids.searchsorted(series_ids, side="right") - first)
        return owner, self._pair[at], self._signal[at]


def _names(of: tuple[Pair, ...]) -> str:
    return " ".join(f"{pair.upstream}>{pair.downstream}/{pair.direction}" for pair in of)
