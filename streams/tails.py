"""tails: how rare a number is among those that its series has shown before, in decades

Two online estimates of a tail probability, both by peaks over a threshold with exponential excess (Pickands 1975):
above the threshold u that a share q of the numbers passes, P(X > x) = q exp(-(x - u) / b). Both are given as
-log10 P, so that evidence of independent kinds adds up (Fisher 1925). State is in the records of the series
(`streams.record`); rows of one call are distinct.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from streams.record import Record

WARM = 50
"""Numbers of a series from which its tail is first estimated."""
_LN10 = float(np.log(10.0))
_TINY = 1e-12
_RATE = 0.001
_EXCESS_RATE = 0.02
_CLIP = 20.0


class QuantileTail:
    """Tail above a running 95 % quantile: for features of any level, such as surprise.

    Args:
        record: takes up the state.
        features: how many numbers come with each reading.

    Attributes:
        top, total, squares: [rows, features, TOP] greatest of the first `WARM` numbers; their sums and sums of squares.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("top", "total", "squares")

    PASSING = 0.05
    TOP = 4
    """Of the first `WARM` numbers, so many are kept: the least of them is their 95 % quantile."""

    def __init__(self, record: Record, features: int) -> None:
        self.top = np.zeros((0, features, self.TOP))
        self.total, self.squares = np.zeros((0, features)), np.zeros((0, features))
        self._features = features
        self._columns = record.numbers(4 * features)
        self._at_threshold = -np.log10(self.PASSING)

    def decades(
        self, state: np.ndarray, rows: np.ndarray, n: np.ndarray, recent: np.ndarray, x: np.ndarray
    ) -> np.ndarray:
        """-log10 of the tail probability, 0 below the threshold; then learn.

        Args:
            state: records.
            rows: int64, distinct.
            n: float64 [rows], readings that each had before.
            recent: 1 / (n + 1).
            x: float64 [features, rows].
        """
        columns = state[self._columns].reshape(4, self._features, len(rows))
        warming = n < WARM
        if not np.count_nonzero(warming):
            return self._follow(columns, recent, x)
        result = np.zeros(x.shape)
        some, going = warming.nonzero()[0], (~warming).nonzero()[0]
        self._warm(columns, some, rows[some], n[some], x[:, some].T)
        if len(going):
            old = columns[:, :, going]
            result[:, going] = self._follow(old, recent[going], x[:, going])
            columns[:, :, going] = old
        return result

    def _warm(self, columns: np.ndarray, at: np.ndarray, rows: np.ndarray, n: np.ndarray, x: np.ndarray) -> None:
        top = self.top[rows]
        top[n == 0] = -np.inf
        least = np.argmin(top, axis=2)[:, :, None]
        top = np.where(np.arange(self.TOP) == least, np.maximum(np.min(top, axis=2), x)[:, :, None], top)
        total, squares = self.total[rows] + x, self.squares[rows] + x * x
        self.top[rows], self.total[rows], self.squares[rows] = top, total, squares
        done = np.flatnonzero(n == WARM - 1)
        if len(done):
            limit = np.min(top[done], axis=2)
            above = top[done] > limit[:, :, None]
            peaks = above.sum(axis=2)
            excess = (np.where(above, top[done] - limit[:, :, None], 0.0)).sum(axis=2)
            excess = np.where(peaks > 0, excess / np.maximum(peaks, 1), 1e-9)
            variance = squares[done] / WARM - (total[done] / WARM) ** 2
            scale = np.maximum(np.sqrt(np.maximum(variance, 0.0)), 1e-9)
            for column, found in zip(columns, (limit, excess, scale, np.maximum(peaks, 1)), strict=True):
                column[:, at[done]] = found.T

    def _follow(self, columns: np.ndarray, recent: np.ndarray, x: np.ndarray) -> np.ndarray:
        limit, excess, scale, peaks = columns
        passing, over = x > limit, x - limit
        over /= np.maximum(excess, np.maximum(_TINY, 1e-3 * np.abs(limit)))
        over /= _LN10
        over += self._at_threshold
        decades: np.ndarray = over * passing
        step = np.maximum(recent, _RATE) * 3.0 * scale
        step *= np.where(passing, 1.0 - self.PASSING, 1.0 - self.PASSING - 1.0)
        limit += step
        above, over = x > limit, x - limit
        peaks += above
        share = np.maximum(1.0 / peaks, _EXCESS_RATE)
        share *= np.minimum(over, _CLIP * np.maximum(excess, _TINY)) - excess
        np.add(excess, share, out=excess, where=above)
        scale += np.maximum(recent, 0.002) * (np.abs(over) - scale)
        return decades


class MeanTail:
    """Tail above twice the running mean: for sizes of deviations, whose natural zero is 0.

    Args:
        record: takes up the state.
    """

    TIMES = 2.0
    BLIND = 10

    def __init__(self, record: Record) -> None:
        self.mean = record.number()
        self._share, self._excess, self._peaks = record.number(), record.number(), record.number()

    def decades(self, state: np.ndarray, n: np.ndarray, recent: np.ndarray, x: np.ndarray) -> np.ndarray:
        """-log10 of the tail probability of [rows] numbers, 0 below the threshold; then learn. See `QuantileTail`."""
        mean, share, excess, peaks = state[self.mean], state[self._share], state[self._excess], state[self._peaks]
        limit = self.TIMES * mean
        above, over = x > limit, x - limit
        slope = (excess * peaks + mean) / (peaks + 1.0)
        np.maximum(slope, np.maximum(_TINY, 1e-3 * limit), out=slope)
        found = over / slope
        found /= _LN10
        found -= np.log10(np.maximum(share, 1e-3))
        found *= above & (n >= WARM)
        seeing = n >= self.BLIND
        weight = np.maximum(_RATE, 1.0 / np.maximum(n - self.BLIND + 2.0, 1.0))
        weight *= seeing
        share += weight * (above - share)
        above &= seeing
        peaks += above
        weight = np.maximum(_EXCESS_RATE, 1.0 / np.maximum(peaks, 1.0))
        np.minimum(peaks, 1.0 / _EXCESS_RATE, out=peaks)
        weight *= np.minimum(over, _CLIP * np.maximum(excess, mean)) - excess
        excess += weight * above
        clipped = np.where(seeing & (mean > 0), np.minimum(x, _CLIP * mean), x)
        mean += np.maximum(_RATE, recent) * (clipped - mean)
        return np.asarray(found)
