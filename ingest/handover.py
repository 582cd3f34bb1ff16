"""hand-over to Kafka: a small producer interface with two clients behind it, and records that are kept until confirmed

kafka-python has no bound on memory, so the gateway bounds what is in flight by not reading MQTT; nothing here blocks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaError

from ingest.framing import Record
from pulssi.errors import ConfigurationError, TransientError
from pulssi.logs import Log, Presence
from pulssi.metrics import Metrics

Done = Callable[[Exception | None], None]
"""Called once, from any thread, when a record is confirmed (None) or has failed."""

LINGER_MS = 3
"""A frame is a batch already; so long for those of the other partitions to join its request."""
BATCH_BYTES = 1 << 20
REQUEST_BYTES_MAX = 8 << 20
"""As `max.message.bytes` of our topics."""
FOR_EVER_MS = 2**31 - 1
"""The client itself tries again for ever, in order; only what can never succeed comes back."""
REQUEST_TIMEOUT_MS = 10_000
START_TIMEOUT_MS = 5_000
"""How long one attempt at the start waits for Kafka."""
AWAY_S = 3.0
"""A record unconfirmed for so long means that Kafka is away."""
RETRY_S = 1.0
"""Pause before a record that the client gave up is sent again."""

GIVE_UP_S = 60.0
"""Nothing but failures for so long means that the client itself is broken: a new process has a new one."""


class Producer(Protocol):
    """What the gateway needs of a Kafka client."""

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has, 0 when there is no such topic.

        Raises:
            TransientError: Kafka does not answer.
        """

    def send(self, record: Record, done: Done) -> None:
        """Queue a record without blocking.

        Raises:
            TransientError: the client cannot take it now.
        """

    def close(self, timeout_s: float) -> None:
        """Stop; what is not confirmed by then is not."""


class KafkaPythonProducer:
    """kafka-python: acks=all, idempotent, lz4."""

    def __init__(self, bootstrap: str) -> None:
        logging.getLogger("kafka").setLevel(logging.CRITICAL)  # we say ourselves, once, when Kafka is away and back
        try:
            self._producer = KafkaProducer(
                bootstrap_servers=bootstrap.split(","),
                client_id="pulssi-gateway",
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                compression_type="lz4",
                linger_ms=LINGER_MS,
                batch_size=BATCH_BYTES,
                max_request_size=REQUEST_BYTES_MAX,
                delivery_timeout_ms=FOR_EVER_MS,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                max_block_ms=0,
                bootstrap_timeout_ms=START_TIMEOUT_MS,
                reconnect_backoff_max_ms=1_000,
                metrics_enabled=False,
            )
        except (KafkaError, OSError) as error:
            raise TransientError(str(error)) from error

    def partitions(self, topic: str) -> int:
        """See `Producer`."""
        config = self._producer.config
        config["max_block_ms"] = START_TIMEOUT_MS
        try:
            return len(self._producer.partitions_for(topic) or ())
        except KafkaError as error:
            raise TransientError(f"{topic}: {error}") from error
        finally:
            config["max_block_ms"] = 0  # send must not wait for metadata: it has them now

    def send(self, record: Record, done: Done) -> None:
        """See `Producer`."""
        try:
            future = self._producer.send(
                record.topic, value=record.value, key=record.key, headers=record.headers, partition=record.partition
            )
        except KafkaError as error:
            raise TransientError(str(error)) from error
        future.add_callback(lambda _: done(None))
        future.add_errback(done)

    def close(self, timeout_s: float) -> None:
        """See `Producer`."""
        self._producer.close(timeout_s)


