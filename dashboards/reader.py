"""reader: asks the database through a read-only role, with few connections and no patience

Everything comes from `storage.queries`. A database that is away is one log line, not one per question.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from threading import Lock
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg_pool import PoolTimeout

from dashboards import view
from dashboards.schemas import (
    Alert,
    AlertCounts,
    AlertDetail,
    Counts,
    Health,
    Latency,
    Overview,
    Point,
    Rates,
    Series,
    SeriesDescription,
    Station,
    Transition,
    Vehicle,
    Window,
)
from dashboards.view import Snapshot
from pulssi.errors import TransientError
from pulssi.frames import IndicatorKind
from pulssi.logs import Log, Presence
from pulssi.metrics import Metrics
from pulssi.settings import Settings
from pulssi.topics import Topics
from storage import queries
from storage.database import Connection, open_pool
from storage.tiers import tier_of

_PATIENCE_S = 2.0
"""How long a question waits for a connection."""
_RATE_S = 5.0
"""Rates are means over so long."""
_LATELY = timedelta(hours=1)
"""Alerts resolved since then are still shown."""
_ALL_TIME = timedelta(days=366)
_READINGS_SINCE = timedelta(days=31)
_DEAD_LETTERS_SINCE = timedelta(days=1)
_LATENCY_SINCE = timedelta(minutes=1)
_WINDOWS = {"delay": IndicatorKind.DELAY, "on_time_share": IndicatorKind.ON_TIME}
"""Which indicator has the windows of a quantity that is computed and never read."""


class Reader:
    """Answers questions about the city from the database.

    Args:
        settings: where the database is, the bounds, the names of the topics.
        metrics: of this process.
        log: of this process.
    """

    def __init__(self, settings: Settings, metrics: Metrics, log: Log) -> None:
        self._settings = settings.api
        self._topics: Topics = settings.kafka.topics
        self._metrics = metrics
        self._presence = Presence(log, "database")
        self._rates = _RateMeter()
        self._pool = open_pool(settings.database, "reader", size_max=settings.api.pool_max)
        metrics.limit("database_connections", settings.api.pool_max)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.close()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection for one question.

        Raises:
            TransientError: the database is away, or every connection is busy, or the question took too long.
        """
        try:
            with self._pool.connection(timeout=_PATIENCE_S) as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            self._metrics.error("database")
            self._metrics.connected("database", False)
            self._presence.away(error)
            raise TransientError("the database does not answer") from error
        self._metrics.connected("database", True)
        self._presence.back()

    def health(self) -> Health:
        """The truth about the system; never raises because of the database."""
        now = datetime.now(UTC)
        try:
            with self._connection() as connection:
                progress = queries.progress(connection)
        except TransientError as error:
            return Health(
                status="down", reasons=(str(error),), time=now, database=False, data_age_s=None, sink_lag_records=None
            )
        return self._judge(progress, now)

    def overview(self) -> Overview:
        """The state of the system in one look."""
        return self.snapshot(full=True).overview

    def stations(self) -> list[Station]:
        """Every device that measures at a place."""
        with self._connection() as connection:
            now = datetime.now(UTC)
            return self._station_list(connection, now, self._alerts_open(connection, now))

    def vehicles(self) -> list[Vehicle]:
        """Vehicles on the road."""
        with self._connection() as connection:
            return self._vehicle_list(connection, datetime.now(UTC))

    def alerts(self, *, active: bool, limit: int) -> list[Alert]:
        """Alerts as they stand, newest first."""
        with self._connection() as connection:
            found = queries.alerts(connection, datetime.now(UTC) - _ALL_TIME, only_open=active, limit=limit)
        return [_alert(row) for row in found]

    def alert(self, alert_id: str) -> AlertDetail | None:
        """One alert with its steps."""
        with self._connection() as connection:
            found = queries.alert(connection, alert_id)
            steps = queries.transitions(connection, alert_id) if found else []
        if found is None:
            return None
        transitions = tuple(Transition(**_picked(step, Transition)) for step in steps)
        return AlertDetail(**_picked(found, Alert), evidence=found.evidence, transitions=transitions)

    def series_list(self, devices: Sequence[str], kinds: Sequence[str], limit: int) -> list[SeriesDescription]:
        """What series there are; an empty filter lets everything through."""
        with self._connection() as connection:
            found = queries.list_series(connection, devices=devices or None, kinds=kinds or None, limit=limit)
        return [SeriesDescription(**_picked(row, SeriesDescription)) for row in found]

    def series(self, series_id: int, start: datetime, end: datetime, *, points: int, window_s: int) -> Series | None:
        """One series over a range of time; None when nobody announced it."""
        with self._connection() as connection:
            described = queries.series(connection, series_id)
            if described is None:
                return None
            found = queries.points(connection, [series_id], start, end, points_max=points)
            kind = _WINDOWS.get(described.quantity, IndicatorKind.WINDOW)
            windows = queries.indicators(
                connection, series_id, kind, window_s, start, end, limit=self._settings.points_max
            )
        return Series(
            series=SeriesDescription(**_picked(described, SeriesDescription)),
            start=start,
            end=end,
            bucket_s=(end - start).total_seconds() / points,
            points=tuple(map(_point, found)),
            windows=tuple(Window(**_picked(row, Window)) for row in windows),
        )

    def snapshot(self, *, full: bool) -> Snapshot:
        """Everything that the live page shows; without its lists when nobody looks."""
        now = datetime.now(UTC)
        with self._connection() as connection:
            alerts = self._alerts_open(connection, now)
            if not full:
                return Snapshot(self._overview(connection, now, (), (), alerts))
            stations = self._station_list(connection, now, alerts)
            vehicles = self._vehicle_list(connection, now)
            overview = self._overview(connection, now, stations, vehicles, alerts)
            alerts += self._alerts_over(connection, now)
        return Snapshot(
            overview,
            {station.device_id: station for station in stations},
            {vehicle.vehicle: vehicle for vehicle in vehicles},
            {alert.alert_id: alert for alert in alerts},
        )

    def _alerts_open(self, connection: Connection, now: datetime) -> list[Alert]:
        rows = queries.alerts(connection, now - _ALL_TIME, only_open=True, limit=self._settings.alerts_max)
        return [_alert(row) for row in rows if row.state in view.OPEN]

    def _alerts_over(self, connection: Connection, now: datetime) -> list[Alert]:
        """Those that fired and were resolved lately."""
        rows = queries.alerts(connection, now - _LATELY, limit=self._settings.alerts_max)
        return [_alert(row) for row in rows if row.state == "resolved" and row.fired_time is not None]

    def _station_list(self, connection: Connection, now: datetime, alerts: Sequence[Alert]) -> list[Station]:
        rows = queries.latest_readings(connection, now - _READINGS_SINCE, limit=self._settings.series_max)
        return view.stations(rows, alerts, now=now, stale_s=self._settings.station_stale_s)

    def _vehicle_list(self, connection: Connection, now: datetime) -> list[Vehicle]:
        since = now - timedelta(seconds=self._settings.vehicle_age_s_max)
        rows = queries.vehicles(connection, since, limit=self._settings.vehicles_max)
        return [_vehicle(row) for row in rows]

    def _overview(
        self,
        connection: Connection,
        now: datetime,
        stations: Sequence[Station],
        vehicles: Sequence[Vehicle],
        alerts: Sequence[Alert],
    ) -> Overview:
        progress = queries.progress(connection)
        rows = Counter[str]()
        for one in progress:
            rows[one.topic] += one.rows
        readings, vehicle_events = rows[self._topics.readings], rows[self._topics.vehicles]
        severities = Counter(alert.severity for alert in alerts)
        return Overview(
            time=now,
            health=self._judge(progress, now),
            tier=tier_of(connection),
            rates=self._rates.measure(readings, vehicle_events),
            counts=Counts(
                stations=len(stations),
                series=sum(len(station.values) for station in stations),
                vehicles=len(vehicles),
                readings=readings,
                vehicle_events=vehicle_events,
                indicators=rows[self._topics.indicators],
            ),
            alerts_open=AlertCounts.model_validate(severities),
            dead_letters={
                one.reason: one.n for one in queries.dead_letter_counts(connection, now - _DEAD_LETTERS_SINCE)
            },
            latencies={
                one.what: Latency(p50_s=one.p50_s, p99_s=one.p99_s)
                for one in queries.latencies(connection, now - _LATENCY_SINCE)
            },
        )

    def _judge(self, progress: Sequence[queries.Progress], now: datetime) -> Health:
        sources = {self._topics.readings, self._topics.vehicles}
        newest = max(
            (one.newest_receive_time for one in progress if one.newest_receive_time and one.topic in sources),
            default=None,
        )
        age = None if newest is None else max((now - newest).total_seconds(), 0.0)
        lags = [max(one.log_end - one.next_offset, 0) for one in progress if one.log_end is not None]
        lag = sum(lags) if lags else None
        reasons = []
        if age is None:
            reasons.append("nothing has been stored yet")
        elif age > self._settings.stale_s:
            reasons.append(f"the newest data is {age:.0f} s old, more than {self._settings.stale_s} s")
        if lag is not None and lag > self._settings.lag_records_max:
            reasons.append(f"the sink is {lag} records behind, more than {self._settings.lag_records_max}")
        if age is not None:
            self._metrics.age("data", age)
        if lag is not None:
            self._metrics.lag("sink", lag)
        return Health(
            status="degraded" if reasons else "ok",
            reasons=tuple(reasons),
            time=now,
            database=True,
            data_age_s=None if age is None else round(age, 3),
            sink_lag_records=lag,
        )


