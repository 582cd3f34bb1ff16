"""Low-cost sensors beside reference stations, day by day: who is held against whom, when, moves, restarts."""

import random
from itertools import pairwise

import numpy as np
import pytest

from pulssi.geography import Place, Places
from pulssi.quality import Quality
from pulssi.settings import StreamsSettings
from streams.air.compound_network import LATE_S
from streams.air.network import AirNetwork
from streams.quality.colocation import DriftMonitor
from streams.sensors import Sensor, Sensors
from tests.fixtures.air import HOUR_US, info, said, windows

SETTINGS = StreamsSettings(zone="UTC")
DAY0 = 20_400
LEARN = DriftMonitor.LEARN_STEPS
LATE_H = (SETTINGS.horizon_s + LATE_S) // 3600
AT = {
    "lc": (60.17, 24.94),
    "near": (60.171, 24.94),
    "far": (60.174, 24.94),
    "away": (60.2, 24.94),
}  # 111 m, 445 m, 3 km
SERIES = {
    one.series_id: one
    for device, (lat, lon) in AT.items()
    for one in (info(device, "no2", lat=lat, lon=lon), info(device, "pm2_5", "checked", lat=lat, lon=lon))
}
OURS = {
    info(device, "sensor_health", f"{name}:reference").series_id: device for device in AT for name in ("no2", "pm2_5")
}
LOW_COST = {"device": "lc"}


def core_of(sensor=None, places=None, snapshot=None):
    sensors = Sensors((Sensor.model_validate(sensor or LOW_COST),))
    return AirNetwork(SETTINGS, SERIES.get, sensors, Places(places or []), snapshot)


