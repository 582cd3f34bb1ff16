"""snapshots: how state and next offset of one partition lie in the compacted topic `pulssi.state`

A state of up to 16 MiB is one record, its head and the packed bytes. A larger one is cut into parts of 16 MiB, each a
record of its own, and the head, written when all of them are stored, says at which offsets they lie. One record cannot
be half written, so a head and what it names never disagree: parts without a head are as if they were not there.

The keys of a split state are one of sixteen sets, two for each consumer generation modulo eight. An owner fills its two
in turn, so the one before stays whole while the next is written; and an owner that was stopped and wakes up after its
partitions have moved writes into other sets than the owner of today. It may still write an old head behind a newer one;
since a state is a function of the records before `next_offset`, the head that has come furthest is the right one,
wherever it stands.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field

import zstandard

from pulssi.errors import PoisonError, Reason
from pulssi.topics import Content, Headers, Topics, headers

PART_BYTES = 16 << 20
"""Bytes of a state, not packed, in one record at most."""

_HEAD = struct.Struct("<4sqq16s8sQI")
_PART = struct.Struct("<4s8sI")
_HEAD_MAGIC, _PART_MAGIC = b"PLS2", b"PLSp"
_GENERATIONS = 8
UNKNOWN_TOPIC = bytes(16)
"""Where Kafka gives its topics no ids."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The head of a saved state: what it is and where its bytes are.

    Attributes:
        next_offset: the first record that is not in the state.
        generation: of the consumer group that wrote it; tells two apart that stand at the same offset.
        size: of the state, not packed, bytes.
        packed: the whole state, when it is not split.
        parts: offsets of its parts in the state topic, when it is split.
        identity: 8 random bytes that its parts have too.
        source: id of the Kafka topic whose records it comes from.
    """

    next_offset: int
    generation: int
    size: int
    packed: bytes = field(default=b"", repr=False)
    parts: tuple[int, ...] = ()
    identity: bytes = bytes(8)
    source: bytes = UNKNOWN_TOPIC

    @property
    def rank(self) -> tuple[int, int]:
        """The higher one has come further."""
        return self.next_offset, self.generation

    def encode(self) -> bytes:
        """The value of the record."""
        head = _HEAD.pack(
            _HEAD_MAGIC,
            self.next_offset,
            self.generation,
            self.source,
            self.identity,
            self.size,
            len(self.parts),
        )
        return b"".join((head, array("q", self.parts).tobytes(), self.packed))


def decode(value: bytes) -> Snapshot:
    """The snapshot of a record's value.

    Raises:
        PoisonError: not a snapshot.
    """
    if len(value) < _HEAD.size or not value.startswith(_HEAD_MAGIC):
        raise PoisonError(Reason.BAD_RECORD, "not a snapshot")
    _magic, next_offset, generation, source, identity, size, count = _HEAD.unpack_from(value)
    end = _HEAD.size + 8 * count
    if len(value) < end:
        raise PoisonError(Reason.BAD_RECORD, "a snapshot that is cut short")
    parts = array("q", value[_HEAD.size : end])
    return Snapshot(next_offset, generation, size, value[end:], tuple(parts), identity, source)


def encode_part(identity: bytes, index: int, packed: bytes) -> bytes:
    """The value of the record of one part."""
    return _PART.pack(_PART_MAGIC, identity, index) + packed


def decode_part(snapshot: Snapshot, index: int, value: bytes) -> memoryview:
    """The packed bytes of one part.

    Raises:
        PoisonError: the record is not this part of this snapshot.
    """
    if value[: _PART.size] != _PART.pack(_PART_MAGIC, snapshot.identity, index):
        raise PoisonError(Reason.BAD_RECORD, f"part {index} of a snapshot has been overwritten")
    return memoryview(value)[_PART.size :]


def pack(state: bytes | memoryview) -> bytes:
    """Compress a state or a part of it, with a checksum."""
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(state)


def unpack(packed: bytes | memoryview) -> bytes:
    """What was given to `pack`.

    Raises:
        PoisonError: damaged, or larger than a part may be.
    """
    try:
        if zstandard.frame_content_size(packed) > PART_BYTES:
            raise PoisonError(Reason.BAD_RECORD, "a part of a snapshot is larger than parts are")
        return zstandard.decompress(packed)
    except zstandard.ZstdError as error:
        raise PoisonError(Reason.BAD_RECORD, f"snapshot: {error}") from error


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the snapshots of one source partition of one application are kept."""

    application: str
    topic: str
    partition: int

    @property
    def key(self) -> bytes:
        """Key of a state in one record."""
        return f"{self.application}/{self.topic}/{self.partition}".encode()

    def head_key(self, number: int) -> bytes:
        """Key of the head of a split state, of a set of keys."""
        return b"%b/%d" % (self.key, number)

    def part_key(self, number: int, index: int) -> bytes:
        """Key of one part, of a set of keys."""
        return b"%b/%d/%d" % (self.key, number, index)

    def set_of(self, key: bytes) -> int | None:
        """The set of keys that the key of a head or a part belongs to; None for a state in one record."""
        return int(key[len(self.key) + 1 :].partition(b"/")[0]) if key != self.key else None

    def is_part(self, key: bytes) -> bool:
        """Whether a key of this slot is that of a part."""
        return key.count(b"/") == self.key.count(b"/") + 2

    def owns(self, key: bytes) -> bool:
        """Whether a record with this key belongs to the slot."""
        return key == self.key or key.startswith(self.key + b"/")

    def place(self, topics: Topics) -> int:
        """Partition of the state topic."""
        return self.partition % topics.partitions

    def headers(self, next_offset: int) -> Headers:
        """Headers of a record."""
        return headers(Content.SNAPSHOT, next_offset=next_offset)


def next_set(generation: int, newest: int | None) -> int:
    """The set of keys for the next split state.

    Args:
        generation: of the consumer group.
        newest: the set that the newest whole state is in, if it is in one.
    """
    first = generation % _GENERATIONS * 2
    return first + 1 if newest == first else first
