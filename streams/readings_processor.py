"""readings_processor: the pure core of one partition of `pulssi.readings`"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pulssi.errors import PoisonError, Reason
from pulssi.frames import IndicatorKind, Indicators, Readings
from pulssi.partitions import Output, Record
from pulssi.quality import Quality
from pulssi.settings import StreamsSettings
from pulssi.times import iso
from pulssi.topics import Content, Topics, headers
from streams.catalogue import Lookup

_TIME_MAX = 1 << 53
"""Times beyond it (year 2255) are no times of ours."""


class ReadingsProcessor:
    """Everything derived from one partition of readings; implements `pulssi.partitions.Processor`.

    Args:
        partition: number of the partition, of the source and of the indicators.
        settings: windows, lateness and limits of the state.
        topics: names of the topics.
        lookup: limits of series seen for the first time; see `streams.catalogue`.
        snapshot: what `snapshot()` returned, or None for a new state.

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
    ) -> None:
        self._partition = partition
        self._settings = settings
        self._topics = topics
        self._lookup = lookup
        self._clock = 0
        if snapshot is not None:
            self._clock = int.from_bytes(snapshot, "little")

    def process(self, records: Sequence[Record]) -> list[Output]:
        """Take records in offset order and return what follows from them."""
        parts: list[Readings] = []
        offsets: list[int] = []
        outputs: list[Output] = []
        for record in records:
            try:
                readings = _decode(record)
            except PoisonError as error:
                outputs.append(self._dead_letter(record, error))
                continue
            parts.append(readings)
            offsets.append(record.offset)
        if not parts:
            return outputs
        readings = Readings.concat(parts)
        position = np.repeat(np.array(offsets, np.int64), [len(part) for part in parts])
        if len(readings) == 0:
            return outputs
        self._clock = max(self._clock, int(readings.receive_time.max()))
        limits = self._lookup(readings.series_id)
        flags = readings.quality.astype(np.int32)
        flags[(readings.value < limits.low) | (readings.value > limits.high)] |= int(Quality.RANGE)
        rows = Indicators.empty(len(readings))
        rows.series_id, rows.window_start, rows.value = readings.series_id, readings.event_time, readings.value
        rows.kind[:] = IndicatorKind.READING
        rows.n[:] = 1
        rows.class_[:] = -1
        rows.flags, rows.receive_time, rows.position = flags, readings.receive_time, position
        flagged = int(np.count_nonzero(flags))
        outputs.append(self._frame(rows, kinds="reading", flagged=flagged))
        return outputs

    def tick(self, now: int) -> list[Output]:  # noqa: ARG002  nothing follows from the time alone yet
        """What follows from the time alone."""
        return []

    def snapshot(self) -> bytes:
        """The whole state, exactly."""
        return self._clock.to_bytes(8, "little")

    def _frame(self, rows: Indicators, **more: str | int) -> Output:
        return Output(
            self._topics.indicators, self._partition, None, rows.encode(), headers(Content.INDICATORS, **more)
        )

    def _dead_letter(self, record: Record, error: PoisonError) -> Output:
        more = headers(
            Content.DEADLETTER,
            reason=error.reason,
            detail=error.detail,
            source="kafka",
            topic=self._topics.readings,
            partition=self._partition,
            offset=record.offset,
            time=iso(self._clock),
        )
        return Output(self._topics.deadletters, None, record.key or b"", record.value, more)


def _decode(record: Record) -> Readings:
    readings = Readings.decode(record.value)
    if not np.isfinite(readings.value).all():
        raise PoisonError(Reason.NOT_FINITE, "a value is not a finite number")
    for times in (readings.event_time, readings.receive_time):
        if len(times) and (times.min() < 0 or times.max() > _TIME_MAX):
            raise PoisonError(Reason.BAD_TIME, "a time is outside the years 1970 to 2255")
    return readings
