"""queries: what dashboards and alerts read, each typed; times are aware datetimes in UTC

Every function takes an open connection (`storage.database.open_pool(settings, "reader")`). Bounds of time are arguments
and not `now()`: so the database leaves out the days that cannot hold an answer before it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, TypeVar

from psycopg.rows import class_row

from pulssi.frames import IndicatorKind
from storage.database import Connection
from storage.latency import quantiles

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Series:
    """What a series is called and where its device stands."""

    series_id: int
    device_id: str
    quantity: str
    channel: str | None
    unit: str
    kind: str
    name: str | None
    lat: float | None
    lon: float | None
    district: str | None


@dataclass(frozen=True, slots=True)
class LatestReading(Series):
    """The newest reading of a series; `quality` holds the flags of the door and of the streams."""

    event_time: datetime
    receive_time: datetime
    value: float
    quality: int


@dataclass(frozen=True, slots=True)
class Point:
    """The readings of one series in one stretch of time.

    Attributes:
        series_id: the series.
        time: of the first reading in the stretch.
        n: number of readings.
        mean: their mean.
        min: the lowest.
        max: the highest.
        flags: quality flags of all of them.
    """

    series_id: int
    time: datetime
    n: int
    mean: float
    min: float
    max: float
    flags: int


@dataclass(frozen=True, slots=True)
class Indicator:
    """One row of the table of indicators; a statistic that is not defined is None."""

    series_id: int
    kind: int
    window_start: datetime
    window_s: int
    n: int
    n_excluded: int
    completeness: float | None
    mean: float | None
    min: float | None
    max: float | None
    std: float | None
    last: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    value: float | None
    class_: int
    revision: int
    flags: int
    receive_time: datetime
    stored_time: datetime


@dataclass(frozen=True, slots=True)
class LatestIndicator(Indicator):
    """The newest window of a series, with its name and place."""

    device_id: str | None
    quantity: str | None
    channel: str | None
    unit: str | None
    name: str | None
    lat: float | None
    lon: float | None
    district: str | None


@dataclass(frozen=True, slots=True)
class Vehicle:
    """Where a vehicle was last seen; `delay_s` positive = late."""

    vehicle: str
    mode: str | None
    route: str | None
    direction: int | None
    line: str | None
    headsign: str | None
    next_stop: str | None
    lat: float
    lon: float
    speed: float | None
    heading: float | None
    occupancy: int | None
    delay_s: int | None
    event_time: datetime
    receive_time: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    """One step in the life of an alert."""

    alert_id: str
    sequence: int
    state: str
    rule: str
    rule_version: str
    condition: str
    severity: str
    series_id: int
    device_id: str
    quantity: str
    kind: str
    onset_time: datetime
    event_time: datetime
    receive_time: datetime
    decided_time: datetime
    value: float | None
    threshold: float | None
    unit: str
    name: str | None
    lat: float | None
    lon: float | None
    district: str | None
    evidence: dict[str, Any]
    texts: dict[str, str]
    stored_time: datetime


@dataclass(frozen=True, slots=True)
class Alert(Transition):
    """An alert as it stands: its newest step, when it first fired and when it was resolved."""

    fired_time: datetime | None
    resolved_time: datetime | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a consumer came in one partition.

    Attributes:
        consumer: its group.
        topic: of Kafka.
        partition: of the topic.
        next_offset: the first record that is not stored yet.
        log_end: end of the partition when the consumer last wrote.
        records: records taken in, ever.
        rows: rows taken in, ever; two looks give a rate.
        newest_receive_time: receive time of the newest row.
        updated_time: when the consumer last wrote.
    """

    consumer: str
    topic: str
    partition: int
    next_offset: int
    log_end: int | None
    records: int
    rows: int
    newest_receive_time: datetime | None
    updated_time: datetime


@dataclass(frozen=True, slots=True)
class DeadLetterCount:
    """How many messages were refused for one reason."""

    reason: str
    n: int
    newest_time: datetime


@dataclass(frozen=True, slots=True)
class Latency:
    """From a gateway's receive time to the commit, over all rows of one sort (`readings`, `vehicles` ...)."""

    what: str
    n: int
    p50_s: float
    p99_s: float


def columns(row: Any, table: str, *, without: Any = None) -> str:
    """The fields of a row class as columns of `table`, less those of another class."""
    left_out = {field.name for field in fields(without)} if without else set()
    return ", ".join(f"{table}.{field.name}" for field in fields(row) if field.name not in left_out)


