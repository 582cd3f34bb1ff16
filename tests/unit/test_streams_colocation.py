"""Sensors beside reference stations: figures published by US EPA, drift of a real sensor, and of planted ones."""

import csv
import lzma
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pulssi.quality import Quality
from streams.quality.colocation import HOUR_US, MINUTE_US, DriftMonitor, agreement, hourly_means

DATA = Path(__file__).parents[1] / "data" / "colocation"
EST_H = -5
DRIFT = int(Quality.DRIFT)


def rows_of(name):
    with lzma.open(DATA / name, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def us(text, pattern, offset_h=0):
    local = datetime.strptime(text, pattern).replace(tzinfo=UTC)
    return int(local.timestamp()) * 1_000_000 - offset_h * HOUR_US


@pytest.fixture(scope="module")
def sensors():
    """(UTC times, {quantity: values}) of each of the three sensors, minute by minute."""
    found = []
    for number in (1, 2, 3):
        rows = rows_of(f"toco_toucan_RT0{number}.csv.xz")
        times = np.array([us(row["Time"], "%m/%d/%Y %H:%M", EST_H) for row in rows])
        values = {
            short: np.array([float(row[name] or "nan") for row in rows])
            for short, name in (("O3", "O3 (ppb)"), ("PM2.5", "PM2.5 (ug/m3)"))
        }
        found.append((times, values))
    return found


@pytest.fixture(scope="module")
def reference():
    """{quantity: {start of the hour: value}}."""
    found = {"O3": {}, "PM2.5": {}}
    for row in rows_of("airnowtech_reference.csv.xz"):
        if row["Value"]:
            time = us(f"{row['Date (UTC)']} {row['Time (UTC)']}", "%m/%d/%Y %H:%M")
            found[row["Param"].split("-")[0]][time] = float(row["Value"])
    return found


def compared(sensor, reference, quantity, shift_h=0):
    times, values = sensor
    hours, means = hourly_means(times + shift_h * HOUR_US, values[quantity])
    return agreement(means, np.array([reference[quantity].get(hour, np.nan) for hour in hours.tolist()]))


@pytest.mark.parametrize(
    ("number", "r2", "rmse", "bias"), [(0, 0.52, 3.53, -3.09), (1, 0.55, 3.51, -3.11), (2, 0.56, 3.93, -3.64)]
)
def test_particles_agree_as_published(sensors, reference, number, r2, rmse, bias):
    found = compared(sensors[number], reference, "PM2.5")
    assert found.r2 == pytest.approx(r2, abs=0.006)
    assert found.rmse == pytest.approx(rmse, abs=0.006)
    assert found.bias == pytest.approx(bias, abs=0.006)


@pytest.mark.parametrize(("number", "r2"), [(0, 0.98), (1, 0.98), (2, 0.97)])
def test_ozone_agrees_as_published(sensors, reference, number, r2):
    assert compared(sensors[number], reference, "O3").r2 == pytest.approx(r2, abs=0.006)


@pytest.mark.parametrize("shift_h", [-1, 1])
def test_a_wrong_time_zone_shows_in_ozone(sensors, reference, shift_h):
    assert compared(sensors[0], reference, "O3", shift_h).r2 == pytest.approx(0.86, abs=0.02)


def test_an_hour_needs_45_of_its_minutes():
    minutes = np.concatenate((np.arange(45), 60 + np.arange(44), 120 + np.repeat(np.arange(30), 2)))
    hours, means = hourly_means(minutes * MINUTE_US, np.ones(len(minutes)))
    assert (hours.tolist(), means.tolist()) == ([0], [1.0])
    values = np.arange(60.0)
    values[45:] = np.nan
    assert hourly_means(np.arange(60) * MINUTE_US, values)[1].tolist() == [22.0]
    values[44] = np.nan
    assert len(hourly_means(np.arange(60) * MINUTE_US, values)[0]) == 0


def test_hourly_means_are_those_of_a_slow_count():
    rng = np.random.default_rng(4)
    times = np.sort(rng.integers(0, 20 * HOUR_US, 2000))
    values = np.where(rng.random(2000) < 0.1, np.nan, rng.normal(size=2000))
    hours = {}
    for time, value in zip(times.tolist(), values.tolist(), strict=True):
        if not np.isnan(value):
            hours.setdefault(time // HOUR_US, []).append((time // MINUTE_US, value))
    expected = {
        hour * HOUR_US: np.mean([value for _, value in found])
        for hour, found in hours.items()
        if len({minute for minute, _ in found}) >= 45
    }
    starts, means = hourly_means(times, values)
    assert 3 < len(expected) < 20
    assert starts.tolist() == sorted(expected)
    assert means == pytest.approx([expected[start] for start in starts.tolist()])


def test_agreement_of_a_line_and_of_nothing():
    x = np.array([1.0, 2.0, 3.0, np.nan, 4.0])
    found = agreement(2 * x + 1, x)
    assert found == pytest.approx((4, 2.0, 1.0, 1.0, np.sqrt(np.mean([4, 9, 16, 25])), 3.5))
    assert np.isnan(agreement(x[:2], x[:2])[1:]).all()
    assert np.isnan(agreement(np.ones(9), np.arange(9.0)).r2)


# drift


def run(sensor, reference):
    """Flags of one pair, step by step."""
    monitor = DriftMonitor()
    monitor.grow(1)
    row = np.zeros(1, np.int64)
    pairs = zip(sensor, reference, strict=True)
    return monitor, np.array([monitor.update(row, np.array([y]), np.array([x]))[0] for y, x in pairs])


def pairs_of(n, days, seed=1):
    rng = np.random.default_rng(seed)
    reference = rng.gamma(4, 4, (n, days))
    return 3 + 1.2 * reference + rng.normal(0, 2, (n, days)), reference


def flags_of(sensor, reference):
    monitor = DriftMonitor()
    monitor.grow(len(sensor))
    rows = np.arange(len(sensor))
    return np.array([monitor.update(rows, sensor[:, day], reference[:, day]) for day in range(sensor.shape[1])]).T


def test_the_drift_of_a_real_metal_oxide_sensor_is_seen():
    rows = rows_of("AirQualityUCI_no2.csv.xz")
    hour = np.array([us(f"{row['Date']} {row['Time']}", "%d/%m/%Y %H:%M:%S") for row in rows]) // HOUR_US
    sensor, reference = (np.array([float(row[name]) for row in rows]) for name in ("PT08_S4_NO2", "NO2_GT"))
    both = (sensor != -200) & (reference != -200)
    days = [np.flatnonzero(both & (hour // 24 == day)) for day in range(hour[0] // 24, hour[-1] // 24 + 1)]
    daily = [[values[day].mean() for day in days if len(day) >= 18] for values in (sensor, reference)]
    assert len(daily[0]) > 300
    monitor, flags = run(*daily)
    first = int(np.argmax(flags != 0))
    assert DriftMonitor.LEARN_STEPS <= first < 60
    assert (flags[first:] != 0).mean() > 0.9
    early, late = (agreement(*(np.array(values)[part] for values in daily)) for part in (np.s_[:50], np.s_[-50:]))
    assert early.slope > 4 * late.slope  # a year later the same sensor hardly answers to NO2
    assert monitor.slope[0] == pytest.approx(early.slope, rel=0.5)


def test_sensors_that_do_not_drift_are_left_alone():
    flags = flags_of(*pairs_of(400, 365)) != 0
    assert flags.any(axis=1).mean() < 0.12
    assert flags[:, DriftMonitor.LEARN_STEPS :].mean() < 0.01


@pytest.mark.parametrize("kind", ["offset", "ramp", "sensitivity"])
def test_planted_drift_is_seen_within_weeks(kind):
    sensor, reference = pairs_of(200, 200)
    after = np.arange(200) - 100
    if kind == "offset":
        sensor += np.where(after >= 0, 4.0, 0.0)
    elif kind == "ramp":
        sensor += np.maximum(after, 0) * 0.2
    else:
        sensor = np.where(after >= 0, 3 + 0.8 * (sensor - 3), sensor)
    flags = flags_of(sensor, reference) != 0
    clean = ~flags[:, :100].any(axis=1)
    assert clean.mean() > 0.95
    seen = flags[clean, 100:]
    assert seen.any(axis=1).all()
    assert np.median(seen.argmax(axis=1)) <= {"offset": 10, "ramp": 25, "sensitivity": 20}[kind]


def test_a_single_outlier_is_no_drift():
    sensor, reference = pairs_of(50, 100)
    clean = flags_of(sensor, reference) == 0
    sensor[:, 60] += 1000
    flags = flags_of(sensor, reference) != 0
    quiet = clean.all(axis=1)
    assert quiet.sum() > 40
    assert not flags[quiet, :61].any()
    assert flags[quiet].mean() < 0.01


def test_rows_learn_and_judge_by_themselves_and_a_missing_value_is_no_pair():
    sensor, reference = pairs_of(3, 120)
    sensor[1, ::3] = np.nan
    together = flags_of(sensor, reference)
    for row in range(3):
        there = ~np.isnan(sensor[row])
        alone = run(sensor[row, there], reference[row, there])[1]
        assert together[row, there].tolist() == alone.tolist()
        assert not together[row, ~there].any()


def test_state_is_what_a_slow_account_says():
    sensor, reference = pairs_of(1, 90, seed=3)
    sensor[0, 50:] += 3
    monitor, flags = run(sensor[0], reference[0])
    n = DriftMonitor.LEARN_STEPS
    slope, intercept = np.polyfit(reference[0, :n], sensor[0, :n], 1)
    residuals = sensor[0] - slope * reference[0] - intercept
    spread = np.sqrt((residuals[:n] ** 2).sum() / (n - 2))
    assert (monitor.slope[0], monitor.intercept[0], monitor.spread[0]) == pytest.approx((slope, intercept, spread))
    above = below = 0.0
    expected = []
    for residual in residuals[n:]:
        z = min(max(residual / spread, -4.0), 4.0)
        above, below = max(above + z - 0.75, 0.0), max(below - z - 0.75, 0.0)
        expected.append(DRIFT if max(above, below) > 8.0 else 0)
    assert flags.tolist() == [0] * n + expected
    assert any(a != b for a, b in pairwise(expected))
