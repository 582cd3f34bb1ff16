"""Delays of buses that HSL published, against a computation from the raw messages that shares no code with ours."""

import gzip
import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ingest.decoders.hsl_hfp import decode
from pulssi.frames import VEHICLES, IndicatorKind, Indicators, encode
from pulssi.partitions import Record
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.transit.processor import TransitProcessor

RECORDED = Path(__file__).parents[2] / "simulators/data/hsl_hfp/hfp_all_unique.txt.gz"
TOPICS = Topics("t", 4)
WINDOW_S = 300


@pytest.fixture(scope="module")
def lines():
    with gzip.open(RECORDED, "rt", encoding="utf-8") as file:
        parts = [line.rstrip("\n").split(" ", 1) for line in file]
    found = []
    for received, rest in parts:
        topic, _, payload = rest.partition(" {")
        found.append((received, topic, "{" + payload))
    return sorted(found)


def seconds(text):
    return datetime.fromisoformat(text).timestamp()


def raw_delay(event, message):
    """Timetable against time at a stop, else what the bus says, late = positive."""
    planned = {"due": "ttarr", "arr": "ttarr", "ars": "ttarr"} | dict.fromkeys(("pde", "dep", "pas", "wait"), "ttdep")
    scheduled = message.get(planned.get(event, ""))
    if scheduled:
        return round(seconds(message["tst"]) - seconds(scheduled))
    return None if message["dl"] is None else -message["dl"]


def from_raw(lines):
    """Delays by device and five minutes ending at each minute."""
    windows = defaultdict(list)
    for _, topic, payload in lines:
        levels = topic.split("/")
        if levels[3:5] != ["journey", "ongoing"]:
            continue
        (message,) = json.loads(payload).values()
        delay = raw_delay(levels[5], message)
        if delay is None:
            continue
        minute = int(seconds(message["tst"]) // 60)
        for device in (f"veh:{levels[7]}:{levels[8]}", f"route:{levels[9]}:{levels[10]}"):
            for start in range(minute - 4, minute + 1):
                windows[series_id(device, "delay"), start * 60_000_000].append(delay)
    return windows


def from_processor(lines):
    settings = StreamsSettings(windows_s=(WINDOW_S,), horizon_s=7200)
    processor = TransitProcessor(0, settings, TOPICS)
    outputs = []
    for offset, (received, topic, payload) in enumerate(lines):
        row = decode(topic, payload.encode(), int(seconds(received) * 1_000_000))
        batch = pa.RecordBatch.from_pylist([dict(zip(VEHICLES.names, row, strict=True))], schema=VEHICLES)
        outputs += processor.process([Record(offset, None, encode(batch), {})])
    outputs += processor.tick(4_000_000_000_000_000)
    return outputs


def test_the_median_delay_of_every_bus_and_route_is_that_of_the_raw_messages(lines):
    found = {}
    for output in from_processor(lines):
        if output.topic == TOPICS.indicators:
            rows = Indicators.decode(output.value)
            for row in range(len(rows)):
                if rows.kind[row] == IndicatorKind.DELAY and rows.window_s[row] == WINDOW_S:
                    found[int(rows.series_id[row]), int(rows.window_start[row])] = (
                        int(rows.n[row]),
                        float(rows.value[row]),
                        float(rows.mean[row]),
                    )
    expected = {key: (len(one), np.median(one), np.mean(one)) for key, one in from_raw(lines).items()}
    assert len(expected) > 100
    assert found.keys() == expected.keys()
    assert [found[key] for key in expected] == [pytest.approx(one) for one in expected.values()]


def test_every_series_is_described_before_its_first_row(lines):
    described = set()
    for output in from_processor(lines):
        if output.topic == TOPICS.series:
            described.add(json.loads(output.value)["series_id"])
        else:
            assert set(Indicators.decode(output.value).series_id.tolist()) <= described
    assert series_id("veh:0012:01913", "delay") in described
    assert series_id("route:4400:1", "on_time_share") in described
