"""the gateway process: a thin shell around door, hand-over and receipts, with one loop thread and a watchdog"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import groupby
from operator import attrgetter

import numpy as np

from ingest.acks import AckQueue, Train
from ingest.door import Door, Limits
from ingest.framing import Record
from ingest.handover import PRODUCERS, HandOver, Producer
from ingest.mqtt_client import BatchedClient, check_filters
from ingest.mqtt_packets import Publish
from ingest.receipts import Receipts
from ingest.series import SeriesRegistry
from ingest.series_topic import load_series
from pulssi import garbage, logs
from pulssi.errors import ConfigurationError, TransientError
from pulssi.geography import load_places
from pulssi.logs import Log, Presence
from pulssi.metrics import Metrics
from pulssi.settings import Settings
from pulssi.times import US_PER_MS, US_PER_S, Clock, now_us

IDLE_S = 1.0
"""Longest wait of the loop."""
DRAIN_S = 10.0
"""How long an orderly stop waits for Kafka; what is not confirmed by then is delivered again."""
STUCK_S = 60.0
"""A loop that has not turned for so long is dead."""
RESUME_SHARE = 0.8
"""Reading goes on when what is in flight has fallen to this share of its bound."""


class Gateway:
    """Everything that runs in the loop thread."""

    def __init__(
        self, settings: Settings, producer: Producer, registry: SeriesRegistry, metrics: Metrics, log: Log, clock: Clock
    ) -> None:
        own = settings.gateway
        self._settings = own
        self._metrics = metrics
        self._clock = clock
        self._acks = AckQueue()
        self._receipts = Receipts(own.receipt_delay_ms * US_PER_MS)
        self._door = Door(settings.kafka.topics, Limits.of(own), registry, self._receipts, log)
        self.client = BatchedClient(
            settings.mqtt,
            broker_socket=own.broker_socket,
            client_id=own.client_id,
            filters=own.filters,
            session_expiry_s=own.session_expiry_s,
            on_publishes=self._take,
            tick=self._tick,
            metrics=metrics,
            log=log,
        )
        self._handover = HandOver(producer, metrics, log, self.client.wake)
        self._draining_until: float | None = None
        self._told_at = 0
        self._sent: Counter[str] = Counter()
        self._latencies: defaultdict[str, list[float]] = defaultdict(list)
        self._newest = 0
        metrics.connected("kafka", True)
        metrics.connected("mqtt", False)
        for what, bound in (
            ("bytes", own.in_flight_bytes_max),
            ("messages", own.in_flight_messages_max),
            ("series", own.series_max),
            ("payload_bytes", own.payload_bytes_max),
        ):
            metrics.limit(what, bound)

    def run(self) -> None:
        """The loop; returns after an orderly stop."""
        self.client.run()
        self.client.close()

    def stop(self) -> None:
        """Stop reading, hand over, acknowledge, disconnect; from any thread."""
        self._draining_until = time.monotonic() + DRAIN_S
        self.client.wake()

    def _take(self, publishes: list[Publish], size: int) -> None:
        """One read of the connection."""
        mids = [one[0] for one in publishes if one[0] >= 0]
        train = Train(self.client.epoch, self._clock(), mids, len(publishes), size)
        self._newest = train.receive_time
        self._acks.add(train)
        self._handover.offer(self._door.take(publishes, train))

    def _tick(self) -> float:
        """After every turn of the loop: confirm, acknowledge, hand over what is due; returns how long to wait."""
        now = self._clock()
        for record in self._handover.collect():
            self._confirm(record, now)
        for epoch, trains in groupby(self._acks.release(), attrgetter("epoch")):
            mids: list[int] = []
            for train in trains:
                self._receipts.accept(train.asked, now)
                mids += train.mids
            self.client.acknowledge(epoch, mids)
        stopping = self._draining_until is not None
        self._handover.offer(self._door.flush() if stopping else self._door.due(now))
        self._answer(2**62 if stopping else now)
        self._hold_back()
        if now - self._told_at >= US_PER_S:
            self._tell(now)
        if self._draining_until is not None:
            self.client.paused = True
            if not self._acks or time.monotonic() > self._draining_until:
                self._tell(now)
                self.client.stop()
                return 0.0
        return self._wait_s(now)

    def _confirm(self, record: Record, now: int) -> None:
        for train in record.trains:
            train.waiting -= 1
        self._sent[record.what] += record.units
        self._latencies[record.what].append((now - record.receive_time) / US_PER_S)

    def _answer(self, now: int) -> None:
        if len(self._receipts) and self.client.roomy:
            answers = self._receipts.due(now)
            if answers:
                self.client.answer(answers)

    def _hold_back(self) -> None:
        """Stop reading over the bounds of what is in flight; go on when it has fallen well below."""
        share = RESUME_SHARE if self.client.paused else 1.0
        self.client.paused = (
            self._acks.size >= share * self._settings.in_flight_bytes_max
            or self._acks.messages >= share * self._settings.in_flight_messages_max
        )

    def _wait_s(self, now: int) -> float:
        deadlines = (self._door.deadline(), self._receipts.deadline() if self.client.roomy else None)
        waits = [IDLE_S, *(max(0.0, (one - now) / US_PER_S) for one in deadlines if one is not None)]
        retry = self._handover.retry_in()
        if retry is not None:
            waits.append(retry)
        return min(waits)

    def _tell(self, now: int) -> None:
        """Metrics, once a second."""
        self._told_at = now
        for what, n in self._door.received.items():
            self._metrics.received("mqtt", what, n)
        for reason, n in self._door.refused.items():
            self._metrics.dropped(reason, n)
        for what, n in self._sent.items():
            self._metrics.sent("kafka", what, n)
        for what, seconds in self._latencies.items():
            self._metrics.latency(what, np.array(seconds))
        self._sent.clear()
        self._latencies.clear()
        self._door.received.clear()
        self._door.refused.clear()
        self._metrics.in_flight("bytes", self._acks.size)
        self._metrics.in_flight("messages", self._acks.messages)
        self._metrics.in_flight("records", len(self._handover))
        self._metrics.in_flight("receipts", len(self._receipts))
        if self._newest:
            self._metrics.age("messages", (now - self._newest) / US_PER_S)


def run(settings: Settings) -> None:
    """Run the gateway until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the settings do not fit, or Kafka has other partitions than they say.
        SystemExit: the loop died; whoever supervises us starts a new one.
    """
    check_filters(settings.gateway.filters)
    log = logs.setup("gateway", level=settings.log.level, as_json=_as_json(settings))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    metrics = Metrics("gateway")
    metrics.serve(settings.metrics.host, settings.metrics.gateway)
    registry = SeriesRegistry(load_places(settings.gateway.places_file), settings.gateway.series_max)
    producer = _until_kafka_answers(lambda: _connect(settings, registry), log, stopped)
    if producer is None:
        metrics.close()
        return
    log.info("series known", n=len(registry))
    gateway = Gateway(settings, producer, registry, metrics, log, now_us)
    garbage.settle()
    clean = _watch(gateway, stopped, log)
    producer.close(1.0 if clean else 0.0)
    metrics.close()
    if not clean:
        raise SystemExit(1)
    log.info("stopped")


def _as_json(settings: Settings) -> bool | None:
    return None if settings.log.format == "auto" else settings.log.format == "json"


def _connect(settings: Settings, registry: SeriesRegistry) -> Producer:
    """A producer that knows our topics, and the series that Kafka knows.

    Raises:
        TransientError: Kafka is away, or a topic is not there yet.
        ConfigurationError: a topic has another number of partitions.
    """
    topics = settings.kafka.topics
    producer = PRODUCERS[settings.gateway.producer](settings.kafka.bootstrap)
    try:
        wanted = {topics.readings: topics.partitions, topics.vehicles: topics.partitions}
        for name, n in {**wanted, topics.series: 1, topics.deadletters: 1}.items():
            found = producer.partitions(name)
            if not found:
                raise TransientError(f"there is no topic {name}; `pulssi topics apply` makes it")
            if found != n:
                raise ConfigurationError(f"kafka.partitions: topic {name} has {found}, not {n}")
        load_series(settings.kafka, registry)
    except BaseException:
        producer.close(0.0)
        raise
    return producer


def _until_kafka_answers(connect: Callable[[], Producer], log: Log, stopped: threading.Event) -> Producer | None:
    """Try for ever; None when we are told to stop first."""
    presence = Presence(log, "kafka")
    while not stopped.is_set():
        try:
            producer = connect()
        except TransientError as error:
            presence.away(error)
            stopped.wait(1.0)
        else:
            presence.back()
            return producer
    return None


def _watch(gateway: Gateway, stopped: threading.Event, log: Log) -> bool:
    """Run the loop in its thread and look after it; whether it ended in order."""
    failed: list[BaseException] = []

    def loop() -> None:
        try:
            gateway.run()
        except BaseException as error:  # noqa: BLE001  told below; a dead loop must not look alive
            failed.append(error)

    thread = threading.Thread(target=loop, name="loop", daemon=True)
    thread.start()
    told = False
    while thread.is_alive():
        thread.join(0.2)
        if stopped.is_set() and not told:
            told = True
            gateway.stop()
        if time.monotonic() - gateway.client.heartbeat > STUCK_S:
            log.critical("the loop is stuck", seconds=STUCK_S)
            os._exit(1)
    if failed:
        log.critical("the loop died", exc_info=failed[0])
    return not failed and told
