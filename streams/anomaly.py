"""anomaly: how unusual a reading is for its own series, as a probability

A detector gives each reading a score in 0..1 that means the same on every series: 1 - score is the share of readings
of that series that have been at least as unusual, so one threshold fits all.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from streams.grouping import ends_of, lengths_of, order_by, ranges, shifted, starts_of
from streams.progress import NEVER


class Scores(NamedTuple):
    """What a detector says of readings, float64 arrays: score 0..1, the value it expected, the spread it allows for."""

    score: np.ndarray
    expected: np.ndarray
    spread: np.ndarray


class Detector(Protocol):
    """Online detector of all series of a partition, vectorised over them; its state is arrays by row."""

    COLUMNS: ClassVar[tuple[str, ...]]
    """Names of the attributes that are its state; each is an array whose first axis is the row."""

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""

    def update(self, rows: np.ndarray, times: np.ndarray, values: np.ndarray) -> Scores:
        """Score readings, then learn from them.

        Must give the same in whatever batches the readings come.

        Args:
            rows: int64, equal ones together.
            times: int64 us, rising within a row and past all that the row had before.
            values: float64.
        """


_BIN_BITS = 2
_LEAST_EXPONENT = -4
_OCTAVES = 12
_BINS = _OCTAVES << _BIN_BITS
_LEAST = 2.0**_LEAST_EXPONENT
_HUGE = 1e150  # greater numbers would overflow in a difference


def _edges() -> np.ndarray:
    octave, part = np.divmod(np.arange(_BINS + 1), 1 << _BIN_BITS)
    edges = 2.0 ** (octave + _LEAST_EXPONENT) * (1 + part / (1 << _BIN_BITS))
    edges[0] = 0.0
    return edges


_EDGES = _edges()


class ResidualDetector:
    """Robust running level and spread, with the tail of the residuals counted per series.

    Within one interval the level and the spread stand still; between intervals they follow by exponential weighting,
    with residuals clipped so that one outlier moves them little. The residual in spreads is looked up in the
    series' own histogram of past residuals (log-linear bins), which forgets slowly and starts from a Laplace tail. So
    whatever the shape of the noise, the score is its tail probability. Nothing is scored until the level is known.

    Args:
        interval_us: length of the interval.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "interval",
        "level",
        "spread",
        "folds",
        "scale",
        "value",
        "resolution",
        "n",
        "total",
        "deviation",
        "pending",
        "counts",
        "tail",
    )

    LEVEL_RATE = 0.1
    SPREAD_RATE = 0.02
    CLIP_SPREADS = 4.0
    BLIND_FOLDS = 3
    WARM_FOLDS = 20
    KEEP = 1.0 - 1.0 / 2000
    PRIOR_WEIGHT = 20.0

    def __init__(self, interval_us: int) -> None:
        self.interval_us = interval_us
        self.interval = np.zeros(0, np.int64)
        self.level, self.spread, self.folds = np.zeros(0), np.zeros(0), np.zeros(0, np.int64)
        self.scale, self.value, self.resolution = np.zeros(0), np.zeros(0), np.zeros(0)
        self.n, self.total, self.deviation = np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
        self.pending = np.zeros((0, _BINS), np.float32)
        self.counts = np.zeros((0, _BINS), np.float32)
        self.tail = np.zeros((0, _BINS + 1), np.float32)
        self._prior = np.exp(-_EDGES)

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        had = len(self.level)
        if rows <= had:
            return
        for name in self.COLUMNS:
            column = getattr(self, name)
            grown = np.zeros((max(rows, 2 * had), *column.shape[1:]), column.dtype)
            grown[:had] = column
            setattr(self, name, grown)
        self.interval[had:] = NEVER
        self.resolution[had:] = np.inf

    def update(self, rows: np.ndarray, times: np.ndarray, values: np.ndarray) -> Scores:
        """Score readings, then learn from them; see `Detector`."""
        result = Scores(np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows)))
        if len(rows) == 0:
            return result
        values = np.minimum(np.maximum(values, -_HUGE), _HUGE)
        interval = times // self.interval_us
        starts = starts_of(rows, interval)
        lengths = lengths_of(starts, len(rows))
        rank = _rank_in_run(rows[starts])
        order = order_by(rank)
        bounds = np.searchsorted(rank[order], np.arange(int(rank.max()) + 2))
        change = self._changes(rows, values)
        for i in range(len(bounds) - 1):
            groups = order[bounds[i] : bounds[i + 1]]
            first = starts[groups]
            self._enter(rows[first], interval[first], values[first])
            chosen, _ = ranges(first, lengths[groups])
            self._score(rows[chosen], values[chosen], change[chosen], chosen, result)
        return result

    def _changes(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Absolute change to the reading before, infinite where there is none or it is nothing."""
        starts = starts_of(rows)
        own = rows[starts]
        change = np.abs(values - shifted(values, starts, self.value[own]))
        change[starts[self.interval[own] == NEVER]] = np.inf
        change[change == 0.0] = np.inf
        self.value[own] = values[ends_of(starts, len(rows))]
        return np.asarray(change)

    def _enter(self, rows: np.ndarray, interval: np.ndarray, value: np.ndarray) -> None:
        """Distinct rows come to an interval: learn from the one before it, unless it is the same."""
        new = self.interval[rows] == NEVER
        self.level[rows[new]] = value[new]
        going_on = rows[~new & (self.interval[rows] != interval)]
        self._fold(going_on)
        self.interval[rows] = interval

    def _fold(self, rows: np.ndarray) -> None:
        n, folds = self.n[rows], self.folds[rows] + 1
        limit = np.where(folds > self.BLIND_FOLDS, self.CLIP_SPREADS * self.scale[rows], np.inf)
        residual = np.minimum(np.maximum(self.total[rows] / n, -limit), limit)
        deviation = np.minimum(self.deviation[rows] / n, limit)
        self.level[rows] += np.maximum(self.LEVEL_RATE, 1 / (folds + 1)) * residual
        self.spread[rows] += np.maximum(self.SPREAD_RATE, 1 / folds) * (deviation - self.spread[rows])
        resolution = self.resolution[rows]  # what the series cannot tell apart is no deviation
        self.scale[rows] = np.maximum(self.spread[rows], np.where(np.isfinite(resolution), 0.5 * resolution, 0.0))
        counts = self.counts[rows] * np.float32(self.KEEP) + self.pending[rows]
        tail = np.zeros((len(rows), _BINS + 1))
        tail[:, :-1] = np.cumsum(counts[:, ::-1], axis=1, dtype=np.float64)[:, ::-1]
        self.tail[rows] = (tail + self.PRIOR_WEIGHT * self._prior) / (tail[:, :1] + self.PRIOR_WEIGHT)
        self.counts[rows], self.folds[rows], self.pending[rows] = counts, folds, 0
        self.n[rows], self.total[rows], self.deviation[rows] = 0, 0.0, 0.0

    def _score(
        self,
        rows: np.ndarray,
        values: np.ndarray,
        change: np.ndarray,
        chosen: np.ndarray,
        result: Scores,
    ) -> None:
        scale, folds = self.scale[rows], self.folds[rows]
        spread = np.where(scale > 0, scale, np.where(np.isfinite(change), 0.5 * change, 0.0))
        residual = values - self.level[rows]
        size = np.abs(residual)
        z = np.divide(size, spread, out=np.where(size > 0, np.inf, 0.0), where=spread > 0)
        bin_, part = _bins(z)
        tail = self.tail[rows, bin_]
        p = tail + (self.tail[rows, bin_ + 1] - tail) * part
        result.score[chosen] = np.where(folds >= self.WARM_FOLDS, 1.0 - p, 0.0)
        result.expected[chosen] = self.level[rows]
        result.spread[chosen] = spread
        np.minimum.at(self.resolution, rows, change)
        np.add.at(self.n, rows, 1)
        np.add.at(self.total, rows, residual)
        np.add.at(self.deviation, rows, size)
        learning = folds >= self.BLIND_FOLDS  # before that the spread means nothing
        np.add.at(self.pending.reshape(-1), (rows * _BINS + bin_)[learning], np.float32(1))


def _rank_in_run(rows: np.ndarray) -> np.ndarray:
    starts = starts_of(rows)
    return np.asarray(np.arange(len(rows)) - np.repeat(starts, lengths_of(starts, len(rows))))


def _bins(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bin of each z and how far into it, 0..1, read off the bits of the number; the last one holds all above."""
    greatest = _EDGES[-1] * (1 - 2.0**-20)
    bits = np.minimum(np.maximum(z, _LEAST), greatest).view(np.int64)
    shift = 52 - _BIN_BITS
    bin_ = (bits >> shift) - ((1023 + _LEAST_EXPONENT) << _BIN_BITS)
    part = (bits & ((1 << shift) - 1)) / (1 << shift)
    small = z < _EDGES[1]
    return bin_, np.where(small, z / _EDGES[1], part)
