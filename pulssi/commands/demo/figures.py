"""the figures of the demo: read from the database and from what each process says of itself"""

from __future__ import annotations

import urllib.request
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from storage import queries
from storage.tiers import tier_of

_COUNTS = """
SELECT (SELECT count(*) FROM readings), (SELECT count(*) FROM vehicle_events), (SELECT count(*) FROM indicators),
       (SELECT count(*) FROM alerts WHERE fired_time IS NOT NULL), (SELECT count(*) FROM dead_letters),
       (SELECT count(*) FROM outbox WHERE state = 'delivered')
"""
# From the sensor's own time of the reading that began an alert to the decision; a fresh sequence 0 of a threshold only,
# since recordings and backlogs carry old times on purpose.
_TO_ALERT = """
SELECT percentile_disc(array[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM decided_time - event_time))
FROM alert_transitions
WHERE condition = 'threshold' AND sequence = 0 AND decided_time - event_time BETWEEN '0 s' AND '10 s'
"""
_SCRAPE_S_MAX = 1.0


@dataclass(slots=True)
class Counts:
    """Rows in the database."""

    readings_stored: int = 0
    vehicle_events_stored: int = 0
    indicators_stored: int = 0
    alerts: int = 0
    dead_letters: int = 0
    notifications_delivered: int = 0


@dataclass(slots=True)
class Process:
    """What one process says of itself by its metrics; all zero while it does not answer."""

    answers: bool = False
    received: float = 0.0
    sent: float = 0.0
    dropped: float = 0.0
    errors: float = 0.0
    lag: float = 0.0
    age_s: float | None = None


@dataclass(slots=True)
class Figures:
    """One look at everything."""

    counts: Counts = field(default_factory=Counts)
    processes: dict[str, Process] = field(default_factory=dict)
    latency_ms: dict[str, float | None] = field(default_factory=dict)
    alerts_open: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def counts(connection: psycopg.Connection[Any]) -> Counts:
    """Rows in the database now."""
    row = connection.execute(_COUNTS).fetchone()
    return Counts(*row) if row else Counts()


def latency_ms(connection: psycopg.Connection[Any], since: datetime) -> dict[str, float | None]:
    """Milliseconds from receipt to commit, and from a sensor's clock to its alert; None = none yet."""
    store = {one.what: one for one in queries.latencies(connection, since)}.get("readings")
    row = connection.execute(_TO_ALERT).fetchone()
    alert = row[0] if row and row[0] else [None, None]
    return {
        "accept_to_store_p50": _ms(store.p50_s if store else None),
        "accept_to_store_p99": _ms(store.p99_s if store else None),
        "sensor_to_alert_p50": _ms(alert[0]),
        "sensor_to_alert_p99": _ms(alert[1]),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * float(seconds), 1)


def open_alerts(connection: psycopg.Connection[Any], limit: int = 5) -> list[str]:
    """The newest open alerts, as English sentences."""
    rows = connection.execute(
        "SELECT texts->>'en' FROM alerts WHERE state = 'firing' ORDER BY decided_time DESC LIMIT %s", (limit,)
    )
    return [text or "" for (text,) in rows]


def scrape(port: int) -> Process:
    """The metrics of one process on loopback."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_SCRAPE_S_MAX) as answer:
            text = answer.read().decode()
    except OSError:
        return Process()
    process = Process(answers=True)
    for family in text_string_to_metric_families(text):
        total = sum(sample.value for sample in family.samples if _counts(sample))
        match family.name:
            case "pulssi_received" | "pulssi_sent" | "pulssi_dropped" | "pulssi_errors":
                setattr(process, family.name.removeprefix("pulssi_"), total)
            case "pulssi_lag_records":
                process.lag = total
            case "pulssi_age_seconds" if family.samples:
                process.age_s = min(sample.value for sample in family.samples)
    return process


def _counts(sample: Sample) -> bool:
    """Whether a sample counts units; the bytes of snapshots are none."""
    return not sample.name.endswith("_created") and sample.labels.get("what") != "bytes"


def tier(connection: psycopg.Connection[Any]) -> str:
    """What the database offers."""
    return tier_of(connection)
