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
from streams.grouping import Runs
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
_STEP, _STUCK, _SPIKE, _GAP = (np.int32(flag) for flag in (Quality.STEP, Quality.STUCK, Quality.SPIKE, Quality.GAP))


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
        same_since, repeats: event time at which the value began, and how often it came again since.
        longest, second, changes: most and second most repeats of a value before it, and how often the value changed.
        times, values: [rows, 6] the latest readings, oldest first.
        flags, notes: [rows, lag] those of the latest readings, which wait for their judgement.
        cadence: usual interval.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "same_since", "repeats", "longest", "second", "changes", "times", "values", "flags", "notes"
    )  # fmt: skip

    def __init__(self, pane_us: int, lag: int) -> None:
        self._pane_us, self._lag = pane_us, lag
        self.cadence = Cadence(pane_us, 0)
        self.same_since = np.zeros(0, np.int64)
        self.repeats, self.longest, self.second, self.changes = (np.zeros(0, np.int64) for _ in range(4))
        self.times = np.zeros((0, _HISTORY), np.int64)
        self.values = np.zeros((0, _HISTORY), np.float32)
        self.flags, self.notes = np.zeros((0, lag), np.int32), np.zeros((0, lag), np.int32)

    def grow(self, rows: int) -> None:
        """Room for rows 0 ... rows - 1."""
        had = len(self.times)
        self.cadence.grow(rows)
        if rows <= had:
            return
        for name in self.COLUMNS:
            column = getattr(self, name)
            grown = np.zeros((max(rows, 2 * had), *column.shape[1:]), column.dtype)
            grown[:had] = column
            setattr(self, name, grown)
        self.times[had:] = NEVER

    def check(
        self,
        runs: Runs,
        row: np.ndarray,
        time: np.ndarray,
        value: np.ndarray,
        limits: Limits,
        note: np.ndarray,
    ) -> tuple[np.ndarray, Judged]:
        """Take readings in order of event time.

        Args:
            runs: the readings of each series.
            row: [runs] row of each run.
            time: [readings] event times, rising within a run and past all that it had before.
            value: [readings] values.
            limits: of each reading.
            note: [readings] int32, given back with the judgement.

        Returns:
            STEP, STUCK and GAP of each reading, int32, and what is judged now.
        """
        value = value.astype(np.float32)
        times, values = self.times[row], self.values[row]
        before, value_before = runs.shifted(time, times[:, -1]), runs.shifted(value, values[:, -1])
        known, interval = before > NEVER, time - before
        step = np.abs(value.astype(np.float64) - value_before) > limits.step_max
        step &= known & (interval <= NEIGHBOUR_S * US_PER_S)
        changed = (value != value_before) | ~known
        stuck = self._stuck(runs, row, time, changed, limits)
        gap = self._gaps(runs, row, time, before, known, limits)
        flags = step * _STEP
        flags |= stuck * _STUCK
        flags |= gap * _GAP
        return flags, self._judge(runs, row, (times, values), (time, value), flags, note, limits)

    def _stuck(self, runs: Runs, row: np.ndarray, time: np.ndarray, changed: np.ndarray, limits: Limits) -> np.ndarray:
        place, repeats_before = np.arange(runs.n), self.repeats[row]
        before = runs.starts - 1 - repeats_before
        began = runs.running_max(np.where(changed, place, runs.spread(before)), before)
        repeats = place - began
        earlier = began < runs.spread(runs.starts)
        since = np.where(earlier, runs.spread(self.same_since[row]), time[np.maximum(began, 0)])
        finished = runs.shifted(repeats, repeats_before) * changed
        longest_before = self.longest[row]
        longest = runs.running_max(finished, longest_before)
        second = runs.running_max(np.minimum(finished, runs.shifted(longest, longest_before)), self.second[row])
        changes = runs.running_sum(changed, self.changes[row])
        self.same_since[row], self.repeats[row] = runs.last(since), runs.last(repeats)
        self.longest[row], self.second[row] = runs.last(longest), runs.last(second)
        self.changes[row] = runs.last(changes)
        unusual = repeats >= np.maximum(STUCK_TIMES_LONGEST * second, STUCK_REPEATS_MIN)
        unusual &= changes > STUCK_CHANGES_MIN
        unusual &= limits.stuck_s < np.inf
        unusual |= time - since >= limits.stuck_s * US_PER_S
        return np.asarray(unusual)

    def _gaps(
        self, runs: Runs, row: np.ndarray, time: np.ndarray, before: np.ndarray, known: np.ndarray, limits: Limits
    ) -> np.ndarray:
        own = runs.spread(row)
        self.cadence.learn(own, time, before, known)
        learned = time // self._pane_us > self.cadence.known_from[own]
        usual = np.where(learned, self.cadence.interval_us[own].astype(np.float64), np.inf)
        usual = np.where(np.isnan(limits.interval_s), usual, limits.interval_s * US_PER_S)
        return np.asarray(known & (time - before > GAP_INTERVALS * usual))

    def _judge(
        self,
        runs: Runs,
        row: np.ndarray,
        history: tuple[np.ndarray, np.ndarray],
        latest: tuple[np.ndarray, np.ndarray],
        flags: np.ndarray,
        note: np.ndarray,
        limits: Limits,
    ) -> Judged:
        """Look for spikes in the readings and the history before them; `history` and `latest` are times and values."""
        times, self.times[row] = _joined(runs, history[0], latest[0])
        values, self.values[row] = _joined(runs, history[1], latest[1])
        at = _places(runs, _HISTORY)
        floor = SPIKE_OF_STEP * limits.step_max
        far = (_spread(runs, values, at) > floor).nonzero()[0]
        if len(far):
            far = far[times[at[far]] - times[at[far] - _HISTORY] <= _HISTORY * NEIGHBOUR_S * US_PER_S]
        if len(far):
            window = values[at[far, None] - np.arange(_HISTORY, -1, -1)].astype(np.float64)
            median = np.sort(window, axis=1)[:, AROUND]
            deviation = np.abs(window - median[:, None])
            allowed = SPIKE_DEVIATIONS * _TO_SIGMA * np.sort(deviation, axis=1)[:, AROUND]
            far = far[deviation[:, _HISTORY - self._lag] > np.maximum(floor[far], allowed)]
        if self._lag:
            times = times[at - self._lag]
            all_flags, self.flags[row] = _joined(runs, self.flags[row], flags)
            notes, self.notes[row] = _joined(runs, self.notes[row], note)
            at = _places(runs, self._lag) - self._lag
            flags, note = all_flags[at], notes[at]
        else:
            times, flags = latest[0], flags.copy()
        flags[far] |= _SPIKE
        return Judged(times, flags, note)


