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
from streams.season import Calendar, Season
from streams.symbols import RangeSymbols, Transitions
from streams.tails import WARM, MeanTail, Precedents, QuantileTail


class Cause(IntEnum):
    """What is most unusual about a reading."""

    LEVEL = 0  # the reading is far from what its time leads to expect or from the last ones, or the mean has moved
    SPREAD = 1  # readings have been further off than usual for a while
    SHAPE = 2  # readings follow each other as they have not done before
    SILENCE = 3  # the reading ends a silence far longer than the usual interval


class Scores(NamedTuple):
    """What a detector says of readings.

    Attributes:
        score: float64, 0..1, not more than 1 - the chance that noise brings a reading so unusual.
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


_HUGE = 1e30  # greater numbers would overflow in a table or in a square
_CHUNK = 1 << 14
"""Series worked on at once, so that what is known of them stays near."""


class EvidenceDetector:
    """Adds up how rare a reading is for its own series in four respects.

    They are its deviation from what its time of the day or of the week leads to expect, or from the mean of the last
    such deviations; the distance between a short and a long running mean, or the running mean deviation; the running
    surprise of one level following another; and the surprise of this one. Each becomes the decades of its tail
    probability in the series so far. The four say partly the same, and how much differs from series to series: their
    sum over `DEPENDENCE` are the decades that noise and recorded data of many kinds bear out, and never more than the
    series' own precedents do. With P the tail probability that they stand for, `score` is 1 - P n / `SCORED_FROM`
    after n readings: 100 (1 - score) readings as unusual are to be expected by chance in all that the series has
    shown, so a longer series must show something rarer. Nothing looks ahead and no parameter depends on the series.

    Args:
        calendar: of the days and weeks.

    Attributes:
        state: [rows, columns] records of the series.
        peaks: [rows, REST_BLOCKS + 1] greatest evidence of each of the last blocks of time, by their number.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("state", "peaks")

    SHORT_READINGS, LONG_READINGS = 24, 288
    SHAPE_READINGS, SPREAD_READINGS = 12, 36
    EITHER = float(np.log10(2.0))
    """The less likely of two numbers comes up to twice as often as one alone (Bonferroni)."""
    SPREAD_RATE = 0.001
    SPREAD_CLIP = 10.0
    SPREAD_TIMES = 2.0
    DEPENDENCE = 3.0
    SCORED_FROM = 100
    """Readings of a series before the first that is scored."""
    MEMORY_READINGS = 20_000
    """Readings after which the demands rise no more."""
    REST_BLOCKS = 12
    REST_BLOCK_US = 2 * 3600 * US_PER_S
    """A day, and up to two hours: what comes again at the same time of the next day is no news."""
    SILENCE_INTERVALS = 10.0

    def __init__(self, calendar: Calendar | None = None) -> None:
        self._calendar = calendar or Calendar()
        self._record = record = Record()
        self._n, self._time, self._interval = record.number(), record.number(), record.number()
        self._spread, self._smooth = record.number(), record.numbers(5)
        self._peak, self._peaks, self._block = record.number(-np.inf), record.number(-np.inf), record.number()
        self._season = Season(record)
        self._ranges, self._steps = RangeSymbols(record, (6, 5), (0.0, 0.002)), Transitions(record, (6, 5))
        self._tails, self._steps_tail = QuantileTail(record, 5), MeanTail(record)
        self._precedents = Precedents(record, self.SCORED_FROM, self.MEMORY_READINGS)
        self.state, self.peaks = record.rows(0), np.zeros((0, self.REST_BLOCKS + 1), np.float32)
        short = self.SHORT_READINGS
        readings = (short, self.LONG_READINGS, self.SHAPE_READINGS, self.SPREAD_READINGS, short)
        self._weights = 2.0 / (np.array(readings, np.float64)[:, None] + 1.0)
        self._demands = self.DEPENDENCE * np.log10(np.arange(1, self.MEMORY_READINGS + 1) / self.SCORED_FROM)

    def parts(self) -> tuple[tuple[str, Columns], ...]:
        """The parts that hold its state, each with a name."""
        return (
            ("detector", self),
            ("season", self._season),
            ("steps", self._steps),
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
        slots, times = self._calendar.slots(times), times.astype(np.float64)
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
                found = self._step(state[:, :some], own[:some], slots[:, at], times[at], values[at])
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
            self._season.start(state, first, values[first])
        after = np.add(n, 1.0, out=state[self._n])
        recent = 1.0 / after
        silent = self._silence(state, n, times)
        deviation = self._season.deviation(state, rows, n, slots, values)
        surprise = self._steps.surprise(state, rows, n, self._ranges.of(state, values))
        size, smooth, spread = np.abs(deviation), state[self._smooth], state[self._spread].copy()
        sudden = np.abs(deviation - smooth[4])
        news = np.stack((values, values, surprise[0], size, deviation))
        smooth += np.maximum(self._weights, recent) * (news - smooth)
        shift = np.abs(smooth[0] - smooth[1])
        numbers = np.stack((size, shift, smooth[2], sudden, smooth[3]))
        level, drift, shape, jump, width = self._tails.decades(state, n, recent, numbers)
        width -= self.EITHER
        np.maximum(level, jump - self.EITHER, out=level)
        wide = (width > drift) | (smooth[3] > self.SPREAD_TIMES * spread)
        wide &= smooth[3] > self.SPREAD_TIMES * np.abs(smooth[4])
        np.maximum(drift, width, out=drift)
        shape += self._steps_tail.decades(state, n, recent, surprise[1])
        self._enter(state, rows, times)
        evidence = self.DEPENDENCE * self._precedents.decades(state, n, (level + drift + shape) / self.DEPENDENCE)
        evidence -= self._demands.take(n.astype(np.int64), mode="clip")
        score = 1.0 - 10.0 ** (np.maximum(evidence, 0.0) / -self.DEPENDENCE)
        score *= n >= self.SCORED_FROM
        cause = wide.astype(np.int8)  # level or spread
        cause[(shape > np.maximum(level, drift)) & ~wide] = Cause.SHAPE
        cause[silent] = Cause.SILENCE
        self._widen(state[self._spread], n, recent, size)
        return Scores(score, values - deviation, spread, cause, self._fresh(state, evidence))

    def _widen(self, spread: np.ndarray, n: np.ndarray, recent: np.ndarray, size: np.ndarray) -> None:
        """Learn the mean deviation."""
        limit = np.where((n >= WARM) & (spread > 0), self.SPREAD_CLIP * spread, np.inf)
        spread += np.maximum(self.SPREAD_RATE, recent) * (np.minimum(size, limit) - spread)

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

    def _enter(self, state: np.ndarray, rows: np.ndarray, times: np.ndarray) -> None:
        """Begin a new block of time where one begins."""
        peak, block = state[self._peak], state[self._block]
        now = np.floor(times / self.REST_BLOCK_US)
        entering = (now != block).nonzero()[0]
        if not len(entering):
            return
        row, new, old = rows[entering], now[entering], block[entering]
        ring, places = self.peaks[row], self.REST_BLOCKS + 1
        ring[np.arange(len(row)), (old % places).astype(np.int64)] = peak[entering]
        unknown = np.minimum(new - old, places)[:, None]
        ring[(np.arange(places) - old[:, None] - 1) % places < unknown] = -np.inf
        self.peaks[row] = ring
        block[entering], peak[entering], state[self._peaks, entering] = new, -np.inf, ring.max(axis=1)
        self._precedents.enter(state, entering)

    def _fresh(self, state: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """Whether no reading of the last blocks of time had as much evidence; then learn."""
        peak = state[self._peak]
        fresh = evidence > np.maximum(peak, state[self._peaks])
        np.maximum(peak, evidence, out=peak)
        return np.asarray(fresh)
