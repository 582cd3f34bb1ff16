"""writes the states of one slot, and lets Kafka forget those before"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable

from pulssi.partitions import Output
from pulssi.shell.outbox import Outbox, Tombstone
from pulssi.shell.snapshots import PART_BYTES, UNKNOWN_TOPIC, Slot, Snapshot, encode_part, next_set, pack
from pulssi.topics import Topics


class Saver:
    """Writes one state after the other; see `pulssi.shell.snapshots` for what lies where.

    One part is packed and on its way at a time, so a large state costs no second copy of itself, packed or not.

    Args:
        slot: whose states.
        topics: names of the topics.
        keys: of the records of this slot that Kafka may hold.
        newest: set of keys of the newest whole state, if that is split.
        source: id of the source topic.
    """

    def __init__(
        self,
        slot: Slot,
        topics: Topics,
        keys: Iterable[bytes] = (),
        newest: int | None = None,
        source: bytes = UNKNOWN_TOPIC,
    ) -> None:
        self.slot = slot
        self._topics = topics
        self._keys = set(keys)
        self._newest = newest
        self._source = source

    async def write(self, state: bytes, next_offset: int, generation: int, given: int, outbox: Outbox) -> int:
        """Save a state once output `given` and all before it are stored; bytes written."""
        if len(state) <= PART_BYTES:
            packed = await asyncio.to_thread(pack, state)
            await outbox.confirmed(given)
            snapshot = Snapshot(next_offset, generation, len(state), packed, source=self._source)
            return await self._finish(snapshot, None, {self.slot.key}, outbox)
        identity, number = secrets.token_bytes(8), next_set(generation, self._newest)
        await outbox.confirmed(given)
        view, written = memoryview(state), 0
        offsets: list[int] = []
        keys: set[bytes] = set()
        for index, start in enumerate(range(0, len(state), PART_BYTES)):
            packed = await asyncio.to_thread(pack, view[start : start + PART_BYTES])
            value = encode_part(identity, index, packed)
            key = self.slot.part_key(number, index)
            keys.add(key)
            self._keys.add(key)
            offsets.append(await outbox.stored(self._output(key, value, next_offset)))
            written += len(value)
        snapshot = Snapshot(
            next_offset, generation, len(state), parts=tuple(offsets), identity=identity, source=self._source
        )
        return written + await self._finish(snapshot, number, keys, outbox)

    async def _finish(self, snapshot: Snapshot, number: int | None, keys: set[bytes], outbox: Outbox) -> int:
        """Write the head; what was there before may go then."""
        key = self.slot.key if number is None else self.slot.head_key(number)
        value = snapshot.encode()
        await outbox.stored(self._output(key, value, snapshot.next_offset))
        gone, self._keys, self._newest = self._keys - keys - {key}, keys | {key}, number
        place = self.slot.place(self._topics)
        await outbox.send(Tombstone(self._topics.state, place, one) for one in sorted(gone))
        return len(value)

    def _output(self, key: bytes, value: bytes, next_offset: int) -> Output:
        return Output(self._topics.state, self.slot.place(self._topics), key, value, self.slot.headers(next_offset))
