"""frames: one Kafka record is one micro-batch of readings, vehicle events or indicators as an Arrow IPC stream

The frame carries its schema; compression is left to the Kafka producer. Columns of numbers become numpy arrays without
a copy, and are read-only for that reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from pulssi.envelope import Envelope
from pulssi.errors import PoisonError, Reason

READINGS = pa.schema(
    [
        ("series_id", pa.int64()),
        ("event_time", pa.int64()),
        ("receive_time", pa.int64()),
        ("value", pa.float64()),
        ("quality", pa.uint16()),
        ("seq", pa.int64()),
    ],
)

VEHICLES = pa.schema(
    [
        ("event_id", pa.int64()),  # xxh3-64 of topic and payload: the same message is the same event
        ("vehicle", pa.string()),  # operator/number of the topic, such as 0012/01913
        ("mode", pa.string()),
        ("journey_type", pa.string()),  # journey, deadrun, signoff
        ("event", pa.string()),  # vp, arr, dep ... in lower case
        ("route", pa.string()),  # null outside a journey
        ("direction", pa.int8()),  # 1 or 2
        ("line", pa.string()),  # the number that passengers know
        ("headsign", pa.string()),
        ("trip", pa.string()),  # route/direction/operating day/start
        ("stop", pa.int32()),
        ("next_stop", pa.string()),
        ("lat", pa.float64()),
        ("lon", pa.float64()),
        ("speed", pa.float64()),  # m/s
        ("heading", pa.float64()),  # degrees
        ("door", pa.int8()),
        ("occupancy", pa.int8()),  # %
        ("odometer", pa.float64()),  # m
        ("delay_s", pa.int32()),  # positive = late
        ("scheduled_time", pa.int64()),  # of the stop event, us
        ("event_time", pa.int64()),
        ("receive_time", pa.int64()),
    ],
)

INDICATORS = pa.schema(
    [
        ("series_id", pa.int64()),
        ("kind", pa.int16()),
        ("window_start", pa.int64()),  # us UTC; windows are half-open [start, start + window_s)
        ("window_s", pa.int32()),
        ("n", pa.int32()),
        ("n_excluded", pa.int32()),
        ("completeness", pa.float64()),  # 0..1, of the expected readings
        ("mean", pa.float64()),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("std", pa.float64()),
        ("last", pa.float64()),
        ("p50", pa.float64()),
        ("p95", pa.float64()),
        ("p99", pa.float64()),
        ("value", pa.float64()),
        ("class_", pa.int16()),  # -1 = none
        ("revision", pa.int32()),
        ("flags", pa.int32()),  # pulssi.quality bits of everything in the window
        ("receive_time", pa.int64()),  # newest receive time that went in: age and latency are measured from it
        (
            "position",
            pa.int64(),
        ),  # offset of the source record that gave this row; see pulssi.partitions on replays
    ],
)


class IndicatorKind(IntEnum):
    """What one row of an indicator frame says."""

    READING = 0  # one checked reading: value = the reading, last = its anomaly score, flags = its quality, window_s = 0
    WINDOW = 1  # rolling statistics of one series; value = mean
    DELAY = 2  # delay of one vehicle or route, seconds; value = median
    ON_TIME = 3  # share of stop events inside the on-time band, percent
    ANOMALY = 4  # value = anomaly score 0..1, last = the reading, mean = expected value, std = spread, class_ = cause
    AIR_INDEX = 5  # value = index or level, class_ = class, mean = concentration behind it, last = dominant compound
    TRAFFIC = 6  # value = indicator of one direction of a station, by its quantity, class_ = class
    HEADWAY = 7  # value = cvh, class_ = level of service
    FLAGS = 8  # settled quality flags of the reading at window_start, which replace those of its READING row
    VEHICLE = 9  # state of a vehicle in service, or how many of a route are in it, by quantity; 0 = over


def encode(batch: pa.RecordBatch) -> bytes:
    """The Arrow IPC stream of one batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def decode(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """The one batch of a frame.

    Raises:
        PoisonError: not an Arrow stream, another schema, or not exactly one batch.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            if not reader.schema.equals(schema):
                raise PoisonError(Reason.BAD_FRAME, "the columns are not those of this version")
            batch = reader.read_next_batch()
            batch.validate()
    except (pa.ArrowInvalid, pa.ArrowException, OSError, StopIteration) as error:
        raise PoisonError(Reason.BAD_FRAME, str(error)) from error
    return batch


@dataclass(slots=True)
class _Columns:
    """A struct of equally long numpy arrays, one for each field of `SCHEMA`."""

    SCHEMA: ClassVar[pa.Schema]
    ENVELOPE: ClassVar[Envelope]

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Columns of one frame, as views on its bytes.

        Raises:
            PoisonError: the frame is not what it should be, or has nulls where numbers belong.
        """
        envelope = cls.ENVELOPE
        shape = envelope.shape(data)
        if shape is None:  # another has written it, or it is bad
            return cls(*(column.to_numpy() for column in cls.batch(data).columns))
        return cls(*envelope.columns(data, shape))

    @classmethod
    def batch(cls, data: bytes) -> pa.RecordBatch:
        """One frame as an Arrow batch without nulls.

        Raises:
            PoisonError: the frame is not what it should be, or has nulls where numbers belong.
        """
        envelope = cls.ENVELOPE
        shape = envelope.shape(data)
        if shape is not None:
            return envelope.batch(data, shape)
        batch = decode(data, cls.SCHEMA)
        for name, column in zip(envelope.names, batch.columns, strict=True):
            if column.null_count:
                raise PoisonError(Reason.BAD_FRAME, f"column {name} holds nulls")
        return batch

    @classmethod
    def decode_all(cls, frames: Sequence[bytes]) -> tuple[Self, np.ndarray]:
        """Columns of many frames, one after the other, and the length of each (int64).

        Raises:
            PoisonError: one of them is bad; `decode` tells which.
        """
        envelope = cls.ENVELOPE
        shapes = [shape for shape in map(envelope.shape, frames) if shape is not None]
        if len(frames) > 1 and len(shapes) == len(frames):
            lengths = np.array([shape.rows for shape in shapes], np.int64)
            return cls(*envelope.columns_of_all(frames, shapes)), lengths
        parts = [cls.decode(frame) for frame in frames]
        lengths = np.array([len(part) for part in parts], np.int64)
        return cls.concat(parts) if parts else cls.empty(), lengths

    def encode(self) -> bytes:
        """The frame of these columns.

        Raises:
            ValueError: a column is longer than another, or does not fit into its type.
        """
        envelope = self.ENVELOPE
        columns = [getattr(self, name) for name in envelope.names]
        if any(
            len(column) != len(columns[0]) or column.dtype != dtype or not column.flags.c_contiguous
            for column, dtype in zip(columns, envelope.dtypes, strict=True)
        ):
            columns = [pa.array(column, field.type) for column, field in zip(columns, self.SCHEMA, strict=True)]
            return encode(pa.RecordBatch.from_arrays(columns, schema=self.SCHEMA))
        return envelope.wrap(columns)

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """One after the other; a single part is returned as it is."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.ENVELOPE.names))

    @classmethod
    def empty(cls, length: int = 0) -> Self:
        """Writable zeros in the dtypes of the schema."""
        return cls(*(np.zeros(length, dtype) for dtype in cls.ENVELOPE.dtypes))

    def take(self, index: np.ndarray | slice) -> Self:
        """Rows by index or boolean mask (copies) or slice (views)."""
        return type(self)(*(getattr(self, name)[index] for name in self.ENVELOPE.names))

    def __len__(self) -> int:
        first: np.ndarray[Any, Any] = getattr(self, self.ENVELOPE.names[0])
        return len(first)


@dataclass(slots=True)
class Readings(_Columns):
    """Columns of readings; times in us UTC, `seq` -1 where the device gave none."""

    SCHEMA: ClassVar[pa.Schema] = READINGS
    ENVELOPE: ClassVar[Envelope] = Envelope(READINGS)

    series_id: np.ndarray
    event_time: np.ndarray
    receive_time: np.ndarray
    value: np.ndarray
    quality: np.ndarray
    seq: np.ndarray


@dataclass(slots=True)
class Indicators(_Columns):
    """Columns of indicators; see the schema above for units."""

    SCHEMA: ClassVar[pa.Schema] = INDICATORS
    ENVELOPE: ClassVar[Envelope] = Envelope(INDICATORS)

    series_id: np.ndarray
    kind: np.ndarray
    window_start: np.ndarray
    window_s: np.ndarray
    n: np.ndarray
    n_excluded: np.ndarray
    completeness: np.ndarray
    mean: np.ndarray
    min: np.ndarray
    max: np.ndarray
    std: np.ndarray
    last: np.ndarray
    p50: np.ndarray
    p95: np.ndarray
    p99: np.ndarray
    value: np.ndarray
    class_: np.ndarray
    revision: np.ndarray
    flags: np.ndarray
    receive_time: np.ndarray
    position: np.ndarray
