"""reading the compacted topic of series once, at the start"""

from __future__ import annotations

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from ingest.series import SeriesRegistry
from pulssi.errors import TransientError
from pulssi.messages import SeriesInfo
from pulssi.settings import KafkaSettings

_POLL_MS = 1_000
_SILENT_POLLS_MAX = 15


def load_series(settings: KafkaSettings, registry: SeriesRegistry) -> None:
    """Tell the registry every series that has been announced.

    Raises:
        TransientError: Kafka went away before the end.
    """
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=settings.bootstrap.split(","),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            bootstrap_timeout_ms=5_000,
            metrics_enabled=False,
        )
    except (KafkaError, OSError) as error:
        raise TransientError(str(error)) from error
    try:
        _read(consumer, TopicPartition(settings.topics.series, 0), registry)
    except KafkaError as error:
        raise TransientError(str(error)) from error
    finally:
        consumer.close(autocommit=False)


def _read(consumer: KafkaConsumer, partition: TopicPartition, registry: SeriesRegistry) -> None:
    decode = msgspec.json.Decoder(SeriesInfo).decode
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    silent = 0
    while consumer.position(partition) < end:
        batches = consumer.poll(timeout_ms=_POLL_MS)
        silent = 0 if batches else silent + 1
        if silent > _SILENT_POLLS_MAX:
            raise TransientError(f"{partition.topic} stands still before its end")
        for record in batches.get(partition, ()):
            if record.value is None:
                continue
            try:
                registry.load(decode(record.value))
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # written by someone else; the series is announced again when it speaks
