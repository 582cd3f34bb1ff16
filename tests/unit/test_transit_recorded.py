"""Delays of buses that HSL published, against a computation from the raw messages that shares no code with ours."""

import gzip
import json
from collections import defaultdict
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ingest.decoders.hsl_hfp import decode
from pulssi.frames import VEHICLES, IndicatorKind, Indicators, encode
from pulssi.partitions import Record
from pulssi.series import hash64, series_id
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


def from_processor(lines, together=None, **limits):
    """Outputs of the processor; messages whose times of receipt have the same beginning come in one record."""
    settings = StreamsSettings(windows_s=(WINDOW_S,), horizon_s=7200, **limits)
    processor = TransitProcessor(0, settings, TOPICS)
    outputs = []
    for offset, (_, group) in enumerate(groupby(lines, key=lambda line: line[0][:together])):
        rows = [decode(topic, payload.encode(), int(seconds(time) * 1_000_000)) for time, topic, payload in group]
        batch = pa.RecordBatch.from_pylist([dict(zip(VEHICLES.names, row, strict=True)) for row in rows], VEHICLES)
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


STEP_S = 30
LATE_S = 30


def steps(lines):
    """(number, [(vehicle, (time and id of the event), levels, message)]) of every 30 s in which something came."""
    found = defaultdict(list)
    for received, topic, payload in lines:
        levels = topic.split("/")
        (message,) = json.loads(payload).values()
        key = min(seconds(message["tst"]), seconds(received)), hash64(f"{topic}\0{payload}".encode())
        found[int(seconds(received) // STEP_S)].append((f"veh:{levels[7]}:{levels[8]}", key, levels, message))
    last = seconds(lines[-1][0]) - LATE_S
    return [(number, found[number]) for number in sorted(found) if (number + 1) * STEP_S <= last]


def on_journey(levels, message):
    under_way = levels[3:5] == ["journey", "ongoing"] and levels[5] not in ("vjout", "bout", "dout")
    return under_way and raw_delay(levels[5], message) is not None and levels[13] != "EOL"


def lost_and_found(lines, after_s):
    """Steps in which each vehicle is missing, by its last message: a count of steps in which only others came."""
    missing, last, heard_at, begun, silent = defaultdict(list), {}, {}, {}, defaultdict(int)
    for number, rows in steps(lines):
        heard = set()
        for vehicle, key, levels, message in sorted(rows, key=lambda row: row[:2]):
            if vehicle in last and key <= last[vehicle][0]:
                continue
            journey = (levels[9:11], levels[12], message["oday"]) if on_journey(levels, message) else None
            if journey is None or journey != last.get(vehicle, (0, None))[1]:
                begun[vehicle] = key[0]
            last[vehicle] = key, journey
            heard.add(vehicle)
        for vehicle, ((time, _), journey) in last.items():
            silent[vehicle] = 0 if vehicle in heard else silent[vehicle] + STEP_S
            if vehicle in heard:
                heard_at[vehicle] = number
            forgotten = (number - heard_at[vehicle]) * STEP_S > 7200 + after_s
            if journey and silent[vehicle] >= after_s and time - begun[vehicle] >= 60 and not forgotten:
                missing[vehicle].append(number * STEP_S)
    return missing


def processed(lines, quantity, **limits):
    """Steps with a value above 0 and what it was, by device."""
    found, names = defaultdict(dict), {}
    for output in from_processor(lines, together=len("2023-10-29T13:24:1"), **limits):
        if output.topic == TOPICS.series:
            info = json.loads(output.value)
            if info["quantity"] == quantity:
                names[info["series_id"]] = info["device_id"]
            continue
        rows = Indicators.decode(output.value)
        for row in np.flatnonzero((rows.kind == IndicatorKind.VEHICLE) & (rows.value > 0)).tolist():
            if int(rows.series_id[row]) in names:
                start = int(rows.window_start[row]) // 1_000_000
                found[names[int(rows.series_id[row])]][start] = float(rows.value[row])
    return found


@pytest.mark.parametrize("after_s", [90, 180])
def test_buses_vanish_where_the_recording_leaves_them_on_their_way(lines, after_s):
    found = processed(lines, "vanished", vanished_after_s=after_s)
    expected = lost_and_found(lines, after_s)
    assert {device: list(steps) for device, steps in found.items()} == expected
    assert "veh:0012:01913" in expected  # its last message is due at a stop


def standing(lines, after_s, radius_m):
    """Seconds without movement away from stops, by bus and step."""
    stood, place, last = defaultdict(dict), {}, {}
    for number, rows in steps(lines):
        for vehicle, key, levels, message in sorted(rows, key=lambda row: row[:2]):
            if vehicle in last and key <= last[vehicle][0]:
                continue
            journey = (levels[9:13], message["oday"]) if on_journey(levels, message) else None
            goes_on = vehicle in last and journey == last[vehicle][1]
            last[vehicle] = key, journey
            excused = message.get("stop") is not None or message.get("drst") == 1 or (message.get("spd") or 0) >= 2
            if journey is None or excused or not goes_on:
                place.pop(vehicle, None)
            if journey is None or excused or message["lat"] is None:
                continue
            lat, lon = message["lat"], message["long"]
            first = place.get(vehicle)
            moved = first and np.hypot(lat - first[1], (lon - first[2]) * np.cos(np.radians(lat))) * 111_195 > radius_m
            place[vehicle] = (key[0], lat, lon, key[0]) if first is None or moved else (*first[:3], key[0])
        for vehicle, (since, _, _, until) in place.items():
            if until - since >= after_s:
                stood[vehicle][number * STEP_S] = until - since
    return stood


def without_stops(lines):
    """The same messages from buses that know neither stops nor doors."""
    found = []
    for received, topic, payload in lines:
        ((name, message),) = json.loads(payload).items()
        found.append((received, topic, json.dumps({name: message | {"stop": None, "drst": None}})))
    return found


@pytest.mark.parametrize(("after_s", "radius_m"), [(30, 5.0), (60, 25.0), (300, 25.0)])
def test_buses_stand_where_their_raw_positions_do(lines, after_s, radius_m):
    assert standing(lines, after_s, radius_m) == processed(lines, "standing_s", standing_after_s=after_s) == {}
    lines = without_stops(lines)  # all that stood did so at stops
    limits = {"standing_after_s": after_s, "standing_radius_m": radius_m, "vanished_after_s": 7200}
    found, expected = processed(lines, "standing_s", **limits), standing(lines, after_s, radius_m)
    assert found.keys() == expected.keys() != set()
    assert all(found[bus] == pytest.approx(expected[bus], abs=1e-3) for bus in expected)
