"""what the API says: every answer as a documented model

Series ids are 64-bit and travel as decimal strings, because a number of JavaScript holds 53 bits. Times are ISO 8601 in
UTC.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

SeriesId = Annotated[int, PlainSerializer(str, return_type=str), Field(description="Series id, decimal")]


class Model(BaseModel):
    """Base of every answer: immutable, so that two of them can be compared."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Problem(Model):
    """An error, as RFC 9457 has it (`application/problem+json`)."""

    type: str = "about:blank"
    """What kind of problem this is."""
    title: str
    """The HTTP status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What went wrong, for a person."""
    errors: tuple[str, ...] = ()
    """Every parameter that was wrong."""


class Health(Model):
    """Whether the system does its job: not whether this process runs."""

    status: Literal["ok", "degraded", "down"]
    """`ok`; `degraded` = data is old or the sink is behind; `down` = the database cannot be reached."""
    reasons: tuple[str, ...]
    """Why it is not ok; empty when it is."""
    time: datetime
    """When this was found out."""
    database: bool
    """Whether the database answers."""
    data_age_s: float | None
    """Age of the newest stored reading or vehicle event by receive time, seconds; null when there is none."""
    sink_lag_records: int | None
    """Records of Kafka that the sink had not stored when it last wrote; null when it never did."""


class Latency(Model):
    """Time from receipt at the gateway to storage, over the last minute."""

    p50_s: float
    """Half of the rows were faster, seconds."""
    p99_s: float
    """99 of 100 rows were faster, seconds."""


class AlertCounts(Model):
    """Open alerts by severity."""

    info: int = 0
    """Worth knowing."""
    warning: int = 0
    """Worth acting on."""
    critical: int = 0
    """Act now."""


class Counts(Model):
    """How much of everything there is."""

    stations: int = 0
    """Devices that measure at a place."""
    series: int = 0
    """Their series."""
    vehicles: int = 0
    """Vehicles on the road now."""
    readings: int = 0
    """Readings taken in by the sink, ever."""
    vehicle_events: int = 0
    """Vehicle events taken in by the sink, ever."""
    indicators: int = 0
    """Indicator rows taken in by the sink, ever."""


class Rates(Model):
    """What is being stored now, per second."""

    readings_per_s: float | None = None
    """Readings; null until two looks can be compared."""
    vehicle_events_per_s: float | None = None
    """Vehicle events."""


class Overview(Model):
    """The state of the system in one look."""

    time: datetime
    """When this was read."""
    health: Health
    """The same truth as `/api/health`."""
    tier: str | None
    """What the database is: timescaledb-community, timescaledb-apache or postgresql; null while it is away."""
    rates: Rates
    """What comes in now."""
    counts: Counts
    """What there is."""
    alerts_open: AlertCounts
    """Firing or acknowledged alerts."""
    dead_letters: dict[str, int]
    """Messages refused in the last day, by reason."""
    latencies: dict[str, Latency]
    """How soon rows are stored, by sort: readings, vehicles, indicators, alerts."""


class StationState(StrEnum):
    """What an operator has to know about a station first."""

    ALERT = "alert"
    STALE = "stale"
    FLAGGED = "flagged"
    OK = "ok"


class Value(Model):
    """The newest reading of one series."""

    series_id: SeriesId
    quantity: str
    """Word of the vocabulary, such as `pm2_5`."""
    channel: str | None
    """Tells sensors of one quantity on one device apart; the direction of traffic."""
    unit: str
    """Unit of the value, RFC 8428 spelling."""
    value: float
    """The value as it came."""
    level: int | None
    """0 (good) to 4 (very poor), where there are bands for the quantity."""
    flags: tuple[str, ...]
    """What was noticed about the reading; the value is never altered."""
    event_time: datetime
    """When it was measured."""
    receive_time: datetime
    """When it reached the gateway."""


class Station(Model):
    """One device with its newest values."""

    device_id: str
    """The device."""
    kind: str
    """air, weather, noise, traffic, system."""
    name: str | None
    """Name of the place."""
    lat: float | None
    """Degrees north, WGS84."""
    lon: float | None
    """Degrees east."""
    district: str | None
    """Code of the district of Helsinki, such as `04`."""
    state: StationState
    """alert, else stale, else flagged, else ok."""
    level: int | None
    """Worst level of its fresh values."""
    headline: SeriesId | None
    """The series whose value stands for the station: the one that gives its level."""
    heard_time: datetime
    """When anything last came from it."""
    alerts: tuple[str, ...]
    """Ids of its open alerts."""
    values: tuple[Value, ...]
    """Newest value of each of its series, the most telling first."""


class Vehicle(Model):
    """Where a vehicle is and how late."""

    vehicle: str
    """operator/number."""
    mode: str | None
    """bus, tram, train, ferry, metro."""
    route: str | None
    """Route id, null outside a journey."""
    direction: int | None
    """1 or 2."""
    line: str | None
    """The number that passengers know."""
    headsign: str | None
    """Where it says it goes."""
    lat: float
    """Degrees north, WGS84."""
    lon: float
    """Degrees east."""
    heading: float | None
    """Degrees from north, clockwise."""
    speed: float | None
    """m/s."""
    delay_s: int | None
    """Seconds; positive = late."""
    device_id: str
    """The device under which `/api/series` has its delays."""
    event_time: datetime
    """When it was there."""


