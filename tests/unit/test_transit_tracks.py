"""Vehicles that vanish or stand still, on tracks made by hand."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from pulssi.errors import PoisonError
from pulssi.frames import VEHICLES, IndicatorKind, Indicators, encode
from pulssi.partitions import Record
from pulssi.series import hash64
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.transit.processor import TransitProcessor
from streams.transit.tracks import Tracks

TOPICS = Topics("t", 4)
SETTINGS = StreamsSettings(vanished_after_s=180, standing_after_s=300, standing_radius_m=25.0, lateness_s_max=30)
START = 1_790_000_010  # a step begins here
A, B, C = "0012/00001", "0012/00002", "0012/00003"
FRAME = 8
M = 1 / 111_195
"""Degrees of a metre to the north."""


def at(t, vehicle=A, **fields):
    """One event, t seconds after START; a bus that drives 8 m/s to the north unless told otherwise."""
    row = dict.fromkeys(VEHICLES.names) | {
        "event_id": hash64(repr((t, vehicle, fields)).encode()), "vehicle": vehicle, "mode": "bus",
        "journey_type": "journey", "event": "vp", "route": "4400", "direction": 1, "trip": "4400/1/2026-09-21/12:00",
        "next_stop": "1130110", "lat": 60.17 + 8 * t * M, "lon": 24.94, "speed": 8.0, "door": 0, "delay_s": 30,
        "event_time": (START + t) * 1_000_000, "receive_time": (START + t) * 1_000_000 + 400_000,
    } | fields  # fmt: skip
    if "received" in row:
        row["receive_time"] = int((START + row.pop("received")) * 1_000_000)
    return row


def drive(first, end, vehicle=A, every=10, **fields):
    return [at(t, vehicle, **fields) for t in range(first, end, every)]


def stand(first, end, vehicle=A, every=10, **fields):
    """Its position wanders by ten metres."""
    place = {"speed": 0.0, "lon": 24.95} | fields
    return [at(t, vehicle, **{"lat": 60.2 + (t // 10) % 3 * 5 * M} | place) for t in range(first, end, every)]


def said(rows, quantity, device="veh:0012:00001"):
    """(s after START of the end of the step, value) of one series, in the order in which it was said."""
    rows = sorted(rows, key=lambda row: row["receive_time"])
    processor, names, found = TransitProcessor(0, SETTINGS, TOPICS), {}, []
    for offset in range(0, len(rows), FRAME):
        frame = encode(pa.RecordBatch.from_pylist(rows[offset : offset + FRAME], schema=VEHICLES))
        for output in processor.process([Record(offset, None, frame, {})]):
            if output.topic == TOPICS.series:
                info = json.loads(output.value)
                names[info["series_id"]] = info["quantity"], info["device_id"]
            elif output.topic == TOPICS.indicators:
                columns = Indicators.decode(output.value)
                for one in range(len(columns)):
                    if names[int(columns.series_id[one])] == (quantity, device):
                        assert columns.kind[one] == IndicatorKind.VEHICLE
                        end = columns.window_start[one] / 1e6 + columns.window_s[one] - START
                        found.append((int(end), float(columns.value[one])))
    return found


# -- vanished


def test_a_vehicle_that_falls_silent_on_its_journey_vanishes_and_is_found_again():
    rows = drive(0, 300) + drive(700, 900) + drive(0, 900, B)
    assert said(rows, "vanished") == [*((t, 1.0) for t in range(480, 720, 30)), (720, 0.0)]


def test_the_route_counts_the_vehicles_that_have_vanished():
    rows = drive(0, 300) + drive(0, 360, B) + drive(0, 900, C)
    counts = dict(said(rows, "vanished_vehicles", "route:4400:1"))
    assert (min(counts), counts[480], counts[540], counts[840]) == (480, 1.0, 2.0, 2.0)


@pytest.mark.parametrize(
    "last",
    [
        {"event": "vjout"},
        {"event": "bout"},
        {"next_stop": "EOL"},
        {"journey_type": "deadrun", "route": None, "direction": None, "trip": None, "delay_s": None},
        {"journey_type": "signoff"},
        {"delay_s": None},  # a journey that is to come
    ],
)
def test_a_vehicle_whose_journey_has_ended_has_not_vanished(last):
    rows = [*drive(0, 300), at(300, **last), *drive(0, 900, B)]
    assert said(rows, "vanished") == []


def test_silence_of_everybody_is_ours_and_nobody_vanishes():
    both = drive(0, 300) + drive(0, 300, B)
    assert said([*both, *drive(2000, 2100), *drive(2000, 2100, B)], "vanished") == []
    alone = [*both, *drive(2000, 2400, B)]
    assert said(alone, "vanished")[0] == (2160, 1.0)  # 180 s in which others were heard


def test_one_event_of_a_journey_that_nobody_knows_more_of_is_no_vehicle_in_service():
    stray = at(300, route="9999", trip="9999/1/2026-09-21/12:00")
    assert said([*drive(0, 300), stray, *drive(0, 900, B)], "vanished") == []


def test_a_vehicle_that_turns_to_another_journey_is_heard():
    rows = [*drive(0, 300), *drive(300, 900, direction=2, trip="4400/2/2026-09-21/12:40"), *drive(0, 900, B)]
    assert said(rows, "vanished") == []


def test_a_vehicle_that_is_heard_late_is_heard():
    """Time of silence is time of receipt: who sends a minute late all the time is not lost."""
    rows = [at(t, received=t + 59) for t in range(0, 600, 10)] + drive(0, 659, B)
    assert said(rows, "vanished") == []


def test_repetition_of_old_events_is_no_sign_of_life():
    again = [at(200) | {"receive_time": (START + t) * 1_000_000} for t in range(300, 900, 10)]
    assert said([*drive(0, 300), *again, *drive(0, 900, B)], "vanished")[0] == (480, 1.0)


def test_a_vehicle_is_given_up_after_the_horizon():
    rows = drive(0, 300) + drive(0, 8400, B, every=15)
    assert said(rows, "vanished")[-1] == (300 + 7200 + 180, 0.0)


def test_a_clock_that_is_an_hour_ahead_does_not_make_its_vehicle_vanish():
    ahead = at(100) | {"event_time": (START + 3600) * 1_000_000}
    assert said([*drive(0, 900), ahead, *drive(0, 900, B)], "vanished") == []


# -- standing


def test_a_vehicle_that_does_not_move_stands_from_the_limit_on_until_it_moves():
    rows = drive(0, 300) + stand(300, 800) + drive(800, 900) + drive(0, 900, B)
    assert said(rows, "standing_s") == [*((t, t - 310.0) for t in range(630, 810, 30)), (810, 0.0)]


@pytest.mark.parametrize("excuse", [{"stop": 1130110}, {"door": 1}, {"speed": 3.0}])
def test_a_vehicle_at_a_stop_with_an_open_door_or_with_speed_does_not_stand(excuse):
    rows = drive(0, 300) + stand(300, 800, **excuse) + drive(0, 900, B)
    assert said(rows, "standing_s") == []


def test_the_time_at_a_stop_does_not_count_for_the_time_behind_it():
    rows = [*drive(0, 300), *stand(300, 500, stop=1130110), *stand(500, 900), *drive(0, 900, B)]
    assert said(rows, "standing_s")[0] == (810, 300.0)


def test_a_vehicle_that_crawls_does_not_stand():
    rows = [at(t, lat=60.2 + 0.5 * t * M, speed=0.5) for t in range(0, 900, 10)] + drive(0, 900, B)
    assert said(rows, "standing_s") == []


def test_a_vehicle_without_position_is_not_known_to_stand():
    rows = drive(0, 300) + stand(300, 900, lat=None, lon=None) + drive(0, 900, B)
    assert said(rows, "standing_s") == []


def test_a_vehicle_that_is_not_on_its_way_may_stand():
    rows = drive(0, 300) + stand(300, 900, delay_s=None) + drive(0, 900, B)
    assert said(rows, "standing_s") == []


def test_a_vehicle_that_stood_and_vanished_is_not_known_to_stand():
    rows = drive(0, 300) + stand(300, 700) + drive(0, 1200, B)
    assert said(rows, "standing_s")[-1][1] == 0.0
    assert said(rows, "vanished")[0][1] == 1.0


def test_the_route_counts_the_vehicles_that_stand():
    rows = drive(0, 1000, C) + stand(0, 900, A) + stand(90, 900, B)
    counts = dict(said(rows, "standing_vehicles", "route:4400:1"))
    assert (min(counts), counts[330], counts[420]) == (330, 1.0, 2.0)


# -- the rest


def test_no_more_vehicles_are_followed_than_there_is_room_for():
    tracks = Tracks(SETTINGS.model_copy(update={"series_max": 2}))
    rows = [at(t, vehicle) for t in range(0, 300, 30) for vehicle in (A, B, C)]
    tracks.add(pa.RecordBatch.from_pylist(rows, schema=VEHICLES), rows[-1]["receive_time"])
    numbers, names, _ = tracks.state()
    assert names[:2] == ["veh:0012:00001", "veh:0012:00002"]
    assert (numbers[2], tracks.refused) == (2, 10)


def test_a_snapshot_made_with_other_limits_is_refused():
    snapshot = TransitProcessor(0, SETTINGS, TOPICS).snapshot()
    with pytest.raises(PoisonError):
        TransitProcessor(0, SETTINGS.model_copy(update={"vanished_after_s": 181}), TOPICS, snapshot)
