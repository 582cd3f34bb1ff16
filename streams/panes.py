"""panes: what the readings of one series in one short interval add up to

Each series has a ring of panes, as long as the longest window and the horizon need. Sums are taken of differences to
the first value of the pane: the mean of n values lies within sqrt(n - 1) standard deviations of any one of them, so the
variance loses at most log2(n) bits, whatever the size of the values. Readings are added one after the other in order of
arrival, so that the sums do not depend on how they were batched.

Most panes of most sensors hold one reading, from which all else follows. Such a pane is thin: its cell holds the value
and the times, and nothing more. Any other pane that is not empty is full and has a block of sums, too.
"""

from __future__ import annotations

import numpy as np

from streams.grouping import Runs, order_by, ranges
from streams.lists import Lists, Pool
from streams.sketch import codes_of, entries_of, merge

NO_PANE = -(1 << 40)
"""`newest` of a series without readings."""

_PLACE = np.uint64(32)
SUM, SQUARES, LOW, HIGH, LAST = range(5)
EMPTY = np.array([0.0, 0.0, np.inf, -np.inf, 0.0])
"""A block of sums of no readings."""

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
        first: first value that counts.
        last_us: place in the pane of the reading with the newest event time.
        flags: quality bits of all of them.
        receive_time: newest receive time, us.
        block: row of `sums` of a full pane, else 0.
        revisions: [windows, cells] late readings in each closed window that ends with the pane.
        readings: place in the pane (us, upper 32 bits) and value (float32, lower bits; NaN when it does not count) of
            every reading of full panes.
        told: place in the pane (upper 32 bits) and flags (lower bits) of readings that were given out with any.
        sketch: entries of `streams.sketch` of the readings of full panes that count.
        oldest, newest: [rows] first and last pane that is open, numbered from the epoch.
        flagged: [rows] newest pane with any flags; so most windows need not look for them.
    """

    COLUMNS = ("n", "n_excluded", "first", "last_us", "flags", "receive_time", "block", "revisions")

    def __init__(self, length: int, pane_us: int, windows: int) -> None:
        self.length = length
        self.pane_us = pane_us
        self._rows = 0
        self.n, self.n_excluded = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
        self.first, self.last_us = np.zeros(1), np.zeros(1, np.uint32)
        self.flags, self.receive_time = np.zeros(1, np.uint16), np.zeros(1, np.int64)
        self.block, self._blocks = np.zeros(1, np.int32), Pool(np.dtype(np.float64), len(EMPTY))
        self._blocks.take(1)
        self.revisions = np.zeros((windows, 1), np.uint32)
        self.readings, self.told, self.sketch = Lists(np.uint64, 1), Lists(np.uint64, 1), Lists(np.uint32, 1)
        self.oldest, self.newest, self.flagged = (np.zeros(0, np.int64) for _ in range(3))

    @property
    def sums(self) -> np.ndarray:
        """[blocks, 5] sums of differences to the first value and of their squares, least, greatest and last value."""
        return self._blocks.data

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1; untouched memory costs nothing."""
        if rows <= self._rows:
            return
        had, self._rows = self._rows, max(rows, 2 * self._rows)
        cells = 1 + self._rows * self.length
        for name in self.COLUMNS:
            column = getattr(self, name)
            grown = np.zeros((*column.shape[:-1], cells), column.dtype)
            grown[..., : column.shape[-1]] = column
            setattr(self, name, grown)
        for lists in (self.readings, self.told, self.sketch):
            lists.grow(cells)
        unused = np.full(self._rows - had, NO_PANE, np.int64)
        for name in ("oldest", "newest", "flagged"):
            setattr(self, name, np.concatenate((getattr(self, name), unused)))

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

    def room(self, cells: np.ndarray, longest: int, most: int) -> np.ndarray | None:
        """Which readings their cells have room for, equal cells in order of arrival; None = all of them.

        Args:
            cells: of the readings.
            longest: at least the number of equal cells.
            most: readings that a cell takes.
        """
        held = self.n[cells] + self.n_excluded[cells]
        if int(held.max()) + longest <= most:
            return None
        order = cells.argsort(kind="stable")
        runs = Runs(cells[order])
        held[order] += (np.arange(len(cells)) - runs.spread(runs.starts)).astype(held.dtype)
        fits = held < most
        return None if fits.all() else fits.nonzero()[0]

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
        flagged = flags.nonzero()[0]
        if len(flagged):
            self.flag(cells[flagged], flags[flagged].astype(np.uint16))
        said = told.nonzero()[0]
        if len(said):
            entries = (place_us[said].astype(np.uint64) << _PLACE) | told[said].astype(np.uint64)
            self._remember(self.told, cells[said], entries)
        full = (self.n[cells] | self.n_excluded[cells]) > 0
        full |= excluded
        full |= _repeated(cells)
        if np.count_nonzero(full):
            self._fill(cells[full], place_us[full], values[full], excluded[full])
            alone = ~full
            cells, place_us, values = cells[alone], place_us[alone], values[alone]
        self.n[cells], self.first[cells], self.last_us[cells] = 1, values, place_us

    def _fill(self, cells: np.ndarray, place_us: np.ndarray, values: np.ndarray, excluded: np.ndarray) -> None:
        """Add readings to panes that are full, or are so from now on."""
        self._make_full(cells)
        self._remember(self.readings, cells, packed(place_us, np.where(excluded, np.nan, values)))
        if np.count_nonzero(excluded):
            np.add.at(self.n_excluded, cells[excluded], np.uint32(1))
            counted = ~excluded
            cells, place_us, values = cells[counted], place_us[counted], values[counted]
        self._count(cells, place_us.astype(np.uint32), values)

    def _make_full(self, cells: np.ndarray) -> None:
        """Give a block to each cell that has none."""
        thin = cells[self.block[cells] == 0]
        if len(thin) == 0:
            return
        thin = np.unique(thin)
        self.fill_blocks(thin, EMPTY)
        filled = (self.n[thin] > 0).nonzero()[0]
        if len(filled):
            thin = thin[filled]
            value = self.first[thin]
            self.sums[self.block[thin], LOW:] = value[:, None]
            self.readings.append(thin, packed(self.last_us[thin], value))
            self.sketch.append(thin, entries_of(codes_of(value)))

    def fill_blocks(self, cells: np.ndarray, sums: np.ndarray) -> None:
        """Give blocks with the `sums` to distinct cells that have none."""
        self.block[cells] = block = self._blocks.take(len(cells))
        self.sums[block] = sums

    def _count(self, cells: np.ndarray, place_us: np.ndarray, values: np.ndarray) -> None:
        empty = (self.n[cells] == 0).nonzero()[0][::-1]
        self.first[cells[empty]] = values[empty]  # of equal cells the last assignment stays: the first arrival
        np.add.at(self.n, cells, np.uint32(1))
        sums, at = self.sums.reshape(-1), self.block[cells].astype(np.int64) * len(EMPTY)
        difference = values - self.first[cells]
        moving = difference.nonzero()[0]
        if len(moving):
            moved, difference = at[moving], difference[moving]
            np.add.at(sums, moved + SUM, difference)
            np.add.at(sums, moved + SQUARES, difference**2)
        np.minimum.at(sums, at + LOW, values)
        np.maximum.at(sums, at + HIGH, values)
        np.maximum.at(self.last_us, cells, place_us)
        newest = (self.last_us[cells] == place_us).nonzero()[0]
        sums[at[newest] + LAST] = values[newest]
        self._remember(self.sketch, cells, entries_of(codes_of(values)))

    @staticmethod
    def _remember(lists: Lists, cells: np.ndarray, values: np.ndarray) -> None:
        if np.count_nonzero(cells[1:] < cells[:-1]):
            together = order_by(cells)
            cells, values = cells[together], values[together]
        lists.append(cells, values)

    def readings_of(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Entries of all readings in distinct cells, as in `readings`, and the index of the cell of each."""
        full = self.block[cells] > 0
        thin = (~full & (self.n[cells] > 0)).nonzero()[0]
        own = cells[thin]
        entries = packed(self.last_us[own], self.first[own])
        if len(thin) == len(cells):
            return entries, thin
        full = full.nonzero()[0]
        more, owner = self.readings.gather(cells[full])
        return np.concatenate((entries, more)), np.concatenate((thin, full[owner]))

    def sketches_of(self, cells: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sketch entries of cells one after the other, and how many each has; `n` are their readings that count."""
        full = self.block[cells] > 0
        lengths = np.where(full, self.sketch.length[cells], n).astype(np.int64)
        thin = (~full & (n > 0)).nonzero()[0]
        entries = self.sketch.gather_into(cells, full.nonzero()[0], lengths)
        entries[(lengths.cumsum() - lengths)[thin]] = entries_of(codes_of(self.first[cells[thin]]))
        return entries, lengths

    def holds(self, cells: np.ndarray, place_us: np.ndarray) -> np.ndarray:
        """Whether each cell has a reading at the place."""
        full = self.block[cells] > 0
        found = (self.n[cells] > 0) & ~full & (self.last_us[cells] == place_us)
        found[full] = self.readings.contains(cells[full], place_us[full].astype(np.uint64), 32)
        return np.asarray(found)

    def leave_out(self, cells: np.ndarray, flag: int) -> None:
        """All readings of distinct cells that counted do so no longer, for `flag`."""
        self._make_full(cells)
        self.n_excluded[cells] += self.n[cells]
        self.flag(cells, np.uint16(flag))
        for column in (self.n, self.first, self.last_us):
            column[cells] = 0
        self.sums[self.block[cells]] = EMPTY
        self.sketch.clear(cells)

    def flag(self, cells: np.ndarray, flags: np.ndarray | np.uint16) -> None:
        """Set quality bits of open cells."""
        np.bitwise_or.at(self.flags, cells, flags)
        row, place = np.divmod(cells - 1, self.length)
        newest = self.newest[row]
        np.maximum.at(self.flagged, row, newest - (newest - place) % self.length)

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
        """Empty cells; zeros are not written over, since untouched memory costs nothing."""
        revised = self.revisions[:, cells].any(axis=0)
        if np.count_nonzero(revised):
            self.revisions[:, cells[revised]] = 0
        cells = cells[(self.n[cells] | self.n_excluded[cells]) > 0]
        if len(cells) == 0:
            return
        for column in (self.n, self.first, self.last_us, self.receive_time):
            column[cells] = 0
        used = self.n_excluded[cells].nonzero()[0]
        self.n_excluded[cells[used]] = 0
        used = self.flags[cells].nonzero()[0]
        self.flags[cells[used]] = 0
        self.told.clear(cells)
        full = cells[self.block[cells] > 0]
        if len(full):
            self._blocks.give(self.block[full])
            self.block[full] = 0
            self.readings.clear(full)
            self.sketch.clear(full)


def _repeated(cells: np.ndarray) -> np.ndarray:
    """Which cells come more than once."""
    if not np.count_nonzero(cells[1:] <= cells[:-1]):
        return np.zeros(len(cells), np.bool_)
    order = order_by(cells)
    runs = Runs(cells[order])
    repeated = np.empty(len(cells), np.bool_)
    repeated[order] = runs.spread(runs.lengths > 1)
    return repeated


def packed(place_us: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Entries of `PaneRing.readings`, uint64."""
    with np.errstate(over="ignore"):  # infinite, then: as good as any in the checks
        bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return np.asarray((place_us.astype(np.uint64) << _PLACE) | bits)


def unpacked(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place in the pane (int64, us) and value (float32) of entries of `PaneRing.readings`."""
    return (entries >> _PLACE).astype(np.int64), entries.astype(np.uint32).view(np.float32)
