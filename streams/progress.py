"""progress: how far the event time of each series has come, and which of its panes are closed

The watermark of a series is its own newest event time less its lateness bound; nobody else moves it. A pane closes when
the watermark passes its end, or when its series has been silent for `idle` on the clock of the partition, which is the
newest receive time that came. All of it is a function of the readings in their order, not of how they were batched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streams.grouping import Runs, running_max

NEVER = -(1 << 60)
"""Event time of a series without readings."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of event time in us, and the length of a pane."""

    pane_us: int
    horizon_us: int
    idle_us: int


@dataclass(slots=True)
class Course:
    """What readings did to the progress of their series, arrays by reading, series by series in order of arrival.

    Attributes:
        newest: newest event time with this reading.
        silent: pane that a silence before the reading had closed, else a very small number.
        silent_from: clock of the partition from which the pause before the reading counted as silence, us.
        closed_before: newest closed pane when the reading came.
        closed_after: newest closed pane after it.
    """

    newest: np.ndarray
    silent: np.ndarray
    silent_from: np.ndarray
    closed_before: np.ndarray
    closed_after: np.ndarray


class Progress:
    """Progress of all series, arrays by row.

    Attributes:
        newest: newest event time, us.
        active: clock of the partition at the latest reading, us.
        closed: newest closed pane.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("newest", "active", "closed")

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.newest = np.zeros(0, np.int64)
        self.active = np.zeros(0, np.int64)
        self.closed = np.zeros(0, np.int64)
        self._next_silence = NEVER

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        more = np.full(max(rows - len(self.newest), 0), NEVER, np.int64)
        self.newest = np.concatenate((self.newest, more))
        self.active = np.concatenate((self.active, more))
        self.closed = np.concatenate((self.closed, more))

    def newest_before(self, runs: Runs, row: np.ndarray, event_time: np.ndarray) -> np.ndarray:
        """Newest event time of its series when each reading came.

        Args:
            runs: the readings of each series.
            row: [runs] row of each run.
            event_time: [readings].
        """
        newest: np.ndarray = self.newest[row]
        if runs.single:
            return newest
        return running_max(runs.shifted(event_time, newest), runs.starts)

    def follow(
        self,
        runs: Runs,
        row: np.ndarray,
        event_time: np.ndarray,
        lateness_us: np.ndarray,
        clock: np.ndarray,
        clock_before: np.ndarray,
    ) -> Course:
        """Take in readings that are neither late nor duplicates.

        Args:
            runs: the readings of each series.
            row: [runs] row of each run.
            event_time: [readings] series by series, in order of arrival.
            lateness_us: [runs] lateness bound of each run.
            clock: [readings] clock of the partition with the reading.
            clock_before: [readings] the same before it.
        """
        bounds = self.bounds
        before = self.newest_before(runs, row, event_time)
        newest = np.maximum(before, event_time)
        silent_from = runs.shifted(clock, self.active[row]) + bounds.idle_us
        silent = (clock_before >= silent_from) & (before > NEVER)
        silent = np.where(silent, before // bounds.pane_us, NEVER)
        closed = (newest - runs.spread(lateness_us)) // bounds.pane_us - 1
        start = np.where(runs.first(before) == NEVER, runs.first(event_time) // bounds.pane_us - 1, self.closed[row])
        closed_after = runs.running_max(np.maximum(silent, closed), start)
        closed_before = np.maximum(runs.shifted(closed_after, start), silent)
        active = runs.last(clock)
        self.newest[row], self.active[row] = runs.last(newest), active
        self._next_silence = min(self._next_silence, int(active.min()) + bounds.idle_us)
        return Course(newest, silent, silent_from, closed_before, closed_after)

    def fallen_silent(self, clock: int, rows: int) -> np.ndarray:
        """Rows with open panes that have been silent for `idle` at `clock`."""
        if clock < self._next_silence:
            return np.zeros(0, np.int64)
        active = self.active[:rows]
        open_ = self.closed[:rows] < self.newest[:rows] // self.bounds.pane_us
        silent = open_ & (active + self.bounds.idle_us <= clock)
        waiting = active[open_ & ~silent]
        self._next_silence = int(waiting.min()) + self.bounds.idle_us if len(waiting) else 1 << 62
        return np.flatnonzero(silent)
