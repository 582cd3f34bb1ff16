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
_COUNT_MAX = np.iinfo(np.uint16).max
_CHUNK = 1024
_KEPT_CHUNK = 256
_LEAST = 256


class Histograms:
    """Counts of codes for the windows of some of the rows, all lengths of each ending with the same pane.

    Args:
        lengths: window lengths in panes, rising.
        rows_max: rows that are counted at once; each costs 1.1 kB for each length.

    Attributes:
        slid: how often a row went one pane on.
    """

    def __init__(self, lengths: tuple[int, ...], rows_max: int) -> None:
        self.slid = 0
        self._lengths = lengths
        self._rows_max = rows_max
        self._end = np.zeros(
            0, np.int64
        )  # of each row: last pane of its windows, NO_PANE = its counts are worth nothing
        self._place = np.zeros(0, np.int32)  # of each row in the arrays below, -1 = none
        self._owner, self._free = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._base = np.zeros(0, np.int64)
        self._counts = np.zeros((0, len(lengths), SPAN), np.uint16)
        self._blocks = np.zeros((0, len(lengths), SPAN // _BLOCK), np.uint16)

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
        """Quantiles of the windows that end with panes `ends`, wherever those that end one pane before are counted.

        Args:
            ring: the panes; none of the counted ones has changed, or fallen out before it leaves the longest window.
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
            at = at[self._end[rows[at]] == ends[at] - 1]
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
        """The same for distinct rows, all of which are counted up to the pane before."""
        place = self._place[rows]
        cells = ring.window_cells(rows, ends, 1)[0]
        full = self._blocks[place, -1].sum(axis=1, dtype=np.int64) + ring.n[cells] > _COUNT_MAX
        index, count = self._entries(ring, cells, place)
        for w, length in enumerate(self._lengths):
            self._count(np.add, index, count, w)
            self._count(np.subtract, *self._entries(ring, ring.window_cells(rows, ends - length, 1)[0], place), w)
        index, empty = self._find(place, per_mille)
        inside = (index > 0) & (index < SPAN - 1)
        found = (inside | empty[:, None]).all(axis=(0, 1)) & ~full
        self._end[rows] = np.where(found, ends, NO_PANE)
        self.slid += int(np.count_nonzero(found))
        return found, values_of((self._base[place] + index).astype(np.uint16))

    def _entries(self, ring: PaneRing, cells: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where in the counts of the first length the sketches of the cells belong, and how much each entry counts."""
        entries, lengths = ring.sketches_of(cells, ring.n.take(cells))
        return self._index(entries, place.repeat(lengths)), entries.astype(np.uint16)

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
        of_block = self._blocks[place].cumsum(axis=2, dtype=np.uint16)
        counts, block_of = self._counts.reshape(-1, _BLOCK), place[:, None] * (len(self._lengths) * (SPAN // _BLOCK))
        block_of = block_of + np.arange(len(self._lengths)) * (SPAN // _BLOCK)
        found = np.empty((len(self._lengths), len(per_mille), len(place)), np.int64)
        for q, rank in enumerate(ranks(of_block[:, :, -1], per_mille)):
            wanted = rank.astype(np.uint16)[:, :, None]
            block = (of_block >= wanted).argmax(axis=2)
            before = (
                np.take_along_axis(of_block, np.maximum(block - 1, 0)[:, :, None], axis=2) * (block > 0)[:, :, None]
            )
            inside = counts.take(block_of + block, axis=0).cumsum(axis=2, dtype=np.uint16)
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
        worth = (n >= PAYS_FROM) & (n <= _COUNT_MAX) & (high - low < SPAN - 2 * _MARGIN)
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
            self._count(np.add, self._index(entries[entry], where[own]), entries[entry].astype(np.uint16), group)
            for counts in (self._counts, self._blocks):
                counts[where] = counts[where].cumsum(axis=1, dtype=np.uint16)

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