class Transition(Model):
    """One step in the life of an alert."""

    sequence: int
    """Counts the steps from 0."""
    state: str
    """pending, firing, acknowledged, resolved."""
    event_time: datetime
    """When it happened in the world."""
    decided_time: datetime
    """When we knew."""
    value: float | None
    """The value behind this step."""


class Alert(Model):
    """An alert in its current state."""

    alert_id: str
    """A pure function of rule, subject and onset."""
    state: str
    """pending, firing, acknowledged, resolved."""
    severity: Literal["info", "warning", "critical"]
    """How much it matters."""
    rule: str
    """The rule that found it."""
    condition: str
    """threshold, no_data, anomaly."""
    series_id: SeriesId
    device_id: str
    """The device it is about."""
    quantity: str
    """What is measured."""
    kind: str
    """air, traffic, transit ..."""
    unit: str
    """Unit of value and threshold."""
    name: str | None
    """Name of the place."""
    lat: float | None
    """Degrees north, WGS84."""
    lon: float | None
    """Degrees east."""
    district: str | None
    """Code of the district."""
    value: float | None
    """The value at the newest step."""
    threshold: float | None
    """What it was compared with."""
    onset_time: datetime
    """When the condition began."""
    fired_time: datetime | None
    """When it fired."""
    resolved_time: datetime | None
    """When it was over."""
    sequence: int
    """Number of the newest step."""
    texts: dict[str, str]
    """The finished sentence in `fi`, `sv` and `en`."""


class AlertDetail(Alert):
    """An alert with its history and evidence."""

    evidence: dict[str, Any]
    """Readings, rule version, baseline and quality behind it."""
    transitions: tuple[Transition, ...]
    """Every step so far, oldest first."""


class SeriesDescription(Model):
    """What a series is called."""

    series_id: SeriesId
    device_id: str
    """The device."""
    quantity: str
    """Word of the vocabulary."""
    channel: str | None
    """Tells sensors of one quantity on one device apart."""
    unit: str
    """Unit of every value."""
    kind: str
    """air, traffic, transit ..."""
    name: str | None
    """Name of the place."""
    district: str | None
    """Code of the district."""


class Point(Model):
    """Readings of one bucket of time; a bucket of one reading is that reading."""

    time: datetime
    """Event time of the first reading in the bucket."""
    value: float
    """Mean of the bucket."""
    min: float
    """Least value of the bucket."""
    max: float
    """Greatest value of the bucket."""
    n: int
    """Readings in the bucket."""
    flags: tuple[str, ...]
    """What was noticed about any of them."""


class Window(Model):
    """One rolling window."""

    window_start: datetime
    """Start, inclusive."""
    window_s: int
    """Length in seconds; the end is exclusive."""
    n: int
    """Readings that went in."""
    completeness: float | None
    """0..1, of the expected readings."""
    value: float | None
    """The indicator; the mean for plain windows."""
    min: float | None
    """Least reading."""
    max: float | None
    """Greatest reading."""
    p50: float | None
    """Median."""
    p95: float | None
    """95th percentile."""
    revision: int
    """Rises when late readings change the window."""


class Series(Model):
    """One series over a range of time."""

    series: SeriesDescription
    """What it is."""
    start: datetime
    """Start of the range, inclusive."""
    end: datetime
    """End, exclusive."""
    bucket_s: float
    """Length of a bucket in seconds."""
    points: tuple[Point, ...]
    """Readings by event time, thinned out to `points` of them."""
    windows: tuple[Window, ...]
    """Newest revision of each rolling window in the range; of delays and shares for vehicles and routes."""


class Sync(Model):
    """First event of a live stream, and of each one that starts again: everything as it is now."""

    overview: Overview
    """The state of the system."""
    stations: tuple[Station, ...]
    """All of them."""
    vehicles: tuple[Vehicle, ...]
    """All on the road."""
    alerts: tuple[Alert, ...]
    """All open ones, and those resolved lately."""
    history: tuple[tuple[float, float | None, float | None], ...]
    """Rates of the last minutes: [epoch s, readings/s, vehicle events/s]."""


class Gone(Model):
    """Keys of what is not there any more."""

    stations: tuple[str, ...] = ()
    """Device ids."""
    vehicles: tuple[str, ...] = ()
    """Vehicles."""
    alerts: tuple[str, ...] = ()
    """Alert ids."""


class Tick(Model):
    """What changed since the event before."""

    overview: Overview
    """The state of the system; in every event."""
    stations: tuple[Station, ...] = ()
    """New or changed."""
    vehicles: tuple[Vehicle, ...] = ()
    """New or changed."""
    alerts: tuple[Alert, ...] = ()
    """New or changed."""
    gone: Gone = Gone()
    """What is not there any more."""
