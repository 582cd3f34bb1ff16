"""histograms: the codes in the rolling windows of busy series, counted once and kept up to date

A window that ends one pane later has one pane more and one pane less. Where panes hold many readings, it is far cheaper
to count those two than to sort all codes of the window again. The counts are a cache: they follow from the panes, are
in no snapshot, and since they are whole numbers the quantiles are the same to the last bit with and without them. Any
row may be left out at any time, and those are whose counted panes have changed.
"""

from __future__ import annotations

import numpy as np

from streams.grouping import ranges, starts_of
from streams.panes import NO_PANE, PaneRing
from streams.sketch import codes_of, ranks, values_of

SPAN = 512
"""Neighbouring codes that are counted one by one: four octaves. What is below or above falls on the ends."""

PAYS_FROM = 100
"""Readings in the longest window from which a row is worth its counts."""

_BLOCK_BITS = 4
_BLOCK = 1 << _BLOCK_BITS
"""Codes that are also counted together, so that a rank is found by looking at few numbers."""

_MARGIN = SPAN // 8
_SHORT = 240
"""Windows of more panes are likely to hold more readings than 16 bits count."""

_CHUNK = 1024
_KEPT_CHUNK = 256
_LEAST = 256


class Histograms:
    """Counts of codes for the windows of some of the rows, all lengths of each ending with the same pane.

    Args:
        lengths: window lengths in panes, rising.
        rows_max: rows that are counted at once; each costs 1.1 kB for each length, 2.2 kB when one is long.
        step: panes from one end to the next.

    Attributes:
        slid: how often a row went one step on.
    """

    def __init__(self, lengths: tuple[int, ...], rows_max: int, step: int = 1) -> None:
        self.slid = 0
        self._lengths, self._step = lengths, step
        dtype = np.uint16 if lengths[-1] <= _SHORT else np.uint32
        self._count_max = int(np.iinfo(dtype).max)
        self._rows_max = rows_max
        self._end = np.zeros(
            0, np.int64
        )  # of each row: last pane of its windows, NO_PANE = its counts are worth nothing
        self._place = np.zeros(0, np.int32)  # of each row in the arrays below, -1 = none
        self._owner, self._free = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._base = np.zeros(0, np.int64)
        self._counts = np.zeros((0, len(lengths), SPAN), dtype)
        self._blocks = np.zeros((0, len(lengths), SPAN // _BLOCK), dtype)

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        more = rows - len(self._end)
        if more <= 0:
            return
        more = max(more, len(self._end))
        self._end = np.concatenate((self._end, np.full(more, NO_PANE, np.int64)))
        self._place = np.concatenate((self._place, np.full(more, -1, np.int32)))

    def forget(self, rows: np.ndarray) -> None:
        """A pane of each of the rows has changed that may be counted already."""
        self._end[rows] = NO_PANE

    def slide(
        self, ring: PaneRing, rows: np.ndarray, ends: np.ndarray, per_mille: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles of the windows that end with panes `ends`, wherever those that end one step before are counted.

        Args:
            ring: the panes; none of the counted ones has changed.
            rows: int64 rows, equal ones together.
            ends: int64 last panes, rising within a row.
            per_mille: which quantiles, in thousandths.

        Returns:
            Whether each was found, and the quantiles by nearest rank, [lengths, len(per_mille), windows].
        """
        found = np.zeros(len(rows), np.bool_)
        quantiles = np.full((len(self._lengths), len(per_mille), len(rows)), np.nan)
        at = starts_of(rows)
        while len(at):
            row, before = rows[at], ends[at] - self._step
            there = ring.newest[row] - ring.length < before - self._lengths[-1] + 1  # all that leave are in the ring
            at = at[there & (self._end[row] == before)]
            for start in range(0, len(at), _CHUNK):
                part = at[start : start + _CHUNK]
                found[part], quantiles[:, :, part] = self._slide(ring, rows[part], ends[part], per_mille)
            at = at[found[at]] + 1
            at = at[at < len(rows)]
            at = at[rows[at] == rows[at - 1]]
        return found, quantiles

    def _slide(
        self, ring: PaneRing, rows: np.ndarray, ends: np.ndarray, per_mille: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same for distinct rows, all of which are counted up to the step before."""
        place = self._place[rows]
        index, count, n = self._entries(ring, rows, ends, place)
        full = self._blocks[place, -1].sum(axis=1, dtype=np.int64) + n > self._count_max
        for w, length in enumerate(self._lengths):
            self._count(np.add, index, count, w)
            self._count(np.subtract, *self._entries(ring, rows, ends - length, place)[:2], w)
        index, empty = self._find(place, per_mille)
        inside = (index > 0) & (index < SPAN - 1)
        found = (inside | empty[:, None]).all(axis=(0, 1)) & ~full
        self._end[rows] = np.where(found, ends, NO_PANE)
        self.slid += int(np.count_nonzero(found))
        return found, values_of((self._base[place] + index).astype(np.uint16))

    def _entries(
        self, ring: PaneRing, rows: np.ndarray, ends: np.ndarray, place: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the panes of the step up to each end hold.

        Returns:
            Where each sketch entry belongs in the counts of the first length, how much it counts, and readings of rows.
        """
        cells = ring.window_cells(rows, ends, self._step)
        n = ring.n.take(cells)
        entries, lengths = ring.sketches_of(cells.ravel(), n.ravel())
        index = self._index(entries, np.tile(place, self._step).repeat(lengths))
        return index, self._counts_of(entries), n.sum(axis=0, dtype=np.int64)

    def _counts_of(self, entries: np.ndarray) -> np.ndarray:
        return entries.astype(np.uint16).astype(self._counts.dtype, copy=False)

    def _index(self, entries: np.ndarray, place: np.ndarray) -> np.ndarray:
        index = (entries >> np.uint32(16)).astype(np.int64)
        index -= self._base.take(place)
        np.minimum(np.maximum(index, 0, out=index), SPAN - 1, out=index)
        index += place.astype(np.int64) * (len(self._lengths) * SPAN)
        return index

    def _count(self, ufunc: np.ufunc, index: np.ndarray, count: np.ndarray, w: int) -> None:
        index = index + w * SPAN
        ufunc.at(self._counts.reshape(-1), index, count)
        index >>= _BLOCK_BITS
        ufunc.at(self._blocks.reshape(-1), index, count)

    def _find(self, place: np.ndarray, per_mille: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Index of the code at each rank, [lengths, len(per_mille), places], and which windows are empty."""
        dtype = self._counts.dtype
        of_block = self._blocks[place].cumsum(axis=2, dtype=dtype)
        counts, block_of = self._counts.reshape(-1, _BLOCK), place[:, None] * (len(self._lengths) * (SPAN // _BLOCK))
        block_of = block_of + np.arange(len(self._lengths)) * (SPAN // _BLOCK)
        found = np.empty((len(self._lengths), len(per_mille), len(place)), np.int64)
        for q, rank in enumerate(ranks(of_block[:, :, -1], per_mille)):
            wanted = rank.astype(dtype)[:, :, None]
            block = (of_block >= wanted).argmax(axis=2)
            before = (
                np.take_along_axis(of_block, np.maximum(block - 1, 0)[:, :, None], axis=2) * (block > 0)[:, :, None]
            )
            inside = counts.take(block_of + block, axis=0).cumsum(axis=2, dtype=dtype)
            found[:, q] = (block * _BLOCK + (inside >= wanted - before).argmax(axis=2)).T
        return found, (of_block[:, :, -1] == 0).T

    def keep(
        self, rows: np.ndarray, ends: np.ndarray, entries: np.ndarray, among: np.ndarray, quantiles: np.ndarray
    ) -> None:
        """Count the windows of those rows for which that pays, from now on.

        Args:
            rows: int64 rows, equal ones together; the last of them is kept.
            ends: int64 last panes, rising within a row.
            entries: sketch entries of the windows, as `streams.sketch.quantiles` takes them, newest panes first.
            among: int64 [lengths, rows], how many of the first entries of each row each length has.
            quantiles: [per_mille, rows] those of the longest windows, rising.
        """
        low, high = (codes_of(quantiles[i]).astype(np.int64) for i in (0, -1))
        starts = among[-1].cumsum() - among[-1]
        n = np.add.reduceat(entries.astype(np.uint16), starts, dtype=np.int64)
        worth = (n >= PAYS_FROM) & (n <= self._count_max) & (high - low < SPAN - 2 * _MARGIN)
        worth[:-1] &= rows[1:] != rows[:-1]
        at = worth.nonzero()[0]
        place = self._places(rows[at], int(ends.max()))
        at, place = at[place >= 0], place[place >= 0]
        self._base[place], self._end[rows[at]] = (low[at] + high[at] - SPAN) // 2, ends[at]
        for start in range(0, len(at), _KEPT_CHUNK):
            some, where = at[start : start + _KEPT_CHUNK], place[start : start + _KEPT_CHUNK]
            entry, own = ranges(starts[some], among[-1, some])
            group = (entry - starts[some[own]] >= among[:-1, some[own]]).sum(axis=0)
            self._counts[where], self._blocks[where] = 0, 0
            self._count(np.add, self._index(entries[entry], where[own]), self._counts_of(entries[entry]), group)
            for counts in (self._counts, self._blocks):
                counts[where] = counts[where].cumsum(axis=1, dtype=counts.dtype)

    def _places(self, rows: np.ndarray, now: int) -> np.ndarray:
        """The place of each of distinct rows, -1 where there is no room for it; `now` is a pane that ends now."""
        new = rows[self._place[rows] < 0]
        if len(new) > len(self._free):
            self._make_room(len(new), now)
        new = new[: len(self._free)]
        taken, self._free = self._free[: len(new)], self._free[len(new) :]
        self._place[new], self._owner[taken] = taken, new
        return np.asarray(self._place[rows])

    def _make_room(self, n: int, now: int) -> None:
        """More free places, `n` if there may be so many; then also those of rows that have not slid for long."""
        had = len(self._owner)
        more = min(max(n, had, _LEAST), self._rows_max - had)
        if more > 0:
            self._free = np.concatenate((self._free, np.arange(had, had + more)))
            for name in ("_owner", "_base", "_counts", "_blocks"):
                column = getattr(self, name)
                grown = np.zeros((had + more, *column.shape[1:]), column.dtype)  # untouched memory costs nothing
                grown[:had] = column
                setattr(self, name, grown)
        if n > len(self._free):
            idle = np.flatnonzero(self._place[self._owner] == np.arange(len(self._owner)))
            idle = idle[self._end[self._owner[idle]] < now - self._lengths[-1]]
            self._end[self._owner[idle]], self._place[self._owner[idle]] = NO_PANE, -1
            self._free = np.concatenate((self._free, idle))
