"""history: what was stored, read again in the order of its receipt, without holding it all"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pulssi.frames import VEHICLES, Readings
from storage.database import Connection

ROWS: Final = 20_000
"""Rows that a server-side cursor hands over at once."""

_TIMES: Final = frozenset({"event_time", "receive_time", "scheduled_time"})


def _column(name: str) -> str:
    return f"(extract(epoch FROM {name}) * 1000000)::bigint" if name in _TIMES else name


_READINGS = f"""
    SELECT {", ".join(map(_column, Readings.SCHEMA.names))} FROM readings
    WHERE event_time >= %(start)s AND event_time < %(end)s
      AND (%(series_ids)s::bigint[] IS NULL OR series_id = ANY(%(series_ids)s))
    ORDER BY receive_time, event_time, series_id"""  # noqa: S608  names of ours

_VEHICLE_EVENTS = f"""
    SELECT {", ".join(map(_column, VEHICLES.names))} FROM vehicle_events
    WHERE event_time >= %(start)s AND event_time < %(end)s
    ORDER BY receive_time, event_time, event_id"""  # noqa: S608  names of ours


def readings(
    connection: Connection, start: datetime, end: datetime, series_ids: Sequence[int] | None = None
) -> Iterator[Readings]:
    """Readings with an event time in [start, end), in the order of their receipt.

    Args:
        connection: not in autocommit; the transaction that begins here may last as long as it takes.
        start: of event time.
        end: of event time.
        series_ids: only these series; all when None.
    """
    ids = None if series_ids is None else list(series_ids)
    for rows in _batches(connection, _READINGS, {"start": start, "end": end, "series_ids": ids}):
        columns = zip(*rows, strict=True)
        dtypes = (field.type.to_pandas_dtype() for field in Readings.SCHEMA)
        yield Readings(*(np.array(column, dtype) for column, dtype in zip(columns, dtypes, strict=True)))


def vehicle_events(connection: Connection, start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
    """Vehicle events with an event time in [start, end), in the order of their receipt, as `pulssi.frames.VEHICLES`.

    Args:
        connection: as above.
        start: of event time.
        end: of event time.
    """
    for rows in _batches(connection, _VEHICLE_EVENTS, {"start": start, "end": end}):
        columns = [
            pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), VEHICLES, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=VEHICLES)


def _batches(connection: Connection, statement: str, values: dict[str, Any]) -> Iterator[list[tuple[Any, ...]]]:
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")  # the first rows come when all are sorted
        with connection.cursor(name="history") as cursor:
            cursor.execute(statement, values)
            while rows := cursor.fetchmany(ROWS):
                yield rows
