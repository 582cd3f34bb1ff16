"""Kafka topics: their names, shapes and record headers"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Content(StrEnum):
    """The `content` header of a record."""

    READINGS = "readings"
    VEHICLES = "vehicles"
    INDICATORS = "indicators"
    SERIES = "series"
    ALERT = "alert"
    DEADLETTER = "deadletter"
    SNAPSHOT = "snapshot"


VERSION = b"1"
"""The `version` header: of the content, not of the program."""

Headers = list[tuple[str, bytes]]


def headers(content: Content, **more: str | int) -> Headers:
    """Kafka headers that say what a record holds, and whatever else is given (None is left out by the caller)."""
    return [
        ("content", content.encode()),
        ("version", VERSION),
        *((name, str(value).encode()) for name, value in more.items()),
    ]


STATE_RECORD_BYTES_MAX = 64 << 20
"""Bytes of a record of `pulssi.state` at most; a larger state is cut into parts."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is created."""

    name: str
    partitions: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the topics of one installation.

    Attributes:
        prefix: first part of every name; `pulssi` unless several installations share a Kafka.
        partitions: of readings, vehicles, groups, indicators, alerts and state.
    """

    prefix: str = "pulssi"
    partitions: int = 4

    @property
    def readings(self) -> str:
        """Arrow frames of readings, partitioned by device."""
        return f"{self.prefix}.readings"

    @property
    def vehicles(self) -> str:
        """Arrow frames of vehicle events, partitioned by route."""
        return f"{self.prefix}.vehicles"

    @property
    def groups(self) -> str:
        """Arrow frames of indicators that are compared between devices, partitioned by their group."""
        return f"{self.prefix}.groups"

    @property
    def indicators(self) -> str:
        """Arrow frames of indicators, in the partition of their source."""
        return f"{self.prefix}.indicators"

    @property
    def series(self) -> str:
        """JSON description of each series, compacted by series id."""
        return f"{self.prefix}.series"

    @property
    def alerts(self) -> str:
        """JSON, one record per alert transition, keyed by alert id."""
        return f"{self.prefix}.alerts"

    @property
    def deadletters(self) -> str:
        """Original bytes of what was refused; the headers say why."""
        return f"{self.prefix}.deadletters"

    @property
    def state(self) -> str:
        """Snapshots: compressed state and next offset of each application and partition, large ones in parts."""
        return f"{self.prefix}.state"

    def specs(self, *, retention_ms: int = 7 * 24 * 3_600_000) -> list[TopicSpec]:
        """Every topic with its partitions and configuration."""
        kept = {"retention.ms": str(retention_ms), "max.message.bytes": str(8 << 20)}
        compacted = {"cleanup.policy": "compact", "max.message.bytes": str(8 << 20)}
        alerts = {**compacted, "min.compaction.lag.ms": str(4 * retention_ms)}  # each step is read before it goes
        state = {**compacted, "max.message.bytes": str(STATE_RECORD_BYTES_MAX), "segment.ms": "600000"}
        return [
            TopicSpec(self.readings, self.partitions, kept),
            TopicSpec(self.vehicles, self.partitions, kept),
            TopicSpec(self.groups, self.partitions, kept),
            TopicSpec(self.indicators, self.partitions, kept),
            TopicSpec(self.series, 1, compacted),
            TopicSpec(self.alerts, self.partitions, alerts),
            TopicSpec(self.deadletters, 1, {**kept, "retention.ms": str(4 * retention_ms)}),
            TopicSpec(self.state, self.partitions, state),
        ]
