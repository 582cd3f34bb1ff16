"""settings: one TOML file and `PULSSI_` variables, every problem listed at once

`PULSSI_KAFKA__BOOTSTRAP=host:9092` wins over `[kafka] bootstrap` in the file, which wins over the default here. The
file is `--config`, else `PULSSI_CONFIG`, else `pulssi.toml` in the working directory when there is one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from pulssi.errors import ConfigurationError
from pulssi.topics import Topics

Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of every section: a word that nobody knows is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"there is no time zone {value!r}") from error
    return value


def _secret(value: SecretStr | None, file: Path | None) -> str | None:
    if file is not None:
        return file.read_text(encoding="utf-8").strip()
    return value.get_secret_value() if value is not None else None


SourcePattern = Annotated[str, Field(min_length=1, max_length=64)]
"""A kind (`air`), or device ids with `*` and `?` (`tms-*`)."""


def _first_fitting(table: Mapping[str, int], kind: str, device_id: str) -> int | None:
    """What a table by source says of one: its first entry that fits."""
    return next((said for source, said in table.items() if source == kind or fnmatchcase(device_id, source)), None)


class MqttSettings(Section):
    """Where the MQTT broker is and how to log in."""

    host: str = "127.0.0.1"
    """Host of the broker."""
    port: Port = 1883
    """Port of the broker."""
    username: str | None = None
    """User name, when the broker asks for one."""
    password: SecretStr | None = None
    """Password; better in `password_file`."""
    password_file: Path | None = None
    """File that holds the password."""
    transport: Literal["tcp", "websockets"] = "tcp"
    """How MQTT is carried."""
    tls: bool = False
    """Encrypt the connection."""
    ca_file: Path | None = None
    """Certificate authority of the broker; the system's when empty."""
    keepalive_s: Positive = 30
    """Seconds between pings."""

    def secret(self) -> str | None:
        """The password, from its file or the environment."""
        return _secret(self.password, self.password_file)


class KafkaSettings(Section):
    """Where Kafka is, and the shape of our topics there."""

    bootstrap: str = "127.0.0.1:9092"
    """Comma-separated host:port of some brokers."""
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")] = "pulssi"
    """First part of every topic name."""
    partitions: Annotated[int, Field(ge=1, le=256)] = 4
    """Partitions of readings, vehicles, indicators, alerts and state; fixed once data is in."""
    replication: Positive = 1
    """Copies of each partition; 3 where Kafka has three brokers."""
    session_timeout_ms: Positive = 6000
    """Silence after which a dead consumer's partitions move on."""
    heartbeat_ms: Positive = 1000
    """How often a consumer shows that it lives."""
    fetch_bytes_max: Positive = 2 << 20
    """Bytes of one partition that a stream worker takes from Kafka at once."""
    gather_ms_max: Annotated[int, Field(ge=0)] = 30
    """Longest rest of a stream processor between two fetches; it rests as long as it worked, so that batches grow."""
    in_flight_bytes_max: Positive = 32 << 20
    """Output of one stream worker that Kafka has not confirmed yet; over it processing waits."""
    state_bytes_max: Positive = 4 << 30
    """State of one partition, before it is packed; a larger one is not saved, and the log says so."""

    @property
    def topics(self) -> Topics:
        """Names of the topics."""
        return Topics(self.prefix, self.partitions)


class DatabaseSettings(Section):
    """Where the database is and who we are there."""

    host: str = "127.0.0.1"
    """Host name, address or directory of the socket."""
    port: Port = 5432
    """Port."""
    name: str = "pulssi"
    """Database."""
    user: str = "pulssi"
    """Role that owns the tables and runs migrations."""
    writer: str | None = None
    """Role of sink and notifier; `user` when empty."""
    reader: str | None = None
    """Read-only role of the HTTP API; `user` when empty."""
    password: SecretStr | None = None
    """Password; better in `password_file`."""
    password_file: Path | None = None
    """File that holds the password."""
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    """As in libpq."""
    connect_timeout_s: Positive = 5
    """Seconds until a connection attempt is given up and tried again."""

    def secret(self) -> str | None:
        """The password, from its file or the environment."""
        return _secret(self.password, self.password_file)

    def conninfo(self, role: Literal["owner", "writer", "reader"] = "owner") -> dict[str, Any]:
        """Keyword arguments for psycopg.connect; never logged."""
        user = {"owner": self.user, "writer": self.writer or self.user, "reader": self.reader or self.user}[role]
        info: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.name,
            "user": user,
            "sslmode": self.sslmode,
            "connect_timeout": self.connect_timeout_s,
            "application_name": "pulssi",
        }
        password = self.secret()
        return info if password is None else {**info, "password": password}


