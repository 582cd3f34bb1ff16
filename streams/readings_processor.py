"""readings_processor: the pure core of one partition of `pulssi.readings`"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from pulssi.errors import PoisonError, Reason
from pulssi.frames import Indicators, Readings
from pulssi.partitions import Output, Record
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.air.particles import ParticleSensors
from streams.air.station_indices import StationIndices
from streams.blob import Piece, joined, pieces, unpack
from streams.catalogue import Lookup
from streams.groups import Describe, Router
from streams.groups_processor import interests
from streams.indicator_rows import by_position
from streams.outputs import dead_letter, descriptions, frames
from streams.partition_state import Counts, PartitionState
from streams.sensors import Sensors
from streams.traffic.stations import TrafficStations

VERSION = 4
"""Of the snapshot."""

_TIME_MAX = 1 << 53
"""Times beyond it (year 2255) are no times of ours."""

_PARTS = ("windows", "particles", "air", "traffic")


def _nothing_known(_series_id: int) -> None:
    """No series has a description."""


def _parts(snapshot: bytes, sensors: Sensors) -> tuple[memoryview, bytes, bytes, bytes]:
    facts, arrays = unpack(snapshot, VERSION)
    if facts["sensors"] != sensors.fingerprint:
        raise PoisonError(Reason.BAD_RECORD, "a snapshot made with another streams.sensors_file")
    windows, particles, air, traffic = (arrays[name] for name in _PARTS)
    return windows.data, particles.tobytes(), air.tobytes(), traffic.tobytes()


class ReadingsProcessor:
    """Everything derived from one partition of readings; implements `pulssi.partitions.Processor`.

    Args:
        partition: number of the partition, of the source and of the indicators.
        settings: windows, lateness and limits of the state.
        topics: names of the topics.
        lookup: limits of series seen for the first time; see `streams.catalogue`.
        snapshot: what `snapshot()` returned, or None for a new state.
        describe: descriptions of series; indicators of stations need them to know what is measured where.
        sensors: which devices are low-cost; none when None.

    Raises:
        PoisonError: the snapshot is of another version or other settings, or is damaged.
    """

    def __init__(
        self,
        partition: int,
        settings: StreamsSettings,
        topics: Topics,
        lookup: Lookup,
        snapshot: bytes | None = None,
        describe: Describe = _nothing_known,
        sensors: Sensors | None = None,
    ) -> None:
        self._partition = partition
        self._topics = topics
        sensors = sensors or Sensors()
        saved = (None,) * len(_PARTS) if snapshot is None else _parts(snapshot, sensors)
        windows, particles, air, traffic = saved
        self._sensors = sensors
        self._state = PartitionState(settings, lookup, windows)
        self._particles = ParticleSensors(settings, sensors, describe, particles)
        self._stations: tuple[StationIndices, TrafficStations] = (
            StationIndices(settings, self._particles.describe, air, sensors),
            TrafficStations(settings, describe, traffic),
        )
        self._router = Router(interests(settings), topics.partitions, self._particles.describe)

    @property
    def counts(self) -> Counts:
        """What happened since the start of the process, for metrics."""
        return self._state.counts

    def noted(self) -> dict[str, int]:
        """What was made of the readings, by kind; implements `pulssi.partitions.Counting`."""
        air, traffic = self._stations
        late = {"particles": self._particles.too_late, "air": air.too_late, "traffic": traffic.too_late}
        return {**asdict(self.counts), **{f"{name}_too_late": n for name, n in late.items()}}

    @property
    def series(self) -> int:
        """Series that have state."""
        return len(self._state.table)

    def process(self, records: Sequence[Record]) -> list[Output]:
        """Take records in offset order and return what follows from them."""
        outputs: list[Output] = []
        try:
            readings, lengths = _checked(*Readings.decode_all([record.value for record in records]))
        except PoisonError:
            records, outputs = self._sorted_out(records)
            readings, lengths = Readings.decode_all([record.value for record in records])
        if len(readings) == 0:
            return outputs
        position = np.repeat(np.array([record.offset for record in records], np.int64), lengths)
        checked, derived = self._state.apply(readings, position)
        outputs += frames(self._topics.indicators, self._partition, checked, kinds="reading", flagged=True)
        if len(derived) == 0:
            return outputs
        of_sensors, described = self._particles.take(derived)
        outputs += descriptions(self._topics, described)
        if len(of_sensors):
            derived = by_position([derived, of_sensors])
        rows = [derived]
        for stations in self._stations:
            indicators, described = stations.take(derived)
            outputs += descriptions(self._topics, described)
            rows += [indicators] if len(indicators) else []
        outputs += self._windows(by_position(rows) if len(rows) > 1 else derived)
        for place, wanted in self._router.route(derived):
            outputs += frames(self._topics.groups, place, wanted, kinds="window")
        return outputs

    def tick(self, now: int) -> list[Output]:
        """Windows of a partition that has fallen silent, provisionally; the state stays as it is."""
        return self._windows(self._state.tick(now))

    def snapshot(self) -> bytes:
        """The whole state, exactly."""
        return joined(self._pieces())

    def _pieces(self) -> list[Piece]:
        behind: list[list[Piece]] = [[one.snapshot()] for one in (self._particles, *self._stations)]
        parts = zip(_PARTS, (self._state.pieces(), *behind), strict=True)
        return pieces(VERSION, {"sensors": self._sensors.fingerprint}, dict(parts))

    def _windows(self, rows: Indicators) -> list[Output]:
        return frames(self._topics.indicators, self._partition, rows, kinds="window")

    def _sorted_out(self, records: Sequence[Record]) -> tuple[list[Record], list[Output]]:
        """The good ones of `records`, and dead letters of the others."""
        good, outputs = [], []
        for record in records:
            try:
                _checked(*Readings.decode_all([record.value]))
            except PoisonError as error:
                outputs.append(self._dead_letter(record, error))
            else:
                good.append(record)
        return good, outputs

    def _dead_letter(self, record: Record, error: PoisonError) -> Output:
        topics = self._topics
        return dead_letter(topics, topics.readings, self._partition, record, error, self._state.clock)


def _checked(readings: Readings, lengths: np.ndarray) -> tuple[Readings, np.ndarray]:
    """The same, when every number is one that can be reckoned with."""
    if np.count_nonzero(np.isfinite(readings.value)) < len(readings):
        raise PoisonError(Reason.NOT_FINITE, "a value is not a finite number")
    for times in (readings.event_time, readings.receive_time):
        if np.count_nonzero(times.view(np.uint64) > _TIME_MAX):  # negative ones are the greatest
            raise PoisonError(Reason.BAD_TIME, "a time is outside the years 1970 to 2255")
    return readings, lengths
