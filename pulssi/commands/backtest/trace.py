"""trace: what a rule looked at, kept to show it, and what the detector expected there"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from alerts.rules import Rule, Source
from pulssi.errors import ConfigurationError
from pulssi.frames import IndicatorKind, Indicators
from pulssi.quality import EXCLUDED, Quality
from pulssi.times import US_PER_S
from streams.anomaly import EvidenceDetector

ROWS_MAX: Final = 20_000_000
"""Rows that are kept: 0.6 GB."""
SPREADS: Final = 3
"""Half of the expected range in mean deviations: holds 98 % of a normal distribution."""

_NOT_DETECTED = int(EXCLUDED & ~Quality.STUCK)
"""Readings with one of these never reach the detector, which judges before STUCK is known."""


class Points(NamedTuple):
    """One series as a rule saw it, in order of time: us of event time (the end of a window), value, flags."""

    time: np.ndarray
    value: np.ndarray
    flags: np.ndarray


class Expected(NamedTuple):
    """What the detector expected of good readings in order: score of each, and the range around what was expected."""

    time: np.ndarray
    score: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, time: int) -> tuple[float, float] | None:
        """Range of the reading at a time, None when there was none."""
        i = int(np.searchsorted(self.time, time))
        if i == len(self.time) or self.time[i] != time:
            return None
        return float(self.low[i]), float(self.high[i])


class Trace:
    """Collects rows of indicators that a rule looks at.

    Args:
        rule: a silence is shown by the readings around it.
        wanted: whether a series is to be kept.
    """

    def __init__(self, rule: Rule, wanted: Callable[[int], bool]) -> None:
        reading = Source(IndicatorKind.READING, 0, "value")
        source = rule.source or reading
        self._source = reading if source.kind == IndicatorKind.READING else source
        self._wanted = wanted
        self._known: dict[int, bool] = {}
        self._rows = 0
        self._parts: list[tuple[np.ndarray, ...]] = []

    def see(self, rows: Indicators) -> None:
        """Keep what is looked at.

        Raises:
            ConfigurationError: it is more than can be kept.
        """
        source = self._source
        value = getattr(rows, source.column)
        mask = (rows.kind == source.kind) & (rows.window_s == source.window_s) & np.isfinite(value)
        if source.completeness_min > 0:
            mask &= rows.completeness >= source.completeness_min
        at = np.flatnonzero(mask)
        for one in set(rows.series_id[at].tolist()) - self._known.keys():
            self._known[one] = self._wanted(one)
        at = at[[self._known[one] for one in rows.series_id[at].tolist()]] if len(at) else at
        if not len(at):
            return
        self._rows += len(at)
        if self._rows > ROWS_MAX:
            raise ConfigurationError(f"more than {ROWS_MAX} values to keep: narrow it with --series, --from and --to")
        time = rows.window_start[at] + source.window_s * US_PER_S
        self._parts.append((rows.series_id[at], time, rows.revision[at], value[at].astype(np.float64), rows.flags[at]))

    @property
    def series(self) -> list[int]:
        """Series that have rows, in the order in which they came."""
        return list(dict.fromkeys(one for part in self._parts for one in part[0].tolist()))

    def points(self, series_id: int) -> Points:
        """The newest revision of every time of one series."""
        chosen = [tuple(column[part[0] == series_id] for column in part[1:]) for part in self._parts]
        time, revision, value, flags = (np.concatenate(columns) for columns in zip(*chosen, strict=True))
        order = np.lexsort((np.arange(len(time)), revision, time))
        last = np.append(time[order][1:] != time[order][:-1], True)
        order = order[last]
        return Points(time[order], value[order], flags[order])

    def expected(self, series_id: int) -> Expected:
        """What the production detector expected of the readings of one series: its own words, said again."""
        _, time, _, value, flags = (np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        mine = np.concatenate([part[0] == series_id for part in self._parts])
        time, value, flags = time[mine], value[mine], flags[mine]
        newest = np.maximum.accumulate(np.concatenate(([np.iinfo(np.int64).min], time[:-1])))
        good = ((flags & _NOT_DETECTED) == 0) & (time > newest)
        time, value = time[good], value[good]
        detector = EvidenceDetector()
        detector.grow(1)
        scores = detector.update(np.zeros(len(time), np.int64), time, value)
        half = SPREADS * scores.spread
        return Expected(time, scores.score, scores.expected - half, scores.expected + half)
