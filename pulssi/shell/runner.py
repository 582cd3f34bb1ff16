"""run processors under Faust: assignment, snapshots, ticks, shutdown

Whatever goes wrong in a way that waiting does not cure ends the process with exit code 1; the supervisor starts it
again and it goes on from its snapshots. So there is one way to recover, and it is used and tested all the time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import xxhash
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from faust.types import TP
from kafka.errors import KafkaError as ClientError
from mode.threads import WorkerThread

from pulssi import garbage
from pulssi.errors import PoisonError
from pulssi.logs import Log, Presence
from pulssi.metrics import Metrics
from pulssi.partitions import Factory, Processor
from pulssi.settings import KafkaSettings
from pulssi.shell.instance import Instance
from pulssi.shell.outbox import Outbox
from pulssi.shell.partition import GapError, Partition, StateSizeError
from pulssi.shell.saver import Saver
from pulssi.shell.snapshots import UNKNOWN_TOPIC, Slot
from pulssi.shell.store import Found, Loaded, Store
from pulssi.shell.topic_ids import topic_ids
from pulssi.shell.transport import Batch, Fetch, Fetching, ShellConsumer, make_app
from pulssi.times import now_us

_BEAT_S = 0.1
_TOPICS_S = 10.0
_TICK_S = 1.0
_RETRY_S = (0.3, 1.5)
_STOP_S_MAX = 10.0
_LOOK_S = 0.25
_REBALANCE_S = 10.0
_HANDED_OVER_S_MAX = _REBALANCE_S / 2
"""Where saving takes longer, the next owner goes on from the snapshot before: the group would not wait for us."""


def run_faust(
    group: str,
    kafka: KafkaSettings,
    sources: Mapping[str, Factory],
    *,
    snapshot_interval_s: float,
    batch_bytes_max: int,
    metrics: Metrics,
    log: Log,
) -> None:
    """Run processors for the partitions of source topics until SIGTERM or SIGINT.

    Args:
        group: consumer group; first part of the snapshot keys.
        kafka: where Kafka is.
        sources: for each source topic what makes the processor of one of its partitions.
        snapshot_interval_s: time between snapshots of one partition.
        batch_bytes_max: record bytes given to a processor at once.
        metrics: of this process.
        log: of this process.

    Raises:
        ConfigurationError: the instance name is taken.
        SystemExit: code 1 when the application ended by itself.
    """
    _bridge_logging(log)
    shell = Shell(group, kafka, sources, snapshot_interval_s, batch_bytes_max, metrics, log)
    asyncio.run(shell.run())


class Shell:
    """One worker of one Faust application."""

    def __init__(
        self,
        group: str,
        kafka: KafkaSettings,
        sources: Mapping[str, Factory],
        snapshot_interval_s: float,
        batch_bytes_max: int,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self.epoch = 0
        self.worked_s = 0.0
        self._group = group
        self._kafka = kafka
        self._topics = kafka.topics
        self._sources = sources
        self._interval_s = snapshot_interval_s
        self._batch_bytes_max = batch_bytes_max
        self._metrics = metrics
        self._log = log
        self._owned: dict[TP, Partition] = {}
        self._ids: dict[str, bytes] = {}
        self._assigning = asyncio.Lock()
        self._stop = asyncio.Event()
        self._outbox = Outbox(kafka.bootstrap, self._topics, kafka.in_flight_bytes_max, metrics, log)
        self._presence = Presence(log, "kafka")

    async def run(self) -> None:
        """Start, work until told to stop, save, leave."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        instance = Instance(self._group, self._kafka.bootstrap)
        if not await self._ready():
            return
        with tempfile.TemporaryDirectory(prefix="pulssi-faust-") as folder:
            self._app = self._make_app(self._member(instance.name), Path(folder))
            await self._app.start()
            garbage.settle()
            self._log.info("started", group=self._group, instance=instance.name, topics=sorted(self._sources))
            keeping = [asyncio.create_task(self._guarded(work)) for work in (self._keep_house(), self._keep_saved())]
            ended = asyncio.create_task(self._app.wait_until_stopped())
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set():
                self._die("faust_ended", self._app.crash_reason)
            for task in keeping:
                task.cancel()
            await self._leave()
        instance.release()

    # -- start and stop

    async def _ready(self) -> bool:
        """Wait until Kafka answers and has our topics; False when told to stop meanwhile."""
        needed = {*self._sources, self._topics.state}
        while not self._stop.is_set():
            try:
                missing = needed - await _topics_of(self._kafka.bootstrap)
                if not missing:
                    await self._look_at_topics()
                    await self._outbox.start()
                    self._presence.back()
                    self._metrics.connected("kafka", up=True)
                    return True
                self._presence.away(f"no topics {sorted(missing)}; `pulssi topics apply` makes them")
            except (KafkaError, ClientError) as error:
                self._presence.away(error)
            self._metrics.connected("kafka", up=False)
            await self._pause()
        return False

    async def _pause(self) -> None:
        await asyncio.sleep(random.uniform(*_RETRY_S))  # noqa: S311  jitter, no secret

    def _member(self, instance: str) -> str:
        """The name of this worker in the group, one for these topics.

        Kafka gives a member that comes back under its name what it had, be it nothing since a topic was gone just then.
        When topics were made again the worker must be somebody else.
        """
        ids = b"".join(self._source_id(topic) for topic in sorted(self._sources))
        return f"{instance}-{xxhash.xxh3_64_hexdigest(ids)}"

    def _make_app(self, instance: str, folder: Path) -> Any:
        fetching = Fetching(self._batch_bytes_max, self._kafka.fetch_bytes_max, self._kafka.gather_ms_max / 1000)
        consumer = type("BoundConsumer", (ShellConsumer,), {"assignments": self, "fetching": fetching})
        app = make_app(
            self._group,
            self._kafka.bootstrap,
            consumer,
            broker_session_timeout=self._kafka.session_timeout_ms / 1000,
            broker_heartbeat_interval=self._kafka.heartbeat_ms / 1000,
            broker_rebalance_timeout=_REBALANCE_S,
            consumer_group_instance_id=instance,
            datadir=folder,
        )
        for name in self._sources:
            topic = app.topic(name, value_type=bytes, key_type=bytes, acks=False)
            app.agent(topic, name=f"shell-{name}", concurrency=1)(self._consume)
        app.on_partitions_revoked.connect(self._revoked, weak=False)
        return app

    async def _leave(self) -> None:
        """Save everything, leave the group, close; without Kafka end after a while unsaved, as after a crash."""
        self._app.consumer.stop_flow()
        try:
            await self._while_it_moves(self._guarded(self._save_each(self._owned.values())))
            self._owned.clear()
            self._app.consumer.leave_on_stop()
            await asyncio.wait_for(self._app.stop(), _STOP_S_MAX)
            await asyncio.wait_for(self._outbox.stop(), _STOP_S_MAX)
        except TimeoutError:
            self._log.warning("stopped_unsaved", seconds=_STOP_S_MAX)
            sys.stderr.flush()
            os._exit(0)
        self._log.info("stopped")
        await self._end_threads()

    async def _end_threads(self) -> None:
        """Wait for the thread of Faust's consumer, which waits for Kafka and would keep the process alive."""
        deadline = time.monotonic() + _STOP_S_MAX
        while any(isinstance(one, WorkerThread) for one in threading.enumerate()):
            await asyncio.sleep(_LOOK_S)
            if time.monotonic() > deadline:
                sys.stderr.flush()
                os._exit(0)

    async def _while_it_moves(self, work: Any) -> None:
        """Await `work` as long as Kafka goes on storing what we send.

        Raises:
            TimeoutError: it does not.
        """
        task = asyncio.ensure_future(work)
        idle_s, stored = 0.0, self._outbox.stored_number
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_S)
            moved = self._outbox.stored_number != stored
            idle_s, stored = 0.0 if moved else idle_s + _LOOK_S, self._outbox.stored_number
            if idle_s > _STOP_S_MAX:
                task.cancel()
                raise TimeoutError
        await task

    def _die(self, kind: str, error: BaseException | None) -> NoReturn:
        """End at once: the state in memory may not be trusted, the snapshots may."""
        self._metrics.error(kind)
        self._log.error("ended", kind=kind, error=repr(error), exc_info=error)
        sys.stderr.flush()
        os._exit(1)

    async def _guarded(self, work: Any) -> Any:
        """Await `work`; any error of it ends the process."""
        try:
            return await work
        except Exception as error:  # noqa: BLE001  the one place where every error has the same consequence
            self._die(type(error).__name__, error)

    # -- assignment

    async def begin(self, partitions: Sequence[TP]) -> dict[TP, int]:
        """Load the state of newly assigned partitions; the offset at which each starts."""
        offsets: dict[TP, int] = await self._guarded(self._begin(partitions))
        return offsets

    async def _begin(self, partitions: Sequence[TP]) -> dict[TP, int]:
        async with self._assigning:
            started = time.monotonic()
            self.epoch += 1
            for gone in set(self._owned) - set(partitions):
                del self._owned[gone]
            fresh = [tp for tp in partitions if tp not in self._owned]
            if fresh:
                self._owned.update(await self._load(fresh))
            for partition in self._owned.values():
                partition.epoch = self.epoch
            offsets = {tp: self._owned[tp].next_offset for tp in partitions}
            self._log.info(
                "assigned",
                offsets={f"{tp.topic}/{tp.partition}": offset for tp, offset in offsets.items()},
                loaded=len(fresh),
                seconds=round(time.monotonic() - started, 3),
            )
            self._metrics.ready(True)
            return offsets

    async def _load(self, fresh: Sequence[TP]) -> dict[TP, Partition]:
        """The partitions with their states, one after the other: only one of them is held twice at a time."""
        slots = {tp: Slot(self._group, tp.topic, tp.partition) for tp in fresh}
        restored: dict[TP, Partition] = {}
        while len(restored) < len(fresh):
            try:
                earliest = await self._app.consumer.earliest_offsets(*fresh)
                latest = await self._app.consumer.highwaters(*fresh)
                await self._look_at_topics()
                async with Store(self._kafka.bootstrap, self._topics) as store:
                    found = await store.find([slot for tp, slot in slots.items() if tp not in restored])
                    for tp, slot in slots.items():
                        if tp in restored:
                            continue
                        loaded: Loaded | PoisonError | None
                        try:
                            loaded = await store.load(slot, found[slot], self._source_id(tp.topic))
                        except PoisonError as error:
                            loaded = error
                        if loaded is None and found[slot].heads:
                            self._say_anew(tp, found[slot])
                        saver = self._saver(slot, loaded, found[slot])
                        restored[tp] = self._restore(tp, saver, loaded, earliest[tp], latest[tp])
                self._presence.back()
            except (KafkaError, ClientError) as error:
                self._presence.away(error)
                await self._pause()
        return restored

    async def _look_at_topics(self) -> None:
        """Learn the ids of the sources; end when one was deleted and made again.

        Its offsets are below ours, and its records would seem to be processed.

        Raises:
            GapError: one was; the next start leaves the snapshots of the old one out.
        """
        for topic, one in (await asyncio.to_thread(topic_ids, self._kafka.bootstrap, self._sources)).items():
            if self._ids.setdefault(topic, one.bytes) != one.bytes:
                raise GapError(f"the topic {topic} was deleted and made again")

    def _source_id(self, topic: str) -> bytes:
        return self._ids.get(topic, UNKNOWN_TOPIC)

    def _say_anew(self, tp: TP, found: Found) -> None:
        """There are snapshots, and of another topic of this name: what they are the state of is gone."""
        self._metrics.error("topic_made_anew")
        old = max(head.next_offset for head in found.heads.values())
        self._log.error("topic_made_anew", topic=tp.topic, partition=tp.partition, left_out_snapshot_at=old)

    def _saver(self, slot: Slot, loaded: Loaded | PoisonError | None, found: Found) -> Saver:
        keys, newest = (loaded.keys, loaded.newest) if isinstance(loaded, Loaded) else (found.keys, None)
        return Saver(slot, self._topics, keys, newest, self._source_id(slot.topic))

    def _restore(
        self, tp: TP, saver: Saver, loaded: Loaded | PoisonError | None, earliest: int, latest: int
    ) -> Partition:
        """From the snapshot; without a readable one, from everything that the topic still holds."""
        make, slot = self._sources[tp.topic], saver.slot.key.decode()
        if isinstance(loaded, Loaded):
            if loaded.passed_over is not None:
                self._metrics.error("snapshot_passed_over")
                self._log.error("snapshot_passed_over", slot=slot, error=str(loaded.passed_over))
            start = self._start_of(tp, loaded.snapshot.next_offset, earliest, latest)
            try:
                return self._partition(saver, make(tp.partition, loaded.state), start)
            except PoisonError as error:
                loaded = error
        if loaded is not None:
            self._metrics.error("snapshot_unreadable")
            self._log.error("snapshot_unreadable", slot=slot, error=str(loaded), replaying_from=earliest)
        return self._partition(saver, make(tp.partition, None), earliest)

    def _partition(self, saver: Saver, processor: Processor, start: int) -> Partition:
        return Partition(saver, processor, start, self._kafka.state_bytes_max)

    def _start_of(self, tp: TP, next_offset: int, earliest: int, latest: int) -> int:
        if next_offset > latest:
            raise GapError(
                f"the snapshot of {tp.topic}/{tp.partition} stands at {next_offset}, but the topic ends at {latest}: "
                f"Kafka has lost records. To begin with what it has, delete {self._topics.state} too.",
            )
        if next_offset < earliest:
            self._metrics.error("expired")
            self._log.error("expired", topic=tp.topic, partition=tp.partition, lost=earliest - next_offset)
        return max(next_offset, earliest)

    async def _revoked(self, _app: Any, revoked: Any, **_: Any) -> None:
        """Save what goes away; whoever gets it continues from there."""
        async with self._assigning:
            gone = [self._owned[tp] for tp in revoked if tp in self._owned]
            quick = [one for one in gone if one.saved_in_s <= _HANDED_OVER_S_MAX]
            with suppress(TimeoutError):
                await asyncio.wait_for(self._guarded(self._save_each(quick)), _HANDED_OVER_S_MAX)
            self._show_noted(gone)
            for tp in revoked:
                self._owned.pop(tp, None)
        if gone:
            self._log.info("revoked", partitions=sorted(f"{one.slot.topic}/{one.slot.partition}" for one in gone))

    # -- work

    async def _consume(self, stream: Any) -> None:
        """The agent: never raises, never acks."""
        async for event in stream.noack().events():
            await self._guarded(self._take(event.value))

    async def _take(self, fetch: Fetch) -> None:
        """Process all of a fetch; when it is not catching up, what follows from it goes out together."""
        for tp, batch in fetch.batches:
            await self._feed(tp, batch)
            if fetch.behind:
                await asyncio.sleep(0)
        fetch.done.set()

    async def _feed(self, tp: TP, batch: Batch) -> None:
        partition = self._owned.get(tp)
        if partition is None:
            return
        began = time.thread_time()
        count = await partition.feed(batch, self._outbox)
        self.worked_s += time.thread_time() - began
        if count:
            age_s = time.time() - batch.newest_ms / 1000
            self._metrics.received(tp.topic, "records", count)
            self._metrics.age("records", age_s)
            self._metrics.latency("process", max(age_s, 0.0))

    async def _keep_house(self) -> None:
        """Ticks and gauges."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            if time.monotonic() > looked + _TOPICS_S:
                looked = time.monotonic()
                with suppress(ClientError):  # the outbox says that Kafka is away
                    await self._look_at_topics()
            if self._app.rebalancing:
                continue
            for tp, partition in list(self._owned.items()):
                if not self._waiting(tp, partition):  # while catching up, silence is not known
                    await partition.tick(now_us(), self._outbox)
            await self._outbox.watch()
            self._show_lag()
            self._show_noted(self._owned.values())

    async def _keep_saved(self) -> None:
        """Snapshots, one after the other: each holds its state a second time until it is stored."""
        while True:
            await asyncio.sleep(_BEAT_S)
            for partition in list(self._owned.values()):
                if not self._app.rebalancing and partition.due(self._interval_s):
                    await self._save(partition)

    async def _save(self, partition: Partition) -> None:
        try:
            saved = await partition.save(self._app.consumer_generation_id, self._outbox)
        except StateSizeError as error:  # what was given out is right; a restart replays more
            self._metrics.error("snapshot_too_large")
            self._log.error("snapshot_too_large", error=str(error))
            return
        if saved is not None:
            self._metrics.sent(self._topics.state, "bytes", saved.written)
            self._metrics.latency("snapshot_pause", saved.pause_s)
            self._metrics.latency("snapshot", saved.took_s)
            await self._show_progress(partition)

    async def _save_each(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            await self._save(partition)

    async def _show_progress(self, partition: Partition) -> None:
        offsets = {TP(partition.slot.topic, partition.slot.partition): partition.next_offset}
        try:
            await asyncio.wait_for(self._app.consumer.commit_for_display(offsets), 1.0)
        except (KafkaError, TimeoutError):
            self._metrics.error("commit")

    def _show_noted(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            for what, n in partition.noted().items():
                self._metrics.noted(partition.slot.topic, what, n)

    def _waiting(self, tp: TP, partition: Partition) -> int:
        """Records that Kafka has and we have not processed, as far as the last fetch knew."""
        end: int | None = self._app.consumer.highwater(tp)
        return max(end - partition.next_offset, 0) if end is not None else 0

    def _show_lag(self) -> None:
        waiting = dict.fromkeys(self._sources, 0)
        for tp, partition in self._owned.items():
            waiting[tp.topic] += self._waiting(tp, partition)
        for topic, records in waiting.items():
            self._metrics.lag(topic, records)


async def _topics_of(bootstrap: str) -> set[str]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        found: set[str] = await consumer.topics()
        return found
    finally:
        await consumer.stop()


class _Bridge(logging.Handler):
    """Warnings of Faust as lines of our own log.

    The Kafka clients say several times a second that Kafka is away; we say it once, so theirs are for debugging.
    """

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        client = record.name.partition(".")[0] in {"aiokafka", "kafka"}
        write = self._log.debug if client else self._log.warning
        error = record.exc_info[1] if record.exc_info else None
        write("client", logger=record.name, message=record.getMessage(), error=repr(error))


def _bridge_logging(log: Log) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(log)]
    root.setLevel(logging.WARNING)
