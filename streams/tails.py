"""tails: how rare a number is among those that its series has shown before, in decades

Two online estimates of a tail probability by peaks over a threshold (Pickands 1975). Above the threshold u that a share
q of the numbers passes, P(X > x) = q (1 + k (x - u) / b)^(-1/k): the generalised Pareto distribution, exponential where
the shape k is 0. Both are given as -log10 P. State is in the records of the series (`streams.record`); rows of one call
are distinct.
"""

from __future__ import annotations

import numpy as np

from streams.record import Record

WARM = 50
"""Numbers of a series from which its tail is first estimated."""
_LN10 = float(np.log(10.0))
_TINY = 1e-12
_RATE = 0.001
_EXCESS_RATE = 0.01
_CLIP = 10.0
"""An excess teaches at most so many times the mean excess, so that one event does not hide the next,"""
_FREE_PEAKS = 5.0
"""but the first ones teach what they are."""
_FINEST = 1e-3
"""An excess of less than this share of the threshold is not told from it."""


class QuantileTail:
    """Tail above a running 95 % quantile, with the shape of the excess so far: for numbers of any distribution.

    The shape comes from the moments of the excess (Hosking and Wallis 1987), drawn to the exponential as by
    `PRIOR_PEAKS` of its peaks, and is not below it: a finite end is not believed.

    Until a feature has had `WARM` numbers, its columns hold the greatest `TOP` of them, their sum and the sum of their
    squares; from then on its threshold, the mean excess, the mean square of the excess, the scale of steps, the number
    of peaks, and the numbers since the last one above the threshold.

    Args:
        record: takes up the state.
        features: how many numbers come with each reading.
    """

    PASSING = 0.05
    TOP = 4
    """Of the first `WARM` numbers, so many are kept: the least of them is their 95 % quantile."""
    PRIOR_PEAKS = 20.0
    SHAPE_MAX = 1 / 3
    SCALE_RATE = 0.002
    STEP = 3.0
    QUIET = 300.0
    """So many numbers in a row below the threshold, which chance brings once in 5 million, say that it is too high:"""
    HASTE_MAX = 20.0
    """then it comes down faster, up to so many times."""

    def __init__(self, record: Record, features: int) -> None:
        self._features = features
        self._columns = record.numbers(6 * features)
        self._at_threshold = -np.log10(self.PASSING)

    def decades(self, state: np.ndarray, n: np.ndarray, recent: np.ndarray, x: np.ndarray) -> np.ndarray:
        """-log10 of the tail probability, 0 below the threshold; then learn.

        Args:
            state: records.
            n: float64 [rows], readings that each had before.
            recent: 1 / (n + 1).
            x: float64 [features, rows].
        """
        columns = state[self._columns].reshape(6, self._features, -1)
        warming = n < WARM
        if not np.count_nonzero(warming):
            return self._follow(columns, recent, x)
        result = np.zeros(x.shape)
        some, going = warming.nonzero()[0], (~warming).nonzero()[0]
        columns[:, :, some] = self._warm(columns[:, :, some], n[some], x[:, some])
        if len(going):
            old = columns[:, :, going]
            result[:, going] = self._follow(old, recent[going], x[:, going])
            columns[:, :, going] = old
        return result

    def _warm(self, columns: np.ndarray, n: np.ndarray, x: np.ndarray) -> np.ndarray:
        top, (total, squares) = columns[: self.TOP], columns[self.TOP :]
        top[:, :, n == 0] = -np.inf
        least = np.argmin(top, axis=0)
        np.put_along_axis(top, least[None], np.maximum(np.min(top, axis=0), x)[None], axis=0)
        total += x
        squares += x * x
        done = np.flatnonzero(n == WARM - 1)
        if len(done):
            columns[:, :, done] = self._first(*(part[..., done] for part in (top, total, squares)))
        return columns

    def _first(self, top: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
        limit = np.min(top, axis=0)
        above = top > limit
        peaks = above.sum(axis=0)
        excess = np.where(above, top - limit, 0.0).sum(axis=0)
        excess = np.where(peaks > 0, excess / np.maximum(peaks, 1), 1e-9)
        variance = squares / WARM - (total / WARM) ** 2
        scale = np.maximum(np.sqrt(np.maximum(variance, 0.0)), 1e-9)
        return np.stack((limit, excess, 2.0 * excess**2, scale, np.maximum(peaks, 1.0), np.zeros(limit.shape)))

    def _follow(self, columns: np.ndarray, recent: np.ndarray, x: np.ndarray) -> np.ndarray:
        limit, excess, squares, scale, peaks, quiet = columns
        passing, over = x > limit, x - limit
        decades = np.zeros(x.shape)
        some = passing.nonzero()
        if len(some[0]):
            decades[some] = self._decades(*(a[some] for a in (over, limit, excess, squares, peaks)))
        step = np.maximum(recent, _RATE) * self.STEP * scale
        quiet += 1.0
        quiet *= ~passing
        step *= np.where(passing, 1.0 - self.PASSING, -self.PASSING)
        if quiet.max() > self.QUIET:
            step *= np.minimum(np.maximum(quiet / self.QUIET, 1.0), self.HASTE_MAX)
        limit += step
        above, over = x > limit, x - limit
        scale += np.maximum(recent, self.SCALE_RATE) * (np.abs(over) - scale)
        some = above.nonzero()
        if len(some[0]):
            self._learn(excess, squares, peaks, some, over[some])
        return decades

    def _decades(
        self, over: np.ndarray, limit: np.ndarray, excess: np.ndarray, squares: np.ndarray, peaks: np.ndarray
    ) -> np.ndarray:
        variation = squares / np.maximum(excess, _TINY) ** 2 - 1.0
        variation = (variation * peaks + self.PRIOR_PEAKS) / (peaks + self.PRIOR_PEAKS)
        shape = np.clip(0.5 - 0.5 / np.maximum(variation, _TINY), 1e-6, self.SHAPE_MAX)
        scale = np.maximum(excess * (1.0 - shape), np.maximum(_TINY, _FINEST * np.abs(limit)))
        return np.asarray(self._at_threshold + np.log1p(shape * over / scale) / (shape * _LN10))

    def _learn(
        self,
        excess: np.ndarray,
        squares: np.ndarray,
        peaks: np.ndarray,
        some: tuple[np.ndarray, ...],
        over: np.ndarray,
    ) -> None:
        before, count = excess[some], peaks[some] + 1.0
        over = np.where(count > _FREE_PEAKS, np.minimum(over, _CLIP * np.maximum(before, _TINY)), over)
        weight = np.maximum(1.0 / count, _EXCESS_RATE)
        excess[some] = before + weight * (over - before)
        squares[some] += weight * (over * over - squares[some])
        peaks[some] = np.minimum(count, 1.0 / _EXCESS_RATE)


class MeanTail:
    """Exponential tail above twice the running mean: for numbers whose natural zero is 0, many of them alike.

    Args:
        record: takes up the state.
    """

    TIMES = 2.0
    BLIND = 10

    def __init__(self, record: Record) -> None:
        self._mean = record.number()
        self._share, self._excess, self._peaks = record.number(), record.number(), record.number()

    def decades(self, state: np.ndarray, n: np.ndarray, recent: np.ndarray, x: np.ndarray) -> np.ndarray:
        """-log10 of the tail probability of [rows] numbers, 0 below the threshold; then learn. See `QuantileTail`."""
        mean, share, excess, peaks = state[self._mean], state[self._share], state[self._excess], state[self._peaks]
        limit = self.TIMES * mean
        above, over = x > limit, x - limit
        slope = (excess * peaks + mean) / (peaks + 1.0)
        np.maximum(slope, np.maximum(_TINY, _FINEST * limit), out=slope)
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
        clip = np.where(peaks > _FREE_PEAKS, _CLIP * np.maximum(excess, mean), np.inf)
        weight *= np.minimum(over, clip) - excess
        np.minimum(peaks, 1.0 / _EXCESS_RATE, out=peaks)
        excess += weight * above
        clipped = np.where(seeing & (mean > 0), np.minimum(x, _CLIP * mean), x)
        mean += np.maximum(_RATE, recent) * (clipped - mean)
        return np.asarray(found)


class Precedents:
    """Decades of evidence as the series itself bears them out: what has come more often than it should is less rare.

    Counts in how many blocks of time the evidence reached each whole number of decades. The rate of those is estimated
    with the conjugate prior of a Poisson rate: a gamma distribution that has the claimed rate as its mean and weighs as
    `PRIOR` events. Between two whole numbers a decade is a decade. This only ever lowers evidence.

    Args:
        record: takes up the state.
        first: readings of a series before the first that counts.
        memory: readings that are remembered.
    """

    LEVELS = 6
    PRIOR = 0.5

    def __init__(self, record: Record, first: int, memory: int) -> None:
        self._counts, self._reached = record.numbers(self.LEVELS), record.number()
        self._first, self._memory = first, memory
        self._levels = np.arange(1.0, self.LEVELS + 1.0)[:, None]
        self._claimed = self.PRIOR * 10.0**self._levels

    def enter(self, state: np.ndarray, entering: np.ndarray) -> None:
        """A new block of time begins for some of the rows."""
        state[self._reached, entering] = 0.0

    def decades(self, state: np.ndarray, n: np.ndarray, claimed: np.ndarray) -> np.ndarray:
        """The decades that remain of those claimed, [rows]; then learn. `n`: readings that each had before."""
        all_counts, all_reached = state[self._counts], state[self._reached]
        if n.max() >= self._first + self._memory:
            all_counts *= 1.0 - (n >= self._first + self._memory) / self._memory
        some = (claimed >= 1.0).nonzero()[0]
        if not len(some):
            return claimed
        counts, z, reached = all_counts[:, some], claimed[some], all_reached[some]
        seen = np.clip(n[some] - self._first, 0.0, self._memory)
        borne = np.log10((seen + self._claimed) / (counts + self.PRIOR))  # decades of each level
        level = np.minimum(np.floor(z), self.LEVELS)
        at = np.arange(len(some))
        index = level.astype(np.int64)
        found = np.minimum(z, borne[index - 1, at] + (z - level))
        above = np.where(index < self.LEVELS, borne[np.minimum(index, self.LEVELS - 1), at], np.inf)
        result = claimed.copy()
        result[some] = np.minimum(found, above)
        counts += (self._levels <= level) & (self._levels > reached) & (n[some] >= self._first)
        all_counts[:, some], all_reached[some] = counts, np.maximum(reached, level)
        return result
