"""recorded CSV files of sensors, told as messages of Pulssi's own short form

Each format says where its header is, how its time reads, and which column is which quantity, with the factor to the
unit that Pulssi stores. ppb become ug/m3 at 20 degrees Celsius, as the EU reports: M / 24.055 l (Directive 2008/50/EC).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from pulssi.quantities import QUANTITIES, Kind
from pulssi.times import datetime_us
from simulators.formats import own_message
from simulators.messages import Message
from simulators.recordings.base import Record

NO2_UG_M3_PER_PPB: Final = 46.0055 / 24.055
O3_UG_M3_PER_PPB: Final = 47.9982 / 24.055

Row = Mapping[str, str]
_NO_VALUE: Final = frozenset({"", "NA"})


@dataclass(frozen=True, slots=True)
class SeriesFormat:
    """How one family of CSV files reads.

    Attributes:
        header_lines: lines before the line of column names.
        time: a row's time, naive.
        zone_h: hours east of UTC of those times.
        columns: quantity and factor by column name.
        missing: texts that stand for no value.
        kind: of the devices.
    """

    header_lines: int
    time: Callable[[Row], datetime]
    zone_h: float
    columns: Mapping[str, tuple[str, float]]
    missing: frozenset[str] = _NO_VALUE
    kind: Kind = Kind.AIR


def _epa_time(row: Row) -> datetime:
    return datetime.strptime(row["Time"], "%m/%d/%Y %H:%M")  # noqa: DTZ007  the zone stands in the format


def _uci_time(row: Row) -> datetime:
    return datetime.strptime(f"{row['Date']} {row['Time']}", "%d/%m/%Y %H:%M:%S")  # noqa: DTZ007  as above


def _beijing_time(row: Row) -> datetime:
    return datetime(int(row["year"]), int(row["month"]), int(row["day"]), int(row["hour"]))  # noqa: DTZ001  as above


EPA = SeriesFormat(
    header_lines=6,
    time=_epa_time,
    zone_h=-5,  # local standard time all year round
    columns={
        "NO2 (ppb)": ("no2", NO2_UG_M3_PER_PPB),
        "O3 (ppb)": ("o3", O3_UG_M3_PER_PPB),
        "PM2.5 (µg/m³)": ("pm2_5", 1),
        "TEMP (°C)": ("temperature", 1),
        "RH (%)": ("humidity", 1),
        "DP (°C)": ("dew_point", 1),
    },
)
"""EPA sensortoolkit's example sensors."""

UCI = SeriesFormat(
    header_lines=0,
    time=_uci_time,
    zone_h=1,
    columns={
        "CO_GT": ("co", 1000),
        "NO2_GT": ("no2", 1),
        "NOx_GT": ("nox", NO2_UG_M3_PER_PPB),
        "T": ("temperature", 1),
        "RH": ("humidity", 1),
    },
    missing=frozenset({"", "-200"}),
)
"""UCI "Air Quality" (De Vito 2008)."""

BEIJING = SeriesFormat(
    header_lines=0,
    time=_beijing_time,
    zone_h=8,
    columns={
        "PM2.5": ("pm2_5", 1),
        "PM10": ("pm10", 1),
        "SO2": ("so2", 1),
        "NO2": ("no2", 1),
        "CO": ("co", 1),
        "O3": ("o3", 1),
        "TEMP": ("temperature", 1),
        "PRES": ("pressure", 1),
        "DEWP": ("dew_point", 1),
        "WSPM": ("wind_speed", 1),
    },
)
"""UCI "Beijing Multi-Site Air Quality"."""


class SeriesRecord(Record):
    """One row: the quantities of one device at one time."""

    kind: Kind

    def __init__(self, time: int, kind: Kind, device_id: str, values: dict[str, float]) -> None:
        self.time = time
        self.kind = kind
        self.device_id = device_id
        self._values = values

    def message(self, shift_us: int, seq: int) -> Message:
        """The message of this row at another time."""
        time = self.time + shift_us
        return own_message(time, self.kind, self.device_id, time, self._values, seq)


def read_rows(lines: Iterable[str], form: SeriesFormat, device_id: str) -> Iterator[Record]:
    """Rows that hold at least one value, in the order of the file; a cut with some of the columns will do.

    Raises:
        ValueError: a row cannot be read, or no column of the format is there.
    """
    lines = iter(lines)
    for _ in range(form.header_lines):
        next(lines, "")
    reader = csv.DictReader(lines)
    columns = {name: stored for name, stored in form.columns.items() if name in (reader.fieldnames or ())}
    if not columns:
        raise ValueError(f"no column {' or '.join(sorted(form.columns))}")
    zone = timezone(timedelta(hours=form.zone_h))
    for row in reader:
        values = {
            quantity: _stored(row[column], factor)
            for column, (quantity, factor) in columns.items()
            if row[column] not in form.missing
        }
        if values:
            yield SeriesRecord(datetime_us(form.time(row).replace(tzinfo=zone)), form.kind, device_id, values)


def read_table(lines: Iterable[str], device_id: str, quantity: str) -> Iterator[Record]:
    """Rows of one value each, in the order of the file.

    Columns are `time` or `timestamp` (ISO 8601; UTC when it names no zone, as the Numenta Anomaly Benchmark writes) and
    `value`; `device`, `quantity` and `channel` where several series share a file.

    Args:
        lines: of the file, its header first.
        device_id: of rows that name none.
        quantity: of rows that name none.

    Raises:
        ValueError: a row cannot be read, or a column is not there.
    """
    reader = csv.DictReader(lines)
    names = reader.fieldnames or ()
    time = next((name for name in ("time", "timestamp") if name in names), None)
    if time is None or "value" not in names:
        raise ValueError("no column value, or neither time nor timestamp")
    for row in reader:
        if None in row.values():
            raise ValueError(f"line {reader.line_num} is short")
        if row["value"] in _NO_VALUE:
            continue
        word = row.get("quantity") or quantity
        if word not in QUANTITIES:
            raise ValueError(f"line {reader.line_num}: there is no quantity {word!r}")
        channel = row.get("channel")
        values = {f"{word}/{channel}" if channel else word: _stored(row["value"], 1)}
        moment = datetime.fromisoformat(row[time])
        at = datetime_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        yield SeriesRecord(at, QUANTITIES[word].kind, row.get("device") or device_id, values)


def _stored(text: str, factor: float) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no measured value")
    return value if factor == 1 else round(value * factor, 3)
