"""lists: a short list of numbers for each of very many cells

Lists live in blocks of 1, 2, 4 ... numbers, one pool for each size, so that they cost at most twice their content and
reading many of them is a gather from a matrix. The order inside a list means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streams.grouping import Runs, ranges


class Pool:
    """Blocks of one size and a stack of the free ones."""

    def __init__(self, dtype: np.dtype[np.generic], size: int) -> None:
        self.data = np.zeros((4, size), dtype)
        self._free = np.zeros(4, np.int32)
        self._n_free = 0
        self._used = 0

    def take(self, n: int) -> np.ndarray:
        """Indices of `n` blocks, int32."""
        reused = min(n, self._n_free)
        self._n_free -= reused
        found = self._free[self._n_free : self._n_free + reused].copy()
        fresh = np.arange(self._used, self._used + n - reused, dtype=np.int32)
        self._used += n - reused
        if self._used > len(self.data):
            grown = np.zeros((max(self._used, 2 * len(self.data)), self.data.shape[1]), self.data.dtype)
            grown[: len(self.data)] = self.data
            self.data = grown
        return np.concatenate((found, fresh))

    def give(self, blocks: np.ndarray) -> None:
        """Blocks are free again."""
        n = self._n_free + len(blocks)
        if n > len(self._free):
            self._free = np.concatenate((self._free, np.zeros(max(n, len(self._free)), np.int32)))
        self._free[self._n_free : n] = blocks
        self._n_free = n


class Lists:
    """Lists of `dtype`, one for each cell."""

    def __init__(self, dtype: type[np.generic], cells: int) -> None:
        self.length = np.zeros(cells, np.uint32)
        self._block = np.zeros(cells, np.int32)
        self._dtype = np.dtype(dtype)
        self._pools: list[Pool] = []

    def grow(self, cells: int) -> None:
        """Room for `cells` cells."""
        more = cells - len(self.length)
        self.length = np.concatenate((self.length, np.zeros(more, np.uint32)))
        self._block = np.concatenate((self._block, np.zeros(more, np.int32)))

    def append(self, cells: np.ndarray, values: np.ndarray) -> None:
        """Put each value into the list of its cell; equal cells must stand together."""
        runs = Runs(cells)
        own = runs.first(cells)
        old = self.length[own].astype(np.int64)
        new = old + runs.lengths
        size = self._move(own, old, new)
        self.length[own] = new
        place = np.arange(len(cells)) - runs.spread(runs.starts - old)
        for k, chosen in by_size(runs.spread(size)):
            self._pools[k].data[self._block[cells[chosen]], place[chosen]] = values[chosen]

    def replace(self, cells: np.ndarray, values: np.ndarray) -> None:
        """Make the values the whole list of their cells; equal cells must stand together."""
        self.clear(Runs(cells).first(cells))
        self.append(cells, values)

    def clear(self, cells: np.ndarray) -> None:
        """Empty the lists of distinct cells."""
        filled = cells[self.length[cells] > 0]
        if len(filled) == 0:
            return
        for k, chosen in by_size(sizes_of(self.length[filled].astype(np.int64))):
            self._pools[k].give(self._block[filled[chosen]])
        self.length[filled] = 0

    def gather(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All values of the lists of `cells`, list after list, and for each the index of its list in `cells`."""
        lengths = self.length[cells].astype(np.int64)
        return self.gather_into(cells, lengths.nonzero()[0], lengths), np.arange(len(cells)).repeat(lengths)

    def gather_into(self, cells: np.ndarray, own: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Room for `lengths` values of each of `cells`, list after list, filled for those at `own` from their lists."""
        places = lengths.cumsum() - lengths
        values = np.zeros(int(lengths.sum()), self._dtype)
        filled = own[lengths[own] > 0]
        for k, chosen in by_size(sizes_of(lengths[filled])):
            which = filled[chosen]
            own_lengths = lengths[which]
            place, _ = ranges(places[which], own_lengths)
            source = ((self._block[cells[which]].astype(np.int64) << k) - places[which]).repeat(own_lengths)
            source += place
            values[place] = self._pools[k].data.reshape(-1)[source]
        return values

    def contains(self, cells: np.ndarray, values: np.ndarray, shift: int) -> np.ndarray:
        """Whether each value is in the list of its cell, in which numbers stand `shift` bits to the left."""
        found = np.zeros(len(cells), np.bool_)
        lengths = self.length[cells].astype(np.int64)
        filled = np.flatnonzero(lengths)
        for k, chosen in by_size(sizes_of(lengths[filled])):
            which = filled[chosen]
            blocks = self._pools[k].data[self._block[cells[which]]]
            inside = np.arange(1 << k) < lengths[which][:, None]
            found[which] = ((blocks >> self._dtype.type(shift) == values[which][:, None]) & inside).any(axis=1)
        return found

    def _move(self, own: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Give each list a block that holds `new` numbers; return the size class of each."""
        size, old_size = sizes_of(new), sizes_of(old)
        moving = ((old == 0) | (size != old_size)).nonzero()[0]
        if len(moving) == 0:
            return size
        for k, chosen in by_size(size[moving]):
            which = moving[chosen]
            while len(self._pools) <= k:
                self._pools.append(Pool(self._dtype, 1 << len(self._pools)))
            pool = self._pools[k]
            blocks = pool.take(len(which))
            filled = np.flatnonzero(old[which])
            for j, among in by_size(old_size[which[filled]]):
                here = filled[among]
                before = self._block[own[which[here]]]
                pool.data[blocks[here], : 1 << j] = self._pools[j].data[before]
                self._pools[j].give(before)
            self._block[own[which]] = blocks
        return size


def sizes_of(lengths: np.ndarray) -> np.ndarray:
    """k of the smallest 2^k that holds each length."""
    return np.asarray(np.frexp(lengths - 0.5)[1])


def by_size(sizes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each size class that occurs, with the indices of its members."""
    if len(sizes) == 0:
        return
    if np.count_nonzero(sizes == sizes[0]) == len(sizes):
        yield int(sizes[0]), np.arange(len(sizes))
        return
    for k in range(int(sizes.min()), int(sizes.max()) + 1):
        chosen = np.flatnonzero(sizes == k)
        if len(chosen):
            yield k, chosen
