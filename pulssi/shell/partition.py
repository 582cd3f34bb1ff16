"""one owned partition: its processor, how far it is, and what has been saved"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from pulssi.errors import PulssiError
from pulssi.partitions import Counting, Processor
from pulssi.shell.outbox import Outbox
from pulssi.shell.saver import Saver
from pulssi.shell.transport import Batch

_SAVED_BYTES_PER_S = 4 << 20
"""A large state is saved less often, so that snapshots never take more of Kafka than this for each partition."""
_PAUSE_SHARE_MAX = 0.05
"""The same for the share of the time for which taking snapshots keeps everything else of the worker waiting."""


class StateSizeError(PulssiError):
    """A state is larger than it may be; it is not saved, and a restart goes on from the last one that was."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a snapshot cost.

    Attributes:
        written: bytes in Kafka.
        pause_s: for how long everything else had to wait.
        took_s: from its beginning until it was stored.
    """

    written: int
    pause_s: float
    took_s: float


class GapError(PulssiError):
    """Records are missing between what was processed and what came; only a fresh start from the snapshot is safe."""


class Partition:
    """Feeds one processor and saves it.

    Attributes:
        next_offset: the first record that was not processed.
        epoch: of the assignment; batches of another one are stale.
        processor: the pure core.
        saved_in_s: how long the last snapshot took, from its beginning until it was stored.

    Args:
        saver: writes the snapshots.
        processor: the pure core.
        next_offset: where it goes on.
        state_bytes_max: a larger state is not saved.
    """

    def __init__(self, saver: Saver, processor: Processor, next_offset: int, state_bytes_max: int) -> None:
        self.slot = saver.slot
        self.next_offset = next_offset
        self.epoch = 0
        self.processor = processor
        self.saved_in_s = 0.0
        self._saver = saver
        self._state_bytes_max = state_bytes_max
        self._saved_at = time.monotonic()
        self._rest_s = 0.0
        self._dirty = False
        self._working = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._shown = dict(processor.noted()) if isinstance(processor, Counting) else {}

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

    def noted(self) -> dict[str, int]:
        """What the processor made of its records since this was asked last, by kind; nothing when it does not count."""
        if not isinstance(self.processor, Counting):
            return {}
        before, self._shown = self._shown, dict(self.processor.noted())
        return {what: n - before[what] for what, n in self._shown.items()}

    async def save(self, generation: int, outbox: Outbox) -> Saved | None:
        """Save the state if it changed, once all that it has given out is stored.

        Raises:
            StateSizeError: it is larger than it may be.
        """
        async with self._saving:
            async with self._working:
                began = self._saved_at = time.monotonic()
                if not self._dirty:
                    return None
                state, next_offset, given = self.processor.snapshot(), self.next_offset, outbox.number
                self._dirty = False
                pause_s = time.monotonic() - began
                self._rest_s = pause_s / _PAUSE_SHARE_MAX
            try:
                self._check(len(state))
                written = await self._saver.write(state, next_offset, generation, given, outbox)
            except BaseException:  # also when it is told to stop in the middle
                self._dirty = True
                raise
            self._rest_s = max(self._rest_s, written / _SAVED_BYTES_PER_S)
            self.saved_in_s = time.monotonic() - began
            return Saved(written, pause_s, self.saved_in_s)

    def _check(self, size: int) -> None:
        if size > self._state_bytes_max:
            raise StateSizeError(
                f"the state of {self.slot.topic}/{self.slot.partition} is {size >> 20} MiB, and the most is "
                f"{self._state_bytes_max >> 20} (`kafka.state_bytes_max`): use more partitions or a shorter horizon, "
                "or allow more",
            )

    def due(self, interval_s: float) -> bool:
        """Whether it is time for the next snapshot."""
        return time.monotonic() - self._saved_at >= max(interval_s, self._rest_s)
