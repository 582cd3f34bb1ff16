"""the state topic as a list: what Kafka stores, forgets when it compacts, and hands out again"""

from __future__ import annotations

import asyncio
import random
from typing import Any, NamedTuple

from pulssi.shell.saver import Saver
from pulssi.shell.snapshots import UNKNOWN_TOPIC, Slot
from pulssi.shell.store import Loaded, Store
from pulssi.topics import Topics

TOPICS = Topics("t", 4)
SLOT = Slot("group", "t.readings", 6)


class Stored(NamedTuple):
    """A record as a consumer sees it."""

    offset: int
    key: bytes
    value: bytes | None


class Stop(Exception):  # noqa: N818  no error: the process is gone
    """The process ends here."""


class Log:
    """One partition of a compacted topic."""

    def __init__(self) -> None:
        self.records: list[Stored] = []
        self.end = 0

    def append(self, key: bytes, value: bytes | None) -> int:
        """Store one record; its offset."""
        self.records.append(Stored(self.end, key, value))
        self.end += 1
        return self.end - 1

    def compact(self, below: int, *, tombstones_too: bool) -> None:
        """What Kafka does to the records below an offset: the newest of each key stays, and a tombstone for a while."""
        newest = {one.key: one.offset for one in self.records if one.offset < below}
        self.records = [
            one
            for one in self.records
            if one.offset >= below
            or (newest[one.key] == one.offset and not (tombstones_too and one.value is None))
            or one.offset == self.end - 1
        ]

    @property
    def size(self) -> int:
        """Records that are left when everything has been compacted."""
        newest = {one.key: one.value for one in self.records}
        return sum(value is not None for value in newest.values())


class Outbox:
    """Stores at once; before one more than `records_left` records the process ends, or sleeps until `awake` is set."""

    number = 0

    def __init__(self, log: Log, records_left: int = 1 << 30, *, sleeps: bool = False) -> None:
        self.log = log
        self.records_left = records_left
        self.sleeps = sleeps
        self.awake = asyncio.Event()

    async def _append(self, one: Any) -> int:
        if self.records_left == 0:
            if not self.sleeps:
                raise Stop
            await self.awake.wait()
        else:
            self.records_left -= 1
        assert one.partition == SLOT.place(TOPICS)
        return self.log.append(one.key, one.value)

    async def confirmed(self, number: int) -> None:
        """Everything is, always."""

    async def stored(self, one: Any) -> int:
        """Store a record."""
        return await self._append(one)

    async def send(self, outputs: Any) -> None:
        """Store some."""
        for one in outputs:
            await self._append(one)


class Consumer:
    """What `Store` uses of aiokafka's."""

    def __init__(self, log: Log, per_poll: int = 3) -> None:
        self.log = log
        self._per_poll = per_poll
        self._position = 0

    def assign(self, places: list[Any]) -> None:
        """There is only one partition."""

    def seek(self, _place: Any, offset: int) -> None:
        """Go to an offset."""
        self._position = offset

    async def position(self, _place: Any) -> int:
        """The next offset."""
        return self._position

    async def beginning_offsets(self, places: list[Any]) -> dict[Any, int]:
        """Where the log begins."""
        return dict.fromkeys(places, 0)

    async def end_offsets(self, places: list[Any]) -> dict[Any, int]:
        """Where it ends."""
        return dict.fromkeys(places, self.log.end)

    async def getmany(self, place: Any, timeout_ms: int, max_records: int | None = None) -> dict[Any, list[Stored]]:
        """The next few."""
        assert timeout_ms
        there = [one for one in self.log.records if one.offset >= self._position][: max_records or self._per_poll]
        if there:
            self._position = there[-1].offset + 1
        return {place: there}


async def load(log: Log, source: bytes = UNKNOWN_TOPIC) -> Loaded | None:
    """What a new owner would start from, and which source topic it wants it to be of."""
    store = Store("nowhere", TOPICS)
    store._consumer = Consumer(log)
    return await store.load(SLOT, (await store.find([SLOT]))[SLOT], source)


def saver_after(loaded: Loaded | None) -> Saver:
    """The saver of an owner that has loaded this."""
    return Saver(SLOT, TOPICS) if loaded is None else Saver(SLOT, TOPICS, loaded.keys, loaded.newest)


def state_at(offset: int, size_max: int) -> bytes:
    """The state after `offset` records: now small, now large."""
    chance = random.Random(offset)
    return chance.randbytes(chance.randint(0, size_max))
