"""sequence: checks that compare a reading with those before and after it in event time

The same checks run twice, on two copies of this state. On readings as they arrive in order, at once: a reading that
comes late may still fall between two of them, so what they say there is marked provisional. And on readings whose
horizon has passed, in order of event time, whatever the order of arrival was: what they say there is settled.

Values are compared as float32, the precision in which panes remember single readings.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np

from pulssi.quality import Quality
from pulssi.times import US_PER_S
from streams.cadence import Cadence
from streams.catalogue import Limits
from streams.grouping import ends_of, lengths_of, running_max, shifted
from streams.progress import NEVER

NEIGHBOUR_S = 3600
"""Readings further apart than this are no neighbours: any step between them is credible."""

ORDERED = Quality.STEP | Quality.STUCK | Quality.SPIKE | Quality.GAP
"""What these checks say."""

STUCK_REPEATS_MIN = 30
STUCK_TIMES_LONGEST = 5
STUCK_CHANGES_MIN = 100
"""A value is stuck as well when it stands for 30 readings, and five times longer than all before it but one, in a
series that has changed 100 times. All but one, since else a sensor that was stuck once would never be so again."""

GAP_INTERVALS = 5
"""A silence longer than so many usual intervals is a gap."""

SPIKE_DEVIATIONS = 6.0
"""A spike is so many robust standard deviations (1.4826 times the median absolute deviation) from the median."""
SPIKE_OF_STEP = 0.25
"""And further than this part of the largest credible step of its quantity."""

AROUND = 3
"""Readings on each side of a spike that its median is taken of; the window of Hampel's filter is twice that and one."""

_HISTORY = 2 * AROUND
_TO_SIGMA = 1.4826


class Judged(NamedTuple):
    """Readings that are judged now, one for each that was given: the same, or the one `lag` before it.

    Attributes:
        time: event time, us; NEVER where there is none yet.
        flags: int64, what all checks say.
        note: int64, what was given with it.
    """

    time: np.ndarray
    flags: np.ndarray
    note: np.ndarray


