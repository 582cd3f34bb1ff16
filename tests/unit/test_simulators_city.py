"""The simulated city: reproducible, within the range of its quantities, true to its own ground truth."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from pulssi.geography import district_of, load_places
from pulssi.quantities import QUANTITIES
from pulssi.times import parse_iso_us
from simulators.city.air import EPISODE_STATION, AirStations
from simulators.city.city import City, CityOptions
from simulators.city.faults import FaultKind
from simulators.city.malformed import KINDS
from simulators.city.noise import normal, smooth, uniform
from simulators.city.rhythm import local_hours, traffic_level
from simulators.city.traffic import TrafficStations
from simulators.city.transit import Buses, geohash

S = 1_000_000
MONDAY = parse_iso_us("2026-11-23T06:00:00Z")  # eight in the morning in Helsinki
SUNDAY = parse_iso_us("2026-11-22T06:00:00Z")


def city(**options):
    return City(CityOptions(**{"seed": 7, "start": MONDAY, "for_s": 60, **options}))


def live(one, seconds, step_us=S):
    out = []
    for at in range(MONDAY, MONDAY + seconds * S, step_us):
        out += one.between(at, min(at + step_us, MONDAY + seconds * S))
    return out + one.rest()


@pytest.fixture(scope="module")
def minute():
    """One minute of a city with everything in it: its messages and its truths."""
    one = city(episode=True)
    messages = live(one, 60)
    return messages, one.truths() + one.new_truths()


def values_of(message):
    """Quantities of a message of our own format, in either payload."""
    body = json.loads(message.payload)
    return body if isinstance(body, dict) else {record["n"]: record["v"] for record in body[1:]}


def content(messages):
    return [(message.send_time, message.topic, message.payload, message.fault) for message in messages]


def test_the_same_seed_gives_the_same_messages():
    assert content(live(city(), 20)) == content(live(city(), 20))


def test_another_seed_gives_other_messages():
    assert content(live(city(), 5)) != content(live(city(seed=8), 5))


@pytest.mark.parametrize("step_us", [70_001, 330_000, 5 * S])
def test_spans_may_be_cut_anywhere(step_us):
    whole = live(city(faults=False), 10)
    cut = live(city(faults=False), 10, step_us)
    assert sorted(content(cut)) == sorted(content(whole))
    assert [message.send_time for message in cut] == sorted(message.send_time for message in cut)


def test_every_station_and_each_kind_of_device_speaks_in_every_interval():
    messages = live(city(faults=False), 10)
    topics = Counter(message.topic.decode().split("/")[1 if message.topic[:1] == b"/" else 0] for message in messages)
    assert topics["pulssi"] == 12 * 10
    assert topics["tms-v2"] == 71 * 8 * 10
    assert topics["weather-v2"] == 2 * 6 * 10
    assert topics["hfp"] > 200


def test_seqs_of_a_device_have_no_gaps_and_begin_above_those_of_earlier_runs():
    for start in (MONDAY, MONDAY + 30 * S):
        one = City(CityOptions(seed=7, start=start, faults=False))
        seqs = [message.seq for message in one.between(start, start + 9 * S) if message.device_id == "fmi-100662"]
        assert seqs == list(range(start, start + 9))


def test_values_stay_within_the_range_of_their_quantity_all_week():
    places = load_places()
    air, traffic = AirStations(3, places.of_kind("air")), TrafficStations(3, places.of_kind("traffic"))
    times = MONDAY + np.arange(7 * 96) * 900 * S
    for station in range(12):
        values = air.values(np.full(len(times), station), times)
        for name in air.quantities(station):
            quantity = QUANTITIES[name]
            assert quantity.low <= values[name].min(), name
            assert values[name].max() <= quantity.high, name
            assert np.isfinite(values[name]).all()
        assert values["pm10"].max() < 100  # no false alarm of fresh particles
        assert values["pm2_5"].max() < 50
    for station in range(0, 71, 9):
        for values in traffic.values(np.full(len(times), station), times):
            assert set(np.unique(values["flow"] % 12)) == {0}
            assert values["speed_mean"].min() >= 2
            assert values["free_flow_share"].max() <= 115


def test_rush_hours_are_busier_than_nights_and_sundays_calmer_than_mondays():
    hours = np.arange(24) * 3600 * S
    monday = traffic_level(parse_iso_us("2026-11-22T22:00:00Z") + hours)
    sunday = traffic_level(parse_iso_us("2026-11-21T22:00:00Z") + hours)
    assert monday.argmax() in {8, 16, 17}
    assert monday.argmin() in {0, 1, 2, 3, 4, 23}
    assert sunday.max() < 0.7 * monday.max()
    independence_day = traffic_level(np.array([parse_iso_us("2027-12-06T06:00:00Z")]))  # a Monday
    assert independence_day < 0.5 * traffic_level(np.array([MONDAY]))


def test_local_hours_follow_the_clock_change():
    before, after = parse_iso_us("2026-10-24T21:30:00Z"), parse_iso_us("2026-10-25T21:30:00Z")
    hours, rest = local_hours(np.array([before, after]))
    assert hours.tolist() == [0.5, 23.5]
    assert rest.tolist() == [True, True]


def test_road_works_slow_the_stations_around_and_are_told_as_truth():
    traffic = TrafficStations(7, load_places().of_kind("traffic"))
    day = parse_iso_us("2026-11-23T00:00:00Z")
    works = max(traffic.road_works(day, day + 86_400 * S), key=lambda one: traffic_level(np.array([one.start]))[0])
    during = works.start + np.arange(30) * S
    here = np.full(30, works.station)
    slow = [values["free_flow_share"].mean() for values in traffic.values(here, during)]
    before = works.start - 1800 * S + np.arange(30) * S
    free = [values["free_flow_share"].mean() for values in traffic.values(here, before)]
    assert min(slow) < min(free)
    one = City(CityOptions(seed=7, start=works.start + S, for_s=60))
    assert ("road_works", traffic.devices[works.station]) in {(truth.kind, truth.subject) for truth in one.truths()}


def test_road_works_that_begin_during_a_run_are_told_when_they_do():
    traffic = TrafficStations(7, load_places().of_kind("traffic"))
    works = traffic.road_works(MONDAY, MONDAY + 86_400 * S)[-1]
    one = City(CityOptions(seed=7, start=works.start - 5 * S, faults=False))
    truth = ("road_works", traffic.devices[works.station], works.start, works.end)

    def told(truths):
        return [(one.kind, one.subject, one.start_time, one.end_time) for one in truths]

    assert truth not in told(one.truths())
    list(one.between(works.start - 5 * S, works.start))
    assert truth in told(one.new_truths())
    assert one.new_truths() == []


def test_the_episode_crosses_the_thresholds_at_its_station_alone_and_ends(minute):
    messages = [m for m in minute[0] if m.topic.startswith(b"pulssi") and not m.refusals]
    pm10 = {}
    for message in messages:
        pm10.setdefault(message.device_id, []).append(values_of(message)["pm10"])
    bad = {device for device, values in pm10.items() if max(values) > 100}
    assert bad == {EPISODE_STATION}
    high = [second for second, value in enumerate(pm10[EPISODE_STATION]) if value > 100]
    assert 20 <= high[0] <= 24
    assert 44 <= high[-1] <= 52
    assert pm10[EPISODE_STATION][-1] < 80


def test_the_backlog_comes_in_order_and_ends_before_the_start():
    messages = list(city(backfill_s=600).backlog())
    times = [message.send_time for message in messages]
    assert times == sorted(times)
    assert times[-1] < MONDAY
    assert times[0] >= MONDAY - 600 * S
    readings = [message for message in messages if message.device_id == "fmi-100662"]
    assert len(readings) == 10
    for before, after in pairwise(readings):
        assert after.readings[0].event_time - before.readings[0].event_time == 60 * S


def test_faults_of_every_kind_leave_their_mark_and_their_truth(minute):
    messages, truths = minute
    truths = [truth for truth in truths if truth.kind.startswith("fault")]
    marks = Counter(message.fault.split(":")[0] for message in messages)
    assert {"duplicate", "reorder", "clock_skew", "clock_ahead", "stuck", "drift", "spike", "malformed"} < set(marks)
    assert {truth.kind for truth in truths} == {f"fault:{kind}" for kind in FaultKind}
    assert marks["malformed"] == len(KINDS)
    assert {m.fault for m in messages if m.refusals} == {f"malformed: {bad.name}" for bad in KINDS}
    assert marks["spike"] == 1
    for truth in truths:
        inside = [
            m for m in messages if m.device_id == truth.subject and truth.start_time <= m.send_time < truth.end_time
        ]
        if truth.kind == "fault:dropout":
            assert not [m for m in inside if not m.fault]
        else:
            assert any(m.fault for m in messages if m.device_id == truth.subject)


def test_copies_stand_beside_their_originals(minute):
    messages, _ = minute
    originals = Counter(message.content for message in messages if not message.copy)
    copies = [message.content for message in messages if message.copy]
    assert copies
    assert all(originals[content_] == 1 for content_ in copies)


def test_bad_input_is_different_each_time(minute):
    messages = [message for message in minute[0] if message.refusals]
    assert len({message.content for message in messages}) == len(messages)


def test_buses_drive_along_their_path_and_stop_at_its_stops():
    buses = Buses(7)
    messages = list(buses.messages(MONDAY, MONDAY + 200 * S, S))
    by_vehicle = {}
    for message in messages:
        by_vehicle.setdefault(message.device_id, []).append(json.loads(message.payload))
    assert len(by_vehicle) > 30
    events = Counter(next(iter(fields)) for rows in by_vehicle.values() for fields in rows)
    assert set(events) == {"VP", "DUE", "ARR", "ARS", "DOO", "DOC", "PDE", "DEP"}
    for rows in by_vehicle.values():
        fields = [next(iter(row.values())) for row in rows]
        for before, after in pairwise(fields):
            if before["start"] == after["start"]:
                assert after["odo"] >= before["odo"]
                assert abs(after["lat"] - before["lat"]) < 0.001
        assert all(0 <= one["spd"] < 30 for one in fields)
    assert district_of(next(iter(by_vehicle.values()))[0]["VP"]["lat"], 24.94) is not None


def test_a_bus_tells_the_same_however_time_is_cut():
    whole = [message.payload for message in Buses(7).messages(MONDAY, MONDAY + 400 * S, 10 * S)]
    buses, cut, at = Buses(7), [], MONDAY
    while at < MONDAY + 400 * S:
        step = 7_300_001
        cut += buses.messages(at, min(at + step, MONDAY + 400 * S), 10 * S)
        at += step
    assert [message.payload for message in cut] == whole


def test_stop_events_agree_with_the_timetable_that_they_name():
    for message in Buses(7).messages(MONDAY, MONDAY + 300 * S, S):
        ((event, fields),) = json.loads(message.payload).items()
        if event in {"ARS", "DEP"}:
            late = (parse_iso_us(fields["tst"]) - parse_iso_us(fields["ttarr"])) / S
            assert abs(message.event.delay_s - late) <= 0.5
            assert -60 <= message.event.delay_s < 900


def test_no_bus_is_in_two_places_at_once():
    trips = Buses(7).trips(MONDAY - 1800 * S, MONDAY + 1800 * S)
    by_vehicle = {}
    for trip in trips:
        by_vehicle.setdefault(trip.vehicle_id, []).append((trip.begin, trip.end))
    for spans in by_vehicle.values():
        assert all(a[1] < b[0] for a, b in pairwise(sorted(spans)))


def test_the_geohash_is_that_of_the_documentation():
    assert geohash(60.123, 24.789) == "60;24/17/28/39"


def test_chance_is_even_normal_and_smooth():
    counts = np.arange(20_000)
    even, bell = uniform(5, counts), normal(5, counts)
    assert abs(even.mean() - 0.5) < 0.01
    assert abs(bell.mean()) < 0.03
    assert abs(bell.std() - 1) < 0.02
    assert abs(np.corrcoef(bell[1:], bell[:-1])[0, 1]) < 0.03
    line = smooth(5, np.arange(0, 600 * S, S), 60)
    assert np.abs(np.diff(line)).max() < 0.25
