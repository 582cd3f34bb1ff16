"""stations: from the windows of one partition to the traffic indicators of its stations, live

Every row is a function of the cells that it looks at, and its revision is how often one of them came or changed, so
neither depends on how the input was batched (as `streams.air.station_indices`). Indicators that look back are told
again for every later pane that a correction touches.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np

from pulssi.corridors import lanes
from pulssi.frames import IndicatorKind, Indicators
from pulssi.geography import Places, load_places
from pulssi.messages import SeriesInfo
from pulssi.quality import Quality
from pulssi.quantities import QUANTITIES, Kind
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S
from streams.blob import pack, unpack
from streams.grouping import order_by, ranges, running_max, starts_of
from streams.indicator_rows import by_position
from streams.traffic import measures
from streams.traffic.cells import FLOW, OCCUPANCY, SHARE, SPEED, Cells, Describe
from streams.traffic.flow import free_flow_class, level_of_service
from streams.traffic.health import Health, HealthLimits

VERSION = 2
"""Of the snapshot."""

WINDOW_S: Final = 300
"""Length of the windows that we read, and of what is said about now."""
HOUR_S: Final = 3600
"""What reliability and queues look back on."""
COMPLETENESS_MIN: Final = 0.75
SETTLING_S: Final = 3600
"""How long after the horizon a window may change: what has settled is told with the next reading of its series."""
_SLACK = 64
_LANES_UNKNOWN = 1


class _Rule(NamedTuple):
    """One indicator: how far it looks back, at which quantities, and one of which must be there."""

    quantity: str
    length_s: int
    looks_at: tuple[int, ...]
    needs: tuple[int, ...]


_HEALTH_S = int(HealthLimits().no_hits_s)
_RULES: Final = (
    _Rule("free_flow_share", WINDOW_S, (SPEED, FLOW, SHARE), (SPEED, SHARE)),
    _Rule("density", WINDOW_S, (SPEED, FLOW, OCCUPANCY), (SPEED, OCCUPANCY)),
    _Rule("travel_time_index", HOUR_S, (SPEED, FLOW, SHARE), (SPEED, SHARE)),
    _Rule("planning_time_index", HOUR_S, (SPEED, FLOW, SHARE), (SPEED, SHARE)),
    _Rule("buffer_index", HOUR_S, (SPEED, FLOW, SHARE), (SPEED, SHARE)),
    _Rule("queue", HOUR_S, (SPEED, FLOW, SHARE), (SPEED, SHARE)),
    _Rule("detector_health", _HEALTH_S, (FLOW, OCCUPANCY), (FLOW, OCCUPANCY)),
)


class TrafficStations:
    """Traffic indicators of the stations of one partition.

    Args:
        settings: panes and horizon.
        describe: descriptions of series.
        snapshot: what `snapshot()` gave, or None.
        places: free-flow speeds; those shipped with Pulssi when None.

    Raises:
        PoisonError: the snapshot cannot be read.

    Attributes:
        too_late: windows that came too late to be put beside the others of their direction.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        describe: Describe,
        snapshot: bytes | None = None,
        places: Places | None = None,
    ) -> None:
        self._pane_s, self._pane_us = settings.pane_s, settings.pane_s * US_PER_S
        self._back = -(-(settings.horizon_s + SETTLING_S) // settings.pane_s)
        stations = (places or load_places()).of_kind(Kind.TRAFFIC)
        self._free_flows = {place.device_id: place.free_flow for place in stations}
        self._cells = Cells(self._back + _HEALTH_S // settings.pane_s + _SLACK, describe)
        self._free_flow = np.zeros(0)
        self._lanes = np.zeros(0)
        self._ids = np.zeros((0, len(_RULES)), np.int64)
        self._said = np.zeros((0, len(_RULES)), np.bool_)
        self.too_late = 0
        if snapshot is not None:
            _facts, arrays = unpack(snapshot, VERSION)
            self._cells.fill(arrays)
            self._grow()
            self._said[:] = arrays["said"]

    def take(self, windows: Indicators) -> tuple[Indicators, list[SeriesInfo]]:
        """Take WINDOW rows in order of position, among others.

        Returns:
            TRAFFIC rows in order of position, and descriptions of series that come up for the first time.
        """
        wanted = np.flatnonzero((windows.window_s == WINDOW_S) & (windows.kind == IndicatorKind.WINDOW))
        row, quantity = self._cells.find(windows.series_id[wanted])
        ours = np.flatnonzero(row >= 0)
        if len(ours) == 0:
            return Indicators.empty(), []
        self._grow()
        at = wanted[ours]
        by_pane = np.lexsort(
            (windows.window_start[at], windows.position[at])
        )  # a backlog in one record goes on in time
        row, quantity, chosen = row[ours[by_pane]], quantity[ours[by_pane]], windows.take(at[by_pane])
        pane = (chosen.window_start + WINDOW_S * US_PER_S) // self._pane_us - 1
        kept, step = self._steps(row, pane)
        parts: list[Indicators] = []
        for one in np.unique(step).tolist():
            at = kept[step == one]
            self._cells.put(row[at], quantity[at], pane[at], chosen.take(at))
            parts += self._rows(row[at], pane[at])
        return by_position([Indicators.empty(), *parts]), self._new_series(np.unique(row[kept]))

    def snapshot(self) -> bytes:
        """The whole state, exactly."""
        self._grow()
        return pack(VERSION, {}, {**self._cells.arrays(), "said": self._said})

    def _steps(self, row: np.ndarray, pane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which windows are not too late when they come, and the step in which each is taken.

        Within a step no direction moves by more than the slack of its ring; whether a window is too late is decided
        by those that came before it, so that it does not depend on batches.
        """
        order = order_by(row)
        starts = starts_of(row[order])
        newest = self._cells.newest[row[order]]
        reached = np.maximum(running_max(pane[order], starts), newest)
        on_time = pane[order] >= reached - self._back
        self.too_late += int(np.count_nonzero(~on_time))
        kept = order[on_time]
        first = np.where(newest < 0, np.repeat(np.minimum.reduceat(pane[order], starts), _lengths(starts, row)), newest)
        kept_step = np.maximum(pane[kept] - first[on_time] - 1, 0) // _SLACK
        arrival = np.argsort(kept, kind="stable")
        return kept[arrival], kept_step[arrival]

    def _rows(self, row: np.ndarray, pane: np.ndarray) -> list[Indicators]:
        """Rows of every indicator that looks at one of these cells, which have just come or changed."""
        parts = []
        by_length: dict[int, list[int]] = {}
        for number, rule in enumerate(_RULES):
            by_length.setdefault(rule.length_s, []).append(number)
        for length_s, numbers in by_length.items():
            panes = 1 if length_s == WINDOW_S else length_s // self._pane_s
            at, end = self._touched(row, pane, panes)
            values = self._cells.gather("value", at, end, panes)
            stuck = self._cells.gather("flags", at, end, 1)[:, (FLOW, OCCUPANCY)] & int(Quality.STUCK)
            said = self._measure(length_s, at, values, np.asarray(stuck.any(axis=(1, 2))))
            parts += [self._indicators(number, at, end, panes, *said[_RULES[number].quantity]) for number in numbers]
        return parts

    def _touched(self, row: np.ndarray, pane: np.ndarray, panes: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and panes whose last `panes` panes hold one of these, each once."""
        end, owner = ranges(pane, np.minimum(self._cells.newest[row] - pane + 1, panes))
        found = np.unique(np.stack([row[owner], end]), axis=1)
        heard = self._cells.heard(found[0], found[1])
        return found[0][heard], found[1][heard]

    def _measure(
        self, length_s: int, row: np.ndarray, values: np.ndarray, stuck: np.ndarray
    ) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Value, class and flags of every indicator of one length."""
        free_flow, lane = self._free_flow[row], self._lanes[row]
        no_class, no_flags = np.full(len(row), -1, np.int16), np.zeros(len(row), np.int32)
        if length_s == _HEALTH_S:
            health = measures.health(values, lane, stuck)
            flags = np.where(health == Health.CHATTER, int(Quality.RANGE), int(Quality.STUCK) * (health > 0))
            return {"detector_health": (health.astype(np.float64), health, flags)}
        share = measures.shares(values, free_flow)
        if length_s == WINDOW_S:
            now = share[:, -1]
            flags = np.where(measures.disagree(values, free_flow), int(Quality.CHANNELS), 0)
            density = measures.densities(values, lane)
            return {
                "free_flow_share": (now, free_flow_class(now), flags),
                "density": (density, level_of_service(density), no_flags),
            }
        travel, planning, buffer = measures.reliability(share, COMPLETENESS_MIN)
        queue = measures.queues(share)
        return {
            "travel_time_index": (travel, no_class, no_flags),
            "planning_time_index": (planning, no_class, no_flags),
            "buffer_index": (buffer, no_class, no_flags),
            "queue": (queue.astype(np.float64), queue, no_flags),
        }

    def _indicators(
        self,
        number: int,
        row: np.ndarray,
        end: np.ndarray,
        panes: int,
        value: np.ndarray,
        class_: np.ndarray,
        flags: np.ndarray,
    ) -> Indicators:
        """Rows of one indicator; none where nothing that it looks at was heard of."""
        rule = _RULES[number]
        seen = {
            name: self._cells.gather(name, row, end, panes)[:, rule.looks_at]
            for name in ("revision", "n", "n_excluded", "flags", "receive_time", "position")
        }
        present = seen["revision"] >= 0
        needed = [rule.looks_at.index(quantity) for quantity in rule.needs]
        told = np.flatnonzero(present[:, needed].any(axis=(1, 2)))
        seen, present = {name: column[told] for name, column in seen.items()}, present[told]
        rows = Indicators.empty(len(told))
        for name in ("mean", "min", "max", "std", "last", "p50", "p95", "p99"):
            getattr(rows, name).fill(np.nan)
        rows.series_id[:] = self._ids[row[told], number]
        rows.kind[:] = IndicatorKind.TRAFFIC
        rows.window_s[:] = rule.length_s
        rows.window_start[:] = (end[told] + 1) * self._pane_us - rule.length_s * US_PER_S
        rows.n[:] = (
            np.where(present, seen["n"], 0).max(axis=1)[:, -1] if panes == 1 else present.any(axis=1).sum(axis=1)
        )
        rows.n_excluded[:] = seen["n_excluded"][:, :, -1].sum(axis=1)
        rows.completeness[:] = present.any(axis=1).mean(axis=1)
        rows.value[:] = rows.mean[:] = value[told]
        rows.class_[:] = class_[told]
        rows.revision[:] = np.where(present, seen["revision"] + 1, 0).sum(axis=(1, 2)) - 1
        rows.flags[:] = np.bitwise_or.reduce(seen["flags"][:, :, -1], axis=1) | flags[told]
        rows.receive_time[:] = seen["receive_time"].max(axis=(1, 2))
        rows.position[:] = seen["position"].max(axis=(1, 2))
        return rows

    # Series

    def _grow(self) -> None:
        """What is known of the directions that are new."""
        had = len(self._ids)
        new = self._cells.stations[had:]
        if not new:
            return
        ids = [[series_id(one.device_id, rule.quantity, one.channel) for rule in _RULES] for one in new]
        self._ids = np.concatenate((self._ids, np.array(ids, np.int64)))
        self._said = np.concatenate((self._said, np.zeros((len(new), len(_RULES)), np.bool_)))
        self._free_flow = np.concatenate((self._free_flow, [self._free_flow_of(one) for one in new]))
        self._lanes = np.concatenate((self._lanes, [float(lanes().get(one.device_id, _LANES_UNKNOWN)) for one in new]))

    def _free_flow_of(self, info: SeriesInfo) -> float:
        known = self._free_flows.get(info.device_id)
        return np.nan if known is None else known[1 if info.channel == "2" else 0]

    def _new_series(self, row: np.ndarray) -> list[SeriesInfo]:
        infos = []
        for one in row[~self._said[row].all(axis=1)].tolist():
            station = self._cells.stations[one]
            for number, rule in enumerate(_RULES):
                quantity = QUANTITIES[rule.quantity]
                infos.append(
                    msgspec.structs.replace(
                        station,
                        series_id=int(self._ids[one, number]),
                        quantity=quantity.name,
                        unit=quantity.unit,
                        kind=quantity.kind,
                    )
                )
            self._said[one] = True
        return infos


def _lengths(starts: np.ndarray, row: np.ndarray) -> np.ndarray:
    return np.diff(np.append(starts, len(row)))
