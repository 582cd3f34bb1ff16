"""symbols: values as few symbols, and how surprising their sequence is

A series of symbols is judged by what it has done before: how often one symbol followed another, and which short words
have occurred at all. What is needed at each reading lies in the record of the series (`streams.record`), `state` below;
larger tables are arrays by row. Rows of one call are distinct.
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


class RankSymbols:
    """Parts that the series visits equally often, by running quantiles.

    Args:
        record: takes up the state.
        symbols: how many.
    """

    RATE = 0.002
    SCALE_RATE = 0.005
    STEP = 5.0

    def __init__(self, record: Record, symbols: int) -> None:
        self._quantiles = record.numbers(symbols - 1)
        self._mean, self._scale = record.number(), record.number()
        shares = np.arange(1, symbols) / symbols
        self._down = (shares - 1.0)[:, None]
        self._up = self._down + 1.0

    def start(self, state: np.ndarray, first: np.ndarray, values: np.ndarray) -> None:
        """Let the series begin with their first values."""
        state[self._quantiles, first] = values
        state[self._mean, first] = values

    def of(self, state: np.ndarray, recent: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Symbol of each value as an int8; then learn. `recent`: 1 / number of readings with this one."""
        quantiles, mean, scale = state[self._quantiles], state[self._mean], state[self._scale]
        above = values > quantiles
        weight = np.maximum(recent, self.SCALE_RATE)
        deviation = values - mean
        scale += weight * (np.abs(deviation) - scale)
        mean += weight * deviation
        step = np.where(above, self._up, self._down)
        step *= np.maximum(recent, self.RATE) * scale * self.STEP
        quantiles += step
        return np.asarray(np.add.reduce(above.view(np.int8), axis=0, dtype=np.int8))


class Transitions:
    """How often one symbol has followed another.

    Args:
        record: takes up the state.
        symbols: how many.

    Attributes:
        counts: float32 [rows, from, to].
        totals: [rows, from] their sums.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("counts", "totals")

    PRIOR = 0.5
    """Krichevsky and Trofimov 1981."""

    def __init__(self, record: Record, symbols: int) -> None:
        self.symbols = symbols
        self.counts = np.zeros((0, symbols, symbols), np.float32)
        self.totals = np.zeros((0, symbols))
        self._before = record.number()

    def surprise(self, state: np.ndarray, rows: np.ndarray, n: np.ndarray, symbol: np.ndarray) -> np.ndarray:
        """Minus the logarithm of the chance that this symbol followed; then learn. `n`: readings before."""
        before = state[self._before]
        start = rows * self.symbols + before.astype(np.int64)
        at = start * self.symbols + symbol.astype(np.int64)
        before[:] = symbol
        counts, totals = self.counts.reshape(-1), self.totals.reshape(-1)
        seen, total = counts.take(at), totals.take(start)
        more = seen + (n > 0)
        counts[at] = more
        totals[start] = total + (more - seen)  # 16 million transitions are the most that a float32 counts
        chance = (seen.astype(np.float64) + self.PRIOR) / (total + self.PRIOR * self.symbols)
        return np.where(n > 0, -np.log(chance), 0.0)


class Words:
    """Which words of so many symbols have occurred, one bit for each.

    Args:
        record: takes up the state.
        symbols: how many, for each kind of word.
        lengths: symbols of a word, for each kind.

    Attributes:
        bits: uint8 [rows, bytes], words that have occurred, kind by kind.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("bits",)

    _BIT = np.uint8(1) << np.arange(8, dtype=np.uint8)

    def __init__(self, record: Record, symbols: Sequence[int], lengths: Sequence[int]) -> None:
        sizes = [-(-(one**length) // 8) for one, length in zip(symbols, lengths, strict=True)]
        self.bits = np.zeros((0, sum(sizes)), np.uint8)
        self._history = record.numbers(len(symbols))
        self._symbols, self._before = np.array(symbols, np.float64)[:, None], np.array(lengths)[:, None] - 1
        self._beginnings = self._symbols**self._before
        self._first = (np.cumsum(sizes) - sizes)[:, None]

    def new(self, state: np.ndarray, rows: np.ndarray, n: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Whether the word that ends with this symbol is the first of its kind, bool [kinds, rows]; then learn.

        Args:
            state: records.
            rows: int64.
            n: readings before.
            symbols: float64 [kinds, rows].
        """
        word = state[self._history]
        word *= self._symbols
        word += symbols
        number = word.astype(np.int64)
        word -= np.floor(word / self._beginnings) * self._beginnings
        at = (number >> 3) + self._first
        at += rows * self.bits.shape[1]
        bits, bit = self.bits.reshape(-1), self._BIT.take(number & 7)
        seen = bits.take(at)
        bits[at] = seen | bit
        return np.asarray(((seen & bit) == 0) & (n >= self._before))
