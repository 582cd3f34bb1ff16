"""store: the events of the last hours, by pane, so that every window can be made again when a late one comes"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

ROW = np.dtype(
    [
        ("event_id", np.int64),
        ("event_time", np.int64),
        ("receive_time", np.int64),
        ("delay_s", np.int32),
        ("vehicle", np.int32),
        ("route", np.int32),
        ("stop_visit", np.bool_),
    ],
)


class Store:
    """Rows of `ROW` by the number of their pane; each event is held once."""

    def __init__(self) -> None:
        self._panes: dict[int, list[np.ndarray]] = {}

    def add(self, rows: np.ndarray, pane: np.ndarray) -> np.ndarray:
        """Take rows that are not here yet; which of the given ones they were (sorted index)."""
        taken = []
        for number in np.unique(pane).tolist():
            index = np.flatnonzero(pane == number)
            _, first = np.unique(rows["event_id"][index], return_index=True)
            index = index[np.sort(first)]
            held = self._panes.get(number)
            if held is not None:
                index = index[~np.isin(rows["event_id"][index], self.pane(number)["event_id"])]
            if len(index):
                self._panes.setdefault(number, []).append(rows[index])
                taken.append(index)
        return np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)

    def pane(self, number: int) -> np.ndarray:
        """All rows of one pane."""
        chunks = self._panes.get(number)
        if not chunks:
            return np.empty(0, ROW)
        if len(chunks) > 1:
            self._panes[number] = chunks = [np.concatenate(chunks)]
        return chunks[0]

    def between(self, first: int, end: int) -> np.ndarray:
        """Rows of the panes [first, end)."""
        return np.concatenate([np.empty(0, ROW), *(self.pane(number) for number in range(first, end))])

    def drop_before(self, first: int) -> None:
        """Forget the panes before `first`."""
        for number in [number for number in self._panes if number < first]:
            del self._panes[number]

    def rename(self, index: np.ndarray) -> None:
        """Give vehicles and routes new indexes; `index[-1]` stays -1."""
        for number in self._panes:
            rows = self.pane(number).copy()
            rows["vehicle"], rows["route"] = index[rows["vehicle"]], index[rows["route"]]
            self._panes[number] = [rows]

    def all(self) -> np.ndarray:
        """Every row, by pane."""
        return np.concatenate([np.empty(0, ROW), *(self.pane(number) for number in sorted(self._panes))])

    def fill(self, rows: np.ndarray, pane: np.ndarray) -> None:
        """Take the rows of a snapshot, which are by pane and without repetitions."""
        numbers, starts = np.unique(pane, return_index=True)
        for number, chunk in zip(numbers.tolist(), _split(rows, starts), strict=True):
            self._panes[number] = [chunk]


def _split(rows: np.ndarray, starts: np.ndarray) -> Iterable[np.ndarray]:
    return np.split(rows, starts[1:]) if len(starts) else []
