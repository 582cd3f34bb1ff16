"""from rows to Kafka records: one open frame for each partition, closed by size or time; no client library, no clock"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ingest.acks import Train
from pulssi import frames
from pulssi.times import US_PER_S
from pulssi.topics import Content, Headers, headers

CALM_ROWS_PER_S = 5_000
"""Up to here frames wait no longer than they must, so that little load means little delay."""

ReadingRow = tuple[int, int, int, float, int]
"""Series id, event time, receive time, value, seq."""


@dataclass(slots=True, eq=False)
class Record:
    """One Kafka record to hand over, and what waits for its confirmation."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers
    what: str
    """Unit that metrics count: readings, vehicles, series, deadletters."""
    units: int
    receive_time: int
    """Of the oldest unit, us UTC."""
    trains: Sequence[Train]


@dataclass(slots=True, eq=False)
class OpenFrame:
    """Rows of one partition that wait for company."""

    partition: int
    rows: list[Any] = field(default_factory=list)
    trains: list[Train] = field(default_factory=list)
    joined: int = 0
    """Rows of the trains so far."""
    opened: int = 0
    """Receive time of the first row, us UTC."""


class Framer:
    """Open frames of one topic.

    Rows are appended to `frames[partition].rows` by the door; `join` then says which train they came with.
    """

    def __init__(
        self,
        topic: str,
        content: Content,
        encode: Callable[[list[Any]], bytes],
        *,
        partitions: int,
        rows_max: int,
        delay_us: int,
        delay_us_max: int,
    ) -> None:
        self.frames = [OpenFrame(partition) for partition in range(partitions)]
        self._topic = topic
        self._what = str(content)
        self._headers = headers(content)
        self._encode = encode
        self._rows_max = rows_max
        self._delay_us = self._delay_us_min = delay_us
        self._delay_us_max = max(delay_us, delay_us_max)
        self._rows = 0  # since all frames were last closed
        self._closed_at = 0

    def join(self, train: Train) -> list[Record]:
        """Note that the newest rows came with `train`; returns the records of the frames that are full."""
        full: list[Record] = []
        for frame in self.frames:
            rows = len(frame.rows)
            if rows == frame.joined:
                continue
            if not frame.joined:
                frame.opened = train.receive_time
            self._rows += rows - frame.joined
            frame.joined = rows
            frame.trains.append(train)
            train.waiting += 1
            if rows >= self._rows_max:
                full += self._close(frame)
        return full

    def due(self, now: int) -> list[Record]:
        """Records of every frame, once one of them has waited long enough: together they are one request to Kafka."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return []
        self._pace(now)
        return self.flush()

    def _pace(self, now: int) -> None:
        """Let the next frames wait longer the more came since the last: a record costs the same whatever it holds."""
        calm = CALM_ROWS_PER_S * (now - self._closed_at) / US_PER_S
        self._delay_us = min(self._delay_us_max, int(self._delay_us_min * max(1.0, self._rows / max(1.0, calm))))
        self._rows = 0
        self._closed_at = now

    def flush(self) -> list[Record]:
        """Records of every frame that holds anything."""
        return [record for frame in self.frames if frame.joined for record in self._close(frame)]

    def deadline(self) -> int | None:
        """When the next frame is due, us UTC; None when all are empty."""
        opened = [frame.opened for frame in self.frames if frame.joined]
        return min(opened) + self._delay_us if opened else None

    def _close(self, frame: OpenFrame) -> list[Record]:
        """The records of a frame, more than one when a train brought more rows than fit; it is empty afterwards."""
        trains = frame.trains
        pieces = [frame.rows[at : at + self._rows_max] for at in range(0, frame.joined, self._rows_max)]
        for train in trains:
            train.waiting += len(pieces) - 1
        frame.rows.clear()
        frame.joined = 0
        frame.trains = []
        return [
            Record(
                self._topic,
                frame.partition,
                None,
                self._encode(piece),
                self._headers,
                self._what,
                len(piece),
                frame.opened,
                trains,
            )
            for piece in pieces
        ]


def encode_readings(rows: list[ReadingRow]) -> bytes:
    """The Arrow frame of rows of readings; quality is judged downstream."""
    series_id, event_time, receive_time, value, seq = zip(*rows, strict=True)
    return frames.Readings(
        np.array(series_id, np.int64),
        np.array(event_time, np.int64),
        np.array(receive_time, np.int64),
        np.array(value, np.float64),
        np.zeros(len(rows), np.uint16),
        np.array(seq, np.int64),
    ).encode()


def encode_vehicles(rows: list[tuple[Any, ...]]) -> bytes:
    """The Arrow frame of rows of vehicle events, in the order of the schema."""
    columns = [
        pa.array(column, type=one.type) for column, one in zip(zip(*rows, strict=True), frames.VEHICLES, strict=True)
    ]
    return frames.encode(pa.RecordBatch.from_arrays(columns, schema=frames.VEHICLES))