# A filter that is NULL lets everything through; the planner drops it.
_SERIES_FILTER = """
    (%(kinds)s::text[] IS NULL OR series.kind = ANY(%(kinds)s))
    AND (%(quantities)s::text[] IS NULL OR series.quantity = ANY(%(quantities)s))
    AND (%(districts)s::text[] IS NULL OR series.district = ANY(%(districts)s))
    AND (%(devices)s::text[] IS NULL OR series.device_id = ANY(%(devices)s))"""

_LIST_SERIES = f"""
    SELECT {columns(Series, "series")} FROM series
    WHERE {_SERIES_FILTER} ORDER BY device_id, quantity, channel LIMIT %(limit)s"""  # noqa: S608  names of ours

_SERIES = f"SELECT {columns(Series, 'series')} FROM series WHERE series_id = %s"  # noqa: S608  names of ours

_LATEST_READINGS = f"""
    SELECT {columns(Series, "series")}, latest.event_time, latest.receive_time, latest.value,
           latest.quality | coalesce(reading_flags.flags, 0) AS quality
    FROM latest JOIN series USING (series_id)
    LEFT JOIN reading_flags ON reading_flags.series_id = latest.series_id
                           AND reading_flags.event_time = latest.event_time AND reading_flags.event_time >= %(since)s
    WHERE latest.event_time >= %(since)s AND {_SERIES_FILTER}
    ORDER BY series.device_id, series.quantity, series.channel LIMIT %(limit)s"""  # noqa: S608  names of ours

_POINTS = """
    SELECT series_id, min(event_time) AS time, count(*) AS n, avg(value) AS mean, min(value) AS min, max(value) AS max,
           bit_or(quality | coalesce(flags, 0)) AS flags
    FROM readings LEFT JOIN (
        SELECT series_id, event_time, flags FROM reading_flags
        WHERE series_id = ANY(%(series_ids)s) AND event_time >= %(start)s AND event_time < %(end)s
    ) AS flagged USING (series_id, event_time)
    WHERE series_id = ANY(%(series_ids)s) AND event_time >= %(start)s AND event_time < %(end)s
    GROUP BY series_id, date_bin(%(width)s, event_time, %(start)s)
    ORDER BY series_id, time"""

_LATEST_INDICATORS = f"""
    SELECT {columns(LatestIndicator, "series", without=Indicator)}, {columns(Indicator, "newest")}
    FROM indicators_latest AS newest LEFT JOIN series USING (series_id)
    WHERE newest.kind = %(kind)s AND (%(window_s)s::int IS NULL OR newest.window_s = %(window_s)s)
      AND newest.window_start >= %(since)s
    ORDER BY series.device_id, series.quantity, series.channel, newest.window_s
    LIMIT %(limit)s"""  # noqa: S608  names of ours

_INDICATORS = f"""
    SELECT {columns(Indicator, "indicators")} FROM indicators
    WHERE series_id = %(series_id)s AND kind = %(kind)s AND window_s = %(window_s)s
      AND window_start >= %(start)s AND window_start < %(end)s
    ORDER BY window_start LIMIT %(limit)s"""  # noqa: S608  names of ours

_VEHICLES = f"""
    SELECT {columns(Vehicle, "vehicles_latest")} FROM vehicles_latest
    WHERE event_time >= %(since)s ORDER BY vehicle LIMIT %(limit)s"""  # noqa: S608  names of ours

_ALERTS = f"""
    SELECT {columns(Alert, "alerts")} FROM alerts
    WHERE (NOT %(open)s OR state <> 'resolved') AND decided_time >= %(since)s
    ORDER BY decided_time DESC, alert_id LIMIT %(limit)s"""  # noqa: S608  names of ours

_ALERT = f"SELECT {columns(Alert, 'alerts')} FROM alerts WHERE alert_id = %s"  # noqa: S608  names of ours
_TRANSITIONS = f"""SELECT {columns(Transition, "alert_transitions")} FROM alert_transitions
    WHERE alert_id = %s ORDER BY sequence"""  # noqa: S608  names of ours
_PROGRESS = f"SELECT {columns(Progress, 'offsets')} FROM offsets ORDER BY consumer, topic, partition"  # noqa: S608
_DEAD_LETTERS = """
    SELECT reason, count(*) AS n, max(time) AS newest_time FROM dead_letters WHERE time >= %s
    GROUP BY reason ORDER BY n DESC, reason"""
_LATENCIES = "SELECT what, bucket, sum(n)::bigint FROM latency_counts WHERE minute >= %s GROUP BY what, bucket"