class GatewaySettings(Section):
    """The door: what is accepted, how it is framed and handed over."""

    client_id: str = "pulssi-gateway"
    """MQTT client id; stable, since the broker keeps our session under it."""
    filters: tuple[str, ...] = ("pulssi/v1/+/+/readings", "/hfp/v2/#", "tms-v2/#", "weather-v2/#")
    """MQTT topic filters to subscribe to; give each gateway its own slice."""
    broker_socket: Path | None = None
    """Unix socket of a broker on the same machine, taken instead of its host and port: it costs both sides less."""
    producer: Literal["kafka-python", "confluent-kafka"] = "kafka-python"
    """Which Kafka client hands over."""
    frame_readings: Positive = 500
    """Readings in a frame at most."""
    frame_delay_ms: Positive = 20
    """How long a frame waits to fill."""
    frame_delay_ms_max: Positive = 40
    """The same from 10,000 readings a second on; it grows from 5,000 on."""
    in_flight_bytes_max: Positive = 64 << 20
    """Taken from MQTT and not yet confirmed by Kafka; over it the gateway stops reading."""
    in_flight_messages_max: Positive = 60_000
    """The same as a count."""
    payload_bytes_max: Positive = 256 << 10
    """Larger payloads are refused."""
    receipt_delay_ms: Positive = 250
    """How long accepted seqs of one device are gathered into one receipt."""
    session_expiry_s: Positive = 7 * 24 * 3600
    """How long the broker keeps our queue while we are away."""
    event_age_s_max: Positive = 30 * 24 * 3600
    """Older event times are quarantined."""
    event_ahead_s_max: Positive = 300
    """Event times further in the future are quarantined."""
    interval_ending_s: dict[SourcePattern, Positive] = {}
    """Sources, by kind or device id (`fmi-*`), whose values are means over so many seconds that end at their time."""
    series_max: Positive = 1_000_000
    """Series that one gateway remembers as announced."""
    places_file: Path | None = None
    """CSV of device places; the one shipped with Pulssi when empty."""

    def ends_after_s(self, kind: str, device_id: str) -> int:
        """Length of the intervals that end at the times of a source, s; 0 where they begin there or have no length."""
        return _first_fitting(self.interval_ending_s, kind, device_id) or 0