class ConfluentProducer:
    """confluent-kafka (librdkafka), an extra: the same promises for less CPU."""

    def __init__(self, bootstrap: str) -> None:
        try:
            import confluent_kafka
        except ImportError as error:
            raise ConfigurationError(
                'gateway.producer: confluent-kafka is not installed: pip install "pulssi[confluent]"'
            ) from error
        self._errors: tuple[type[Exception], ...] = (confluent_kafka.KafkaException, BufferError)
        logger = logging.getLogger("librdkafka")
        logger.setLevel(logging.CRITICAL)
        self._producer: Any = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "client.id": "pulssi-gateway",
                "enable.idempotence": True,
                "allow.auto.create.topics": False,
                "compression.type": "lz4",
                "linger.ms": LINGER_MS,
                "batch.size": BATCH_BYTES,
                "message.max.bytes": REQUEST_BYTES_MAX,
                "message.timeout.ms": 0,  # for ever
                "request.timeout.ms": REQUEST_TIMEOUT_MS,
                "reconnect.backoff.max.ms": 1_000,
            },
            logger=logger,
        )
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kafka", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Deliver reports; librdkafka calls back only inside poll."""
        while not self._closed.is_set():
            self._producer.poll(0.5)

    def partitions(self, topic: str) -> int:
        """See `Producer`."""
        try:
            found = self._producer.list_topics(topic, timeout=START_TIMEOUT_MS / 1000).topics.get(topic)
        except self._errors as error:
            raise TransientError(str(error)) from error
        return 0 if found is None or found.error is not None else len(found.partitions)

    def send(self, record: Record, done: Done) -> None:
        """See `Producer`."""
        try:
            self._producer.produce(
                record.topic,
                value=record.value,
                key=record.key,
                headers=record.headers,
                partition=record.partition,
                on_delivery=lambda error, _: done(None if error is None else TransientError(str(error))),
            )
        except self._errors as error:
            raise TransientError(str(error)) from error

    def close(self, timeout_s: float) -> None:
        """See `Producer`."""
        self._producer.flush(timeout_s)
        self._closed.set()
        self._thread.join(timeout_s)


PRODUCERS: dict[str, Callable[[str], Producer]] = {
    "kafka-python": KafkaPythonProducer,
    "confluent-kafka": ConfluentProducer,
}
"""By the word of `gateway.producer`."""


class HandOver:
    """Keeps every record until Kafka has confirmed it, sending again for ever what the client gave up.

    All methods are called from one thread, the gateway's loop; the client's own threads only leave word.
    """

    def __init__(
        self,
        producer: Producer,
        metrics: Metrics,
        log: Log,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._producer = producer
        self._metrics = metrics
        self._presence = Presence(log, "kafka")
        self._log = log
        self._wake = wake
        self._clock = clock
        self._finished: deque[tuple[Record, Exception | None]] = deque()
        self._sent: dict[int, tuple[Record, float]] = {}  # by identity, in the order of sending
        self._again: deque[tuple[float, Record]] = deque()
        self._failing_since: float | None = None

    def __len__(self) -> int:
        return len(self._sent) + len(self._again)

    def offer(self, records: Sequence[Record]) -> None:
        """Take records; they are sent now, or again later when the client cannot take them."""
        for record in records:
            self._send(record)

    def collect(self) -> list[Record]:
        """The records that were confirmed since the last call; also sends again what is due.

        Raises:
            TransientError: the client has done nothing but fail for a minute.
        """
        confirmed: list[Record] = []
        while self._finished:
            record, error = self._finished.popleft()
            self._sent.pop(id(record), None)
            if error is None:
                confirmed.append(record)
            else:
                self._put_off(record, error)
        now = self._clock()
        while self._again and self._again[0][0] <= now:
            self._send(self._again.popleft()[1])
        self._watch(confirmed, now)
        return confirmed

    def retry_in(self) -> float | None:
        """Seconds until a record is sent again; None when none waits."""
        return max(0.0, self._again[0][0] - self._clock()) if self._again else None

    def _send(self, record: Record) -> None:
        def done(error: Exception | None) -> None:
            self._finished.append((record, error))
            self._wake()

        self._sent[id(record)] = (record, self._clock())
        try:
            self._producer.send(record, done)
        except TransientError as error:
            del self._sent[id(record)]
            self._put_off(record, error)

    def _put_off(self, record: Record, error: Exception) -> None:
        self._metrics.error("kafka_send")
        if self._failing_since is None:
            self._failing_since = self._clock()
            self._log.warning("kafka refused a record; it is kept and sent again", topic=record.topic, why=str(error))
        self._again.append((self._clock() + RETRY_S, record))

    def _watch(self, confirmed: Sequence[Record], now: float) -> None:
        """Say once that Kafka is away, and once that it is back: when nothing waits for long any more."""
        waiting_since = next(iter(self._sent.values()))[1] if self._sent else now
        if confirmed:
            self._failing_since = now if self._again else None
        if self._failing_since is not None and now - self._failing_since > GIVE_UP_S:
            raise TransientError(f"the Kafka client has done nothing but fail for {GIVE_UP_S:g} s")
        if confirmed and now - waiting_since <= AWAY_S:
            self._presence.back()
            self._metrics.connected("kafka", True)
        elif now - waiting_since > AWAY_S:
            self._presence.away(f"no confirmation for {AWAY_S:g} s")
            self._metrics.connected("kafka", False)
