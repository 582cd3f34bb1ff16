"""sink: from Kafka into the database, exactly once

The loop is one thread: fetch, decode, write, and again. Kafka gathers the records of `batch_delay_ms` on its side
(fetch_min_bytes, fetch_max_wait_ms), so a quiet system costs ten fetches a second. Which offset comes next is written
in the database; what is committed to Kafka only shows its tools how far we are.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import psycopg
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import FencedInstanceIdError, KafkaError

from pulssi import garbage, logs
from pulssi.errors import FencedError
from pulssi.logs import Log, Presence
from pulssi.metrics import Metrics
from pulssi.settings import Settings
from pulssi.shell.instance import Instance
from pulssi.shell.topic_ids import topic_ids
from pulssi.times import US_PER_S, now_us
from pulssi.topics import Content, Topics
from storage.batch import Batch, Place, Span, read
from storage.database import Result, connect, is_transient, pauses, persist
from storage.migrate import migrate
from storage.retention import Retention
from storage.rows import Taken
from storage.topics_anew import refuse
from storage.writer import Latencies, Writer, Written, latencies_of

_POLL_RECORDS = 500
_FETCH_MIN_BYTES = 1 << 20
_SHOW_S = 1.0
_SILENCE_S = 5.0
_ANSWER_MS = 2000
_LOOK_S = 10.0


def contents(topics: Topics) -> dict[str, Content]:
    """The topics that are stored, and what they hold."""
    return {
        topics.readings: Content.READINGS,
        topics.vehicles: Content.VEHICLES,
        topics.indicators: Content.INDICATORS,
        topics.series: Content.SERIES,
        topics.alerts: Content.ALERT,
        topics.deadletters: Content.DEADLETTER,
    }


class _Moves(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python is untyped
    """Notes that the partitions move. Kafka's thread calls it, so it does no more than that."""

    def __init__(self) -> None:
        self.pending = threading.Event()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002  named by kafka-python
        self.pending.set()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002  the same
        self.pending.set()


