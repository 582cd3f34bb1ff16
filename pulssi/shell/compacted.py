"""a compacted topic of one partition as a table: read to its end when somebody asks for more"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from pulssi.logs import Log, Presence

_POLL_MS = 200
_REQUEST_MS = 5_000
_RETRY_S = (0.1, 0.5)
_AWAY_S_MAX = 30.0


class CompactedTopic:
    """Gives every record of a topic, in order, to a function; only while `read_to_end` runs.

    Args:
        bootstrap: of Kafka.
        topic: its name; it has one partition.
        apply: takes key and value of a record; the value is None where the key was removed.
        log: of the process.
    """

    def __init__(self, bootstrap: str, topic: str, apply: Callable[[bytes, bytes | None], None], log: Log) -> None:
        self._bootstrap = bootstrap
        self._place = TopicPartition(topic, 0)
        self._apply = apply
        self._presence = Presence(log, f"kafka topic {topic}")
        self._consumer: KafkaConsumer | None = None
        self._next = 0

    def read_to_end(self) -> None:
        """Read on until the end that the topic has now; waits while Kafka is away, but not for ever.

        Raises:
            KafkaError: Kafka is away for longer than the caller, who can do nothing else meanwhile, should stand still.
        """
        deadline = time.monotonic() + _AWAY_S_MAX
        while True:
            try:
                self._read()
            except KafkaError as error:
                self._presence.away(error)
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(*_RETRY_S))  # noqa: S311  jitter, no secret
            else:
                self._presence.back()
                return

    def _read(self) -> None:
        consumer = self._connected()
        end = consumer.end_offsets([self._place])[self._place]
        while (position := consumer.position(self._place)) < end:
            for record in consumer.poll(_POLL_MS).get(self._place, ()):
                self._apply(record.key, record.value)
            self._next = max(position, consumer.position(self._place))

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                bootstrap_servers=self._bootstrap.split(","),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                request_timeout_ms=_REQUEST_MS,
                fetch_max_wait_ms=_POLL_MS,
            )
            self._consumer.assign([self._place])
            self._consumer.seek(self._place, self._next)
        return self._consumer

    def close(self) -> None:
        """Disconnect; the next read connects again and goes on."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
