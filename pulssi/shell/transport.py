"""Faust's Kafka transport, changed in three places: fetches instead of records, our offsets, and when to fetch

Faust costs 115 to 175 us for everything that it handles as one message, so all that one fetch brings of a topic becomes
one message. Committed offsets are never read back: a partition starts where its snapshot ends. aiokafka would fetch as
soon as it has handed out what it has, and keep the records until they are asked for; here it fetches when they are
asked for, so that they are as new and as many as can be, and in advance only while there is more than one fetch brings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import faust
from aiokafka import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.types import TP, ConsumerMessage

from pulssi.partitions import Record

_NO_CHECKSUM = 0
_LOOK_S = 0.5
"""How often we look, while we wait for a fetch to be processed, whether a rebalance has swept it away."""
_SETTLE_S_MAX = 30.0
"""How long we wait for it; had it been lost, the next one would leave a gap, and that ends the process."""


@dataclass(slots=True, eq=False)
class Batch:
    """Consecutive records of one partition.

    Attributes:
        records: in offset order, at least one.
        epoch: of the assignment that they were fetched under.
        newest_ms: Kafka's timestamp of the last one, ms UTC.
    """

    records: list[Record]
    epoch: int
    newest_ms: int


@dataclass(slots=True, eq=False)
class Fetch:
    """What one fetch brought of one topic.

    Attributes:
        batches: with their partitions; those of one partition in order.
        behind: whether Kafka had more than this.
        done: set when all of it has been processed.
    """

    batches: list[tuple[TP, Batch]]
    behind: bool
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Assignments(Protocol):
    """What the transport asks the shell for."""

    epoch: int
    worked_s: float
    """CPU seconds."""

    async def begin(self, partitions: Sequence[TP]) -> dict[TP, int]:
        """Load the state of partitions that were assigned; the offset at which each starts."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """How records are fetched.

    Attributes:
        batch_bytes_max: record bytes in one batch at most (a single larger record is a batch of its own).
        fetch_bytes_max: bytes of one partition in one answer of the broker.
        gather_s_max: longest rest between two fetches.
        wait_ms_max: how long the broker may wait for a first byte.
    """

    batch_bytes_max: int
    fetch_bytes_max: int
    gather_s_max: float
    wait_ms_max: int = 250


def batches(records: Sequence[Any], epoch: int, bytes_max: int) -> Iterator[Batch]:
    """Cut the records of one fetch into batches of at most `bytes_max` value bytes."""
    taken: list[Record] = []
    size = 0
    timestamp = 0
    for record in records:
        value = record.value or b""
        if taken and size + len(value) > bytes_max:
            yield Batch(taken, epoch, timestamp)
            taken, size = [], 0
        taken.append(Record(record.offset, record.key, value, dict(record.headers)))
        size += len(value)
        timestamp = record.timestamp
    if taken:
        yield Batch(taken, epoch, timestamp)


class _Thread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread that talks to Kafka; Faust has no setting for these two, so they are set before the start."""

    fetching: Fetching
    _gated: Any = None
    _wanted = True

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = self.fetching.wait_ms_max  # noqa: SLF001  no public name
        consumer._max_partition_fetch_bytes = self.fetching.fetch_bytes_max  # noqa: SLF001  no public name
        return consumer

    async def _fetch_records(self, consumer: Any, *arguments: Any, **more: Any) -> Any:
        """Fetch now, and nothing further until the next call unless there is more than this brought."""
        fetcher = consumer._fetcher  # noqa: SLF001  aiokafka offers no way to fetch on demand
        if fetcher is not self._gated:
            self._gate(fetcher)
        self._wanted = True
        fetcher._notify(fetcher._wait_consume_future)  # noqa: SLF001  what aiokafka does to fetch on
        fetched = await super()._fetch_records(consumer, *arguments, **more)
        self._wanted = any(self.is_behind(tp, records) for tp, records in fetched.items())
        return fetched

    def is_behind(self, tp: TP, records: Sequence[Any]) -> bool:
        """Whether the partition had more than these records when they were fetched."""
        end = self.highwater(tp)
        return bool(records) and end is not None and records[-1].offset + 1 < end

    def _gate(self, fetcher: Any) -> None:
        """Let a fetcher of aiokafka ask for records only while they are wanted; all else that it does goes on."""
        due = fetcher._get_actions_per_node  # noqa: SLF001  no public name

        def gated(assignment: Any) -> tuple[Any, ...]:
            fetches, *others = due(assignment)
            return (fetches if self._wanted else [], *others)

        fetcher._get_actions_per_node = gated  # noqa: SLF001  no public name
        self._gated = fetcher


