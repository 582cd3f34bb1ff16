"""JSON records that cross a process boundary: series, alert transitions, receipts"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class SeriesInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a series is called; value of `pulssi.series`, keyed by the series id in decimal."""

    series_id: int
    device_id: str
    quantity: str
    unit: str
    kind: str
    channel: str | None = None
    name: str | None = None
    lat: float | None = None
    lon: float | None = None
    district: str | None = None


class AlertState(StrEnum):
    """Where an alert is in its life."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How much an alert matters, rising."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertTransition(msgspec.Struct, frozen=True, kw_only=True):
    """One step in the life of an alert; value of `pulssi.alerts`, keyed by the alert id in hexadecimal.

    `alert_id` is a pure function of rule, subject and onset, and `sequence` counts the steps of one alert from 0, so a
    replay writes the same records again. Times are us UTC. `texts` holds the finished sentence in each language.
    """

    alert_id: str
    sequence: int
    state: AlertState
    rule: str
    rule_version: str
    condition: str  # threshold, no_data, anomaly
    severity: Severity
    series_id: int
    device_id: str
    quantity: str
    kind: str
    onset_time: int  # event time at which the condition began
    event_time: int  # event time of this step
    receive_time: int  # when the reading behind this step reached the gateway
    decided_time: int  # when the step was decided
    value: float | None = None
    threshold: float | None = None
    unit: str = ""
    name: str | None = None
    lat: float | None = None
    lon: float | None = None
    district: str | None = None
    evidence: dict[str, float | int | str | None] = {}
    texts: dict[str, str] = {}


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One refused publish or reading, as the device is told."""

    reason: str
    detail: str = ""
    seq: int | None = None


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Answer to a device: exact ranges of accepted seqs (both ends included) and refusals.

    Ranges, not one number: what a receipt names was stored by Kafka, whatever the order in which it came.
    """

    accepted: list[tuple[int, int]] = []
    refused: list[Refusal] = []


_encoder = msgspec.json.Encoder()


def to_json(message: msgspec.Struct) -> bytes:
    """The JSON bytes of a message."""
    return _encoder.encode(message)
