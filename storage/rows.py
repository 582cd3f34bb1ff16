"""rows: what one Kafka record means for the tables; pure

A record becomes parts, each a batch of rows for one table. Several parts of one table are put together into one
statement; of rows that would meet in one row of a table only the one that would win is kept, since a statement may
touch a row once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from pulssi.errors import PoisonError, Reason
from pulssi.frames import VEHICLES as VEHICLE_FRAME
from pulssi.frames import IndicatorKind, Indicators, Readings, decode
from pulssi.messages import AlertTransition, SeriesInfo
from pulssi.times import US_PER_MS, parse_iso_us
from pulssi.topics import VERSION, Content
from storage.tables import (
    ALERT_TRANSITIONS,
    DEAD_LETTERS,
    INDICATORS,
    INDICATORS_LATEST,
    LATEST,
    READING_FLAGS,
    READINGS,
    SERIES,
    VEHICLE_EVENTS,
    VEHICLES_LATEST,
    Table,
)

Message = TypeVar("Message", bound=msgspec.Struct)


class Taken(NamedTuple):
    """One Kafka record as it came."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    value: bytes
    headers: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Row:
    """One row that came by itself: Arrow takes as long to make a batch of one as of fifty."""

    values: Mapping[str, object]

    def __len__(self) -> int:
        return 1

    def to_pylist(self) -> list[dict[str, object]]:
        """As a batch of one row would be."""
        return [dict(self.values)]


class Part(NamedTuple):
    """Rows for one table; those of one table are all batches or all single."""

    table: Table
    rows: pa.RecordBatch | Row

    @property
    def newest_receive_time(self) -> int:
        """Of the rows, us UTC; 0 in tables that have none."""
        if not self.table.is_received:
            return 0
        if isinstance(self.rows, Row):
            time: int = self.rows.values["receive_time"]  # type: ignore[assignment]  # a column of whole numbers
            return time
        times: np.ndarray = self.rows.column("receive_time").to_numpy()
        return int(times.max())


@dataclass(slots=True)
class Pile:
    """All rows of one table in one transaction.

    Attributes:
        table: whose rows.
        parts: in the order of their coming.
        origins: the record that each part came from.
    """

    table: Table
    parts: list[pa.RecordBatch | Row] = field(default_factory=list)
    origins: list[Taken] = field(default_factory=list)

    def rows(self) -> pa.RecordBatch:
        """One after the other."""
        first = self.parts[0]
        if isinstance(first, Row):
            return pa.RecordBatch.from_pylist([part.values for part in self.parts], schema=self.table.schema)
        return first if len(self.parts) == 1 else pa.concat_batches(self.parts)

    def origin(self, row: int) -> tuple[Taken, int]:
        """The record that a row of `rows` came from, and the number of the row in its part."""
        ends = np.cumsum([len(part) for part in self.parts])
        part = int(np.searchsorted(ends, row, side="right"))
        return self.origins[part], row - int(ends[part]) + len(self.parts[part])


def parts_of(content: Content, record: Taken) -> list[Part]:
    """The rows of one record.

    Raises:
        PoisonError: the record is not what its topic holds; it goes to the dead letters.
    """
    version = record.headers.get("version", VERSION)
    if version != VERSION:
        raise PoisonError(Reason.BAD_RECORD, f"content version {version!r} is not known here")
    return [part for part in _DECODERS[content](record) if len(part.rows)]


def _readings(record: Taken) -> list[Part]:
    return [Part(READINGS, Readings.batch(record.value))]


def _vehicles(record: Taken) -> list[Part]:
    batch = decode(record.value, VEHICLE_FRAME)
    try:
        batch.validate(full=True)  # strings: that they end where they say, and are UTF-8
    except pa.ArrowInvalid as error:
        raise PoisonError(Reason.BAD_FRAME, str(error)) from error
    _complete(batch.select(["event_id", "vehicle", "event", "event_time", "receive_time"]))
    return [Part(VEHICLE_EVENTS, batch)]


