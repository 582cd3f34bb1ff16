"""dress: from a step of the state machine to the transition that is sent"""

from __future__ import annotations

from math import isfinite

import msgspec

from alerts.lifecycle import Step, Track, alert_id
from alerts.rules import Rule
from alerts.silence import Gap
from alerts.texts import render
from pulssi.frames import IndicatorKind, Indicators
from pulssi.messages import AlertState, AlertTransition, SeriesInfo, Severity
from pulssi.series import series_id

Evidence = dict[str, float | int | str | None]


class RuleMark(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of a rule for alerts that outlive it."""

    id: str
    version: str
    condition: str
    severity: Severity

    @classmethod
    def of(cls, rule: Rule) -> RuleMark:
        """The mark of a rule."""
        return cls(rule.id, rule.version, rule.condition, rule.severity)


def of_step(step: Step, row: int, rule: Rule, info: SeriesInfo, rows: Indicators, decided: int) -> AlertTransition:
    """The transition of a step on a series, which follows from one row of `rows`."""
    anomalous = rule.anomaly is not None
    bare = AlertTransition(
        alert_id=alert_id(rule.id, str(info.series_id), step.onset),
        sequence=step.sequence,
        state=step.state,
        rule=rule.id,
        rule_version=rule.version,
        condition=rule.condition,
        severity=rule.severity,
        series_id=info.series_id,
        device_id=info.device_id,
        quantity=info.quantity,
        kind=info.kind,
        onset_time=step.onset,
        event_time=step.time,
        receive_time=int(rows.receive_time[row]),
        decided_time=decided,
        value=_finite(rows.value[row]) if anomalous else step.value,
        threshold=None if anomalous else rule.limit,
        unit=info.unit,
        evidence=_evidence(step, row, rule, rows),
    )
    return _placed(bare, info, rule)


def _evidence(step: Step, row: int, rule: Rule, rows: Indicators) -> Evidence:
    found: Evidence = {
        "fired": int(step.fired),
        "extreme": step.extreme,
        "rows": step.rows,
        "quality": int(rows.flags[row]),
    }
    if rows.kind[row] == IndicatorKind.READING:
        limit: Evidence = {"score_limit": rule.limit} if rule.anomaly else {}
        return found | {"score": _finite(rows.last[row])} | limit
    return found | {
        "window_start": int(rows.window_start[row]),
        "window_s": int(rows.window_s[row]),
        "revision": int(rows.revision[row]),
        "n": int(rows.n[row]),
        "n_excluded": int(rows.n_excluded[row]),
        "completeness": _finite(rows.completeness[row]),
        "min": _finite(rows.min[row]),
        "max": _finite(rows.max[row]),
    }


def of_gap(gap: Gap, rule: Rule, info: SeriesInfo, decided: int) -> AlertTransition:
    """The transition of a silence; `info` describes any series of the device in scope.

    The subject is the device: `series_id` is that of the quantity when the rule names exactly one, else of the word
    `device`, which is no quantity.
    """
    quantity = rule.scope.quantity[0] if len(rule.scope.quantity) == 1 else ""
    over = gap.state is AlertState.RESOLVED
    bare = AlertTransition(
        alert_id=alert_id(rule.id, gap.device, gap.onset),
        sequence=int(over),
        state=gap.state,
        rule=rule.id,
        rule_version=rule.version,
        condition=rule.condition,
        severity=rule.severity,
        series_id=series_id(gap.device, quantity or "device"),
        device_id=gap.device,
        quantity=quantity,
        kind=info.kind,
        onset_time=gap.onset,
        event_time=gap.time,
        receive_time=gap.heard,
        decided_time=decided,
        value=(gap.time - gap.onset) / 1e6 if over else None,
        threshold=rule.limit,
        unit="s",
        evidence={"fired": 1},
    )
    return _placed(bare, info, rule)


def of_withdrawn(mark: RuleMark, subject: str, info: SeriesInfo, track: Track, decided: int) -> AlertTransition:
    """The end of an alert whose rule is no longer there, or no longer about its series."""
    bare = AlertTransition(
        alert_id=alert_id(mark.id, subject, track.onset),
        sequence=track.sequence,
        state=AlertState.RESOLVED,
        rule=mark.id,
        rule_version=mark.version,
        condition=mark.condition,
        severity=mark.severity,
        series_id=info.series_id,
        device_id=info.device_id,
        quantity=info.quantity,
        kind=info.kind,
        onset_time=track.onset,
        event_time=decided,
        receive_time=decided,
        decided_time=decided,
        unit=info.unit,
        evidence={"fired": int(track.fired), "withdrawn": 1},
    )
    return _placed(bare, info, None)


def _placed(bare: AlertTransition, info: SeriesInfo, rule: Rule | None) -> AlertTransition:
    """The same with its place and its sentences."""
    placed = msgspec.structs.replace(bare, name=info.name, lat=info.lat, lon=info.lon, district=info.district)
    below = rule is not None and rule.threshold is not None and rule.threshold.below is not None
    return msgspec.structs.replace(placed, texts=render(placed, rule.texts if rule else {}, below=below))


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None
