"""panes: what the readings of one series in one short interval add up to

Each series has a ring of panes, as long as the longest window and the horizon need. Sums are taken of differences to
the first value of the pane: the mean of n values lies within sqrt(n - 1) standard deviations of any one of them, so the
variance loses at most log2(n) bits, whatever the size of the values. Readings are added one after the other in order of
arrival, so that the sums do not depend on how they were batched.
"""

from __future__ import annotations

import numpy as np

from streams.grouping import ranges
from streams.lists import Lists
from streams.sketch import codes_of, entries_of, merge

NO_PANE = -(1 << 40)
"""`newest` of a series without readings."""

_PLACE = np.uint64(32)
_COMPACT_FROM = 8
_COMPACT_TO = 1 << 16


class PaneRing:
    """Panes of all series in columns; a cell is one pane of one series, cell 0 is empty for ever.

    Args:
        length: panes kept of each series, counted back from its newest.
        pane_us: length of a pane in us; at most 2^32.
        windows: number of window lengths, each with its own count of revisions.

    Attributes:
        n: readings that count.
        n_excluded: readings left out for their quality.
        first, sum, squares: first value; sums of the differences to it and of their squares.
        low, high: extremes.
        last, last_us: value and place in the pane of the reading with the newest event time.
        flags: quality bits of all of them.
        receive_time: newest receive time, us.
        revisions: [windows, cells] late readings in each closed window that ends with the pane.
        readings: place in the pane (us, upper 32 bits) and value (float32, lower bits; NaN when it does not count) of
            every reading.
        told: place in the pane (upper 32 bits) and flags (lower bits) of readings that were given out with any.
        sketch: entries of `streams.sketch` of the readings that count.
        oldest, newest: [rows] first and last pane that is open, numbered from the epoch.
    """

    FLOATS = ("first", "sum", "squares", "low", "high", "last")
    INTEGERS = ("n", "n_excluded", "last_us", "flags", "receive_time")

    def __init__(self, length: int, pane_us: int, windows: int) -> None:
        self.length = length
        self.pane_us = pane_us
        self._rows = 0
        self.n, self.n_excluded = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
        self.first, self.sum, self.squares = np.zeros(1), np.zeros(1), np.zeros(1)
        self.low, self.high, self.last = np.full(1, np.inf), np.full(1, -np.inf), np.zeros(1)
        self.last_us, self.flags = np.zeros(1, np.uint32), np.zeros(1, np.uint16)
        self.receive_time = np.zeros(1, np.int64)
        self.revisions = np.zeros((windows, 1), np.uint32)
        self.readings, self.told, self.sketch = Lists(np.uint64, 1), Lists(np.uint64, 1), Lists(np.uint32, 1)
        self.oldest, self.newest = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1; untouched memory costs nothing."""
        if rows <= self._rows:
            return
        had, self._rows = self._rows, max(rows, 2 * self._rows)
        cells = 1 + self._rows * self.length
        for name in (*self.FLOATS, *self.INTEGERS, "revisions"):
            column = getattr(self, name)
            grown = np.zeros((*column.shape[:-1], cells), column.dtype)
            grown[..., : column.shape[-1]] = column
            setattr(self, name, grown)
        for lists in (self.readings, self.told, self.sketch):
            lists.grow(cells)
        unused = np.full(self._rows - had, NO_PANE, np.int64)
        self.oldest, self.newest = np.concatenate((self.oldest, unused)), np.concatenate((self.newest, unused))

    def cells(self, rows: np.ndarray, panes: np.ndarray) -> np.ndarray:
        """The cell of each row and pane; whether it is open is the caller's to know."""
        found: np.ndarray = 1 + rows * self.length + panes % self.length
        return found

    def window_cells(self, rows: np.ndarray, ends: np.ndarray, panes: int) -> np.ndarray:
        """Cells of the `panes` panes up to each end, newest first; [panes, len(rows)], 0 where not open."""
        back = np.arange(panes, dtype=np.int64)[:, None]
        place = ends % self.length - back
        cells = np.where(place < 0, place + self.length, place)
        cells += 1 + rows * self.length
        oldest, newest = np.maximum(self.oldest[rows], self.newest[rows] - self.length + 1), self.newest[rows]
        partly = np.flatnonzero((ends - panes + 1 < oldest) | (ends > newest))
        if len(partly):
            span = ends[partly] - back
            closed = (span < oldest[partly]) | (span > newest[partly])
            cells[:, partly] = np.where(closed, 0, cells[:, partly])
        return cells

    def open(self, rows: np.ndarray, lowest: np.ndarray, highest: np.ndarray) -> None:
        """Make `lowest ... highest` of distinct rows part of their rings; what falls out is forgotten."""
        fresh = self.newest[rows] == NO_PANE
        had_oldest = np.where(fresh, highest + 1, self.oldest[rows])
        had_newest = np.where(fresh, highest, self.newest[rows])
        after_from = np.maximum(had_newest, highest - self.length) + 1
        start, stop = np.concatenate((after_from, lowest)), np.concatenate((highest + 1, had_oldest))
        panes, owner = ranges(start, np.maximum(stop - start, 0))
        self._blank(self.cells(np.concatenate((rows, rows))[owner], panes))
        self.oldest[rows] = np.minimum(had_oldest, lowest)
        self.newest[rows] = np.maximum(had_newest, highest)

    def add(
        self,
        cells: np.ndarray,
        place_us: np.ndarray,
        values: np.ndarray,
        flags: np.ndarray,
        receive_time: np.ndarray,
        excluded: np.ndarray,
        told: np.ndarray,
    ) -> None:
        """Add readings to their cells, equal cells in order of arrival; none is in its cell yet."""
        np.maximum.at(self.receive_time, cells, receive_time)
        flagged = np.flatnonzero(flags)
        if len(flagged):
            np.bitwise_or.at(self.flags, cells[flagged], flags[flagged].astype(np.uint16))
        self._remember(self.readings, cells, packed(place_us, np.where(excluded, np.nan, values)))
        said = np.flatnonzero(told)
        if len(said):
            entries = (place_us[said].astype(np.uint64) << _PLACE) | told[said].astype(np.uint64)
            self._remember(self.told, cells[said], entries)
        if excluded.any():
            np.add.at(self.n_excluded, cells[excluded], np.uint32(1))
            counted = ~excluded
            cells, place_us, values = cells[counted], place_us[counted], values[counted]
        self._count(cells, place_us.astype(np.uint32), values)

    def _count(self, cells: np.ndarray, place_us: np.ndarray, values: np.ndarray) -> None:
        empty = np.flatnonzero(self.n[cells] == 0)[::-1]
        self.first[cells[empty]] = values[empty]  # of equal cells the last assignment stays: the first arrival
        np.add.at(self.n, cells, np.uint32(1))
        difference = values - self.first[cells]
        moving = np.flatnonzero(difference)
        np.add.at(self.sum, cells[moving], difference[moving])
        np.add.at(self.squares, cells[moving], difference[moving] ** 2)
        np.minimum.at(self.low, cells, values)
        np.maximum.at(self.high, cells, values)
        np.maximum.at(self.last_us, cells, place_us)
        newest = np.flatnonzero(self.last_us[cells] == place_us)
        self.last[cells[newest]] = values[newest]
        self._remember(self.sketch, cells, entries_of(codes_of(values)))

    @staticmethod
    def _remember(lists: Lists, cells: np.ndarray, values: np.ndarray) -> None:
        together = np.argsort(cells, kind="stable") if (cells[1:] < cells[:-1]).any() else slice(None)
        lists.append(cells[together], values[together])

    def leave_out(self, cells: np.ndarray, flag: int) -> None:
        """All readings of distinct cells that counted do so no longer, for `flag`."""
        self.n_excluded[cells] += self.n[cells]
        self.flags[cells] |= np.uint16(flag)
        for name in ("n", "first", "sum", "squares", "last", "last_us"):
            getattr(self, name)[cells] = 0
        self.low[cells], self.high[cells] = np.inf, -np.inf
        self.sketch.clear(cells)

    def compact(self, cells: np.ndarray) -> None:
        """Merge equal codes in the sketches of distinct cells that are worth it."""
        length = self.sketch.length[cells]
        worth = cells[(length > _COMPACT_FROM) & (length < _COMPACT_TO)]
        if len(worth) == 0:
            return
        entries, owner = self.sketch.gather(worth)
        owner, entries = merge(owner, entries)
        self.sketch.replace(worth[owner], entries)

    def _blank(self, cells: np.ndarray) -> None:
        for name in ("n", "first", "last", "last_us", "receive_time"):
            getattr(self, name)[cells] = 0
        self.low[cells], self.high[cells] = np.inf, -np.inf
        for column in (self.n_excluded, self.flags, self.sum, self.squares, *self.revisions):
            used = np.flatnonzero(column[cells])  # zeros are not written over: untouched memory costs nothing
            if len(used):
                column[cells[used]] = 0
        for lists in (self.readings, self.told, self.sketch):
            lists.clear(cells)


def packed(place_us: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Entries of `PaneRing.readings`, uint64."""
    with np.errstate(over="ignore"):  # infinite, then: as good as any in the checks
        bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return np.asarray((place_us.astype(np.uint64) << _PLACE) | bits)


def unpacked(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place in the pane (int64, us) and value (float32) of entries of `PaneRing.readings`."""
    return (entries >> _PLACE).astype(np.int64), entries.astype(np.uint32).view(np.float32)
