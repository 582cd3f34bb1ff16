"""finds and reads the snapshots in `pulssi.state`"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from pulssi.errors import PoisonError, Reason
from pulssi.shell.snapshots import UNKNOWN_TOPIC, Slot, Snapshot, decode, decode_part, unpack
from pulssi.topics import Topics

_SCAN_FIRST = 64
_SCAN_GROWTH = 8
_FETCH_BYTES = 16 << 20
_NEAR = 256
"""Records of others that are read over rather than jumped over: a jump throws away what was fetched ahead."""


@dataclass(slots=True)
class Found:
    """What the state topic holds of one slot.

    Attributes:
        heads: by their keys and the source topic they belong to; of each the one that has come furthest.
        keys: of all records that were not removed since.
        damaged: why a head cannot be read, if there is one.
    """

    heads: dict[tuple[bytes, bytes], Snapshot] = field(default_factory=dict)
    keys: set[bytes] = field(default_factory=set)
    damaged: PoisonError | None = None

    def take(self, slot: Slot, key: bytes, value: bytes | None) -> None:
        """Note one record of the slot."""
        if value is None:  # a head that was removed may still be there, and whole
            self.keys.discard(key)
            return
        self.keys.add(key)
        if slot.is_part(key):
            return
        try:
            snapshot = decode(value)
        except PoisonError as error:
            self.damaged = error
            return
        place = key, snapshot.source
        if place not in self.heads or snapshot.rank >= self.heads[place].rank:
            self.heads[place] = snapshot

    def furthest(self, source: bytes) -> list[tuple[bytes, Snapshot]]:
        """Keys and heads that belong to a source topic, or to one without an id; the furthest first."""
        ours = [(key, head) for (key, of), head in self.heads.items() if UNKNOWN_TOPIC in (source, of) or source == of]
        return sorted(ours, key=lambda one: one[1].rank, reverse=True)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A state, and what its next owner must know to go on saving.

    Attributes:
        snapshot: its head.
        state: what the processor gave.
        keys: of the records of the slot in Kafka.
        newest: set of keys that it is in, if it is split.
        passed_over: why one that had come further could not be read, if there was one.
    """

    snapshot: Snapshot
    state: bytes = field(repr=False)
    keys: frozenset[bytes]
    newest: int | None
    passed_over: PoisonError | None


class Store:
    """A reader of `pulssi.state`, as an async context manager.

    Args:
        bootstrap: of Kafka.
        topics: names of the topics.
    """

    def __init__(self, bootstrap: str, topics: Topics) -> None:
        self._bootstrap = bootstrap
        self._topics = topics

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            KafkaError: Kafka is away.
        """
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_wait_ms=50,
        )
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def find(self, slots: Sequence[Slot]) -> dict[Slot, Found]:
        """What there is of each slot, without the parts.

        Reads backwards in growing steps, so that the length of the topic does not matter for slots that are in use.
        """
        found: dict[Slot, Found] = {}
        for place in sorted({slot.place(self._topics) for slot in slots}):
            found |= await self._scan(place, [slot for slot in slots if slot.place(self._topics) == place])
        return found

    async def load(self, slot: Slot, found: Found, source: bytes = UNKNOWN_TOPIC) -> Loaded | None:
        """The whole state that has come furthest; None when the slot has none of this source topic.

        Args:
            slot: whose.
            found: by `find`.
            source: id of the source topic; any when it is not known.

        Raises:
            PoisonError: there are some, and none of them is whole.
        """
        failed = found.damaged
        for last in (False, True):
            for key, snapshot in found.furthest(source):
                try:
                    state = await self._state(slot, snapshot)
                except PoisonError as error:
                    failed = failed or error
                else:
                    return Loaded(snapshot, state, frozenset(found.keys), slot.set_of(key), failed)
            if failed is not None and not last:  # removed while we read, or an older one far behind is whole
                found = (await self._scan(slot.place(self._topics), [slot], whole=True))[slot]
        if failed is not None:
            raise failed
        return None

    async def _scan(self, place: int, slots: Sequence[Slot], *, whole: bool = False) -> dict[Slot, Found]:
        tp = TopicPartition(self._topics.state, place)
        self._consumer.assign([tp])
        begin = (await self._consumer.beginning_offsets([tp]))[tp]
        end = (await self._consumer.end_offsets([tp]))[tp]
        length = end - begin if whole else _SCAN_FIRST
        while True:
            start = max(begin, end - length)
            found = await self._read(tp, start, end, slots)
            if start == begin or all(one.heads for one in found.values()):
                return found
            length *= _SCAN_GROWTH

    async def _read(self, tp: TopicPartition, start: int, end: int, slots: Iterable[Slot]) -> dict[Slot, Found]:
        found = {slot: Found() for slot in slots}
        self._consumer.seek(tp, start)
        while await self._consumer.position(tp) < end:
            for record in (await self._consumer.getmany(tp, timeout_ms=500)).get(tp, ()):
                if record.offset >= end or record.key is None:
                    continue
                for slot, one in found.items():
                    if slot.owns(record.key):
                        one.take(slot, record.key, record.value)
        return found

    async def _state(self, slot: Slot, snapshot: Snapshot) -> bytes:
        """The bytes of a state, put together part by part."""
        if not snapshot.parts:
            return await asyncio.to_thread(unpack, snapshot.packed)
        tp = TopicPartition(self._topics.state, slot.place(self._topics))
        self._consumer.assign([tp])
        if max(snapshot.parts) >= (await self._consumer.end_offsets([tp]))[tp]:
            raise PoisonError(Reason.BAD_RECORD, f"{tp.topic} ends before the parts of a snapshot: was it made anew?")
        self._consumer.seek(tp, snapshot.parts[0])
        whole = io.BytesIO()
        for index, offset in enumerate(snapshot.parts):
            value = await self._at(tp, offset)
            whole.write(await asyncio.to_thread(unpack, decode_part(snapshot, index, value)))
        if whole.tell() != snapshot.size:
            raise PoisonError(Reason.BAD_RECORD, f"a snapshot of {whole.tell()} bytes instead of {snapshot.size}")
        return whole.getvalue()

    async def _at(self, tp: TopicPartition, offset: int) -> bytes:
        """The value of the record at an offset.

        Raises:
            PoisonError: it is not there any more.
        """
        if not offset - _NEAR <= await self._consumer.position(tp) <= offset:
            self._consumer.seek(tp, offset)
        while await self._consumer.position(tp) <= offset:
            for record in (await self._consumer.getmany(tp, timeout_ms=500, max_records=1)).get(tp, ()):
                if record.offset == offset and record.value is not None:
                    return bytes(record.value)
        raise PoisonError(Reason.BAD_RECORD, f"the part of a snapshot at {tp.topic}/{tp.partition}/{offset} is gone")