def _places(runs: Runs, before: int) -> np.ndarray:
    """Where each reading stands in what `_joined` gives, with `before` entries of history."""
    if runs.single:
        return np.arange(before, runs.n * (before + 1), before + 1)
    return np.arange(runs.n) + before * np.arange(1, len(runs.starts) + 1).repeat(runs.lengths)


def _joined(runs: Runs, history: np.ndarray, latest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The readings of each run after their history, and the history after them.

    Args:
        runs: the readings of each series.
        history: [runs, before].
        latest: [readings].
    """
    before = history.shape[1]
    if runs.single:
        both = np.concatenate((history, latest[:, None]), axis=1)
        return both.reshape(-1), both[:, 1:]
    joined = np.empty(runs.n + history.size, history.dtype)
    first = (runs.starts + before * np.arange(len(runs.starts)))[:, None] + np.arange(before)
    joined[first], joined[_places(runs, before)] = history, latest
    return joined, joined[first + runs.lengths[:, None]]


def _spread(runs: Runs, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Range of each of the windows that end at `at`."""
    if runs.single:
        windows = values.reshape(runs.n, -1)
        return np.asarray(windows.max(axis=1).astype(np.float64) - windows.min(axis=1))
    low = high = values[at]
    for back in range(1, _HISTORY + 1):
        value = values[at - back]
        low, high = np.minimum(low, value), np.maximum(high, value)
    return np.asarray(high.astype(np.float64) - low)
