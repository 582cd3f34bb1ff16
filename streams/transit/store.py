"""store: the events of the last hours, by pane, so that every window can be made again when a late one comes

Rows are columns of one int64 matrix of shape (6, n): event_id, event_time, receive_time, delay_s, vehicle, route.
The chunks of a pane are sorted by event id and merged when they are of like size, so a pane of n events has
about log n chunks, and whether an event is known costs as many binary searches.
"""

from __future__ import annotations

import numpy as np

EVENT_ID, EVENT_TIME, RECEIVE_TIME, DELAY_S, VEHICLE, ROUTE = range(6)
FIELDS = 6


def no_rows() -> np.ndarray:
    """A matrix without rows."""
    return np.empty((FIELDS, 0), np.int64)


class Store:
    """Rows by the number of their pane; each event is held once."""

    def __init__(self) -> None:
        self._panes: dict[int, list[np.ndarray]] = {}

    def add(self, rows: np.ndarray, pane: np.ndarray) -> np.ndarray:
        """Take rows that are not here yet; which of the given ones they were (sorted index)."""
        taken = [np.empty(0, np.int64)]
        for number in np.unique(pane).tolist():
            index = np.flatnonzero(pane == number)
            _, first = np.unique(rows[EVENT_ID, index], return_index=True)
            index = index[first]
            chunks = self._panes.get(number, [])
            for chunk in chunks:
                index = index[~_held(chunk[EVENT_ID], rows[EVENT_ID, index])]
            if len(index):
                self._panes[number] = chunks
                chunks.append(rows[:, index])
                taken.append(index)
                while len(chunks) > 1 and 2 * chunks[-1].shape[1] >= chunks[-2].shape[1]:
                    chunks[-2:] = [_merged(chunks[-2:])]
        return np.sort(np.concatenate(taken))

    def between(self, first: int, end: int) -> np.ndarray:
        """Rows of the panes [first, end), in no particular order."""
        chunks = [chunk for number in range(first, end) for chunk in self._panes.get(number, ())]
        return np.concatenate([no_rows(), *chunks], axis=1)

    def drop_before(self, first: int) -> None:
        """Forget the panes before `first`."""
        for number in [number for number in self._panes if number < first]:
            del self._panes[number]

    def rename(self, index: np.ndarray) -> None:
        """Give vehicles and routes new indexes; `index[-1]` stays -1."""
        for chunks in self._panes.values():
            for chunk in chunks:
                chunk[VEHICLE], chunk[ROUTE] = index[chunk[VEHICLE]], index[chunk[ROUTE]]

    def all(self) -> np.ndarray:
        """Every row, by pane and event id: the same whatever way the events came."""
        panes = [_merged(self._panes[number]) for number in sorted(self._panes)]
        return np.concatenate([no_rows(), *panes], axis=1)

    def fill(self, rows: np.ndarray, pane: np.ndarray) -> None:
        """Take what `all` gave, with the pane of each row."""
        numbers, starts = np.unique(pane, return_index=True)
        for number, chunk in zip(numbers.tolist(), np.split(rows, starts[1:], axis=1), strict=False):
            self._panes[number] = [chunk.copy()]


def _held(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    place = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    held: np.ndarray = ids[place] == wanted
    return held


def _merged(chunks: list[np.ndarray]) -> np.ndarray:
    rows = np.concatenate(chunks, axis=1)
    ordered: np.ndarray = rows[:, np.argsort(rows[EVENT_ID])]
    return ordered
