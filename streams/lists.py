"""lists: a short list of numbers for each of very many cells

Lists lie in one array, in blocks of 1, 2, 4 ... numbers, so that they cost at most twice their content and reading many
of them is one gather. The order inside a list means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streams.grouping import Runs, ranges


class _Stack:
    """Indices that are free."""

    def __init__(self) -> None:
        self._held = np.zeros(4, np.int32)
        self._n = 0

    def pop(self, n: int) -> np.ndarray:
        """`n` of them, or as many as there are."""
        n = min(n, self._n)
        self._n -= n
        return self._held[self._n : self._n + n].copy()

    def push(self, indices: np.ndarray) -> None:
        """More of them."""
        n = self._n + len(indices)
        if n > len(self._held):
            self._held = _longer(self._held, n)
        self._held[self._n : n] = indices
        self._n = n


class Pool:
    """Blocks of one size, rows of `data`."""

    def __init__(self, dtype: np.dtype[np.generic], size: int) -> None:
        self.data = np.zeros((4, size), dtype)
        self._free = _Stack()
        self._used = 0

    def take(self, n: int) -> np.ndarray:
        """Indices of `n` blocks, int32."""
        found = self._free.pop(n)
        fresh = np.arange(self._used, self._used + n - len(found), dtype=np.int32)
        self._used += len(fresh)
        if self._used > len(self.data):
            self.data = _longer(self.data, self._used)
        return np.concatenate((found, fresh))

    def give(self, blocks: np.ndarray) -> None:
        """Blocks are free again."""
        self._free.push(blocks)


class Lists:
    """Lists of `dtype`, one for each cell."""

    def __init__(self, dtype: type[np.generic], cells: int) -> None:
        self.length = np.zeros(cells, np.uint32)
        self._start = np.zeros(cells, np.int32)
        self._data = np.zeros(16, dtype)
        self._used = 0
        self._free: list[_Stack] = []

    def grow(self, cells: int) -> None:
        """Room for `cells` cells."""
        more = cells - len(self.length)
        self.length = np.concatenate((self.length, np.zeros(more, np.uint32)))
        self._start = np.concatenate((self._start, np.zeros(more, np.int32)))

    def append(self, cells: np.ndarray, values: np.ndarray) -> None:
        """Put each value into the list of its cell; equal cells must stand together."""
        runs = Runs(cells)
        own = runs.first(cells)
        old = self.length[own].astype(np.int64)
        new = old + runs.lengths
        self._make_room(own, old, new)
        self.length[own] = new
        place = self._start[cells] + np.arange(len(cells))
        place -= runs.spread(runs.starts - old)
        self._data[place] = values

    def replace(self, cells: np.ndarray, values: np.ndarray) -> None:
        """Make the values the whole list of their cells; equal cells must stand together."""
        self.clear(Runs(cells).first(cells))
        self.append(cells, values)

    def clear(self, cells: np.ndarray) -> None:
        """Empty the lists of distinct cells."""
        lengths = self.length[cells]
        filled = lengths.nonzero()[0]
        if len(filled) == 0:
            return
        cells = cells[filled]
        self._give(self._start[cells], lengths[filled])
        self.length[cells] = 0

    def gather(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All values of the lists of `cells`, list after list, and for each the index of its list in `cells`."""
        lengths = self.length[cells].astype(np.int64)
        place, owner = ranges(self._start[cells], lengths)
        return self._data[place], owner

    def gather_into(self, cells: np.ndarray, own: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Room for `lengths` values of each of `cells`, list after list, filled for those at `own` from their lists."""
        if len(own) == len(cells):
            return self.gather(cells)[0]
        values = np.zeros(int(lengths.sum()), self._data.dtype)
        place, _ = ranges((lengths.cumsum() - lengths)[own], lengths[own])
        values[place], _ = self.gather(cells[own])
        return values

    def contains(self, cells: np.ndarray, values: np.ndarray, shift: int) -> np.ndarray:
        """Whether each value is in the list of its cell, in which numbers stand `shift` bits to the left."""
        found = np.zeros(len(cells), np.bool_)
        there, owner = self.gather(cells)
        found[owner[there >> self._data.dtype.type(shift) == values[owner]]] = True
        return found

    def _make_room(self, own: np.ndarray, old: np.ndarray, new: np.ndarray) -> None:
        """Give each list a block that holds `new` numbers."""
        size = sizes_of(new)
        moving = ((old == 0) | (size != sizes_of(old))).nonzero()[0]
        if len(moving) == 0:
            return
        own, old, size = own[moving], old[moving], size[moving]
        before = self._start[own]
        for k, chosen in by_size(size):
            self._start[own[chosen]] = self._take(k, len(chosen))
        filled = old.nonzero()[0]
        if len(filled):
            before, old = before[filled], old[filled]
            source, owner = ranges(before, old)
            self._data[source + (self._start[own[filled]] - before)[owner]] = self._data[source]
            self._give(before, old)

    def _take(self, k: int, n: int) -> np.ndarray:
        """Starts of `n` blocks of 2^k numbers."""
        while len(self._free) <= k:
            self._free.append(_Stack())
        found = self._free[k].pop(n)
        fresh = self._used + (np.arange(n - len(found)) << k)
        self._used += len(fresh) << k
        if self._used > len(self._data):
            self._data = _longer(self._data, self._used)
        return np.concatenate((found, fresh))

    def _give(self, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Blocks of lists of these lengths are free again."""
        for k, chosen in by_size(sizes_of(lengths)):
            self._free[k].push(starts[chosen])


def _longer(array: np.ndarray, n: int) -> np.ndarray:
    """The same with room for `n` rows at least, and twice as many as it had."""
    grown = np.zeros((max(n, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


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
