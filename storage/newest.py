"""newest: up to which event time each series is stored, so that rows after it are known to be new

New rows can be copied into the table, which costs the server less than half of an INSERT that looks for conflicts. Only
the owner of a partition writes its series, so what it has written itself, and what the table of newest values said when
it met the series, is all there is. Were it wrong, the primary key would say so and nothing would be written.
"""

from __future__ import annotations

import numpy as np

NOTHING = np.iinfo(np.int64).min
"""The newest time of a series that has no row."""

_SERIES_MAX = 1_000_000


class Newest:
    """Series and their newest event times, us UTC."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: somebody else may have written."""
        self._series = np.empty(0, np.int64)
        self._times = np.empty(0, np.int64)

    def unknown(self, series: np.ndarray) -> np.ndarray:
        """Those of some series, each once, that are not known yet."""
        distinct: np.ndarray = np.unique(series)
        _at, known = self._find(distinct)
        found: np.ndarray = distinct[~known]
        return found

    def learn(self, series: np.ndarray, times: np.ndarray) -> None:
        """Take in series that are not known yet, with their newest times or `NOTHING`."""
        if len(self._series) + len(series) > _SERIES_MAX:
            self.clear()
        order = np.argsort(both := np.concatenate([self._series, series]))
        self._series, self._times = both[order], np.concatenate([self._times, times])[order]

    def are_new(self, series: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Which rows are newer than all that is stored of their series; False of unknown series."""
        at, known = self._find(series)
        if len(self._series):
            known &= times > self._times[at]
        return known

    def follow(self, series: np.ndarray, times: np.ndarray) -> None:
        """Rows have been committed."""
        at, known = self._find(series)
        np.maximum.at(self._times, at[known], times[known])

    def _find(self, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where each series stands, and whether it does."""
        if len(self._series) == 0:
            return np.zeros(len(series), np.int64), np.zeros(len(series), np.bool_)
        at = np.minimum(np.searchsorted(self._series, series), len(self._series) - 1)
        return at, self._series[at] == series
