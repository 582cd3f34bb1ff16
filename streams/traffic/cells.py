"""cells: what the stations of one partition measured in each pane, for a bounded time

A row is one direction of one station. A cell is what one quantity says about one pane; it comes with the window that
ends with the pane. Rows are rings of panes, and a pane that nobody heard of is a gap, never a zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import numpy as np

from pulssi.frames import Indicators
from pulssi.messages import SeriesInfo
from streams.series_table import SeriesTable

QUANTITIES_READ: Final = ("speed_mean", "flow", "free_flow_share", "occupancy")
SPEED, FLOW, SHARE, OCCUPANCY = range(4)
DIRECTIONS: Final = ("1", "2")
"""Channels that are directions of a road; others are fixed windows of the same sensor, which repeat what is known."""

Describe = Callable[[int], SeriesInfo | None]

_COLUMNS: Final[dict[str, np.dtype[Any]]] = {
    "value": np.dtype(np.float64),
    "revision": np.dtype(np.int32),
    "n": np.dtype(np.int32),
    "n_excluded": np.dtype(np.int32),
    "flags": np.dtype(np.int32),
    "receive_time": np.dtype(np.int64),
    "position": np.dtype(np.int64),
}

_NOT_DESCRIBED = -2
_SERIES_MAX = 1 << 62  # the windows come from a table that is bounded

_FILL: Final[dict[str, float]] = {"value": np.nan, "revision": -1, "position": -1}


class Cells:
    """Rings of panes, arrays [rows, quantities, panes].

    Args:
        length: panes kept of each row.
        describe: descriptions of series.

    Attributes:
        stations: the description of one series of each row, in the order in which they came.
        newest: [rows] newest pane.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = tuple(_COLUMNS)

    def __init__(self, length: int, describe: Describe) -> None:
        self.length = length
        self._describe = describe
        self._series = SeriesTable(_SERIES_MAX)
        self._cell_of = np.zeros((0, 2), np.int64)
        self._row_of: dict[tuple[str, str | None], int] = {}
        self.stations: list[SeriesInfo] = []
        self.first_ids: list[int] = []
        self.newest = np.zeros(0, np.int64)
        self.pane = np.zeros((0, length), np.int64)
        for name, dtype in _COLUMNS.items():
            setattr(self, name, np.zeros((0, len(QUANTITIES_READ), length), dtype))

    def find(self, series_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row and quantity of each series, -1 where it is not one of a direction of a road."""
        at = self._series.rows_of(series_ids)
        more = len(self._series) - len(self._cell_of)
        if more:
            self._cell_of = np.concatenate((self._cell_of, np.full((more, 2), _NOT_DESCRIBED)))
        for i in np.flatnonzero(self._cell_of[at, 0] == _NOT_DESCRIBED).tolist():
            one = int(series_ids[i])
            info = self._describe(one)
            if info is not None:  # else it is asked again when it comes again
                self._cell_of[at[i]] = self._place(one, info)
        self._grow()
        row, quantity = np.maximum(self._cell_of[at], -1).T
        return row, quantity

    def _place(self, one: int, info: SeriesInfo) -> tuple[int, int]:
        if info.quantity not in QUANTITIES_READ or not (info.channel is None or info.channel in DIRECTIONS):
            return -1, -1
        key = (info.device_id, info.channel)
        row = self._row_of.setdefault(key, len(self.stations))
        if row == len(self.stations):
            self.stations.append(info)
            self.first_ids.append(one)
        return row, QUANTITIES_READ.index(info.quantity)

    def _grow(self) -> None:
        more = len(self.stations) - len(self.newest)
        if more == 0:
            return
        self.newest = np.concatenate((self.newest, np.full(more, -1, np.int64)))
        self.pane = np.concatenate((self.pane, np.full((more, self.length), -1, np.int64)))
        for name in _COLUMNS:
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, self._empty(name, more))))

    def _empty(self, name: str, rows: int) -> np.ndarray:
        shape = (rows, len(QUANTITIES_READ), self.length)
        return np.asarray(np.broadcast_to(np.asarray(_FILL.get(name, 0), _COLUMNS[name]), shape))

    def put(self, row: np.ndarray, quantity: np.ndarray, pane: np.ndarray, windows: Indicators) -> None:
        """What windows say of their last pane; later ones of the same cell replace earlier ones."""
        place = pane % self.length
        stale = self.pane[row, place] != pane
        for name in _COLUMNS:
            getattr(self, name)[row[stale], :, place[stale]] = self._empty(name, 1)[0, :, 0]
        self.pane[row, place] = pane
        np.maximum.at(self.newest, row, pane)
        values = (
            windows.mean,
            windows.revision,
            windows.n,
            windows.n_excluded,
            windows.flags,
            windows.receive_time,
            windows.position,
        )
        for name, value in zip(_COLUMNS, values, strict=True):
            getattr(self, name)[row, quantity, place] = value

    def gather(self, name: str, row: np.ndarray, pane: np.ndarray, panes: int) -> np.ndarray:
        """One column of the last `panes` panes up to and with `pane`, [points, quantities, panes]."""
        wanted = pane[:, None] + np.arange(1 - panes, 1)
        place = wanted % self.length
        there = self.pane[row[:, None], place] == wanted
        found = getattr(self, name)[row[:, None], :, place]
        return np.where(there[:, :, None], found, self._empty(name, 1)[0, :, 0]).transpose(0, 2, 1)

    def heard(self, row: np.ndarray, pane: np.ndarray) -> np.ndarray:
        """Where anything is known of a pane."""
        return np.asarray(self.pane[row, pane % self.length] == pane)

    def arrays(self) -> dict[str, np.ndarray]:
        """The state, for a snapshot."""
        state = {name: getattr(self, name) for name in ("newest", "pane", *_COLUMNS)}
        return {**state, "ids": np.array(self.first_ids, np.int64)}

    def fill(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore what `arrays` gave; the descriptions of the series are asked for again."""
        self.find(arrays["ids"])
        for name in ("newest", "pane", *_COLUMNS):
            setattr(self, name, arrays[name].copy())