def _indicators(record: Taken) -> list[Part]:
    """Windows as they are; of single readings only the flags, and those are known by a header.

    Flags that have settled replace those that were told before, also by none.
    """
    kinds = record.headers.get("kinds")
    if kinds == b"reading" and record.headers.get("flagged", b"0") == b"0":
        return []
    batch = Indicators.batch(record.value)
    kind = batch.column("kind").to_numpy()
    is_reading, settled = kind == IndicatorKind.READING, kind == IndicatorKind.FLAGS
    flagged = np.flatnonzero(settled | (is_reading & (batch.column("flags").to_numpy() != 0)))
    windows = np.flatnonzero(~(is_reading | settled))
    parts = []
    if len(flagged):
        columns = [batch.column(name).take(flagged) for name in ("series_id", "window_start", "flags")]
        parts.append(Part(READING_FLAGS, pa.RecordBatch.from_arrays(columns, schema=READING_FLAGS.schema)))
    if len(windows):
        parts.append(Part(INDICATORS, _undefined_as_null(batch.take(windows))))
    return parts


def _series(record: Taken) -> list[Part]:
    if not record.value:  # a tombstone: the series is no longer announced, its readings stay
        return []
    return [Part(SERIES, _row(SERIES, msgspec.structs.asdict(_json(record.value, SeriesInfo))))]


def _alerts(record: Taken) -> list[Part]:
    transition = msgspec.structs.asdict(_json(record.value, AlertTransition))
    for name in ("evidence", "texts"):
        transition[name] = msgspec.json.encode(transition[name]).decode()
    return [Part(ALERT_TRANSITIONS, _row(ALERT_TRANSITIONS, transition))]


def _dead_letter(record: Taken) -> list[Part]:
    """The letter of another process; it is taken whatever its headers look like."""
    heads = {name: text(value) for name, value in record.headers.items()}
    letter: dict[str, object] = {
        "reason": heads.get("reason", Reason.BAD_RECORD),
        "detail": heads.get("detail", ""),
        "device": heads.get("device"),
        "time": _time(heads.get("time"), record.time_ms),
        "payload": record.value,
    }
    own: dict[str, object] = {"dead_letter_id": letter_id(record.topic, record.partition, record.offset)}
    if heads.get("source") == "kafka":
        partition, offset = _number(heads.get("partition"), 2**31), _number(heads.get("offset"), 2**63)
        known = partition is not None and offset is not None and "topic" in heads
        letter |= _place(heads["topic"], partition, offset) if known else own | {"source": "kafka"}
    else:
        letter |= own | {"source": "mqtt", "mqtt_topic": heads.get("mqtt_topic")}
    return [Part(DEAD_LETTERS, _row(DEAD_LETTERS, letter))]


_DECODERS: dict[Content, Callable[[Taken], list[Part]]] = {
    Content.READINGS: _readings,
    Content.VEHICLES: _vehicles,
    Content.INDICATORS: _indicators,
    Content.SERIES: _series,
    Content.ALERT: _alerts,
    Content.DEADLETTER: _dead_letter,
}


def letter_of(record: Taken, reason: Reason, detail: str) -> Row:
    """The dead letter of a record that the sink itself refuses."""
    letter: dict[str, object] = {
        "reason": reason,
        "detail": text(detail.encode()),
        "device": None,
        "time": record.time_ms * US_PER_MS,
        "payload": record.value,
    }
    return _row(DEAD_LETTERS, letter | _place(record.topic, record.partition, record.offset))


def letter_id(topic: str, partition: int | None, offset: int | None) -> str:
    """The name of a dead letter: where the refused record (or the letter itself) lies in Kafka."""
    return f"{topic}/{partition}/{offset}"


def text(data: bytes) -> str:
    """Bytes of anybody as text that every database takes: bad UTF-8 and NUL become U+FFFD."""
    return data.decode("utf-8", "replace").replace("\0", "\ufffd")


