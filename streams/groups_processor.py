"""groups_processor: the pure core of one partition of `pulssi.groups`, where devices stand beside one another"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from pulssi.errors import PoisonError
from pulssi.frames import Indicators
from pulssi.geography import Places, load_places
from pulssi.partitions import Output, Record
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.air import network
from streams.blob import pack, unpack
from streams.groups import Describe, Interest, Part
from streams.outputs import dead_letter, descriptions, frames
from streams.sensors import Sensors
from streams.traffic import incident_watch

VERSION = 2
"""Of the snapshot."""


class Context(NamedTuple):
    """What parts are made of."""

    partition: int
    partitions: int
    settings: StreamsSettings
    describe: Describe
    sensors: Sensors
    places: Places


class Make(Protocol):
    """Makes a part for one partition of `pulssi.groups`, new or from a snapshot."""

    def __call__(self, context: Context, snapshot: bytes | None) -> Part:
        """Build it.

        Raises:
            PoisonError: the snapshot cannot be read.
        """


def _incidents(context: Context, snapshot: bytes | None) -> Part:
    partition, partitions, settings, describe, *_more = context
    return incident_watch.IncidentWatch(partition, partitions, settings, describe, snapshot)


def _network(context: Context, snapshot: bytes | None) -> Part:
    return network.AirNetwork(context.settings, context.describe, context.sensors, context.places, snapshot)


PARTS: Final[Mapping[str, Make]] = {"incidents": _incidents, "network": _network}
"""Everything that compares devices, by its name in snapshots."""


def interests(settings: StreamsSettings) -> Sequence[Interest]:
    """The rows that they want to see."""
    return (incident_watch.INTEREST, network.interest(settings))


class GroupsProcessor:
    """What follows from the rows of several devices together; implements `pulssi.partitions.Processor`.

    Args:
        partition: number of the partition, of the source and of the indicators.
        settings: how far the devices of a group may be apart, and others.
        topics: names of the topics.
        snapshot: what `snapshot()` returned, or None for a new state.
        describe: descriptions of series.
        sensors: which devices are low-cost; none when None.
        places: where devices stand; those shipped with Pulssi when None.

    Raises:
        PoisonError: the snapshot is of another version or other settings, or is damaged.
    """

    def __init__(
        self,
        partition: int,
        settings: StreamsSettings,
        topics: Topics,
        snapshot: bytes | None,
        describe: Describe,
        sensors: Sensors | None = None,
        places: Places | None = None,
    ) -> None:
        self._partition = partition
        self._topics = topics
        facts, arrays = ({"clock": 0}, {}) if snapshot is None else unpack(snapshot, VERSION)
        saved = {name: array.tobytes() for name, array in arrays.items()}
        self._clock = int(str(facts["clock"]))
        context = Context(
            partition, topics.partitions, settings, describe, sensors or Sensors(), places or load_places()
        )
        self._parts = {name: make(context, saved.get(name)) for name, make in PARTS.items()}

    def noted(self) -> dict[str, int]:
        """What was made of the records, by kind; implements `pulssi.partitions.Counting`."""
        return {f"{name}_too_late": part.too_late for name, part in self._parts.items()}

    def process(self, records: Sequence[Record]) -> list[Output]:
        """Take records in offset order and return what follows from them."""
        outputs: list[Output] = []
        try:
            rows, lengths = Indicators.decode_all([record.value for record in records])
        except PoisonError:
            records, outputs = self._sorted_out(records)
            rows, lengths = Indicators.decode_all([record.value for record in records])
        if len(rows) == 0:
            return outputs
        rows.position = np.repeat(np.array([record.offset for record in records], np.int64), lengths)
        self._clock = max(self._clock, int(rows.receive_time.max()))
        said = []
        for part in self._parts.values():
            indicators, described = part.take(rows)
            outputs += descriptions(self._topics, described)
            said.append(indicators)
        return outputs + frames(self._topics.indicators, self._partition, Indicators.concat(said), kinds="window")

    def tick(self, now: int) -> list[Output]:  # noqa: ARG002  of the protocol; silence says nothing here
        """Nothing follows from the time alone."""
        return []

    def snapshot(self) -> bytes:
        """The whole state, exactly."""
        parts = {name: np.frombuffer(part.snapshot(), np.uint8) for name, part in self._parts.items()}
        return pack(VERSION, {"clock": self._clock}, parts)

    def _sorted_out(self, records: Sequence[Record]) -> tuple[list[Record], list[Output]]:
        """The good ones of `records`, and dead letters of the others."""
        good, outputs = [], []
        for record in records:
            try:
                Indicators.decode(record.value)
            except PoisonError as error:
                outputs.append(
                    dead_letter(self._topics, self._topics.groups, self._partition, record, error, self._clock)
                )
            else:
                good.append(record)
        return good, outputs
