"""settling: what is noticed about readings once nothing that still may come can change it

A reading that is more than the horizon behind the newest of its series is late and goes nowhere. So a pane that ends
more than the horizon behind is complete for ever: its readings are gone through in order of event time, and what is
found depends on the set of readings alone, not on the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np

from pulssi.quality import Quality
from streams.catalogue import Limits
from streams.grouping import Runs, ranges, starts_of
from streams.panes import PaneRing, unpacked
from streams.progress import NEVER
from streams.quality.sequence import AROUND, ORDERED, SequenceChecks


class Settled(NamedTuple):
    """What settled: readings whose flags are not those that were told, and panes in which all that counts is stuck.

    `by` and `pane_by` are the reading of the step that settled each.
    """

    row: np.ndarray
    time: np.ndarray
    flags: np.ndarray
    by: np.ndarray
    pane_row: np.ndarray
    pane: np.ndarray
    pane_by: np.ndarray


class Settling:
    """The settled part of each series, arrays by row.

    Args:
        pane_us: length of a pane.

    Attributes:
        pane: newest pane that has settled.
        checks: state of the checks at its end.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("pane",)

    def __init__(self, pane_us: int) -> None:
        self._pane_us = pane_us
        self.pane = np.zeros(0, np.int64)
        self.checks = SequenceChecks(pane_us, AROUND)

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        self.pane = np.concatenate((self.pane, np.full(max(rows - len(self.pane), 0), NEVER, np.int64)))
        self.checks.grow(rows)

    def settle(
        self,
        ring: PaneRing,
        runs: Runs,
        row: np.ndarray,
        after: np.ndarray,
        limits_of: Callable[[np.ndarray], Limits],
    ) -> Settled | None:
        """Go through the panes that settle with some readings, before they fall out of the ring.

        Panes in which everything that counts is stuck no longer count.

        Args:
            ring: the panes.
            runs: the readings of each series.
            row: [runs] distinct rows.
            after: [readings] newest settled pane after each, rising within a run.
            limits_of: limits of rows.
        """
        until, had = runs.last(after), self.pane[row]
        if not np.count_nonzero(until > had):
            return None
        first = np.maximum(had + 1, np.maximum(ring.oldest[row], ring.newest[row] - ring.length + 1))
        self.pane[row] = np.maximum(had, until)
        pane, run = ranges(first, np.maximum(np.minimum(until, ring.newest[row]) - first + 1, 0))
        counted = ring.n[ring.cells(row[run], pane)].nonzero()[0] if len(pane) else pane
        if len(counted) == 0:
            return None
        pane, run = pane[counted], run[counted]
        by = runs.reaching(after, first - 1, run, pane)
        return self._go_through(ring, row[run], pane, by, limits_of)

    def _go_through(
        self,
        ring: PaneRing,
        row: np.ndarray,
        pane: np.ndarray,
        by: np.ndarray,
        limits_of: Callable[[np.ndarray], Limits],
    ) -> Settled:
        cells = ring.cells(row, pane)
        cell, place, value = _in_order(ring, cells)
        told = _told(ring, cells, cell, place)
        own = row[cell]
        runs = Runs(own)
        time = pane[cell] * self._pane_us + place
        flags, judged = self.checks.check(runs, runs.first(own), time, value, limits_of(own), told)
        others = judged.note & ~int(ORDERED | Quality.PROVISIONAL)
        final = judged.flags | others
        changed = np.flatnonzero((judged.time > NEVER) & (final != judged.note))
        stuck = np.logical_and.reduceat((flags & int(Quality.STUCK)) != 0, starts_of(cell))
        ring.leave_out(cells[stuck], int(Quality.STUCK))
        return Settled(
            own[changed],
            judged.time[changed],
            final[changed],
            by[cell[changed]],
            row[stuck],
            pane[stuck],
            by[stuck],
        )


def _in_order(ring: PaneRing, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Readings that count in the cells, each of which has some: index of the cell, place in the pane, value."""
    entries, cell = ring.readings_of(cells)
    place, value = unpacked(entries)
    good = np.flatnonzero(~np.isnan(value))
    order = good[np.argsort(cell[good] << 32 | place[good])]
    return cell[order], place[order], value[order].astype(np.float64)


def _told(ring: PaneRing, cells: np.ndarray, cell: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Flags with which each reading was given out, int32."""
    told = np.zeros(len(cell), np.int32)
    entries, of = ring.told.gather(cells)
    if len(entries):
        at = np.searchsorted(cell << 32 | place, of << 32 | (entries >> np.uint64(32)).astype(np.int64))
        told[at] = (entries & np.uint64(0xFFFF)).astype(np.int32)
    return told
