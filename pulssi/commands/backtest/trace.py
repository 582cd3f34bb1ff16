"""trace: what a rule looked at, kept to show it, and what the detector expected there"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import isfinite
from typing import Final, NamedTuple

import numpy as np

from alerts.rules import Rule, Source
from pulssi.errors import ConfigurationError
from pulssi.frames import IndicatorKind, Indicators
from pulssi.quality import EXCLUDED, Quality
from pulssi.times import US_PER_S
from streams.anomaly import EvidenceDetector
from streams.season import Calendar

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
        """Range of the reading at a time, None when there was none or nothing was expected."""
        i = int(np.searchsorted(self.time, time))
        if i == len(self.time) or self.time[i] != time or not isfinite(self.low[i]):
            return None
        return float(self.low[i]), float(self.high[i])


class _Rows(NamedTuple):
    """Rows of one series."""

    time: np.ndarray
    revision: np.ndarray
    value: np.ndarray
    flags: np.ndarray


class Trace:
    """Collects rows of indicators that a rule looks at.

    Args:
        rule: a silence is shown by the readings around it.
        wanted: whether a series is meant.
        keep: whether the rows are to be shown later, and not only their series to be known.
        calendar: that of the detector which gave the rows; UTC without holidays when left out.

    Attributes:
        series: those of which there were rows.
    """

    def __init__(
        self, rule: Rule, wanted: Callable[[int], bool], *, keep: bool = True, calendar: Calendar | None = None
    ) -> None:
        self._calendar = calendar
        reading = Source(IndicatorKind.READING, 0, "value")
        source = rule.source or reading
        self._source = reading if source.kind == IndicatorKind.READING else source
        self._wanted = wanted
        self._keep = keep
        self.series: set[int] = set()
        self._known: dict[int, bool] = {}
        self._kept = 0
        self._parts: list[tuple[np.ndarray, ...]] = []

    def see(self, rows: Indicators) -> None:
        """Keep what is looked at.

        Raises:
            ConfigurationError: it is more than can be kept.
        """
        source = self._source
        value = getattr(rows, source.column)
        mask = (rows.kind == source.kind) & (rows.window_s == source.window_s) & np.isfinite(value)
        if source.kind == IndicatorKind.READING:
            mask &= (rows.flags & int(Quality.LATE)) == 0
        if source.completeness_min > 0:
            mask &= rows.completeness >= source.completeness_min
        at = np.flatnonzero(mask)
        ids = rows.series_id[at]
        for one in set(ids.tolist()) - self._known.keys():
            self._known[one] = self._wanted(one)
            self.series |= {one} if self._known[one] else set()
        if not self._keep:
            return
        chosen = np.fromiter((self._known[one] for one in ids.tolist()), np.bool_, len(ids))
        at = at[chosen]
        if not len(at):
            return
        self._kept += len(at)
        if self._kept > ROWS_MAX:
            raise ConfigurationError(f"more than {ROWS_MAX} values to keep: narrow it with --series, --from and --to")
        time = rows.window_start[at] + source.window_s * US_PER_S
        self._parts.append((rows.series_id[at], time, rows.revision[at], value[at].astype(np.float64), rows.flags[at]))

    @cached_property
    def rows(self) -> dict[int, _Rows]:
        """What was kept of each series, in order of arrival; nothing more can be seen afterwards."""
        if not self._parts:
            return {}
        series_id, *columns = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        self._parts = []
        order = np.argsort(series_id, kind="stable")
        ids, starts = np.unique(series_id[order], return_index=True)
        split = (np.split(column[order], starts[1:]) for column in columns)
        return {one: _Rows(*parts) for one, *parts in zip(ids.tolist(), *split, strict=True)}

    def points(self, series_id: int) -> Points:
        """The newest revision of every time of one series."""
        rows = self.rows[series_id]
        order = np.lexsort((np.arange(len(rows.time)), rows.revision, rows.time))
        last = np.append(rows.time[order][1:] != rows.time[order][:-1], True)
        order = order[last]
        return Points(rows.time[order], rows.value[order], rows.flags[order])

    def expected(self, series_ids: Sequence[int]) -> dict[int, Expected]:
        """What the production detector expected of the readings of some series: its own words, said again."""
        good = [_detected(self.rows[one]) for one in series_ids]
        lengths = [len(time) for time, _ in good]
        if not sum(lengths):
            return {}
        detector = EvidenceDetector(self._calendar)
        detector.grow(len(good))
        time, value = (np.concatenate(column) for column in zip(*good, strict=True))
        scores = detector.update(np.repeat(np.arange(len(good)), lengths), time, value)
        half = SPREADS * scores.spread
        columns = (time, scores.score, scores.expected - half, scores.expected + half)
        split = (np.split(column, np.cumsum(lengths)[:-1]) for column in columns)
        return {one: Expected(*parts) for one, *parts in zip(series_ids, *split, strict=True)}


def _detected(rows: _Rows) -> tuple[np.ndarray, np.ndarray]:
    """Time and value of the readings that reach the detector: good ones, newer than all before."""
    newest = np.maximum.accumulate(np.concatenate(([np.iinfo(np.int64).min], rows.time[:-1])))
    good = ((rows.flags & _NOT_DETECTED) == 0) & (rows.time > newest)
    return rows.time[good], rows.value[good]
