"""symbols: values as few symbols, and how surprising their sequence is

A series of symbols is judged by what it has done before: how often one symbol followed another. What is needed at each
reading lies in the record of the series (`streams.record`), `state` below; larger tables are arrays by row. Rows of one
call are distinct.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from streams.record import Record

_LEAST = float(np.nextafter(0.0, 1.0))


class RangeSymbols:
    """Equal parts of the range that the series has had; the range shrinks towards the value by a share `fading`.

    Args:
        record: takes up the state.
        symbols: how many, for each kind of range.
        fading: share by which both ends come nearer with each reading, for each kind.
    """

    def __init__(self, record: Record, symbols: Sequence[int], fading: Sequence[float]) -> None:
        self._low, self._high = record.numbers(len(symbols), np.inf), record.numbers(len(symbols), -np.inf)
        self._symbols, self._fading = np.array(symbols, np.float64)[:, None], np.array(fading)[:, None]

    def of(self, state: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Symbol of each value as a float64, [kinds, values]; then learn."""
        low, high = state[self._low], state[self._high]
        np.minimum(low, values, out=low)
        np.maximum(high, values, out=high)
        place = values - low
        fall = self._fading * place
        place /= np.maximum(high - low, _LEAST)  # where there is no range, place is 0
        place *= self._symbols
        np.floor(place, out=place)
        low += fall
        high -= self._fading * (high - values)
        np.minimum(place, self._symbols - 1.0, out=place)
        return np.asarray(place)


class Transitions:
    """How often one symbol has followed another.

    Args:
        record: takes up the state.
        symbols: how many, for each kind of symbol.

    Attributes:
        counts: float32 [rows, pairs], pairs of symbols that have followed each other, kind by kind.
        totals: float32 [rows, symbols], how often each had a successor, kind by kind.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("counts", "totals")

    PRIOR = 0.5
    """Krichevsky and Trofimov 1981."""

    def __init__(self, record: Record, symbols: Sequence[int]) -> None:
        kinds = np.array(symbols)
        self.counts = np.zeros((0, int((kinds**2).sum())), np.float32)
        self.totals = np.zeros((0, int(kinds.sum())), np.float32)
        self._symbols, self._prior = kinds[:, None], self.PRIOR * kinds[:, None]
        self._first_pair = (np.cumsum(kinds**2) - kinds**2)[:, None]
        self._first = (np.cumsum(kinds) - kinds)[:, None]
        self._before = record.numbers(len(symbols))

    def surprise(self, state: np.ndarray, rows: np.ndarray, n: np.ndarray, symbol: np.ndarray) -> np.ndarray:
        """Minus the logarithm of the chance that each symbol followed, [kinds, rows]; then learn.

        A float32 counts up to 16 million; what comes more often has that chance for good.

        Args:
            state: records.
            rows: int64, distinct.
            n: float64 [rows], readings that each had before.
            symbol: float64 [kinds, rows].
        """
        before = state[self._before]
        start = before.astype(np.int64)
        at = start * self._symbols
        at += symbol.astype(np.int64)
        at += self._first_pair + rows * self.counts.shape[1]
        start += self._first + rows * self.totals.shape[1]
        before[:] = symbol
        counts, totals = self.counts.reshape(-1), self.totals.reshape(-1)
        seen, total = counts.take(at), totals.take(start)
        any_before = n > 0
        counts[at], totals[start] = seen + any_before, total + any_before
        chance = (seen + self.PRIOR) / (total + self._prior)
        return np.where(any_before, -np.log(chance), 0.0)