def list_series(
    connection: Connection,
    *,
    kinds: Sequence[str] | None = None,
    quantities: Sequence[str] | None = None,
    districts: Sequence[str] | None = None,
    devices: Sequence[str] | None = None,
    limit: int = 10_000,
) -> list[Series]:
    """Series, by device, quantity and channel; a filter that is None lets everything through."""
    values = {
        "kinds": _array(kinds),
        "quantities": _array(quantities),
        "districts": _array(districts),
        "devices": _array(devices),
        "limit": limit,
    }
    return _all(connection, Series, _LIST_SERIES, values)


def series(connection: Connection, series_id: int) -> Series | None:
    """One series, None when nobody announced it."""
    found = _all(connection, Series, _SERIES, (series_id,))
    return found[0] if found else None


def latest_readings(
    connection: Connection,
    since: datetime,
    *,
    kinds: Sequence[str] | None = None,
    quantities: Sequence[str] | None = None,
    districts: Sequence[str] | None = None,
    devices: Sequence[str] | None = None,
    limit: int = 10_000,
) -> list[LatestReading]:
    """The newest reading of each series that has one since `since`, by device, quantity and channel."""
    values = {
        "since": since,
        "kinds": _array(kinds),
        "quantities": _array(quantities),
        "districts": _array(districts),
        "devices": _array(devices),
        "limit": limit,
    }
    return _all(connection, LatestReading, _LATEST_READINGS, values)


def points(
    connection: Connection, series_ids: Sequence[int], start: datetime, end: datetime, *, points_max: int = 500
) -> list[Point]:
    """Readings of some series in [start, end), at most `points_max` points each, by series and time.

    A stretch with one reading is that reading; one with many keeps their mean and extremes, so that no peak is lost.
    """
    width = max((end - start) / points_max, timedelta(microseconds=1))
    values = {"series_ids": list(series_ids), "start": start, "end": end, "width": width}
    return _all(connection, Point, _POINTS, values)


def latest_indicators(
    connection: Connection,
    kind: IndicatorKind,
    since: datetime,
    *,
    window_s: int | None = None,
    limit: int = 10_000,
) -> list[LatestIndicator]:
    """The newest window of each series for one kind of indicator (and one length of window), since `since`."""
    values = {"kind": int(kind), "window_s": window_s, "since": since, "limit": limit}
    return _all(connection, LatestIndicator, _LATEST_INDICATORS, values)


def indicators(
    connection: Connection,
    series_id: int,
    kind: IndicatorKind,
    window_s: int,
    start: datetime,
    end: datetime,
    *,
    limit: int = 10_000,
) -> list[Indicator]:
    """Windows of one series that begin in [start, end), in order."""
    values = {
        "series_id": series_id,
        "kind": int(kind),
        "window_s": window_s,
        "start": start,
        "end": end,
        "limit": limit,
    }
    return _all(connection, Indicator, _INDICATORS, values)


def vehicles(connection: Connection, since: datetime, *, limit: int = 10_000) -> list[Vehicle]:
    """Vehicles seen since `since`."""
    return _all(connection, Vehicle, _VEHICLES, {"since": since, "limit": limit})


def alerts(connection: Connection, since: datetime, *, only_open: bool = False, limit: int = 500) -> list[Alert]:
    """Alerts that changed since `since`, newest first; `only_open` leaves out the resolved ones."""
    return _all(connection, Alert, _ALERTS, {"since": since, "open": only_open, "limit": limit})


def alert(connection: Connection, alert_id: str) -> Alert | None:
    """One alert as it stands."""
    found = _all(connection, Alert, _ALERT, (alert_id,))
    return found[0] if found else None


def transitions(connection: Connection, alert_id: str) -> list[Transition]:
    """Every step of one alert, in order."""
    return _all(connection, Transition, _TRANSITIONS, (alert_id,))


def progress(connection: Connection) -> list[Progress]:
    """How far each consumer came in each partition."""
    return _all(connection, Progress, _PROGRESS, ())


def dead_letter_counts(connection: Connection, since: datetime) -> list[DeadLetterCount]:
    """Refused messages since `since` by reason, most frequent first."""
    return _all(connection, DeadLetterCount, _DEAD_LETTERS, (since,))


def latencies(connection: Connection, since: datetime) -> list[Latency]:
    """Latency from receive time to commit since the minute of `since`, by sort of row."""
    counts: dict[str, dict[int, int]] = {}
    for what, bucket, n in connection.execute(_LATENCIES, (since.replace(second=0, microsecond=0),)):
        counts.setdefault(what, {})[bucket] = n
    return [
        Latency(what, sum(found.values()), *quantiles(found, (0.5, 0.99))) for what, found in sorted(counts.items())
    ]


def _array(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _all(connection: Connection, row: type[Row], statement: str, values: Any) -> list[Row]:
    with connection.cursor(row_factory=class_row(row)) as cursor:
        return cursor.execute(statement, values).fetchall()