class Sink:
    """One worker of the consumer group.

    Args:
        settings: of the whole system.
        metrics: where to count.
        log: where to write.
        stopped: says when to end.
    """

    def __init__(self, settings: Settings, metrics: Metrics, log: Log, stopped: threading.Event) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._stopped = stopped
        self._contents = contents(settings.kafka.topics)
        self._instance = Instance(settings.sink.group, settings.kafka.bootstrap)
        self._kafka = Presence(log, "kafka")
        self._moves = _Moves()
        self._writer = Writer(lambda: connect(settings.database, "writer", autocommit=True), settings.sink.group)
        self._spans: dict[Place, Span] = {}
        self._batch = Batch()
        self._begun = self._heard = time.monotonic()
        self._latencies: Latencies = Counter()
        self._shown = 0.0
        self._looked = 0.0

    def run(self) -> None:
        """Work until `stopped`; what is fetched and not yet written then is fetched again by the next one.

        Raises:
            FencedError: another sink took over while Kafka still said that we own the partitions.
            ConfigurationError: a topic was deleted and made again.
        """
        consumer = self._subscribe()
        if consumer is None:
            return
        retention = Retention(self._settings, self._log)
        try:
            while not self._stopped.is_set():
                self._round(consumer)
                self._look()
                retention.run()
        except FencedInstanceIdError as error:
            raise FencedError(f"another sink runs as {self._instance.name}") from error
        finally:
            consumer.close()
            self._writer.close()
            self._instance.release()

    def _subscribe(self) -> KafkaConsumer | None:
        """The consumer, once every topic is there; None when told to stop before.

        A member that joins before it knows the partitions is given none, and as a static member it would keep none.
        """
        consumer: KafkaConsumer | None = None
        for pause in pauses():
            try:
                if consumer is None:
                    consumer = KafkaConsumer(**_consumer_settings(self._settings, self._instance))
                    consumer.subscribe(list(self._contents), listener=self._moves)
                missing = self._missing(consumer)
            except KafkaError as error:
                missing = str(error)
            if not missing:
                break
            self._kafka.away(missing)
            if self._stopped.wait(pause):
                break
        if self._stopped.is_set() and consumer is not None:
            consumer.close()
            return None
        self._kafka.back()
        return consumer

    def _missing(self, consumer: KafkaConsumer) -> str:
        """Which topics are not as they must be, in words; empty when all are."""
        specs = [spec for spec in self._settings.kafka.topics.specs() if spec.name in self._contents]
        known = {spec.name: len(consumer.partitions_for_topic(spec.name)) for spec in specs}
        wrong = [spec.name for spec in specs if known[spec.name] != spec.partitions]
        return f"not as `pulssi topics apply` makes them: {', '.join(wrong)}" if wrong else ""

    def _round(self, consumer: KafkaConsumer) -> None:
        """Wait for records, take what has gathered, write it."""
        delay_ms = wait_ms = self._settings.sink.batch_delay_ms
        while not self._stopped.is_set():
            fetched = consumer.poll(timeout_ms=wait_ms, max_records=_POLL_RECORDS)
            if self._moves.pending.is_set():
                self._move(consumer)
                return
            for partition, records in fetched.items():
                self._take(consumer, partition, records)
            if not fetched or time.monotonic() - self._begun > delay_ms / 1000:
                break
            wait_ms = 0
        if self._batch.spans:
            self._flush(consumer)
        else:
            self._listen(consumer)

    def _listen(self, consumer: KafkaConsumer) -> None:
        """In a long silence, ask whether Kafka still answers: its consumer never says that it does not."""
        if time.monotonic() < self._heard + _SILENCE_S or not self._spans:
            return
        self._heard = time.monotonic()
        try:
            ends = consumer.end_offsets([TopicPartition(*place) for place in self._spans], timeout_ms=_ANSWER_MS)
        except KafkaError as error:
            self._kafka.away(error)
            self._metrics.connected("kafka", up=False)
        else:
            self._kafka.back()
            self._metrics.connected("kafka", up=True)
            for partition, end in ends.items():
                self._spans[Place(partition.topic, partition.partition)].log_end = end
            self._show(consumer)

    def _move(self, consumer: KafkaConsumer) -> None:
        """Partitions came or went: what is not written yet is dropped, and read again by whoever owns it now."""
        self._moves.pending.clear()
        self._batch = Batch()
        assigned = consumer.assignment()
        places = [Place(partition.topic, partition.partition) for partition in assigned]
        ids = self._ids() if places else {}
        self._spans = (self._persist(lambda: self._writer.take(places, ids)) or {}) if places else {}
        for partition in assigned:
            span = self._spans.get(Place(partition.topic, partition.partition))
            if span is not None and not self._moves.pending.is_set():
                consumer.seek(partition, span.next_offset)
        self._metrics.ready(True)
        if not places:
            return
        self._log.info("assigned", partitions=sorted(f"{place.topic}/{place.partition}" for place in places))

    def _ids(self) -> dict[str, UUID]:
        """Ids of our topics as they are now; waits while Kafka is away."""
        self._looked = time.monotonic()
        for pause in pauses():
            try:
                return topic_ids(self._settings.kafka.bootstrap, self._contents)
            except KafkaError as error:
                self._kafka.away(error)
            if self._stopped.wait(pause):
                break
        return {}

    def _look(self) -> None:
        """Now and then, whether the topics still are those whose offsets we keep.

        Raises:
            ConfigurationError: they are not.
        """
        if time.monotonic() < self._looked + _LOOK_S or not self._spans:
            return
        ids = self._ids()
        refuse(self._persist(lambda: self._writer.made_anew(ids)) or [])

    def _take(self, consumer: KafkaConsumer, partition: TopicPartition, records: Sequence[Any]) -> None:
        """Decode some records of one partition into the batch, which is written when there is no more room."""
        place = Place(partition.topic, partition.partition)
        content, log_end = self._contents[place.topic], consumer.highwater(partition)
        received = 0
        for record in map(_taken, records):
            span = self._spans.get(place)
            if span is None:
                break
            if record.offset != span.next_offset:
                self._gap(span, record)
            parts, refused = read(content, record)
            rows = sum(len(part.rows) for part in parts)
            if self._batch.rows and self._batch.rows + rows > self._settings.sink.batch_rows_max:
                self._flush(consumer)
                span = self._spans.get(place)
                if span is None:
                    break
            if not self._batch.spans:
                self._begun = self._heard = time.monotonic()
                self._kafka.back()
            span.log_end = log_end
            self._batch.add(record, parts, span)
            received += rows
            if refused is not None:
                self._metrics.dropped(refused)
        self._metrics.received("kafka", content, received)

    def _gap(self, span: Span, record: Taken) -> None:
        """Records are not there any more: natural in a compacted topic and for a new sink, else a loss."""
        is_new = span.owner == 1 and span.next_offset == 0
        if is_new or record.topic == self._settings.kafka.topics.series:
            return
        self._metrics.error("gap")
        self._log.error(
            "records are gone before they were stored",
            topic=record.topic,
            partition=record.partition,
            expected=span.next_offset,
            found=record.offset,
        )

    def _flush(self, consumer: KafkaConsumer) -> None:
        """Write the batch; go on after a rebalance, stop when another sink is in our place."""
        batch, self._batch = self._batch, Batch()
        try:
            written = self._persist(lambda: self._write(batch))
        except FencedError:
            self._metrics.error("fenced")
            if self._moves.pending.is_set():  # the move is under way; the next poll brings the new partitions
                self._spans = {}
                return
            raise
        if written is None:
            return
        self._spans |= batch.advance()
        now = now_us()
        self._latencies = latencies_of(written, now)
        self._count(written, now)
        self._show(consumer)

    def _write(self, batch: Batch) -> Written:
        try:
            written = self._writer.write(batch, self._latencies)
        except psycopg.Error as error:
            if is_transient(error):
                self._metrics.error("database")
                self._metrics.connected("database", up=False)
                raise
            self._log.warning("the database refuses rows; looking for them", why=str(error))
            written = self._writer.write(batch, self._latencies, careful=True)
        self._metrics.connected("database", up=True)
        return written

    def _persist(self, work: Callable[[], Result]) -> Result | None:
        return persist(work, log=self._log, stopped=self._stopped.is_set, sleep=self._stopped.wait)

    def _count(self, written: Written, now: int) -> None:
        for table, n in written.stored.items():
            self._metrics.sent("database", table, n)
        for reason, n in written.refused.items():
            self._metrics.dropped(reason, n)
        for what, times in written.receive_times.items():
            seconds = (now - times) / US_PER_S
            self._metrics.latency(what, seconds)
            self._metrics.age(what, float(seconds.min()))

    def _show(self, consumer: KafkaConsumer) -> None:
        """Tell Kafka and the metrics how far we are, about once a second."""
        if time.monotonic() < self._shown + _SHOW_S:
            return
        self._shown = time.monotonic()
        lags: Counter[str] = Counter()
        for place, span in self._spans.items():
            lags[place.topic] += max((span.log_end or 0) - span.next_offset, 0)
        for topic, lag in lags.items():
            self._metrics.lag(topic, lag)
        consumer.commit_async(
            {TopicPartition(*place): OffsetAndMetadata(span.next_offset, "", -1) for place, span in self._spans.items()}
        )


