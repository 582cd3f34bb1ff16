"""the stream processor: readings and vehicle events in, indicators out, under the Faust shell

What compares devices takes a second way: from the readings to `pulssi.groups`, and from there to the indicators.
"""

from __future__ import annotations

import numpy as np

from pulssi.frames import READINGS
from pulssi.geography import load_places
from pulssi.logs import Log, setup
from pulssi.messages import SeriesInfo
from pulssi.metrics import Metrics
from pulssi.partitions import Processor
from pulssi.settings import Settings
from pulssi.shell import run_faust
from pulssi.shell.series import SeriesTopic
from streams.catalogue import Catalogue, Limits
from streams.groups_processor import GroupsProcessor
from streams.readings_processor import ReadingsProcessor
from streams.sensors import load_sensors
from streams.transit.processor import TransitProcessor

_READING_BYTES = sum(field.type.bit_width // 8 for field in READINGS)


def run(settings: Settings) -> None:
    """Compute windows, quality flags, anomalies and delays until SIGTERM."""
    log = setup("streams", level=settings.log.level, as_json=settings.log.as_json)
    sensors = load_sensors(settings.streams.sensors_file)
    places = load_places(settings.gateway.places_file)
    metrics = Metrics("streams")
    metrics.serve(settings.metrics.host, settings.metrics.streams)
    topics = settings.kafka.topics
    series = SeriesTable(settings, metrics, log)

    def readings(partition: int, snapshot: bytes | None) -> Processor:
        return ReadingsProcessor(partition, settings.streams, topics, series.limits, snapshot, series.get, sensors)

    def vehicles(partition: int, snapshot: bytes | None) -> Processor:
        return TransitProcessor(partition, settings.streams, topics, snapshot)

    def groups(partition: int, snapshot: bytes | None) -> Processor:
        return GroupsProcessor(partition, settings.streams, topics, snapshot, series.get, sensors, places)

    run_faust(
        settings.streams.group,
        settings.kafka,
        {topics.readings: readings, topics.vehicles: vehicles, topics.groups: groups},
        snapshot_interval_s=settings.streams.snapshot_interval_s,
        batch_bytes_max=settings.streams.batch_readings_max * _READING_BYTES,
        metrics=metrics,
        log=log,
    )


class SeriesTable:
    """The catalogue of `pulssi.series`, read on whenever a series is asked for that is not in it yet."""

    def __init__(self, settings: Settings, metrics: Metrics, log: Log) -> None:
        self._catalogue = Catalogue(settings.streams.lateness_of)
        kafka = settings.kafka
        self._source = SeriesTopic(kafka.bootstrap, kafka.topics.series, self._catalogue.add, metrics, log)

    def limits(self, series_ids: np.ndarray) -> Limits:
        """Limits of each series; a `streams.catalogue.Lookup`."""
        if len(self._catalogue.missing(series_ids)):
            self._source.read_to_end()
        return self._catalogue.limits(series_ids)

    def get(self, series_id: int) -> SeriesInfo | None:
        """Description of one series; a `streams.air.hours.Describe`."""
        if self._catalogue.get(series_id) is None:
            self._source.read_to_end()
        return self._catalogue.get(series_id)