class ShellConsumer(Consumer):  # type: ignore[misc]
    """A consumer of batches that starts where the snapshots end."""

    assignments: Assignments
    fetching: Fetching
    _worked_s = 0.0
    _given: Sequence[Fetch] = ()
    _given_epoch = 0

    def _new_consumer_thread(self) -> Any:
        thread = type("ShellThread", (_Thread,), {"fetching": self.fetching})
        return thread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Start each assigned partition at its snapshot; Faust calls this after every assignment."""
        offsets = await self.assignments.begin(sorted(self.assignment()))
        if offsets:
            await self.seek_wait(offsets)
        return offsets

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109  Faust's signature
        await self._settled()
        await self._rest()
        fetched = await super()._getmany(active_partitions, timeout)
        epoch, size = self.assignments.epoch, self.fetching.batch_bytes_max
        by_topic: dict[str, Fetch] = {}
        for tp, records in fetched.items():
            if records:
                fetch = by_topic.setdefault(tp.topic, Fetch([], behind=False))
                fetch.batches += ((tp, batch) for batch in batches(records, epoch, size))
                fetch.behind |= self._thread.is_behind(tp, records)
        self._given, self._given_epoch = list(by_topic.values()), epoch
        return {fetch.batches[0][0]: [fetch] for fetch in self._given}

    async def _settled(self) -> None:
        """Wait until what was given out has been processed, unless a rebalance has swept it away."""
        deadline = time.monotonic() + _SETTLE_S_MAX
        for fetch in self._given:
            while not fetch.done.is_set() and self._is_expected(deadline):
                with suppress(TimeoutError):
                    await asyncio.wait_for(fetch.done.wait(), _LOOK_S)

    def _is_expected(self, deadline: float) -> bool:
        return self._given_epoch == self.assignments.epoch and self.flow_active and time.monotonic() < deadline

    async def _rest(self) -> None:
        """Rest as long as the work since the last fetch took of a core: half of it at most while nothing is behind.

        A batch costs about the same whatever its size, so the busier the worker, the more it should get at once; an
        idle one fetches without a pause.
        """
        worked_s = self.assignments.worked_s - self._worked_s
        self._worked_s = self.assignments.worked_s
        if not any(fetch.behind for fetch in self._given):
            await asyncio.sleep(min(worked_s, self.fetching.gather_s_max))

    def _to_message(self, tp: TP, record: Fetch) -> Any:
        first = record.batches[0][1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            first.records[0].offset,
            first.newest_ms / 1000,
            0,
            None,
            None,
            record,
            _NO_CHECKSUM,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def commit_for_display(self, offsets: Mapping[TP, int]) -> None:
        """Tell Kafka how far we are, for lag displays; nobody reads it back.

        Raises:
            KafkaError: Kafka is away or another generation began; harmless.
        """
        consumer = self._thread._ensure_consumer()  # noqa: SLF001  Faust's own commit crashes the app on any error
        owned = {TopicPartition(*tp): offset for tp, offset in offsets.items() if tp in consumer.assignment()}
        if owned:
            await asyncio.wrap_future(
                asyncio.run_coroutine_threadsafe(consumer.commit(owned), self._thread.thread_loop),
            )

    def leave_on_stop(self) -> None:
        """Leave the group when the consumer stops: aiokafka keeps a static member in it until its session ends."""
        consumer = self._thread._ensure_consumer()  # noqa: SLF001
        consumer._coordinator._group_instance_id = None  # noqa: SLF001  what `_maybe_leave_group` looks at


def make_app(name: str, bootstrap: str, consumer: type[ShellConsumer], **settings: Any) -> Any:
    """A Faust application without web server, tables, leader topic or topic creation."""
    app = faust.App(
        name,
        broker=";".join(f"kafka://{one.strip()}" for one in bootstrap.split(",")),
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        stream_buffer_maxsize=4,
        stream_recovery_delay=0,
        **settings,
    )
    app.transport.Consumer = consumer
    return app
