"""series_table: from 64-bit series ids to dense row numbers"""

from __future__ import annotations

import numpy as np

_START = 1024


class SeriesTable:
    """Rows 0, 1, 2 ... in the order in which series were first seen; bounded.

    An open hash table in two arrays: ids are xxh3 hashes already, so their low bits are the slot.

    Args:
        series_max: series that get a row; later ones get -1 and are counted in `refused`.
    """

    def __init__(self, series_max: int) -> None:
        self._series_max = series_max
        self._ids = np.zeros(_START, np.int64)
        self._slots = np.zeros(4 * _START, np.int32)  # row + 1; 0 = empty
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def ids(self) -> np.ndarray:
        """Series id of each row."""
        return self._ids[: self._n]

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """Row of each id, int64; ids never seen get the next rows in the order of `ids`."""
        rows = self._find(ids)
        unknown = np.flatnonzero(rows < 0)
        if len(unknown) and self._n < self._series_max:
            new, first = np.unique(ids[unknown], return_index=True)
            self._add(new[np.argsort(first)][: self._series_max - self._n])
            rows[unknown] = self._find(ids[unknown])
        return rows

    def _find(self, ids: np.ndarray) -> np.ndarray:
        mask = len(self._slots) - 1
        slot = ids & mask
        rows: np.ndarray = self._slots[slot].astype(np.int64) - 1
        missed = np.flatnonzero((rows >= 0) & (self._ids[rows] != ids))
        while len(missed):
            slot[missed] = (slot[missed] + 1) & mask
            rows[missed] = self._slots[slot[missed]].astype(np.int64) - 1
            here = rows[missed]
            missed = missed[(here >= 0) & (self._ids[here] != ids[missed])]
        return rows

    def _add(self, ids: np.ndarray) -> None:
        n = self._n + len(ids)
        if n > len(self._ids):
            self._ids = np.concatenate((self._ids[: self._n], np.zeros(max(n, self._n), np.int64)))
        self._ids[self._n : n] = ids
        first = self._n
        self._n = n
        if 4 * n > len(self._slots):
            self._slots = np.zeros(1 << (8 * n - 1).bit_length(), np.int32)
            first = 0
        mask = len(self._slots) - 1
        for row in range(first, n):
            slot = int(self._ids[row]) & mask
            while self._slots[slot]:
                slot = (slot + 1) & mask
            self._slots[slot] = row + 1
