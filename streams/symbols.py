"""symbols: values as few symbols, and how surprising their sequence is

A series of symbols is judged by what it has done before: how often one symbol followed another, and which short words
have occurred at all. State is arrays by row; rows of one call are distinct.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np


class RangeSymbols:
    """Equal parts of the range that the series has had; the range shrinks towards the value by a share `fading`.

    Args:
        symbols: how many.
        fading: share by which both ends come nearer with each reading.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("low", "high")

    def __init__(self, symbols: int, fading: float) -> None:
        self.symbols, self.fading = symbols, fading
        self.low, self.high = np.zeros(0), np.zeros(0)

    def of(self, rows: np.ndarray, n: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Symbol of each value, int64; then learn. `n`: readings before."""
        low = np.where(n == 0, values, np.minimum(self.low[rows], values))
        high = np.where(n == 0, values, np.maximum(self.high[rows], values))
        width = high - low
        place = np.divide(values - low, width, out=np.zeros(len(values)), where=width > 0)
        self.low[rows] = low + self.fading * (values - low)
        self.high[rows] = high - self.fading * (high - values)
        return np.asarray(np.minimum((place * self.symbols).astype(np.int64), self.symbols - 1))


class RankSymbols:
    """Parts that the series visits equally often, by running quantiles.

    Args:
        symbols: how many.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("quantiles", "mean", "scale")

    RATE = 0.002
    SCALE_RATE = 0.005
    STEP = 5.0

    def __init__(self, symbols: int) -> None:
        self.symbols = symbols
        self.quantiles = np.zeros((0, symbols - 1))
        self.mean, self.scale = np.zeros(0), np.zeros(0)
        self._shares = np.arange(1, symbols) / symbols

    def of(self, rows: np.ndarray, n: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Symbol of each value, int64; then learn. `n`: readings before."""
        first = n == 0
        quantiles = np.where(first[:, None], values[:, None], self.quantiles[rows])
        mean = np.where(first, values, self.mean[rows])
        above = values[:, None] > quantiles
        recent = 1.0 / (n + 1.0)
        weight = np.maximum(recent, self.SCALE_RATE)
        scale = self.scale[rows] + weight * (np.abs(values - mean) - self.scale[rows])
        step = np.maximum(recent, self.RATE) * scale * self.STEP
        self.quantiles[rows] = quantiles + step[:, None] * (self._shares - 1.0 + above)
        self.mean[rows], self.scale[rows] = mean + weight * (values - mean), scale
        return np.asarray(np.count_nonzero(above, axis=1))


class Transitions:
    """How often one symbol has followed another.

    Args:
        symbols: how many.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("counts", "before")

    PRIOR = 0.5
    """Krichevsky and Trofimov 1981."""

    def __init__(self, symbols: int) -> None:
        self.symbols = symbols
        self.counts = np.zeros((0, symbols, symbols), np.float32)
        self.before = np.zeros(0, np.int64)

    def surprise(self, rows: np.ndarray, n: np.ndarray, symbol: np.ndarray) -> np.ndarray:
        """Minus the logarithm of the chance that this symbol followed; then learn. `n`: readings before."""
        before = self.before[rows]
        seen = self.counts[rows, before].astype(np.float64)
        chance = (seen[np.arange(len(rows)), symbol] + self.PRIOR) / (seen.sum(axis=1) + self.PRIOR * self.symbols)
        self.counts[rows, before, symbol] += n > 0
        self.before[rows] = symbol
        return np.where(n > 0, -np.log(chance), 0.0)


class Words:
    """Which words of so many symbols have occurred, one bit for each.

    Args:
        symbols: how many symbols.
        length: of a word.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("word", "bits")

    def __init__(self, symbols: int, length: int) -> None:
        self.symbols, self.length = symbols, length
        self.words = symbols**length
        self.word = np.zeros(0, np.int64)
        self.bits = np.zeros((0, -(-self.words // 8)), np.uint8)

    def new(self, rows: np.ndarray, n: np.ndarray, symbol: np.ndarray) -> np.ndarray:
        """Whether the word that ends with this symbol is the first of its kind, bool; then learn."""
        word = (self.word[rows] * self.symbols + symbol) % self.words
        byte, bit = word >> 3, np.uint8(1) << (word & 7).astype(np.uint8)
        seen = self.bits[rows, byte]
        self.bits[rows, byte] = seen | bit
        self.word[rows] = word
        return np.asarray((n >= self.length - 1) & ((seen & bit) == 0))
