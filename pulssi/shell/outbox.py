"""what processors send: bounded in flight, confirmed in order, retried visibly"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from pulssi.logs import Log, Presence
from pulssi.metrics import Metrics
from pulssi.partitions import Output
from pulssi.shell.packing import use_fast_lz4
from pulssi.topics import Headers, Topics

_RETRY_S = (0.2, 2.0)
_SLOW_S = 5.0
_REQUEST_BYTES_MAX = 64 << 20
_BATCH_BYTES_MAX = 1 << 20


class Tombstone(NamedTuple):
    """A record that lets a compacted topic forget a key; sent like an `Output`."""

    topic: str
    partition: int
    key: bytes
    value: None = None
    headers: Headers | None = None


@dataclass(slots=True)
class _Sent:
    number: int
    output: Output | Tombstone
    future: asyncio.Future[Any]
    since: float


class Outbox:
    """One idempotent producer for all partitions of a worker.

    Every output gets a number; `confirmed(number)` waits until Kafka has stored it and all before it.
    """

    def __init__(self, bootstrap: str, topics: Topics, in_flight_bytes_max: int, metrics: Metrics, log: Log) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._limit = in_flight_bytes_max
        self._metrics = metrics
        self._presence = Presence(log, "kafka")
        self._sent: deque[_Sent] = deque()
        self._bytes = 0
        self.number = 0
        metrics.limit("output_bytes", in_flight_bytes_max)
        metrics.in_flight("output_bytes", 0)

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: Kafka is away.
        """
        use_fast_lz4()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            max_batch_size=_BATCH_BYTES_MAX,
            max_request_size=_REQUEST_BYTES_MAX,
        )
        try:
            await self._producer.start()
        except KafkaError:
            await self._producer.stop()
            raise

    async def stop(self) -> None:
        """Confirm everything and disconnect."""
        await self.confirmed(self.number)
        await self._producer.stop()

    @property
    def stored_number(self) -> int:
        """The newest output that is stored, as all before it."""
        return self._sent[0].number - 1 if self._sent else self.number

    async def send(self, outputs: Iterable[Output | Tombstone]) -> None:
        """Hand over to the producer; waits while too much is on its way."""
        for output in outputs:
            await self._give(output)
        self._reap()

    async def stored(self, output: Output) -> int:
        """Send one output and wait until it and all before it are stored; its offset."""
        offset = -1
        while offset < 0:  # Kafka stores a retried record once, and may not remember where: then it gets another
            sent = await self._give(output)
            await self.confirmed(sent.number)
            offset = sent.future.result().offset
        return offset

    async def _give(self, output: Output | Tombstone) -> _Sent:
        while self._bytes > self._limit:
            await self._oldest()
        future = await self._retried(output)
        self.number += 1
        sent = _Sent(self.number, output, future, time.monotonic())
        self._sent.append(sent)
        self._bytes += len(output.value or b"")
        return sent

    async def confirmed(self, number: int) -> None:
        """Wait until output `number` and all before it are stored."""
        while self._sent and self._sent[0].number <= number:
            await self._oldest()

    async def watch(self) -> None:
        """Say so when Kafka does not answer or has not confirmed anything for long; called about once a second."""
        self._reap()
        self._metrics.in_flight("output_bytes", self._bytes)
        if self._sent and time.monotonic() - self._sent[0].since > _SLOW_S:
            self._away("nothing confirmed")
            return
        try:
            await asyncio.wait_for(self._producer.client.fetch_all_metadata(), _SLOW_S)
        except (KafkaError, TimeoutError) as error:
            self._away(error)
        else:
            self._back()

    async def _oldest(self) -> None:
        oldest = self._sent[0]
        done, _ = await asyncio.wait({oldest.future}, timeout=_SLOW_S)
        if not done:
            self._away("nothing confirmed")
            return
        error = oldest.future.exception()
        if error is not None and _transient(error) and self._sent and self._sent[0] is oldest:
            self._away(error)
            await asyncio.sleep(random.uniform(*_RETRY_S))  # noqa: S311  jitter, no secret
            oldest.future = await self._retried(oldest.output)
            return
        self._reap()

    def _reap(self) -> None:
        """Drop what is confirmed from the front; a retriable failure is left to whoever waits for it."""
        while self._sent and self._sent[0].future.done():
            sent = self._sent[0]
            error = sent.future.exception()
            if error is not None:
                if _transient(error):
                    return
                raise error
            self._sent.popleft()
            self._bytes -= len(sent.output.value or b"")
            self._metrics.sent(sent.output.topic, "records")
            if sent.output.topic == self._topics.deadletters:
                self._metrics.dropped(dict(sent.output.headers or ()).get("reason", b"unknown").decode())
            self._back()

    async def _retried(self, output: Output | Tombstone) -> asyncio.Future[Any]:
        """Give one output to the producer, again and again while its own queue stays full."""
        while True:
            try:
                accepted: Awaitable[asyncio.Future[Any]] = self._producer.send(
                    output.topic,
                    value=output.value,
                    key=output.key,
                    partition=output.partition,
                    headers=output.headers,
                )
                return await accepted
            except KafkaError as error:
                if not _transient(error):
                    raise
                self._away(error)
                await asyncio.sleep(random.uniform(*_RETRY_S))  # noqa: S311  jitter, no secret

    def _away(self, why: object) -> None:
        self._presence.away(why)
        self._metrics.connected("kafka", up=False)

    def _back(self) -> None:
        self._presence.back()
        self._metrics.connected("kafka", up=True)


def _transient(error: BaseException) -> bool:
    """Whether the same send may succeed later."""
    return isinstance(error, KafkaTimeoutError) or bool(getattr(error, "retriable", False))
