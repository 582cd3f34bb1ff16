"""anomaly: how unusual a reading is for its own series, as a probability

A detector gives each reading a score in 0..1 that means the same on every series, so one threshold fits all.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from pulssi.times import US_PER_S
from streams.grouping import lengths_of, order_by, starts_of
from streams.symbols import RangeSymbols, RankSymbols, Transitions, Words
from streams.tails import MeanTail, QuantileTail


class Cause(IntEnum):
    """What is most unusual about a reading."""

    LEVEL = 0  # the reading itself is far from what its time of day leads to expect
    SPREAD = 1  # readings have been further off than usual for a while
    SHAPE = 2  # readings follow each other as they have not done before
    SILENCE = 3  # the reading ends a silence far longer than the usual interval


class Scores(NamedTuple):
    """What a detector says of readings.

    Attributes:
        score: float64, 0..1.
        expected: float64, the value it expected.
        spread: float64, mean deviation from that.
        cause: int8, `Cause`.
        fresh: bool, whether nothing as unusual has come in the readings just before: one event, one fresh reading.
    """

    score: np.ndarray
    expected: np.ndarray
    spread: np.ndarray
    cause: np.ndarray
    fresh: np.ndarray

    def take(self, index: np.ndarray) -> Scores:
        """The chosen readings."""
        return Scores(*(column[index] for column in self))


class Columns(Protocol):
    """State in arrays whose first axis is the row, under the names in COLUMNS."""

    COLUMNS: ClassVar[tuple[str, ...]]


class Detector(Protocol):
    """Online detector of all series of a partition, vectorised over them."""

    def parts(self) -> tuple[tuple[str, Columns], ...]:
        """The parts that hold its state, each with a name."""

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


_HUGE = 1e150  # greater numbers would overflow in a square
_DAY_S = 86400


class Daily:
    """Running mean by time of day."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("means", "days")

    SLOTS = 48
    RATE = 0.1

    def __init__(self) -> None:
        self.means = np.zeros((0, self.SLOTS))
        self.days = np.zeros((0, self.SLOTS), np.uint8)

    def expect(self, rows: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Mean of the time of day of each reading, the reading itself where there is none; then learn."""
        slot = times // US_PER_S % _DAY_S // (_DAY_S // self.SLOTS)
        seen = self.days[rows, slot]
        mean = np.where(seen > 0, self.means[rows, slot], values)
        days = np.minimum(seen + 1, round(1 / self.RATE)).astype(np.uint8)
        self.means[rows, slot] = mean + (values - mean) / days
        self.days[rows, slot] = days
        return mean


class EvidenceDetector:
    """Adds up how rare a reading is in several respects for its own series.

    Five numbers tell how far a reading is off: its deviation from the mean of its time of day, the running mean of
    those deviations, the running surprise of one level following another, and words of levels and of ranks that have
    never occurred. Each is turned into the decades of its tail probability in the series so far; their sum is the
    evidence, less the decades that the length of the series alone makes likely. Nothing looks ahead and no parameter
    depends on the series.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("n", "time", "interval", "smooth", "new_share", "peaks")

    SPREAD_READINGS = 24
    SHAPE_READINGS = 12
    NEW_RATE = 0.002
    NEW_SHARE_LEAST = 1e-3
    LENGTH_WEIGHT = 2.0
    MEMORY_READINGS = 20_000
    CALM = -8.3
    DEPENDENCE = 2.7
    """Evidence of noise of any distribution passes CALM + DEPENDENCE k in one of 10^k readings; measured."""
    REST_BLOCKS = 8
    REST_BLOCK_READINGS = 44
    SCORED_FROM = 100
    """Readings of a series before the first that is scored."""
    SILENCE_INTERVALS = 10.0

    def __init__(self) -> None:
        self.n, self.time, self.interval = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        self.smooth = np.zeros((0, 2))
        self.new_share = np.zeros((0, 2))
        self.peaks = np.zeros((0, self.REST_BLOCKS))
        self._daily = Daily()
        self._levels, self._steps = RangeSymbols(6, 0.0), Transitions(6)
        self._near, self._pairs = RangeSymbols(5, 0.002), Words(5, 2)
        self._ranks, self._triples = RankSymbols(16), Words(16, 3)
        self._sizes, self._surprises = MeanTail(1), QuantileTail(2)

    def parts(self) -> tuple[tuple[str, Columns], ...]:
        """The parts that hold its state, each with a name."""
        return (
            ("detector", self),
            ("daily", self._daily),
            ("levels", self._levels),
            ("steps", self._steps),
            ("near", self._near),
            ("pairs", self._pairs),
            ("ranks", self._ranks),
            ("triples", self._triples),
            ("sizes", self._sizes),
            ("surprises", self._surprises),
        )

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        had = len(self.n)
        if rows <= had:
            return
        for _, part in self.parts():
            for name in part.COLUMNS:
                column = getattr(part, name)
                grown = np.zeros((max(rows, 2 * had), *column.shape[1:]), column.dtype)
                grown[:had] = column
                setattr(part, name, grown)

    def update(self, rows: np.ndarray, times: np.ndarray, values: np.ndarray) -> Scores:
        """Score readings, then learn from them; see `Detector`."""
        m = len(rows)
        result = Scores(np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m, np.int8), np.zeros(m, np.bool_))
        if m == 0:
            return result
        values = np.minimum(np.maximum(values, -_HUGE), _HUGE)
        starts = starts_of(rows)
        rank = np.arange(m) - np.repeat(starts, lengths_of(starts, m))
        longest = int(rank.max()) + 1
        order = order_by(rank) if longest > 1 else np.arange(m)
        bounds = np.searchsorted(rank[order], np.arange(longest + 1))
        for i in range(longest):  # the readings of one series have to wait for each other
            chosen = order[bounds[i] : bounds[i + 1]]
            for column, found in zip(result, self._step(rows[chosen], times[chosen], values[chosen]), strict=True):
                column[chosen] = found
        return result

    def _step(self, rows: np.ndarray, times: np.ndarray, values: np.ndarray) -> Scores:
        """One reading of each of distinct rows."""
        n = self.n[rows].astype(np.float64)
        self.n[rows] += 1
        silent = self._silence(rows, n, times)
        expected = self._daily.expect(rows, times, values)
        size = np.abs(values - expected)
        surprise = self._steps.surprise(rows, n, self._levels.of(rows, n, values))
        pairs = self._pairs.new(rows, n, self._near.of(rows, n, values))
        triples = self._triples.new(rows, n, self._ranks.of(rows, n, values))
        new = np.stack((pairs, triples), axis=1).astype(np.float64)
        novelty = (new * -np.log10(np.maximum(self._shares(rows, n, new), self.NEW_SHARE_LEAST))).sum(axis=1)
        smooth = self._smoothed(rows, n, np.stack((size, surprise), axis=1))
        spread = self._sizes.mean[rows, 0]
        sizes = self._sizes.decades(rows, n, size[:, None])[:, 0]
        surprises = self._surprises.decades(rows, n, smooth)
        length = self.LENGTH_WEIGHT * np.log10(np.minimum(n, self.MEMORY_READINGS) + 1.0)
        evidence = sizes + surprises.sum(axis=1) + novelty - length
        shape = surprises[:, 1] + novelty
        cause = np.argmax(np.stack((sizes, surprises[:, 0], shape)), axis=0)
        cause = np.where(silent, Cause.SILENCE, cause).astype(np.int8)
        score = np.where(
            n >= self.SCORED_FROM, 1.0 - 10.0 ** (-np.maximum(evidence - self.CALM, 0.0) / self.DEPENDENCE), 0.0
        )
        return Scores(score, expected, spread, cause, self._fresh(rows, evidence))

    def _silence(self, rows: np.ndarray, n: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Whether each reading ends a long silence; then learn the interval."""
        gap, interval = (times - self.time[rows]).astype(np.float64), self.interval[rows]
        known = n > 1
        silent = known & (gap > self.SILENCE_INTERVALS * interval)
        clipped = np.where(known, np.minimum(gap, self.SILENCE_INTERVALS * interval), gap)
        self.interval[rows] = np.where(
            n > 0, interval + np.maximum(1.0 / np.maximum(n, 1.0), 0.01) * (clipped - interval), 0
        )
        self.time[rows] = times
        return np.asarray(silent)

    def _shares(self, rows: np.ndarray, n: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Share of new words among the readings before; then learn."""
        n = n[:, None]
        share = np.where(n == 0, 1.0, self.new_share[rows])
        learned = share + np.maximum(self.NEW_RATE, 1.0 / (n + 1.0)) * (new - share)
        self.new_share[rows] = np.where(n == 0, new, learned)
        return np.asarray(share)

    def _smoothed(self, rows: np.ndarray, n: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Running means of each reading's numbers over about so many readings."""
        spans = np.array((self.SPREAD_READINGS, self.SHAPE_READINGS), np.float64)
        before = self.smooth[rows]
        after = before + np.maximum(2.0 / (spans + 1.0), 1.0 / (n[:, None] + 1.0)) * (numbers - before)
        self.smooth[rows] = after
        return np.asarray(after)

    def _fresh(self, rows: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """Whether no reading of the last blocks had as much evidence; then learn."""
        place, inside = np.divmod(self.n[rows] - 1, self.REST_BLOCK_READINGS)
        place %= self.REST_BLOCKS
        entering = inside == 0
        self.peaks[rows[entering], place[entering]] = -np.inf
        self.peaks[rows[self.n[rows] == 1]] = -np.inf
        fresh = evidence > self.peaks[rows].max(axis=1)
        self.peaks[rows, place] = np.maximum(self.peaks[rows, place], evidence)
        return np.asarray(fresh)