def run(settings: Settings) -> None:
    """The process `pulssi sink`: until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the database or the settings are not what they must be.
        FencedError: another sink took over.
    """
    log = logs.setup("sink", level=settings.log.level, as_json=settings.log.as_json)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # we say ourselves, once, when Kafka is away and back
    metrics = Metrics("sink")
    metrics.serve(settings.metrics.host, settings.metrics.sink)
    metrics.limit("batch_rows", settings.sink.batch_rows_max)
    metrics.limit("fetch_bytes", settings.sink.fetch_bytes_max)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopped.set())
    if settings.sink.migrate:
        outcome = persist(lambda: migrate(settings.database), log=log, stopped=stopped.is_set, sleep=stopped.wait)
        if outcome is None:
            return
        log.info(
            "database",
            tier=outcome.tier,
            features=outcome.tier.sentence,
            applied=outcome.applied,
            notices=outcome.notices,
        )
    sink = Sink(settings, metrics, log, stopped)
    garbage.settle()
    sink.run()
    log.info("stopped")


def _consumer_settings(settings: Settings, instance: Instance) -> dict[str, object]:
    kafka, sink = settings.kafka, settings.sink
    return {
        "bootstrap_servers": kafka.bootstrap.split(","),
        "group_id": sink.group,
        "group_instance_id": instance.name,
        "client_id": "pulssi-sink",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "partition_assignment_strategy": (RangePartitionAssignor,),
        "session_timeout_ms": kafka.session_timeout_ms,
        "heartbeat_interval_ms": kafka.heartbeat_ms,
        "fetch_min_bytes": _FETCH_MIN_BYTES,
        "fetch_max_wait_ms": sink.batch_delay_ms,
        "fetch_max_bytes": sink.fetch_bytes_max,
        "max_partition_fetch_bytes": min(sink.fetch_bytes_max, 8 << 20),
        "bootstrap_timeout_ms": 5_000,
        "metadata_max_age_ms": 10_000,  # how soon a topic that is made later is noticed
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def _taken(record: Any) -> Taken:
    return Taken(
        record.topic, record.partition, record.offset, record.timestamp, record.value or b"", dict(record.headers)
    )
