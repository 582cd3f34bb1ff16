"""Records as the other parts of the system would send them, for the tests of storage."""

import numpy as np
import pyarrow as pa

from pulssi.frames import VEHICLES, IndicatorKind, Indicators, Readings, encode
from pulssi.messages import AlertState, AlertTransition, SeriesInfo, Severity, to_json
from pulssi.topics import Content, headers
from storage.rows import Taken

T0 = 1_790_000_000_000_000
"""2026-09-21, us UTC: event times of the samples begin here."""


def taken(value: bytes, content: Content, topic: str = "t", partition: int = 0, offset: int = 0, **more) -> Taken:
    """A record as the sink gets it."""
    return Taken(topic, partition, offset, T0 // 1000, value, dict(headers(content, **more)))


def readings(series: list[int], times: list[int], values: list[float] | None = None, receive: int = T0) -> Readings:
    """Readings of some series at some seconds after T0."""
    columns = Readings.empty(len(series))
    columns.series_id[:] = series
    columns.event_time[:] = T0 + np.array(times, np.int64) * 1_000_000
    columns.receive_time[:] = receive
    columns.value[:] = np.arange(len(series)) if values is None else values
    columns.seq[:] = -1
    return columns


def indicators(rows: list[dict]) -> Indicators:
    """Indicators from dictionaries; what is left out is 0, times are seconds after T0."""
    columns = Indicators.empty(len(rows))
    columns.kind[:] = IndicatorKind.WINDOW
    columns.window_s[:] = 300
    columns.class_[:] = -1
    columns.receive_time[:] = T0
    columns.window_start[:] = T0
    for number, row in enumerate(rows):
        for name, value in row.items():
            getattr(columns, name)[number] = T0 + value * 1_000_000 if name == "window_start" else value
    return columns


def vehicles(rows: list[dict]) -> bytes:
    """A frame of vehicle events from dictionaries; what is left out is null, times are seconds after T0."""
    base = {"event": "vp", "receive_time": 0, "event_time": 0}
    whole = []
    for number, row in enumerate(rows):
        full = {**dict.fromkeys(VEHICLES.names), "event_id": number, **base, **row}
        for name in ("event_time", "receive_time", "scheduled_time"):
            full[name] = None if full[name] is None else T0 + full[name] * 1_000_000
        whole.append(full)
    return encode(pa.RecordBatch.from_pylist(whole, schema=VEHICLES))


def transition(alert_id: str = "a1", sequence: int = 0, state: str = "pending", **more) -> AlertTransition:
    """One step of an alert."""
    values = {
        "alert_id": alert_id,
        "sequence": sequence,
        "state": AlertState(state),
        "rule": "no2_high",
        "rule_version": "1",
        "condition": "threshold",
        "severity": Severity.WARNING,
        "series_id": 7,
        "device_id": "hsy-1",
        "quantity": "no2",
        "kind": "air",
        "onset_time": T0,
        "event_time": T0 + sequence * 1_000_000,
        "receive_time": T0,
        "decided_time": T0 + sequence * 1_000_000,
        "value": 210.0,
        "threshold": 200.0,
        "district": "01",
        "evidence": {"n": 3},
        "texts": {"fi": "Typpidioksidia paljon"},
        **more,
    }
    return AlertTransition(**values)


def series(series_id: int, **more) -> bytes:
    """A series as JSON."""
    values = {"device_id": f"d{series_id}", "quantity": "no2", "unit": "ug/m3", "kind": "air", **more}
    return to_json(SeriesInfo(series_id=series_id, **values))