def days_of(days, devices=("lc", "near", "far"), name="no2", seed=1, change=lambda _day, value: value):
    """Windows of (series id, hour, mean, revision, position), a record for each hour."""
    rng, found = random.Random(seed), []
    for hour in range(DAY0 * 24, (DAY0 + days) * 24):
        air = 30 + 15 * np.sin(hour / 40) + rng.gauss(0, 6)
        value = {"lc": change(hour // 24 - DAY0, 5 + 1.3 * air + rng.gauss(0, 2)), "far": 80 + rng.gauss(0, 9)}
        channel = "checked" if name == "pm2_5" else None
        for device in devices:
            mean = round(value.get(device, air), 2)
            found.append((info(device, name, channel).series_id, hour, mean, 0, hour))
    return found


def told(core, rows):
    part, _infos = core.take(windows(rows))
    keep = np.isin(part.series_id, list(OURS))
    names = part.SCHEMA.names
    found = [{name: said(getattr(part, name)[i].item()) for name in names} for i in np.flatnonzero(keep).tolist()]
    assert {OURS[row["series_id"]] for row in found} <= {"lc"}
    return {row["window_start"] // HOUR_US // 24 - DAY0: row for row in found}


def test_a_healthy_pair_learns_for_four_weeks_and_is_well_then():
    found = told(core_of(), days_of(60))
    assert sorted(found) == list(range(59))  # the last day may still change
    assert [found[day]["class_"] for day in range(LEARN)] == [-1] * LEARN
    assert {found[day]["class_"] for day in range(LEARN, 59)} == {0}
    assert all(row["n"] == 24 and row["completeness"] == 1 and row["window_s"] == 86_400 for row in found.values())
    assert np.abs([found[day]["mean"] for day in range(LEARN, 59)]).mean() < 1
    assert found[3]["mean"] is None


def test_a_day_is_told_when_nothing_can_change_it():
    rows = days_of(3)
    core, until = core_of(), (DAY0 + 1) * 24 + LATE_H
    assert told(core, [row for row in rows if row[1] < until]) == {}
    found = told(core, [row for row in rows if row[1] == until])
    assert sorted(found) == [0]
    assert found[0]["position"] == until


@pytest.mark.parametrize("shift", [12.0, -12.0])
def test_a_sensor_that_moves_away_is_told_and_the_others_are_not(shift):
    found = told(core_of(), days_of(70, change=lambda day, value: value + shift * (day >= 45)))
    classes = [found[day]["class_"] for day in range(LEARN, 69)]
    first = classes.index(4) + LEARN
    assert 45 <= first < 50
    assert set(classes[first - LEARN :]) == {4}
    assert found[first]["flags"] == Quality.DRIFT
    assert found[first]["mean"] == pytest.approx(shift, abs=4)


def test_the_nearest_reference_counts_unless_another_is_named():
    nearest = told(core_of(), days_of(45))
    named = told(core_of({**LOW_COST, "reference": "far"}), days_of(45))
    assert {nearest[day]["class_"] for day in range(LEARN, 44)} == {0}
    away = [named[day]["mean"] for day in range(LEARN, 44)]
    assert np.abs(away).mean() > 2 * np.abs([nearest[day]["mean"] for day in range(LEARN, 44)]).mean()
    assert told(core_of({**LOW_COST, "reference": "nobody"}), days_of(20)) == {}


def test_without_a_reference_within_the_radius_nothing_is_said():
    assert told(core_of(), days_of(20, devices=("lc", "away"))) == {}
    assert told(core_of({"device": "*"}), days_of(20)) == {}  # low-cost sensors are no references


def test_a_sensor_that_was_moved_learns_anew_and_the_day_of_the_move_does_not_count():
    moved = (DAY0 + 35) * 24 * HOUR_US + 7 * HOUR_US
    lat, lon = AT["lc"]
    places = [
        Place("lc", "air", "before", lat, lon, None, -(1 << 62), moved),
        Place("lc", "air", "after", lat + 0.0005, lon, None, moved, 1 << 62),
    ]
    found = told(core_of(places=places), days_of(50))
    assert {found[day]["class_"] for day in range(LEARN, 35)} == {0}
    assert 35 not in found
    assert {found[day]["class_"] for day in range(36, 49)} == {-1}


def test_another_correction_is_another_sensor():
    begins = np.datetime64(DAY0 + 35, "D")
    sensor = {**LOW_COST, "calibration": [{"method": "purpleair_2021", "valid_from": f"{begins}T00:00:00Z"}]}
    found = told(core_of(sensor), days_of(45, name="pm2_5"))
    assert {found[day]["class_"] for day in range(LEARN, 35)} == {0}
    assert {found[day]["class_"] for day in range(35, 44)} == {-1}


def test_a_day_needs_three_quarters_of_its_hours_from_both():
    rows = [row for row in days_of(40) if not (row[1] // 24 == DAY0 + 35 and row[1] % 24 < 7)]
    sensor = info("lc", "no2").series_id
    rows = [row for row in rows if not (row[0] == sensor and row[1] // 24 == DAY0 + 36 and row[1] % 24 < 6)]
    found = told(core_of(), rows)
    assert [(found[day]["n"], found[day]["class_"]) for day in (34, 35, 36)] == [(24, 0), (17, -1), (18, 0)]


@pytest.mark.parametrize("seed", range(3))
def test_any_batches_and_restarts_give_the_same_rows(seed):
    rng = random.Random(seed)
    rows = days_of(45, seed=seed, change=lambda day, value: value + 10 * (day >= 35))
    rows = sorted(rows, key=lambda row: row[1] + (rng.random() * 9 if rng.random() < 0.2 else 0))
    rows = [(*row[:4], at // 5) for at, row in enumerate(rows)]
    straight = core_of()
    expected = told(straight, rows)
    core, found = core_of(), {}
    cuts = sorted({0, len(rows), *(5 * rng.randrange(len(rows) // 5) for _ in range(12))})
    for first, stop in pairwise(cuts):
        found |= told(core, rows[first:stop])
        core = core_of(snapshot=core.snapshot())
    assert found == expected
    assert core.snapshot() == straight.snapshot()
    assert 4 in {row["class_"] for row in found.values()}


def test_hours_that_come_in_another_order_or_again_give_the_same_days():
    rows = days_of(40)
    rng = random.Random(5)
    order = sorted(rows, key=lambda row: row[1] + rng.random() * (LATE_H - 1))
    again = [one for row in order for one in ([row, row] if rng.random() < 0.1 else [row])]
    straight, other = (
        {day: strip(row) for day, row in told(core_of(), feed).items()}
        for feed in (rows, [(*row[:4], at) for at, row in enumerate(again)])
    )
    assert straight == other


def strip(row):
    return {key: value for key, value in row.items() if key not in {"position", "receive_time"}}
