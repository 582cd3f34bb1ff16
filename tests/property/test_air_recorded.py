"""Recorded air: what the stream of readings says equals a batch computation over the whole series."""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from pulssi.frames import IndicatorKind, Indicators, Readings
from pulssi.messages import SeriesInfo
from pulssi.partitions import Record
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.catalogue import Catalogue
from streams.readings_processor import ReadingsProcessor
from tests.fixtures import recorded
from tests.fixtures.air import HOUR_US, info
from tests.property.air_oracle import rows_of

CUT = Path(__file__).parents[1] / "data" / "beijing_aotizhongxin"
COMPOUNDS = {"PM2.5": "pm2_5", "PM10": "pm10", "SO2": "so2", "NO2": "no2", "CO": "co", "O3": "o3"}
RANGE = {"pm2_5": (-5, 1000), "pm10": (-5, 2000), "so2": (-5, 2000), "no2": (-5, 1000), "co": (-50, 60_000)}
RANGE["o3"] = (-5, 600)
CHINA = ZoneInfo("Asia/Shanghai")


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def beijing(path):
    """{station: {compound: {hour: ug/m3}}}."""
    found = {name: {} for name in COMPOUNDS.values()}
    for line in lines(path):
        local = datetime(*(int(line[name]) for name in ("year", "month", "day", "hour")), tzinfo=CHINA)
        for column, name in COMPOUNDS.items():
            if line[column] != "NA":
                found[name][int(local.timestamp()) // 3600] = float(line[column])
    return {"aotizhongxin": found}


def fires(path):
    """The same of many monitors of PM2.5."""
    found = {}
    for line in lines(path):
        moment = datetime.fromisoformat(line.pop("datetime").replace("Z", "")).replace(tzinfo=UTC)
        for station, value in line.items():
            if value not in ("", "NA"):
                found.setdefault(station, {"pm2_5": {}})["pm2_5"][int(moment.timestamp()) // 3600] = float(value)
    return found


def records(stations, catalogue):
    """Readings in order of time, some days in each record, and one more of each to close the last hours."""
    rows = []
    for station, series in stations.items():
        for compound, hours in series.items():
            known = info(station, compound)
            catalogue.add(known)
            rows += [(hour, known.series_id, value) for hour, value in hours.items()]
    end = max(rows)[0] + 2
    rows += [(end, series_id, 0.0) for series_id in sorted({series_id for _hour, series_id, _value in rows})]
    rows.sort()
    step = 5000
    for offset in range(0, len(rows), step):
        hour, series_id, value = (np.array(column) for column in zip(*rows[offset : offset + step], strict=True))
        time = hour * HOUR_US
        n = len(hour)
        frame = Readings(series_id, time, time, value, np.zeros(n, np.uint16), np.full(n, -1)).encode()
        yield Record(offset, None, frame, {})


def only_ranges(catalogue):
    """Limits without those of the checks that leave out more than impossible values: the batch knows only these."""
    return lambda ids: replace(catalogue.limits(ids), stuck_s=np.full(len(ids), np.inf))


def streamed(stations, zone):
    """{station: {key as the oracle has it: result}} and what the stream said about the series."""
    settings = StreamsSettings(pane_s=3600, windows_s=(3600,), zone=zone)
    catalogue, names, found = Catalogue(), {}, {station: {} for station in stations}
    feed = list(records(stations, catalogue))
    core = ReadingsProcessor(0, settings, Topics(), only_ranges(catalogue), None, catalogue.get)
    for record in feed:
        for output in core.process([record]):
            if output.topic == Topics().series:
                named = msgspec.json.decode(output.value, type=SeriesInfo)
                names[named.series_id] = named
            elif dict(output.headers)["kinds"] == b"window":
                collect(Indicators.decode(output.value), names, found)
    return found


def collect(rows, names, found):
    rows = rows.take(rows.kind == IndicatorKind.AIR_INDEX)
    columns = (
        rows.series_id,
        rows.window_s,
        rows.window_start // HOUR_US,
        rows.value,
        rows.class_,
        rows.mean,
        rows.last,
    )
    for series_id, window_s, hour, *result in zip(*(column.tolist() for column in columns), strict=True):
        named = names[series_id]
        found[named.device_id][named.quantity, named.channel, window_s, hour] = tuple(result)


def same(found, expected):
    return all(
        math.isnan(one) if other is None else math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
        for one, other in zip(found, expected, strict=True)
    )


RECORDED = [
    *((path, beijing, "Asia/Shanghai") for path in CUT.glob("*.csv.gz")),
    *((path, beijing, "Asia/Shanghai") for path in recorded.whole("beijing_aotizhongxin")),
    *((path, fires, "America/Los_Angeles") for path in recorded.whole("airnow_pm25_fires", "*_hourly.csv.gz")),
]


def in_range(compound, value):
    low, high = RANGE[compound]
    return value if low <= value <= high else None


@pytest.mark.parametrize(("path", "read", "zone"), RECORDED, ids=lambda one: getattr(one, "name", ""))
def test_the_indices_of_recorded_air_equal_a_batch_computation(path, read, zone):
    stations = read(path)
    found = streamed(stations, zone)
    for station, series in stations.items():
        hours = {
            compound: {hour: in_range(compound, value) for hour, value in one.items()}
            for compound, one in series.items()
        }
        expected = rows_of(hours, zone=ZoneInfo(zone))
        assert found[station].keys() == expected.keys()
        wrong = [key for key, row in expected.items() if not same(found[station][key], row)]
        assert not wrong, [(key, found[station][key], expected[key]) for key in wrong[:5]]
        assert expected
