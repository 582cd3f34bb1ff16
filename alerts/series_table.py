"""series table: dense numbers for the series that a partition has seen, with what is known about each"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pulssi.messages import SeriesInfo

Lookup = Callable[[int], SeriesInfo | None]
"""What is known about a series; None while nobody has described it."""


class SeriesTable:
    """Series by number, in the order in which they came.

    Attributes:
        infos: what was known about each when it came.
    """

    def __init__(self) -> None:
        self.infos: list[SeriesInfo] = []
        self._ids = np.empty(0, np.int64)
        self._numbers = np.empty(0, np.int64)

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Number of each series id, -1 where it is not in the table; int64 of the same length."""
        if not len(self._ids):
            return np.full(len(ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[at] == ids, self._numbers[at], -1)

    def add(self, infos: Sequence[SeriesInfo]) -> None:
        """Append series that are not in the table yet."""
        numbers = np.arange(len(self.infos), len(self.infos) + len(infos))
        self.infos += infos
        ids = np.concatenate([self._ids, np.array([info.series_id for info in infos], np.int64)])
        order = np.argsort(ids, kind="stable")
        self._ids, self._numbers = ids[order], np.concatenate([self._numbers, numbers])[order]