class StreamsSettings(Section):
    """Windows, lateness and snapshots of the stream processors."""

    group: str = "pulssi-streams"
    """Kafka consumer group and key of the snapshots."""
    pane_s: Annotated[int, Field(ge=1, le=3600)] = 60
    """Length of a pane; windows slide by it."""
    windows_s: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=16)] = (60, 300, 900, 3600)
    """Lengths of the rolling windows."""
    long_windows_s: Annotated[tuple[Positive, ...], Field(max_length=8)] = ()
    """Further windows, such as 8 h and 24 h (28800, 86400), that slide by `long_slide_s`; mind their memory."""
    long_slide_s: Positive = 900
    """How far apart the ends of long windows are; a multiple of `pane_s`, else the panes are rounded down."""
    lateness_s_max: Positive = 30
    """How far behind the newest event time of its series a reading may come without a revision."""
    lateness_s: dict[SourcePattern, Positive] = {}
    """The same of single sources, by kind (`air`) or device id (`tms-*`), the first that fits; vehicles: `transit`."""
    horizon_s: Positive = 2 * 3600
    """How far behind a reading may come and still revise its windows."""
    event_ahead_s_max: Positive = 300
    """A reading further ahead of its own receipt is flagged, is in no window and moves no watermark."""
    idle_s: Positive = 120
    """A series silent for so long has its open panes closed."""
    snapshot_interval_s: Annotated[float, Field(gt=0)] = 2.0
    """Time between snapshots of a partition."""
    batch_readings_max: Positive = 50_000
    """Readings worked on in one go while catching up."""
    series_max: Positive = 200_000
    """Series of one partition."""
    histograms_max: Annotated[int, Field(ge=0, le=1_000_000)] = 16_384
    """Busy series of one partition whose windows are counted and kept up to date; 4.4 kB each, long ones as much."""
    series_rate_max: Positive = 50
    """Readings a second of one series, on the average of a pane; more are passed on and counted, and in no window."""
    anomaly_score_min: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Readings that score this or more become anomaly rows: noise does at 0.99 once in the memory of a series."""
    on_time_s: tuple[int, int] = (-60, 180)
    """Band of delay that counts as on time: earliest and latest, seconds."""
    on_time_bands_s: Annotated[tuple[tuple[int, int], ...], Field(max_length=4)] = ((0, 300),)
    """Further bands, each a series with channel `<earliest>:<latest>`; TCQSM: not early, at most 5 min late."""
    zone: Annotated[str, AfterValidator(_zone)] = "Europe/Helsinki"
    """Time zone whose days the daily values of air quality are of, and whose hours anomalies are judged by."""
    holidays: Annotated[str, Field(pattern="^([A-Z]{2})?$")] = "FI"
    """Country, by its code, whose public holidays count as Sundays for anomalies; empty for none."""
    roadside_stations: tuple[str, ...] = ()
    """Device ids of traffic stations: the European index asks for fewer compounds there."""
    neighbour_window_s: Positive = 3600
    """Length of the windows by which air quality stations are compared; one of `windows_s`."""
    neighbour_radius_m: Annotated[float, Field(gt=0)] = 10_000.0
    """Stations of the same compound within it are neighbours."""
    reference_radius_m: Annotated[float, Field(gt=0)] = 500.0
    """How far the reference station of a low-cost sensor may be, where its file names none."""
    sensors_file: Path | None = None
    """TOML file of low-cost sensors, their corrections and references; no device is low-cost when empty."""
    service_window_s: Positive = 3600
    """Length of the rolling windows of transit service at stops: on-time share, headways, bunching, forecasts."""
    service_step_s: Positive = 900
    """They slide by this."""
    vanished_after_s: Annotated[int, Field(ge=30, le=7200)] = 180
    """A vehicle on a journey that is not heard for so long while others are has vanished; steps of 30 s."""
    standing_after_s: Annotated[int, Field(ge=30, le=7200)] = 300
    """A vehicle on a journey that has not moved for so long away from stops stands still."""
    standing_radius_m: Annotated[float, Field(gt=0, le=500)] = 25.0
    """What a vehicle that stands may seem to move."""
    group_lateness_s_max: Annotated[int, Field(ge=60, le=604_800)] = 6 * 3600
    """How far behind the newest one a device of a group may be; more than partitions are apart while they catch up."""

    def lateness_of(self, kind: str, device_id: str = "") -> int:
        """Lateness bound of a source, s: the first of `lateness_s` that fits, else `lateness_s_max`."""
        return _first_fitting(self.lateness_s, kind, device_id) or self.lateness_s_max


class AlertsSettings(Section):
    """Rules and their evaluation."""

    group: str = "pulssi-alerts"
    """Kafka consumer group and key of the snapshots."""
    rules_file: Path | None = None
    """TOML file of rules; the one shipped with Pulssi when empty."""
    snapshot_interval_s: Annotated[float, Field(gt=0)] = 2.0
    """Time between snapshots of a partition."""
    batch_bytes_max: Positive = 4 << 20
    """Bytes of indicators worked on in one go."""
    open_max: Positive = 100_000
    """Alerts open at once in one partition."""
    series_max: Positive = 200_000
    """Series of one partition."""
    waiting_rows_max: Positive = 10_000
    """Rows of one partition that wait for the description of their series."""
    quiet_s: Positive = 60
    """A partition without any record for so long has its silence judged by the wall clock."""


class SinkSettings(Section):
    """From Kafka into the database."""

    group: str = "pulssi-sink"
    """Kafka consumer group."""
    batch_rows_max: Positive = 50_000
    """Rows in one transaction at most."""
    batch_delay_ms: Positive = 100
    """How long a transaction waits to fill."""
    fetch_bytes_max: Positive = 32 << 20
    """Fetched from Kafka and not yet read, at most about twice this."""
    migrate: bool = True
    """Apply migrations at start."""
    retention_days: Annotated[int, Field(ge=0)] = 0
    """Days of readings, vehicle events and indicators that are kept; 0 = all."""


class NotifySettings(Section):
    """Delivery of notifications."""

    batch: Positive = 50
    """Notifications claimed at once."""
    poll_ms: Positive = 200
    """Longest pause between looks into the outbox."""
    attempts_max: Positive = 12
    """Tries before a notification is given up into the dead letters of its channel."""
    retry_base_s: Annotated[float, Field(gt=0)] = 1.0
    """First pause between tries; doubles, with jitter."""
    retry_s_max: Positive = 3600
    """Longest pause between tries."""
    timeout_s: Annotated[float, Field(gt=0)] = 5.0
    """Total time of one delivery."""
    response_bytes_max: Positive = 64 << 10
    """Bytes of an answer that are read."""
    allow_private_targets: bool = False
    """Allow webhooks to loopback and private addresses; for tests and the demo only."""
    subscribers_max: Positive = 64
    """Subscribers that are served at once, one notification each at a time."""
    lease_s: Positive = 60
    """How long claimed notifications belong to this process; after a crash they are due again then."""

    @model_validator(mode="after")
    def _consistent(self) -> NotifySettings:
        if self.lease_s < 2 * self.timeout_s:
            raise ValueError("lease_s must be at least twice timeout_s")
        return self


class ApiSettings(Section):
    """The HTTP API and the live page."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port to listen on; 0 = any free one."""
    poll_ms: Positive = 1000
    """How often the live stream looks for news."""
    clients_max: Positive = 500
    """Live streams at once."""
    queue_max: Positive = 10
    """Events that wait for one live stream; a client further behind is dropped and starts again."""
    send_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """How long one live stream may take to accept an event."""
    stale_s: Positive = 120
    """Health is not good when the newest reading is older."""
    station_stale_s: Positive = 900
    """A station is stale when nothing has come from it for so long."""
    vehicle_age_s_max: Positive = 300
    """Vehicles not heard of for longer are not shown."""
    vehicles_max: Positive = 5_000
    """Vehicles in one answer at most, newest first."""
    alerts_max: Positive = 500
    """Alerts in one answer at most."""
    points_max: Positive = 1_000
    """Points of one series in one answer at most; longer ranges are thinned out."""
    range_s_max: Positive = 31 * 24 * 3600
    """Longest range of one series in one answer."""
    series_max: Positive = 20_000
    """Series in one look at the city at most."""
    lag_records_max: Positive = 10_000
    """Health is not good when the sink is further behind in Kafka."""
    pool_max: Positive = 4
    """Connections to the database."""


