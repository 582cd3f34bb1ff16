"""snapshots: state and next offset of one partition in one record of the compacted topic `pulssi.state`

One record cannot be half written, so state and offset never disagree. A worker that was stopped and wakes up after its
partitions have moved may still write an old one behind a newer one; since a state is a function of the records before
`next_offset`, the record that has come furthest is the right one, wherever it stands.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import zstandard
from aiokafka import AIOKafkaConsumer, TopicPartition

from pulssi.errors import PoisonError, Reason
from pulssi.topics import Content, Topics, headers

_HEAD = struct.Struct("<4sqq")
_MAGIC = b"PLS1"
_SCAN_FIRST = 64
_SCAN_GROWTH = 8
_FETCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of one partition after every record before `next_offset`.

    Attributes:
        next_offset: the first record that is not in the state.
        generation: of the consumer group that wrote it; tells two apart that stand at the same offset.
        packed: the compressed state.
    """

    next_offset: int
    generation: int
    packed: bytes

    @property
    def rank(self) -> tuple[int, int]:
        """The higher one has come further."""
        return self.next_offset, self.generation

    def state(self) -> bytes:
        """The bytes that the processor gave.

        Raises:
            PoisonError: damaged.
        """
        try:
            return zstandard.decompress(self.packed)
        except zstandard.ZstdError as error:
            raise PoisonError(Reason.BAD_RECORD, f"snapshot: {error}") from error

    def encode(self) -> bytes:
        """The value of the record."""
        return _HEAD.pack(_MAGIC, self.next_offset, self.generation) + self.packed


def pack(state: bytes) -> bytes:
    """Compress a state, with a checksum."""
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(state)


def decode(value: bytes) -> Snapshot:
    """The snapshot of a record's value.

    Raises:
        PoisonError: not a snapshot.
    """
    if len(value) < _HEAD.size or not value.startswith(_MAGIC):
        raise PoisonError(Reason.BAD_RECORD, "not a snapshot")
    _magic, next_offset, generation = _HEAD.unpack_from(value)
    return Snapshot(next_offset, generation, value[_HEAD.size :])


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the snapshots of one source partition of one application are kept."""

    application: str
    topic: str
    partition: int

    @property
    def key(self) -> bytes:
        """Key of the records."""
        return f"{self.application}/{self.topic}/{self.partition}".encode()

    def place(self, topics: Topics) -> int:
        """Partition of the state topic."""
        return self.partition % topics.partitions

    def headers(self, next_offset: int) -> list[tuple[str, bytes]]:
        """Headers of a record."""
        return headers(Content.SNAPSHOT, next_offset=next_offset)


async def load(bootstrap: str, topics: Topics, slots: list[Slot]) -> dict[Slot, Snapshot]:
    """The snapshot of each slot that has one: the one that has come furthest among the newest records.

    Reads backwards in growing steps, so that the length of the topic does not matter for slots that are in use.
    """
    found: dict[Slot, Snapshot] = {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        max_partition_fetch_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    try:
        for place in sorted({slot.place(topics) for slot in slots}):
            wanted = {slot.key: slot for slot in slots if slot.place(topics) == place}
            newest = await _scan(consumer, TopicPartition(topics.state, place), wanted)
            found.update({wanted[key]: snapshot for key, snapshot in newest.items()})
    finally:
        await consumer.stop()
    return found


async def _scan(consumer: AIOKafkaConsumer, tp: TopicPartition, wanted: Mapping[bytes, Slot]) -> dict[bytes, Snapshot]:
    consumer.assign([tp])
    begin = (await consumer.beginning_offsets([tp]))[tp]
    end = (await consumer.end_offsets([tp]))[tp]
    length = _SCAN_FIRST
    while True:
        start = max(begin, end - length)
        found = await _read(consumer, tp, start, end, wanted)
        if start == begin or len(found) == len(wanted):
            return found
        length *= _SCAN_GROWTH


async def _read(
    consumer: AIOKafkaConsumer,
    tp: TopicPartition,
    start: int,
    end: int,
    wanted: Mapping[bytes, Slot],
) -> dict[bytes, Snapshot]:
    found: dict[bytes, Snapshot] = {}
    consumer.seek(tp, start)
    while await consumer.position(tp) < end:
        for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, ()):
            if record.offset >= end or record.key not in wanted or record.value is None:
                continue
            snapshot = decode(record.value)
            if record.key not in found or snapshot.rank >= found[record.key].rank:
                found[record.key] = snapshot
    return found