class SequenceChecks:
    """Step, stuck, gap and spike of each series, arrays by row.

    Args:
        pane_us: length of a pane.
        lag: how many readings must follow before a reading is judged: 0, or AROUND to see both its sides.

    Attributes:
        time, value: of the latest reading.
        same_since, repeats: event time at which its value began, and how often it came again since.
        longest, second, changes: most and second most repeats of a value before it, and how often the value changed.
        times, values, flags, notes: [rows, 6] the latest readings, oldest first.
        cadence: usual interval.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "time", "value", "same_since", "repeats", "longest", "second", "changes", "times", "values", "flags", "notes"
    )  # fmt: skip

    def __init__(self, pane_us: int, lag: int) -> None:
        self._pane_us, self._lag = pane_us, lag
        self.cadence = Cadence(pane_us, 0)
        self.time, self.same_since = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.value = np.zeros(0)
        self.repeats, self.longest, self.second, self.changes = (np.zeros(0, np.int64) for _ in range(4))
        self.times = np.zeros((0, _HISTORY), np.int64)
        self.values = np.zeros((0, _HISTORY), np.float32)
        self.flags, self.notes = np.zeros((0, _HISTORY), np.int32), np.zeros((0, _HISTORY), np.int32)

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        had = len(self.time)
        self.cadence.grow(rows)
        if rows <= had:
            return
        for name in self.COLUMNS:
            column = getattr(self, name)
            grown = np.zeros((max(rows, 2 * had), *column.shape[1:]), column.dtype)
            grown[:had] = column
            setattr(self, name, grown)
        self.time[had:], self.times[had:] = NEVER, NEVER

    def check(
        self,
        row: np.ndarray,
        starts: np.ndarray,
        time: np.ndarray,
        value: np.ndarray,
        limits: Limits,
        note: np.ndarray,
    ) -> tuple[np.ndarray, Judged]:
        """Take readings in order of event time.

        Args:
            row: [runs] row of each run.
            starts: [runs] first reading of each run.
            time: [readings] event times, rising within a run and past all that it had before.
            value: [readings] values.
            limits: of each reading.
            note: [readings] int32, given back with the judgement.

        Returns:
            STEP, STUCK and GAP of each reading, int32, and what is judged now.
        """
        value = value.astype(np.float32).astype(np.float64)
        before = shifted(time, starts, self.time[row])
        known = before > NEVER
        step = known & (time - before <= NEIGHBOUR_S * US_PER_S)
        step &= np.abs(value - shifted(value, starts, self.value[row])) > limits.step_max
        flags = np.where(step, np.int32(Quality.STEP), np.int32(0))
        flags[self._stuck(row, starts, time, value, known, limits)] |= np.int32(Quality.STUCK)
        flags[self._gaps(row, starts, time, time - before, known, limits)] |= np.int32(Quality.GAP)
        ends = ends_of(starts, len(time))
        self.time[row], self.value[row] = time[ends], value[ends]
        return flags, self._judge(row, starts, time, value, flags, note, limits)

    def _stuck(
        self,
        row: np.ndarray,
        starts: np.ndarray,
        time: np.ndarray,
        value: np.ndarray,
        known: np.ndarray,
        limits: Limits,
    ) -> np.ndarray:
        changed = ~known | (value != shifted(value, starts, self.value[row]))
        lengths, ends, place = lengths_of(starts, len(time)), ends_of(starts, len(time)), np.arange(len(time))
        began = np.where(changed, place, -(1 << 62))
        began[starts] = np.where(changed[starts], starts, starts - 1 - self.repeats[row])
        began = running_max(began, starts)
        repeats = place - began
        inside = began >= np.repeat(starts, lengths)
        since = np.where(inside, time[np.maximum(began, 0)], np.repeat(self.same_since[row], lengths))
        finished = np.where(changed, shifted(repeats, starts, self.repeats[row]), 0)
        longest = running_max(_at_least(finished, starts, self.longest[row]), starts)
        lesser = np.minimum(finished, shifted(longest, starts, self.longest[row]))
        second = running_max(_at_least(lesser, starts, self.second[row]), starts)
        total = np.cumsum(changed)
        changes = total - np.repeat(total[starts] - changed[starts] - self.changes[row], lengths)
        self.same_since[row], self.repeats[row] = since[ends], repeats[ends]
        self.longest[row], self.second[row], self.changes[row] = longest[ends], second[ends], changes[ends]
        unusual = repeats >= np.maximum(STUCK_REPEATS_MIN, STUCK_TIMES_LONGEST * second)
        unusual &= np.isfinite(limits.stuck_s) & (changes > STUCK_CHANGES_MIN)
        return np.asarray(unusual | (time - since >= limits.stuck_s * US_PER_S))

    def _gaps(
        self,
        row: np.ndarray,
        starts: np.ndarray,
        time: np.ndarray,
        interval: np.ndarray,
        known: np.ndarray,
        limits: Limits,
    ) -> np.ndarray:
        own = np.repeat(row, lengths_of(starts, len(time)))
        spoken = np.flatnonzero(known)
        self.cadence.learn(own[spoken], time[spoken], interval[spoken])
        learned = time // self._pane_us > self.cadence.known_from[own]
        usual = np.where(learned, self.cadence.interval_us[own].astype(np.float64), np.inf)
        usual = np.where(np.isnan(limits.interval_s), usual, limits.interval_s * US_PER_S)
        return np.asarray(known & (interval > GAP_INTERVALS * usual))

    def _judge(
        self,
        row: np.ndarray,
        starts: np.ndarray,
        time: np.ndarray,
        value: np.ndarray,
        flags: np.ndarray,
        note: np.ndarray,
        limits: Limits,
    ) -> Judged:
        """Look for spikes in the readings and the history before them, put into one row of readings."""
        runs, n = len(row), len(time)
        lengths = lengths_of(starts, n)
        first = starts + _HISTORY * np.arange(runs)
        at = np.arange(n) + _HISTORY * np.repeat(np.arange(1, runs + 1), lengths)
        history = first[:, None] + np.arange(_HISTORY)
        newest = (first + lengths)[:, None] + np.arange(_HISTORY)

        def joined(column: np.ndarray, values: np.ndarray) -> np.ndarray:
            out = np.empty(n + _HISTORY * runs, column.dtype)
            out[history], out[at] = column[row], values
            column[row] = out[newest]
            return out

        times, values = joined(self.times, time), joined(self.values, value)
        all_flags, notes = joined(self.flags, flags), joined(self.notes, note)
        floor = SPIKE_OF_STEP * limits.step_max
        spike = np.zeros(n, np.bool_)
        far = np.flatnonzero(_spread(values, at) > floor)
        far = far[times[at[far]] - times[at[far] - _HISTORY] <= _HISTORY * NEIGHBOUR_S * US_PER_S]
        if len(far):
            window = values[at[far, None] - np.arange(_HISTORY, -1, -1)].astype(np.float64)
            median = np.sort(window, axis=1)[:, AROUND]
            deviation = np.abs(window - median[:, None])
            allowed = SPIKE_DEVIATIONS * _TO_SIGMA * np.sort(deviation, axis=1)[:, AROUND]
            spike[far] = deviation[:, _HISTORY - self._lag] > np.maximum(floor[far], allowed)
        judged = at - self._lag
        return Judged(times[judged], all_flags[judged] | np.where(spike, np.int32(Quality.SPIKE), 0), notes[judged])


def _at_least(values: np.ndarray, starts: np.ndarray, least: np.ndarray) -> np.ndarray:
    """The same values, the first of each run not below `least` of the run."""
    values = values.copy()
    values[starts] = np.maximum(values[starts], least)
    return values


def _spread(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Range of each of the windows that end at `at`."""
    low = high = values[at]
    for back in range(1, _HISTORY + 1):
        value = values[at - back]
        low, high = np.minimum(low, value), np.maximum(high, value)
    return np.asarray(high.astype(np.float64) - low)
