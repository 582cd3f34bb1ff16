"""report: alerts from their steps, and what is said of them in a table, in a summary and in JSON"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from alerts.rules import Rule
from alerts.texts import ZONE, Language, duration, measured
from pulssi.messages import AlertState, AlertTransition
from pulssi.times import US_PER_S, iso, us_datetime

Range = tuple[float | None, float | None]
"""Least and greatest value that would have been as expected; None = no bound."""


@dataclass(slots=True)
class Alarm:
    """One alert, from its steps.

    Attributes:
        first: its first step that was told.
        fired: the step with which it fired; None when it only was pending.
        resolved: its last step; None while it is open.
        value: at the onset; None of a silence.
        expected: what would have been as expected there.
    """

    first: AlertTransition
    fired: AlertTransition | None = None
    resolved: AlertTransition | None = None
    value: float | None = None
    expected: Range = (None, None)

    @property
    def onset(self) -> int:
        """When it began, us."""
        return self.first.onset_time

    def end(self, clock: int) -> int:
        """When it ended; `clock` while it is open."""
        return self.resolved.event_time if self.resolved else max(clock, self.onset)


def alarms(transitions: Iterable[AlertTransition], rule: Rule) -> list[Alarm]:
    """The alerts behind some steps, by onset and series."""
    found: dict[str, Alarm] = {}
    for one in transitions:
        alarm = found.setdefault(one.alert_id, Alarm(one))
        if one.state is AlertState.FIRING:
            alarm.fired = one
        elif one.state is AlertState.RESOLVED:
            alarm.resolved = one
        if rule.threshold and one.event_time == one.onset_time:
            alarm.value = one.value
    for alarm in found.values():
        alarm.expected = _expected(rule)
    return sorted(found.values(), key=lambda alarm: (alarm.onset, alarm.first.device_id, alarm.first.series_id))


def _expected(rule: Rule) -> Range:
    if rule.anomaly:
        return None, None  # it is another one for each reading
    below = rule.threshold is not None and rule.threshold.below is not None
    return (rule.limit, None) if below else (None, rule.limit)


@dataclass(slots=True)
class Report:
    """What a backtest found.

    Attributes:
        rule: that was run.
        data: its names.
        alarms: by onset.
        start: oldest receive time, us; None when there was no data.
        end: where the clock stood at last, us.
        readings: taken in.
        vehicle_events: taken in.
        series: how many series the rule looked at.
        refused: messages that were refused, by reason.
        name_of: of the subject of a step.
        notes: what a person should know besides.
        language: of the sentences.
    """

    rule: Rule
    data: Sequence[str]
    alarms: list[Alarm]
    start: int | None
    end: int
    readings: int
    vehicle_events: int
    series: int
    refused: Counter[str]
    name_of: Callable[[AlertTransition], str]
    notes: list[str]
    language: Language = "en"
    fired: list[tuple[Alarm, AlertTransition]] = field(init=False)

    def __post_init__(self) -> None:
        self.fired = [(alarm, alarm.fired) for alarm in self.alarms if alarm.fired]

    @property
    def days(self) -> float:
        """How long the data last, in days of 24 hours."""
        return 0.0 if self.start is None else (self.end - self.start) / US_PER_S / 86400

    @property
    def alarm_s(self) -> float:
        """Seconds for which alerts fired, all together."""
        return sum(alarm.end(self.end) - fired.event_time for alarm, fired in self.fired) / US_PER_S

    def by_day(self) -> dict[str, int]:
        """How many alerts fired on each local day on which one did."""
        moments = [us_datetime(fired.event_time).astimezone(ZONE) for _, fired in self.fired]
        days = Counter(moment.date().isoformat() for moment in moments)
        return dict(sorted(days.items()))

    def as_dict(self) -> dict[str, Any]:
        """Everything, for a machine."""
        return {
            "rule": self.rule.id,
            "rule_version": self.rule.version,
            "condition": self.rule.condition,
            "data": list(self.data),
            "start": None if self.start is None else iso(self.start),
            "end": None if self.start is None else iso(self.end),
            "days": round(self.days, 3),
            "readings": self.readings,
            "vehicle_events": self.vehicle_events,
            "series": self.series,
            "refused": dict(self.refused),
            "firing": len(self.fired),
            "open": sum(alarm.resolved is None for alarm, _ in self.fired),
            "cancelled": sum(alarm.resolved is not None and not alarm.fired for alarm in self.alarms),
            "alarm_s": self.alarm_s,
            "firing_per_day": round(len(self.fired) / self.days, 3) if self.days else None,
            "firing_by_day": self.by_day(),
            "alerts": [self._alarm(alarm) for alarm in self.alarms],
        }

    def _alarm(self, alarm: Alarm) -> dict[str, Any]:
        said = alarm.fired or alarm.first
        return {
            "alert_id": said.alert_id,
            "onset_time": iso(alarm.onset),
            "fired_time": iso(alarm.fired.event_time) if alarm.fired else None,
            "resolved_time": iso(alarm.resolved.event_time) if alarm.resolved else None,
            "duration_s": (alarm.end(self.end) - alarm.onset) / US_PER_S,
            "series": self.name_of(said),
            "series_id": said.series_id,
            "severity": said.severity,
            "value": alarm.value,
            "unit": said.unit,
            "expected": list(alarm.expected),
            "text": said.texts[self.language],
        }

    def table(self) -> list[list[str]]:
        """Cells of the alerts that fired, the head first."""
        head = ["onset", "fired", "resolved", "duration", "series", "value", "expected", "text"]
        return [head, *(self._cells(alarm, fired) for alarm, fired in self.fired)]

    def _cells(self, alarm: Alarm, fired: AlertTransition) -> list[str]:
        seconds = (alarm.end(self.end) - alarm.onset) / US_PER_S
        return [
            _minute(alarm.onset),
            _minute(fired.event_time),
            _minute(alarm.resolved.event_time) if alarm.resolved else "open",
            duration(seconds, self.language),
            self.name_of(fired),
            measured(alarm.value, fired.unit, self.language),
            shown_range(alarm.expected, fired.unit, self.language),
            fired.texts[self.language],
        ]

    def summary(self) -> str:
        """One sentence on all of it."""
        if self.start is None:
            return "no data"
        pending = len(self.alarms) - len(self.fired)
        per_day = f", {len(self.fired) / self.days:.2g} a day" if self.days >= 1 else ""
        return (
            f"{self.rule.id}: {len(self.fired)} fired{per_day}, {duration(self.alarm_s, 'en')} in alarm, "
            f"{pending} only pending; {self.series} series looked at, {self.readings} readings, "
            f"{self.vehicle_events} vehicle events, {self.days:.1f} days"
        )


def shown_range(expected: Range, unit: str, language: Language) -> str:
    """A range in the numbers of a language."""
    low, high = (None if bound is None else measured(bound, unit, language) for bound in expected)
    if low is None or high is None:
        return f"\u2264 {high}" if high else f"\u2265 {low}" if low else "\u2013"
    return f"{low} \u2026 {high}"


def _minute(time: int) -> str:
    return f"{us_datetime(time):%Y-%m-%d %H:%M:%S}Z"
