"""anomaly: how unusual a reading is for its own series, as a probability

A detector gives each reading a score in 0..1 that means the same on every series, so one threshold fits all.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from pulssi.times import US_PER_S
from streams.grouping import lengths_of, starts_of
from streams.record import Record
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
_CHUNK = 1 << 14
"""Series worked on at once, so that what is known of them stays near."""


class Daily:
    """Running mean by time of day."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("means", "days")

    SLOTS = 48
    RATE = 0.1

    def __init__(self) -> None:
        self.means = np.zeros((0, self.SLOTS))
        self.days = np.zeros((0, self.SLOTS), np.uint8)

    def slots(self, rows: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Where the time of day of each reading stands in the table."""
        slot = times // US_PER_S % _DAY_S // (_DAY_S // self.SLOTS)
        slot += rows * self.SLOTS
        return np.asarray(slot)

    def expect(self, slots: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Mean of the time of day of each reading, the reading itself where there is none; then learn."""
        means, all_days = self.means.reshape(-1), self.days.reshape(-1)
        days = all_days.take(slots)
        mean = np.where(days, means.take(slots), values)
        days += np.uint8(1)
        np.minimum(days, np.uint8(round(1 / self.RATE)), out=days)
        means[slots] = mean + (values - mean) / days
        all_days[slots] = days
        return mean


class EvidenceDetector:
    """Adds up how rare a reading is in several respects for its own series.

    Five numbers tell how far a reading is off: its deviation from the mean of its time of day, the running mean of
    those deviations, the running surprise of one level following another, and words of levels and of ranks that have
    never occurred. Each is turned into the decades of its tail probability in the series so far; their sum is the
    evidence, less the decades that the length of the series alone makes likely. Nothing looks ahead and no parameter
    depends on the series.

    Attributes:
        state: [rows, columns] records of the series.
        peaks: [rows, REST_BLOCKS] greatest evidence of each of the last blocks of readings that are full.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("state", "peaks")

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
        self._record = record = Record()
        self._n, self._time, self._interval = record.number(), record.number(), record.number()
        self._smooth, self._new_share = record.numbers(2), record.numbers(2, 1.0)
        self._block, self._blocks = record.number(-np.inf), record.number(-np.inf)
        self._daily = Daily()
        self._ranges, self._steps = RangeSymbols(record, (6, 5), (0.0, 0.002)), Transitions(record, 6)
        self._ranks, self._words = RankSymbols(record, 16), Words(record, (5, 16), (2, 3))
        self._sizes, self._surprises = MeanTail(record), QuantileTail(record, 2)
        self.state, self.peaks = record.rows(0), np.zeros((0, self.REST_BLOCKS))
        self._weights = 2.0 / (np.array([[self.SPREAD_READINGS], [self.SHAPE_READINGS]], np.float64) + 1.0)
        self._decades = self.LENGTH_WEIGHT * np.log10(np.arange(self.MEMORY_READINGS + 1.0) + 1.0)

    def parts(self) -> tuple[tuple[str, Columns], ...]:
        """The parts that hold its state, each with a name."""
        return (
            ("detector", self),
            ("daily", self._daily),
            ("steps", self._steps),
            ("words", self._words),
            ("surprises", self._surprises),
        )

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        had = len(self.state)
        if rows <= had:
            return
        for _, part in self.parts():
            for name in part.COLUMNS:
                column = getattr(part, name)
                grown = np.zeros((max(rows, 2 * had), *column.shape[1:]), column.dtype)
                grown[:had] = column
                setattr(part, name, grown)
        self.state[had:], self.peaks[had:] = self._record.rows(len(self.state) - had), -np.inf

    def update(self, rows: np.ndarray, times: np.ndarray, values: np.ndarray) -> Scores:
        """Score readings, then learn from them; see `Detector`."""
        m = len(rows)
        result = Scores(np.empty(m), np.empty(m), np.empty(m), np.empty(m, np.int8), np.empty(m, np.bool_))
        if m == 0:
            return result
        slots, times = self._daily.slots(rows, times), times.astype(np.float64)
        values = np.minimum(np.maximum(values, -_HUGE), _HUGE)
        starts = starts_of(rows)
        lengths = lengths_of(starts, m)
        if len(starts) < m:  # the readings of one series have to wait for each other
            order = np.argsort(-lengths, kind="stable")
            starts, lengths = starts[order], lengths[order]
        for begin in range(0, len(starts), _CHUNK):
            first, waiting = starts[begin : begin + _CHUNK], -lengths[begin : begin + _CHUNK]
            own = rows[first]
            state = self.state.take(own, axis=0).T.copy()
            for i in range(-int(waiting[0])):
                some = int(np.searchsorted(waiting, -i))  # those that have more than i readings
                at = first[:some] + i
                found = self._step(state[:, :some], own[:some], slots[at], times[at], values[at])
                for column, part in zip(result, found, strict=True):
                    column[at] = part
            self.state[own] = state.T
        return result

    def _step(
        self, state: np.ndarray, rows: np.ndarray, slots: np.ndarray, times: np.ndarray, values: np.ndarray
    ) -> Scores:
        """One reading of each of distinct rows, whose records are `state`."""
        n = state[self._n].copy()
        if np.count_nonzero(n) < len(n):
            first = np.flatnonzero(n == 0)
            state[self._time, first] = times[first]
            self._ranks.start(state, first, values[first])
        after = np.add(n, 1.0, out=state[self._n])
        recent = 1.0 / after
        silent = self._silence(state, n, times)
        expected = self._daily.expect(slots, values)
        numbers, symbols = np.empty((2, len(n))), self._ranges.of(state, values)
        numbers[0], numbers[1] = np.abs(values - expected), self._steps.surprise(state, rows, n, symbols[0])
        symbols[0], symbols[1] = symbols[1], self._ranks.of(state, recent, values)
        novelty = self._novelty(state, recent, self._words.new(state, rows, n, symbols))
        smooth = state[self._smooth]
        smooth += np.maximum(self._weights, recent) * (numbers - smooth)
        spread = state[self._sizes.mean].copy()
        sizes = self._sizes.decades(state, n, recent, numbers[0])
        level, shape = self._surprises.decades(state, rows, n, recent, smooth)
        evidence = sizes + (level + shape)
        evidence += novelty
        evidence -= self._decades.take(n.astype(np.int64), mode="clip")
        shape += novelty
        cause = np.where(shape > np.maximum(sizes, level), np.int8(Cause.SHAPE), (level > sizes).view(np.int8))
        cause[silent] = Cause.SILENCE
        score = 1.0 - 10.0 ** (np.maximum(evidence - self.CALM, 0.0) / -self.DEPENDENCE)
        score *= n >= self.SCORED_FROM
        return Scores(score, expected, spread, cause, self._fresh(state, rows, n, evidence))

    def _silence(self, state: np.ndarray, n: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Whether each reading ends a long silence; then learn the interval."""
        before, interval = state[self._time], state[self._interval]
        gap = times - before
        before[:] = times
        longest = np.where(n > 1, self.SILENCE_INTERVALS * interval, np.inf)
        weight = np.maximum(1.0 / np.maximum(n, 1.0), 0.01)
        weight *= np.minimum(gap, longest) - interval
        interval += weight
        return np.asarray(gap > longest)

    def _novelty(self, state: np.ndarray, recent: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Decades of the share of new words among the readings before, where words are new; then learn."""
        share = state[self._new_share]
        decades = np.zeros(share.shape)
        some = new.nonzero()
        if len(some[0]):
            decades[some] = -np.log10(np.maximum(share[some], self.NEW_SHARE_LEAST))
        share += np.maximum(self.NEW_RATE, recent) * (new - share)
        return np.asarray(decades[0] + decades[1])

    def _fresh(self, state: np.ndarray, rows: np.ndarray, n: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """Whether no reading of the last blocks had as much evidence; then learn."""
        block, blocks = state[self._block], state[self._blocks]
        inside = n % self.REST_BLOCK_READINGS
        if np.count_nonzero(inside) < len(inside):
            entering = np.flatnonzero(inside == 0)
            row = rows[entering]
            place = (n[entering] // self.REST_BLOCK_READINGS).astype(np.int64)
            self.peaks[row, (place - 1) % self.REST_BLOCKS] = block[entering]
            self.peaks[row, place % self.REST_BLOCKS] = -np.inf
            block[entering], blocks[entering] = -np.inf, self.peaks[row].max(axis=1)
        fresh = evidence > np.maximum(block, blocks)
        np.maximum(block, evidence, out=block)
        return np.asarray(fresh)
