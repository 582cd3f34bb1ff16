"""record: the numbers that are kept of each series side by side, so that a reading finds all of them in one place"""

from __future__ import annotations

import numpy as np


class Record:
    """Layout of a row of float64 numbers; parts take their columns from it while they are made.

    A row is worked on as `state`, [columns, rows]: one array for each column, of the rows at hand.
    """

    def __init__(self) -> None:
        self._initial: list[float] = []

    def number(self, initial: float = 0.0) -> int:
        """The place of one more column."""
        self._initial.append(initial)
        return len(self._initial) - 1

    def numbers(self, n: int, initial: float = 0.0) -> slice:
        """The places of `n` columns side by side."""
        self._initial += [initial] * n
        return slice(len(self._initial) - n, len(self._initial))

    def rows(self, n: int) -> np.ndarray:
        """The first `n` rows of a table before any reading, float64 [n, columns]."""
        return np.tile(np.array(self._initial), (n, 1))