class MetricsSettings(Section):
    """Where each process serves its metrics."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    gateway: int = 9101
    """Port of the gateway; -1 = off, 0 = any free one."""
    streams: int = 9102
    """Port of the stream processor."""
    alerts: int = 9103
    """Port of the alert processor."""
    sink: int = 9104
    """Port of the sink."""
    notify: int = 9105
    """Port of the notifier."""


class LogSettings(Section):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """JSON lines, or lines for a person; auto looks whether a person is there."""

    @property
    def as_json(self) -> bool | None:
        """As `pulssi.logs.setup` takes it."""
        return None if self.format == "auto" else self.format == "json"


class LocalSettings(Section):
    """The local services of `pulssi up` and the demo."""

    root: Path = Path(".pulssi")
    """Directory of programs, data and logs."""
    tier: Literal["auto", "timescaledb", "postgres"] = "auto"
    """Which database to start."""
    mqtt_port: Port = 1883
    """Port of Mosquitto."""
    kafka_port: Port = 9092
    """Port of Kafka."""
    database_port: Port = 5432
    """Port of the database."""


class _File(TomlConfigSettingsSource):
    """The TOML file as a source of settings."""


class Settings(BaseSettings):
    """All settings of Pulssi; see each section."""

    model_config = SettingsConfigDict(
        env_prefix="PULSSI_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )
    config_file: ClassVar[Path | None] = None

    mqtt: MqttSettings = MqttSettings()
    kafka: KafkaSettings = KafkaSettings()
    database: DatabaseSettings = DatabaseSettings()
    gateway: GatewaySettings = GatewaySettings()
    streams: StreamsSettings = StreamsSettings()
    alerts: AlertsSettings = AlertsSettings()
    sink: SinkSettings = SinkSettings()
    notify: NotifySettings = NotifySettings()
    api: ApiSettings = ApiSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    local: LocalSettings = LocalSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        """What no single section can see."""
        streams = self.streams
        problems = [
            f"streams.windows_s: {length} is not a multiple of streams.pane_s = {streams.pane_s}"
            for length in (*streams.windows_s, *streams.long_windows_s)
            if length % streams.pane_s
        ]
        if streams.service_window_s % streams.service_step_s:
            problems.append("streams.service_window_s is not a multiple of streams.service_step_s")
        problems += [
            f"streams.horizon_s is shorter than streams.{name}"
            for name, bound in (
                ("lateness_s_max", streams.lateness_s_max),
                *((f"lateness_s.{source}", bound) for source, bound in streams.lateness_s.items()),
            )
            if streams.horizon_s < bound
        ]
        kept_s = self.sink.retention_days * 24 * 3600
        if 0 < kept_s < self.gateway.event_age_s_max + 7 * 24 * 3600:
            # Rows younger than this can still come: from devices, and from the seven days that Kafka keeps.
            problems.append("sink.retention_days must exceed gateway.event_age_s_max by seven days, or be 0")
        if self.gateway.broker_socket and (self.mqtt.tls or self.mqtt.transport != "tcp"):
            problems.append("gateway.broker_socket is without mqtt.tls and mqtt.transport")
        if self.kafka.heartbeat_ms * 3 > self.kafka.session_timeout_ms:
            problems.append("kafka.session_timeout_ms must be at least three times kafka.heartbeat_ms")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  named by pydantic-settings
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  named by pydantic-settings
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        sources = (init_settings, env_settings)
        return (*sources, _File(settings_cls, cls.config_file)) if cls.config_file else sources


def load_settings(path: Path | None = None, **sections: Any) -> Settings:
    """Settings from arguments, environment, file and defaults, in this order.

    Args:
        path: the TOML file; see the head of this module when None.
        sections: whole or partial sections as dictionaries, for tests and the demo.

    Raises:
        ConfigurationError: every problem of every source.
    """
    found = path or _default_file()
    problems = _unknown_variables()
    if found is not None and not found.is_file():
        raise ConfigurationError([*problems, f"{found}: there is no such file"])
    bound = type("Settings", (Settings,), {"config_file": found})
    try:
        settings: Settings = bound(**sections)
    except ValidationError as error:
        raise ConfigurationError(problems + [_sentence(one) for one in error.errors()]) from error
    except (OSError, ValueError) as error:  # unreadable or malformed TOML
        raise ConfigurationError([*problems, f"{found}: {error}"]) from error
    problems += _unreadable_secrets(settings)
    if problems:
        raise ConfigurationError(problems)
    return settings


def _default_file() -> Path | None:
    named = os.environ.get("PULSSI_CONFIG")
    if named:
        return Path(named)
    here = Path("pulssi.toml")
    return here if here.is_file() else None


def _unknown_variables() -> list[str]:
    """Variables that look like settings and are none: a typing error must not pass as a default."""
    problems = []
    for name in sorted(os.environ):
        if not name.upper().startswith("PULSSI_") or "__" not in name:
            continue
        section, _, key = name[len("PULSSI_") :].lower().partition("__")
        field = Settings.model_fields.get(section)
        keys = field.annotation.model_fields if field is not None else {}  # type: ignore[union-attr]
        if key not in keys:
            problems.append(f"{name}: there is no such setting")
    return problems


def _unreadable_secrets(settings: Settings) -> list[str]:
    problems = []
    for section in ("mqtt", "database"):
        file: Path | None = getattr(settings, section).password_file
        if file is not None and not os.access(file, os.R_OK):
            problems.append(f"{section}.password_file: {file} cannot be read")
    return problems


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else str(error["msg"]).removeprefix("Value error, ")


def sections() -> dict[str, type[Section]]:
    """Every section by name; what the generated reference walks."""
    found = {}
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            found[name] = annotation
    return found


def choices(annotation: Any) -> tuple[Any, ...]:
    """The words that a Literal setting allows, for the reference."""
    return get_args(annotation)
