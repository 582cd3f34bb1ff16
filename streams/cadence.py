"""cadence: how often a series is expected to speak

The median of the first 16 intervals between its readings in order of event time, unless its interval is declared. It
counts for windows that end one longest window or more after it was learned: no earlier window can still be open then,
so what a row says does not depend on when it was computed. Until then a window is measured by its own panes.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from streams.grouping import Runs

INTERVALS = 16
_NOT_YET = 1 << 60


class Cadence:
    """Learned intervals of all series, arrays by row.

    Args:
        pane_us: length of a pane.
        delay_panes: panes in the longest window.

    Attributes:
        seen: how many intervals were gathered, at most INTERVALS.
        gathered: [rows, INTERVALS] intervals, us.
        interval_us: their median, 0 until it is known.
        known_from: first pane for which it counts.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("seen", "gathered", "interval_us", "known_from")

    def __init__(self, pane_us: int, delay_panes: int) -> None:
        self._pane_us = pane_us
        self._delay_panes = delay_panes
        self.seen = np.zeros(0, np.int64)
        self.gathered = np.zeros((0, INTERVALS), np.int64)
        self.interval_us = np.zeros(0, np.int64)
        self.known_from = np.zeros(0, np.int64)

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        more = max(rows - len(self.seen), 0)
        if more == 0:
            return
        more = max(more, len(self.seen))
        self.seen = np.concatenate((self.seen, np.zeros(more, np.int64)))
        self.gathered = np.concatenate((self.gathered, np.zeros((more, INTERVALS), np.int64)))
        self.interval_us = np.concatenate((self.interval_us, np.zeros(more, np.int64)))
        self.known_from = np.concatenate((self.known_from, np.full(more, _NOT_YET, np.int64)))

    def learn(self, rows: np.ndarray, times: np.ndarray, before: np.ndarray, known: np.ndarray) -> None:
        """Take readings in order of event time, equal rows together.

        Args:
            rows: int64.
            times: event times, us.
            before: event time of the reading before each, us.
            known: whether there is one.
        """
        learning = ((self.seen[rows] < INTERVALS) & known).nonzero()[0]
        if len(learning) == 0:
            return
        rows, times, intervals = rows[learning], times[learning], times[learning] - before[learning]
        runs = Runs(rows)
        own, had = rows[runs.starts], self.seen[rows]
        place = np.arange(len(rows)) - runs.spread(runs.starts) + had
        fits = np.flatnonzero(place < INTERVALS)
        self.gathered[rows[fits], place[fits]] = intervals[fits]
        self.seen[own] = np.minimum(runs.first(had) + runs.lengths, INTERVALS)
        done = np.flatnonzero(place == INTERVALS - 1)
        ready = rows[done]
        self.interval_us[ready] = np.sort(self.gathered[ready], axis=1)[:, (INTERVALS - 1) // 2]
        self.known_from[ready] = times[done] // self._pane_us + self._delay_panes

    def per_pane(self, rows: np.ndarray, ends: np.ndarray, declared_s: np.ndarray) -> np.ndarray:
        """Readings expected in a pane, for windows that end with pane `ends`; NaN = not known.

        Args:
            rows: int64 rows.
            ends: int64 last panes.
            declared_s: declared interval of each row, NaN = none.
        """
        known = ends >= self.known_from[rows]
        learned = np.where(known, self._pane_us / np.maximum(self.interval_us[rows], 1), np.nan)
        return np.where(np.isnan(declared_s), learned, self._pane_us / 1e6 / declared_s)