class _RateMeter:
    """Rates per second from totals that only grow; several threads ask."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._looks: deque[tuple[float, int, int]] = deque(maxlen=64)

    def measure(self, readings: int, vehicle_events: int) -> Rates:
        """Rates since the look of about five seconds ago."""
        now = time.monotonic()
        with self._lock:
            while len(self._looks) > 1 and now - self._looks[1][0] >= _RATE_S:
                self._looks.popleft()
            if not self._looks or now - self._looks[-1][0] >= _RATE_S / 32:
                self._looks.append((now, readings, vehicle_events))
            began, readings_then, vehicle_events_then = self._looks[0]
        length = now - began
        if length < _RATE_S / 32:
            return Rates()
        return Rates(
            readings_per_s=round(max(readings - readings_then, 0) / length, 1),
            vehicle_events_per_s=round(max(vehicle_events - vehicle_events_then, 0) / length, 1),
        )


def _picked(row: Any, model: Any) -> dict[str, Any]:
    """The fields of a row that the model has."""
    return {field.name: getattr(row, field.name) for field in fields(row) if field.name in model.model_fields}


def _alert(row: queries.Alert) -> Alert:
    return Alert(**_picked(row, Alert))


def _vehicle(row: queries.Vehicle) -> Vehicle:
    return Vehicle(**_picked(row, Vehicle), device_id="veh:" + row.vehicle.replace("/", ":"))


def _point(row: queries.Point) -> Point:
    return Point(time=row.time, value=row.mean, min=row.min, max=row.max, n=row.n, flags=view.flag_names(row.flags))
