"""The operating day lasts to about 04:30: what follows what at a stop is a matter of it, not of midnight."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from pulssi.frames import VEHICLES, Indicators, encode
from pulssi.partitions import Record
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S, parse_iso_us
from pulssi.topics import Topics
from streams.transit.processor import TransitProcessor

TOPICS = Topics("t", 4)


def departure(number, local, day, start):
    time = parse_iso_us(f"{local}+02:00")
    return dict.fromkeys(VEHICLES.names) | {
        "event_id": number, "vehicle": f"0012/{number:05d}", "journey_type": "journey", "event": "dep",
        "route": "1001", "direction": 1, "trip": f"1001/1/{day}/{start}", "stop": 7, "delay_s": 0,
        "scheduled_time": time, "event_time": time, "receive_time": time + 100_000,
    }  # fmt: skip


def headways(departures):
    """Seconds of every headway at the stop."""
    processor, names, found = TransitProcessor(0, StreamsSettings(), TOPICS), {}, {}
    outputs = []
    for offset, row in enumerate(departures):
        frame = encode(pa.RecordBatch.from_pylist([row], schema=VEHICLES))
        outputs += processor.process([Record(offset, None, frame, {})])
    for output in outputs + processor.tick(departures[-1]["receive_time"] + 10**10):
        if output.topic == TOPICS.series:
            info = json.loads(output.value)
            names[info["series_id"]] = info["device_id"], info["quantity"]
            continue
        rows = Indicators.decode(output.value)
        for series, start, n, total in zip(rows.series_id, rows.window_start, rows.n, rows.n * rows.mean, strict=True):
            if names[int(series)] == ("stop:7:1001:1", "headway") and start % (3600 * US_PER_S) == 0:
                found[int(start)] = int(n), float(total)
    return sum(n for n, _ in found.values()), sum(total for _, total in found.values())


@pytest.mark.parametrize(
    ("departures", "expected"),
    [
        ([("2026-11-23T23:55:00", "2026-11-23", "23:50"), ("2026-11-24T00:15:00", "2026-11-23", "00:10")], (1, 1200.0)),
        ([("2026-11-24T04:20:00", "2026-11-23", "04:15"), ("2026-11-24T04:25:00", "2026-11-23", "04:20")], (1, 300.0)),
        ([("2026-11-24T04:20:00", "2026-11-23", "04:15"), ("2026-11-24T04:40:00", "2026-11-24", "04:35")], (0, 0.0)),
        ([("2026-11-23T05:00:00", "2026-11-23", "05:00"), ("2026-11-24T05:00:00", "2026-11-24", "05:00")], (0, 0.0)),
    ],
    ids=["over midnight", "before its end", "over its end", "the same start on two days"],
)
def test_a_headway_is_between_vehicles_of_one_operating_day(departures, expected):
    assert headways([departure(number, *one) for number, one in enumerate(departures)]) == expected
