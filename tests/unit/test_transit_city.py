"""The buses of the simulated city: none is missing and none stands, until some are taken away or held, with alerts."""

from __future__ import annotations

import json
from itertools import groupby

import pyarrow as pa
import pytest

from alerts.processor import AlertsProcessor
from alerts.rules import load_rules
from ingest.decoders.hsl_hfp import decode
from pulssi.frames import VEHICLES, IndicatorKind, Indicators, encode
from pulssi.messages import SeriesInfo
from pulssi.partitions import Record
from pulssi.settings import StreamsSettings
from pulssi.times import US_PER_S, parse_iso_us
from pulssi.topics import Topics
from simulators.city.transit import Buses
from streams.transit.processor import TransitProcessor

TOPICS = Topics("t", 4)
START = parse_iso_us("2026-11-24T06:00:00Z")
LASTING_S = 2700
FIRST, LAST = START + 600 * US_PER_S, START + 2000 * US_PER_S
LASTED_S = (LAST - FIRST) // US_PER_S


@pytest.fixture(scope="module")
def city():
    """Events of buses, in order of receipt."""
    messages = Buses(1).messages(START, START + LASTING_S * US_PER_S, 10 * US_PER_S)
    found = [decode(one.topic.decode(), one.payload, one.send_time + 100_000) for one in messages]
    return [dict(zip(VEHICLES.names, row, strict=True)) for row in found]


def on_one_trip(city):
    """Trips that are under way all the time between FIRST and LAST, each with its vehicle."""
    begun = {row["trip"]: row["vehicle"] for row in city if row["event_time"] < FIRST}
    going = {row["trip"] for row in city if row["event_time"] > LAST}
    return sorted((trip, vehicle) for trip, vehicle in begun.items() if trip in going)


def streamed(rows):
    """Outputs of the processor for frames of ten seconds, as records and descriptions."""
    processor, infos, frames = TransitProcessor(0, StreamsSettings(), TOPICS), {}, []
    for offset, (_, group) in enumerate(groupby(rows, key=lambda row: row["receive_time"] // (10 * US_PER_S))):
        frame = encode(pa.RecordBatch.from_pylist(list(group), schema=VEHICLES))
        for output in processor.process([Record(offset, None, frame, {})]):
            if output.topic == TOPICS.series:
                infos[int(output.key)] = SeriesInfo(**json.loads(output.value))
            else:
                frames.append(Record(len(frames), None, output.value, dict(output.headers)))
    return frames, infos


def count(frames):
    kinds = [Indicators.decode(frame.value).kind for frame in frames]
    return sum((kind == IndicatorKind.VEHICLE).sum() for kind in kinds)


def told(frames, infos):
    """(rule, device, state, s after FIRST, sentence) of what the shipped rules say of vehicles."""
    alerts = AlertsProcessor(load_rules(), 0, infos.get, TOPICS, lambda: START)
    said = [json.loads(output.value) for output in alerts.process(frames)]
    return [
        (one["rule"], one["device_id"], one["state"], (one["event_time"] - FIRST) / US_PER_S, one["texts"])
        for one in said
        if one["rule"].startswith(("vehicle", "route-standing"))
    ]


def test_no_bus_of_the_city_is_missing_or_stands(city):
    assert count(streamed(city)[0]) == 0


def test_a_bus_that_is_taken_away_on_its_journey_is_told_of_until_it_is_back(city):
    trip, vehicle = on_one_trip(city)[0]
    rows = [row for row in city if row["trip"] != trip or not FIRST <= row["event_time"] < LAST]
    said = told(*streamed(rows))
    device = "veh:" + vehicle.replace("/", ":")
    assert [one[:3] for one in said] == [("vehicle-vanished", device, state) for state in ("firing", "resolved")]
    (*_, fired, texts), (*_, resolved, _) = said
    assert 180 <= fired <= 240
    assert LASTED_S <= resolved <= LASTED_S + 60
    assert texts["en"].startswith(
        f"Vehicle {vehicle}: the vehicle is not heard in the middle of its journey (since 24 Nov"
    )


def test_buses_that_are_held_are_told_of_until_they_move_and_three_of_a_route_are_an_obstacle(city):
    by_route = {}
    for trip, vehicle in on_one_trip(city):
        by_route.setdefault(tuple(trip.split("/")[:2]), []).append((trip, vehicle))
    route, trips = max(by_route.items(), key=lambda item: len(item[1]))
    held = dict(trips[:3])
    assert len(held) == 3
    rows, places = [], {}
    for row in city:
        if row["trip"] in held and FIRST <= row["event_time"] < LAST:
            place = places.setdefault(row["trip"], (row["lat"], row["lon"]))
            if row["event"] != "vp":
                continue
            rows.append(row | dict(zip(("lat", "lon"), place, strict=True)) | {"speed": 0.0, "stop": None, "door": 0})
        else:
            rows.append(row)
    said = told(*streamed(rows))
    devices = {"veh:" + vehicle.replace("/", ":") for vehicle in held.values()}
    firing = {(rule, device): s for rule, device, state, s, _ in said if state == "firing"}
    resolved = {(rule, device): s for rule, device, state, s, _ in said if state == "resolved"}
    expected = {("vehicle-standing", device) for device in devices} | {("route-standing", ":".join(("route", *route)))}
    assert firing.keys() == resolved.keys() == expected
    assert all(600 < firing["vehicle-standing", device] <= 680 for device in devices)
    assert 300 <= firing["route-standing", ":".join(("route", *route))] <= 380
    assert all(LASTED_S <= s <= LASTED_S + 90 for s in resolved.values())
    assert {texts["en"].partition(": ")[2] for rule, *_, texts in said if texts["en"].endswith("stops.")} == {
        "the vehicle has stood still for 10\u00a0min away from stops.",
        "3 vehicles stand still away from stops.",
    }
