"""the stream processor: readings and vehicle events in, indicators out, under the Faust shell"""

from __future__ import annotations

import msgspec
import numpy as np

from pulssi.frames import READINGS
from pulssi.logs import Log, setup
from pulssi.messages import SeriesInfo
from pulssi.metrics import Metrics
from pulssi.partitions import Processor
from pulssi.settings import Settings
from pulssi.shell import run_faust
from pulssi.shell.compacted import CompactedTopic
from streams.catalogue import Catalogue, Limits
from streams.readings_processor import ReadingsProcessor

_READING_BYTES = sum(field.type.bit_width // 8 for field in READINGS)


def run(settings: Settings) -> None:
    """Compute windows, quality flags, anomalies and delays until SIGTERM."""
    log = setup("streams", level=settings.log.level, as_json=_as_json(settings))
    metrics = Metrics("streams")
    metrics.serve(settings.metrics.host, settings.metrics.streams)
    topics = settings.kafka.topics
    series = SeriesTable(settings.kafka.bootstrap, topics.series, metrics, log)

    def readings(partition: int, snapshot: bytes | None) -> Processor:
        return ReadingsProcessor(partition, settings.streams, topics, series.limits, snapshot)

    run_faust(
        settings.streams.group,
        settings.kafka,
        {topics.readings: readings},
        snapshot_interval_s=settings.streams.snapshot_interval_s,
        batch_bytes_max=settings.streams.batch_readings_max * _READING_BYTES,
        metrics=metrics,
        log=log,
    )


class SeriesTable:
    """The catalogue of `pulssi.series`, read on whenever a series is asked for that is not in it yet."""

    def __init__(self, bootstrap: str, topic: str, metrics: Metrics, log: Log) -> None:
        self._catalogue = Catalogue()
        self._decoder = msgspec.json.Decoder(SeriesInfo)
        self._metrics = metrics
        self._log = log
        self._source = CompactedTopic(bootstrap, topic, self._add, log)

    def limits(self, series_ids: np.ndarray) -> Limits:
        """Limits of each series; a `streams.catalogue.Lookup`."""
        if len(self._catalogue.missing(series_ids)):
            self._source.read_to_end()
        return self._catalogue.limits(series_ids)

    def _add(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            return
        try:
            self._catalogue.add(self._decoder.decode(value))
        except msgspec.DecodeError as error:
            self._metrics.error("bad_series")
            self._log.error("bad_series", key=key.decode(errors="replace"), error=str(error))


def _as_json(settings: Settings) -> bool | None:
    return {"json": True, "console": False}.get(settings.log.format)
