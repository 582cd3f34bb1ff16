"""one owned partition: its processor, how far it is, and what has been saved"""

from __future__ import annotations

import asyncio
import time

from pulssi.errors import PulssiError
from pulssi.partitions import Output, Processor
from pulssi.shell.outbox import Outbox
from pulssi.shell.snapshots import Slot, Snapshot, pack
from pulssi.shell.transport import Batch
from pulssi.topics import STATE_BYTES_MAX, Topics

_SAVED_BYTES_PER_S = 4 << 20
"""A large state is saved less often, so that snapshots never take more of Kafka than this for each partition."""


_RECORD_BYTES = 4096  # of a record besides its value, at most


class StateSizeError(PulssiError):
    """A state is too large for one record; it is not saved, and a restart goes on from the last one that was."""


class GapError(PulssiError):
    """Records are missing between what was processed and what came; only a fresh start from the snapshot is safe."""


class Partition:
    """Feeds one processor and saves it.

    Attributes:
        next_offset: the first record that was not processed.
        epoch: of the assignment; batches of another one are stale.
        processor: the pure core.
    """

    def __init__(self, slot: Slot, topics: Topics, processor: Processor, next_offset: int) -> None:
        self.slot = slot
        self.next_offset = next_offset
        self.epoch = 0
        self.processor = processor
        self._topics = topics
        self._saved_at = time.monotonic()
        self._rest_s = 0.0
        self._dirty = False
        self._working = asyncio.Lock()
        self._saving = asyncio.Lock()

    async def feed(self, batch: Batch, outbox: Outbox) -> int:
        """Process what is new in a batch and hand over what follows; the number of records processed.

        Raises:
            GapError: the batch does not continue where we are.
        """
        async with self._working:
            if batch.epoch != self.epoch:
                return 0
            records = batch.records
            if records[0].offset < self.next_offset:
                records = [record for record in records if record.offset >= self.next_offset]
                if not records:
                    return 0
            last = records[-1].offset
            if records[0].offset != self.next_offset or last - records[0].offset != len(records) - 1:
                raise GapError(
                    f"{self.slot.topic}/{self.slot.partition}: expected offset {self.next_offset}, "
                    f"got {len(records)} records from {records[0].offset} to {last}",
                )
            outputs = self.processor.process(records)
            self.next_offset = last + 1
            self._dirty = True
            await outbox.send(outputs)
            return len(records)

    async def tick(self, now: int, outbox: Outbox) -> None:
        """What follows from the time alone."""
        async with self._working:
            outputs = self.processor.tick(now)
            if outputs:
                self._dirty = True
                await outbox.send(outputs)

    async def save(self, generation: int, outbox: Outbox) -> int:
        """Save the state if it changed, once all that it has given out is stored; bytes written.

        Raises:
            StateSizeError: it does not fit into a record.
        """
        async with self._saving:
            async with self._working:
                self._saved_at = time.monotonic()
                if not self._dirty:
                    return 0
                state, next_offset, given = self.processor.snapshot(), self.next_offset, outbox.number
                self._dirty = False
            packed = await asyncio.to_thread(pack, state)
            await outbox.confirmed(given)
            value = Snapshot(next_offset, generation, packed).encode()
            self._rest_s = len(value) / _SAVED_BYTES_PER_S
            if len(value) > STATE_BYTES_MAX - _RECORD_BYTES:
                raise StateSizeError(
                    f"the state of {self.slot.topic}/{self.slot.partition} takes {len(value) >> 20} MiB, more than the "
                    f"{STATE_BYTES_MAX >> 20} MiB of a record: use more partitions or a shorter horizon",
                )
            place, headers = self.slot.place(self._topics), self.slot.headers(next_offset)
            await outbox.send([Output(self._topics.state, place, self.slot.key, value, headers)])
            await outbox.confirmed(outbox.number)
            return len(value)

    def due(self, interval_s: float) -> bool:
        """Whether it is time for the next snapshot."""
        return time.monotonic() - self._saved_at >= max(interval_s, self._rest_s)