def order(table: Table, rows: pa.RecordBatch) -> np.ndarray | None:
    """Which rows to write and in which order, as row numbers; None = all, as they are."""
    if table.newer is not None:
        return newest(rows, table.key, table.newer)
    if table.by_key:
        return np.lexsort([rows.column(name).to_numpy() for name in reversed(table.key)])
    return None


def newest(rows: pa.RecordBatch, key: Sequence[str], newer: Sequence[str]) -> np.ndarray:
    """For each key the row that is greatest in `newer`, by key.

    Of equal rows the first to come wins, as it does when they come in different statements; where `newer` is empty
    every later row replaces an earlier one, so the last wins.
    """
    arrival = np.arange(len(rows))
    by_key = [_sortable(rows.column(name)) for name in key]
    by_age = [_sortable(rows.column(name)) for name in newer]
    sorted_rows = np.lexsort([-arrival if newer else arrival, *reversed(by_age), *reversed(by_key)])
    differs = np.zeros(len(rows), np.bool_)
    differs[-1:] = True
    for column in by_key:
        ordered = column[sorted_rows]
        differs[:-1] |= ordered[1:] != ordered[:-1]
    winners: np.ndarray = sorted_rows[differs]
    return winners


def follow(table: Table, rows: pa.RecordBatch) -> list[Part]:
    """What the stored rows of one table mean for the table of newest values beside it."""
    if table is READINGS:
        return [Part(LATEST, rows.select(LATEST.schema.names))]
    if table is INDICATORS:
        return [Part(INDICATORS_LATEST, rows)]
    if table is VEHICLE_EVENTS:
        placed = rows.column("lat").is_valid().to_numpy(zero_copy_only=False)
        placed &= rows.column("lon").is_valid().to_numpy(zero_copy_only=False)
        seen = rows.select(VEHICLES_LATEST.schema.names).take(np.flatnonzero(placed))
        return [Part(VEHICLES_LATEST, seen)] if len(seen) else []
    return []


def _sortable(column: pa.Array) -> np.ndarray:
    """Numbers that sort within their column as its values compare equal."""
    numbers: np.ndarray = (column.dictionary_encode().indices if pa.types.is_string(column.type) else column).to_numpy()
    return numbers


def _complete(batch: pa.RecordBatch) -> pa.RecordBatch:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count:
            raise PoisonError(Reason.BAD_FRAME, f"column {name} holds nulls")
    return batch


def _undefined_as_null(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Not-a-number stands for a statistic that is not defined; in a table that is NULL."""
    columns = [
        pa.array(column.to_numpy(), from_pandas=True) if pa.types.is_floating(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _json(data: bytes, kind: type[Message]) -> Message:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise PoisonError(Reason.BAD_SCHEMA, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PoisonError(Reason.BAD_JSON, str(error)) from error


def _row(table: Table, values: dict[str, object]) -> Row:
    for name, bits in table.bits.items():
        number = values.get(name)
        if isinstance(number, int) and not -(1 << bits - 1) <= number < 1 << bits - 1:
            raise PoisonError(Reason.BAD_RECORD, f"{name} = {number} does not fit into {bits} bits")
    return Row(values)


def _place(topic: str, partition: int | None, offset: int | None) -> dict[str, object]:
    return {
        "dead_letter_id": letter_id(topic, partition, offset),
        "source": "kafka",
        "topic": topic,
        "partition": partition,
        "offset": offset,
    }


def _number(digits: str | None, limit: int) -> int | None:
    if digits is None or not (digits.isascii() and digits.isdecimal()) or len(digits) > len(str(limit)):
        return None
    number = int(digits)
    return number if number < limit else None


def _time(iso: str | None, otherwise_ms: int) -> int:
    try:
        return parse_iso_us(iso or "")
    except ValueError:
        return otherwise_ms * US_PER_MS
