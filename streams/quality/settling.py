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
from streams.grouping import lengths_of, ranges, starts_of
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
        row: np.ndarray,
        starts: np.ndarray,
        after: np.ndarray,
        limits_of: Callable[[np.ndarray], Limits],
    ) -> Settled:
        """Go through the panes that settle with some readings, before they fall out of the ring.

        Panes in which everything that counts is stuck no longer count.

        Args:
            ring: the panes.
            row: [runs] distinct rows.
            starts: [runs] first reading of each run.
            after: [readings] newest settled pane after each, rising within a run.
            limits_of: limits of rows.
        """
        lengths = lengths_of(starts, len(after))
        until = after[starts + lengths - 1]
        first = np.maximum(self.pane[row] + 1, np.maximum(ring.oldest[row], ring.newest[row] - ring.length + 1))
        self.pane[row] = np.maximum(self.pane[row], until)
        pane, run = ranges(first, np.maximum(np.minimum(until, ring.newest[row]) - first + 1, 0))
        counted = np.flatnonzero(ring.n[ring.cells(row[run], pane)]) if len(pane) else pane
        if len(counted) == 0:
            return _nothing()
        pane, run = pane[counted], run[counted]
        reached = np.minimum(np.maximum(after - np.repeat(first - 1, lengths), 0), 1 << 30)
        key = np.repeat(np.arange(len(row), dtype=np.int64) << 31, lengths) | reached
        by = np.searchsorted(key, (run << 31) | (pane - first[run] + 1))
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
        starts = starts_of(own)
        time = pane[cell] * self._pane_us + place
        flags, judged = self.checks.check(own[starts], starts, time, value, limits_of(own), told)
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
    entries, cell = ring.readings.gather(cells)
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


def _nothing() -> Settled:
    empty = np.zeros(0, np.int64)
    return Settled(*(empty for _ in Settled._fields))
