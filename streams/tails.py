"""tails: how rare a number is among those that its series has shown before, in decades

Two online estimates of a tail probability, both by peaks over a threshold with exponential excess (Pickands 1975):
above the threshold u that a share q of the numbers passes, P(X > x) = q exp(-(x - u) / b). Both are given as
-log10 P, so that evidence of independent kinds adds up (Fisher 1925). State is arrays by row and feature; rows of one
call are distinct.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

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
        features: how many numbers come with each reading.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("top", "total", "squares", "limit", "excess", "scale", "peaks")

    PASSING = 0.05
    TOP = 4
    """Of the first `WARM` numbers, so many are kept: the least of them is their 95 % quantile."""

    def __init__(self, features: int) -> None:
        self.top = np.zeros((0, features, self.TOP))
        self.total, self.squares = np.zeros((0, features)), np.zeros((0, features))
        self.limit, self.excess = np.zeros((0, features)), np.zeros((0, features))
        self.scale, self.peaks = np.zeros((0, features)), np.zeros((0, features))

    def decades(self, rows: np.ndarray, n: np.ndarray, x: np.ndarray) -> np.ndarray:
        """-log10 of the tail probability, 0 below the threshold; then learn.

        Args:
            rows: int64, distinct.
            n: float64 [rows], readings that each had before.
            x: float64 [rows, features].
        """
        result = np.zeros(x.shape)
        warming = n < WARM
        if warming.any():
            self._warm(rows[warming], n[warming], x[warming])
        going = np.flatnonzero(~warming)
        if len(going):
            result[going] = self._follow(rows[going], n[going, None], x[going])
        return result

    def _warm(self, rows: np.ndarray, n: np.ndarray, x: np.ndarray) -> None:
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
            variance = squares[done] / WARM - (total[done] / WARM) ** 2
            self.limit[rows[done]] = limit
            self.excess[rows[done]] = np.where(peaks > 0, excess / np.maximum(peaks, 1), 1e-9)
            self.peaks[rows[done]] = np.maximum(peaks, 1)
            self.scale[rows[done]] = np.maximum(np.sqrt(np.maximum(variance, 0.0)), 1e-9)

    def _follow(self, rows: np.ndarray, n: np.ndarray, x: np.ndarray) -> np.ndarray:
        limit, excess, scale, peaks = (column[rows] for column in (self.limit, self.excess, self.scale, self.peaks))
        passing = x > limit
        least = np.maximum(excess, np.maximum(_TINY, 1e-3 * np.abs(limit)))
        decades = np.where(passing, -np.log10(self.PASSING) + (x - limit) / least / _LN10, 0.0)
        recent = 1.0 / (n + 1.0)
        limit += np.maximum(recent, _RATE) * 3.0 * scale * (1.0 - self.PASSING - (x <= limit))
        above = x > limit
        peaks += above
        share = np.maximum(1.0 / peaks, _EXCESS_RATE)
        seen = np.minimum(x - limit, _CLIP * np.maximum(excess, _TINY))
        self.excess[rows] = np.where(above, excess + share * (seen - excess), excess)
        self.scale[rows] = scale + np.maximum(recent, 0.002) * (np.abs(x - limit) - scale)
        self.limit[rows], self.peaks[rows] = limit, peaks
        return np.asarray(decades)


class MeanTail:
    """Tail above twice the running mean: for sizes of deviations, whose natural zero is 0.

    Args:
        features: how many numbers come with each reading.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("mean", "share", "excess", "peaks")

    TIMES = 2.0
    BLIND = 10

    def __init__(self, features: int) -> None:
        self.mean, self.share = np.zeros((0, features)), np.zeros((0, features))
        self.excess, self.peaks = np.zeros((0, features)), np.zeros((0, features))

    def decades(self, rows: np.ndarray, n: np.ndarray, x: np.ndarray) -> np.ndarray:
        """-log10 of the tail probability, 0 below the threshold; then learn. See `QuantileTail.decades`."""
        n = n[:, None]
        mean, share, excess, peaks = (column[rows] for column in (self.mean, self.share, self.excess, self.peaks))
        limit = self.TIMES * mean
        above = x > limit
        slope = np.maximum((excess * peaks + mean) / (peaks + 1.0), np.maximum(_TINY, 1e-3 * limit))
        found = -np.log10(np.maximum(share, 1e-3)) + (x - limit) / slope / _LN10
        decades = np.where(above & (n >= WARM), found, 0.0)
        seeing = n >= self.BLIND
        share += np.where(seeing, np.maximum(_RATE, 1.0 / np.maximum(n - self.BLIND + 2.0, 1.0)) * (above - share), 0.0)
        peak = above & seeing
        peaks += peak
        seen = np.minimum(x - limit, _CLIP * np.maximum(excess, mean))
        weight = np.maximum(_EXCESS_RATE, 1.0 / np.maximum(peaks, 1.0))
        excess += np.where(peak, weight * (seen - excess), 0.0)
        clipped = np.where(seeing & (mean > 0), np.minimum(x, _CLIP * mean), x)
        self.mean[rows] = mean + np.maximum(_RATE, 1.0 / (n + 1.0)) * (clipped - mean)
        self.share[rows], self.excess[rows] = share, excess
        self.peaks[rows] = np.minimum(peaks, 1.0 / _EXCESS_RATE)
        return np.asarray(decades)
