"""board: all rules on all series of one partition, pure

The rules that a series is in scope of are found once, when it is first seen; rows wait (bounded) while their series is
not described yet. Steps are returned dressed as transitions; `decided_time` is given, and part of no identity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alerts import dress
from alerts.lifecycle import NEVER, Layer, Levels, Room
from alerts.rules import Rule, Source
from alerts.series_table import Lookup, SeriesTable
from alerts.silence import Gap, Silence
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import AlertTransition, SeriesInfo
from pulssi.settings import AlertsSettings
from pulssi.times import US_PER_S

Transitions = list[AlertTransition]

_REVISION_BITS = 29
_REVISION_MAX = (1 << (_REVISION_BITS - 1)) - 1
"""Provisional windows have negative revisions: older than the real ones, but each newer than the one before it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one partition; meanings in `pulssi.settings.AlertsSettings`."""

    open_max: int = 100_000
    series_max: int = 200_000
    waiting_rows_max: int = 10_000
    quiet_s: int = 60

    @classmethod
    def of(cls, settings: AlertsSettings) -> Limits:
        """The limits of the settings."""
        return cls(settings.open_max, settings.series_max, settings.waiting_rows_max, settings.quiet_s)


class Board:
    """Where every rule stands on every series of a partition.

    Attributes:
        rules: a rule's position is its number.
        series: what was seen, by dense number.
        layers: the rules by the column that they look at.
        silences: the rules about silence.
        devices: the first series of each device, which describes it.
        clock: newest receive time of a reading, us.
        waiting: rows whose series nobody has described yet.
        withdrawn: ends of alerts whose rule is gone, to be said once.
        refused: what found no room, by the bound that it met: waiting_rows, series, open_alerts.
    """

    def __init__(self, rules: Sequence[Rule], lookup: Lookup, limits: Limits | None = None) -> None:
        self.rules = tuple(rules)
        self.limits = limits or Limits()
        self.lookup = lookup
        self.series = SeriesTable()
        self.refused: Counter[str] = Counter()
        self.room = Room(self.limits.open_max, self.refused)
        self.layers = self._layers()
        self.silences = [
            Silence(number, rule.no_data.after_s * US_PER_S, self.room)
            for number, rule in enumerate(self.rules)
            if rule.no_data
        ]
        self.clock = NEVER
        self.waiting = Indicators.empty()
        self.withdrawn: Transitions = []
        self.devices: dict[str, SeriesInfo] = {}

    def _layers(self) -> dict[Source, Layer]:
        levels: dict[Source, dict[int, Levels]] = {}
        for number, rule in enumerate(self.rules):
            if rule.source:
                levels.setdefault(rule.source, {})[number] = rule.levels
        return {source: Layer(numbered, self.room) for source, numbered in levels.items()}

    def see(self, rows: Indicators, decided: int) -> Transitions:
        """Take rows in stream order; a replayed row changes nothing."""
        if len(self.waiting):
            rows, self.waiting = Indicators.concat([self.waiting, rows]), Indicators.empty()
        rows, numbers = self._known(rows)
        said, self.withdrawn = self.withdrawn, []
        if not len(rows):
            return said
        for source, layer in self.layers.items():
            said += self._see_layer(layer, source, rows, numbers, decided)
        return said + self._see_silence(rows, numbers, decided)

    def tick(self, now: int | None, decided: int) -> Transitions:
        """Rows whose series has been described since, and silence too long by `now` (us; None = do not look)."""
        said = self.see(Indicators.empty(), decided)
        return said if now is None else said + self._of_gaps(self._late(now), decided)

    def _see_layer(
        self, layer: Layer, source: Source, rows: Indicators, numbers: np.ndarray, decided: int
    ) -> Transitions:
        chosen = _chosen(rows, source)
        if chosen is None:
            return []
        time = rows.window_start[chosen]
        progress = time
        if source.kind != IndicatorKind.READING:
            time = time + rows.window_s[chosen].astype(np.int64) * US_PER_S
            revision = np.clip(rows.revision[chosen], -_REVISION_MAX, _REVISION_MAX)
            progress = (time // US_PER_S << _REVISION_BITS) + revision
        value = getattr(rows, source.column)[chosen].astype(np.float64, copy=False)
        steps = layer.see(numbers[chosen], progress, time, value)
        return [
            dress.of_step(
                step,
                step.row if isinstance(chosen, slice) else int(chosen[step.row]),
                self.rules[step.rule],
                self.series.infos[step.series],
                rows,
                decided,
            )
            for step in steps
        ]

    def _see_silence(self, rows: Indicators, numbers: np.ndarray, decided: int) -> Transitions:
        reading = rows.kind == IndicatorKind.READING
        if not self.silences or not reading.any():
            return []
        receive = rows.receive_time[reading]
        clock = np.maximum.accumulate(np.maximum(receive, self.clock))
        gaps = [gap for one in self.silences for gap in one.see(numbers[reading], receive, clock)]
        self.clock = int(clock[-1])
        return self._of_gaps(gaps + self._late(self.clock), decided)

    def _late(self, clock: int) -> list[Gap]:
        return [gap for one in self.silences for gap in one.late(clock)]

    def _of_gaps(self, gaps: list[Gap], decided: int) -> Transitions:
        return [dress.of_gap(gap, self.rules[gap.rule], self.devices[gap.device], decided) for gap in gaps]

    def _known(self, rows: Indicators) -> tuple[Indicators, np.ndarray]:
        """The rows whose series are described, and the numbers of these; the other rows wait."""
        numbers = self.series.find(rows.series_id)
        if not (numbers < 0).any():
            return rows, numbers
        found = [self.lookup(int(one)) for one in np.unique(rows.series_id[numbers < 0])]
        self.register([info for info in found if info is not None])
        numbers = self.series.find(rows.series_id)
        known = numbers >= 0
        if known.all():
            return rows, numbers
        self._wait(rows.take(~known))
        return rows.take(known), numbers[known]

    def _wait(self, rows: Indicators) -> None:
        """Keep the newest rows whose series may still be described; of a series beyond the bound, nothing."""
        full = len(self.series.infos) >= self.limits.series_max
        kept = 0 if full else min(len(rows), self.limits.waiting_rows_max)
        if kept < len(rows):
            self.refused["series" if full else "waiting_rows"] += len(rows) - kept
        self.waiting = rows.take(np.arange(len(rows) - kept, len(rows)))

    def register(self, infos: list[SeriesInfo]) -> None:
        """Give numbers to series that have none yet, as many as there is room for."""
        infos = infos[: self.limits.series_max - len(self.series.infos)]
        if not infos:
            return
        self.series.add(infos)
        inside = [tuple(i for i, rule in enumerate(self.rules) if rule.scope.matches(info)) for info in infos]
        for info in infos:
            self.devices.setdefault(info.device_id, info)
        for layer in self.layers.values():
            layer.add_series([tuple(i for i in numbers if i in layer.levels) for numbers in inside])
        for one in self.silences:
            one.add_series(
                [info.device_id if one.rule in numbers else None for info, numbers in zip(infos, inside, strict=True)]
            )


def _chosen(rows: Indicators, source: Source) -> np.ndarray | slice | None:
    """Rows that a source looks at: their indexes, a slice when it is all of them, None when it is none."""
    mask = rows.kind == source.kind
    if not mask.any():
        return None
    if source.kind == IndicatorKind.READING:
        mask &= (rows.flags & source.excluded) == 0
    else:
        if source.window_s:
            mask &= rows.window_s == source.window_s
        if source.completeness_min > 0:
            mask &= rows.completeness >= source.completeness_min
    mask &= np.isfinite(getattr(rows, source.column))
    if mask.all():
        return slice(None)
    return np.flatnonzero(mask) if mask.any() else None
