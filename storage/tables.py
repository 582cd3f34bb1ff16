"""tables: which columns the sink writes into which table, and what happens to a row that is already there"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from pulssi.frames import INDICATORS as INDICATOR_FRAME
from pulssi.frames import READINGS as READING_FRAME
from pulssi.frames import VEHICLES as VEHICLE_FRAME

_SQL_TYPES = {
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.uint16(): "integer",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.binary(): "bytea",
}


@dataclass(frozen=True, eq=False)
class Table:
    """One table.

    Attributes:
        name: in the database.
        schema: the columns that are written, by their names there; int64 columns of time are us UTC.
        key: primary key.
        newer: columns by which a row replaces the one that is there, compared in this order; empty: it always does;
            None: it never does.
        casts: columns that travel as text and are something else in the table.
        by_key: write in the order of the key, which spares the server 15 to 24 %.
    """

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    newer: tuple[str, ...] | None = None
    casts: Mapping[str, str] = field(default_factory=dict)
    by_key: bool = False

    @cached_property
    def sql_types(self) -> tuple[str, ...]:
        """The type of each column on the wire."""
        return tuple("timestamptz" if is_time(one.name) else _SQL_TYPES[one.type] for one in self.schema)

    @cached_property
    def bits(self) -> dict[str, int]:
        """Width of each column of whole numbers."""
        return {one.name: one.type.bit_width for one in self.schema if pa.types.is_signed_integer(one.type)}

    @cached_property
    def is_received(self) -> bool:
        """Whether the rows know when they were received."""
        return "receive_time" in self.schema.names

    @cached_property
    def statement(self) -> str:
        """The INSERT; its parameters are the columns as arrays."""
        names = ", ".join(f'"{name}"' for name in self.schema.names)
        values = ", ".join(f'"{name}"' + self._cast(name) for name in self.schema.names)
        arrays = ", ".join(["%s"] * len(self.schema))
        return (
            f"INSERT INTO {self.name} AS old ({names}) SELECT {values} FROM unnest({arrays}) AS new ({names}) "  # noqa: S608  names of ours
            f"ON CONFLICT ({', '.join(self.key)}) {self._action}"
        )

    @cached_property
    def copying(self) -> str:
        """The COPY of rows that are known to be new."""
        names = ", ".join(f'"{name}"' for name in self.schema.names)
        return f"COPY {self.name} ({names}) FROM STDIN (FORMAT binary)"

    def _cast(self, name: str) -> str:
        return f"::{self.casts[name]}" if name in self.casts else ""

    @property
    def _action(self) -> str:
        if self.newer is None:
            return "DO NOTHING"
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in self.schema.names if name not in self.key)
        if not self.newer:
            return f"DO UPDATE SET {changes}"
        new, old = (", ".join(f'{side}."{name}"' for name in self.newer) for side in ("excluded", "old"))
        return f"DO UPDATE SET {changes} WHERE ({new}) > ({old})"


def is_time(name: str) -> bool:
    """Whether a column holds a time, in us UTC in frames and timestamptz in tables."""
    return name.endswith("_time") or name in {"window_start", "time"}


def _some(schema: pa.Schema, names: str) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names.split()])


READINGS = Table("readings", READING_FRAME, ("series_id", "event_time"), by_key=True)
LATEST = Table(
    "latest",
    _some(READING_FRAME, "series_id event_time receive_time value quality"),
    ("series_id",),
    newer=("event_time",),
)
READING_FLAGS = Table(
    "reading_flags",
    pa.schema([("series_id", pa.int64()), ("event_time", pa.int64()), ("flags", pa.int32())]),
    ("series_id", "event_time"),
    newer=(),
)
VEHICLE_EVENTS = Table("vehicle_events", VEHICLE_FRAME, ("event_id", "event_time"))
VEHICLES_LATEST = Table(
    "vehicles_latest",
    _some(
        VEHICLE_FRAME,
        "vehicle mode route direction line headsign next_stop lat lon speed heading occupancy delay_s event_time "
        "receive_time",
    ),
    ("vehicle",),
    newer=("event_time",),
)
INDICATORS = Table(
    "indicators", INDICATOR_FRAME, ("series_id", "kind", "window_s", "window_start"), newer=("revision",), by_key=True
)
INDICATORS_LATEST = Table(
    "indicators_latest", INDICATOR_FRAME, ("series_id", "kind", "window_s"), newer=("window_start", "revision")
)
SERIES = Table(
    "series",
    pa.schema(
        [
            ("series_id", pa.int64()),
            ("device_id", pa.string()),
            ("quantity", pa.string()),
            ("channel", pa.string()),
            ("unit", pa.string()),
            ("kind", pa.string()),
            ("name", pa.string()),
            ("lat", pa.float64()),
            ("lon", pa.float64()),
            ("district", pa.string()),
        ],
    ),
    ("series_id",),
    newer=(),
)
ALERT_TRANSITIONS = Table(
    "alert_transitions",
    pa.schema(
        [
            ("alert_id", pa.string()),
            ("sequence", pa.int32()),
            ("state", pa.string()),
            ("rule", pa.string()),
            ("rule_version", pa.string()),
            ("condition", pa.string()),
            ("severity", pa.string()),
            ("series_id", pa.int64()),
            ("device_id", pa.string()),
            ("quantity", pa.string()),
            ("kind", pa.string()),
            ("onset_time", pa.int64()),
            ("event_time", pa.int64()),
            ("receive_time", pa.int64()),
            ("decided_time", pa.int64()),
            ("value", pa.float64()),
            ("threshold", pa.float64()),
            ("unit", pa.string()),
            ("name", pa.string()),
            ("lat", pa.float64()),
            ("lon", pa.float64()),
            ("district", pa.string()),
            ("evidence", pa.string()),
            ("texts", pa.string()),
        ],
    ),
    ("alert_id", "sequence"),
    casts={"evidence": "jsonb", "texts": "jsonb"},
)
DEAD_LETTERS = Table(
    "dead_letters",
    pa.schema(
        [
            ("dead_letter_id", pa.string()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            ("device", pa.string()),
            ("source", pa.string()),
            ("mqtt_topic", pa.string()),
            ("topic", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("time", pa.int64()),
            ("payload", pa.binary()),
        ],
    ),
    ("dead_letter_id",),
)

PARTITIONED = {READINGS: "event_time", READING_FLAGS: "event_time", VEHICLE_EVENTS: "event_time"} | {
    INDICATORS: "window_start"
}
"""Tables that lie in days, and the column that says which."""
