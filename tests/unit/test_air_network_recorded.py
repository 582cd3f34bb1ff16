"""Recorded sensors beside recorded references, through both processors: figures of US EPA, drift, a planted fault.

The sensors and the reference of the co-location stood at one site, so each has three neighbours.
"""

import csv
import lzma
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pulssi.quality import Quality
from pulssi.quantities import QUANTITIES
from pulssi.settings import StreamsSettings
from streams.quality.colocation import HOUR_US, DriftMonitor, agreement
from streams.sensors import Sensor, Sensors
from tests.fixtures.air import info
from tests.fixtures.two_stages import TwoStages

DATA = Path(__file__).parents[1] / "data" / "colocation"
EST_H = -5
DAY_S = 86_400
SITE = {"lat": 35.88, "lon": -78.87}
NEIGHBOUR, DRIFT = int(Quality.NEIGHBOUR), int(Quality.DRIFT)
PPB = {"o3": 47.998 / 24.055, "pm2_5": 1.0}


def rows_of(name):
    with lzma.open(DATA / name, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def us(text, pattern, offset_h=0):
    return int(datetime.strptime(text, pattern).replace(tzinfo=UTC).timestamp()) * 1_000_000 - offset_h * HOUR_US


@pytest.fixture(scope="module")
def recorded():
    """Columns of all readings in order of time: series id, us, value; and the descriptions of the series."""
    found, infos = [], []
    for number in (1, 2, 3):
        ids = {name: info(f"toco-{number}", name, **SITE) for name in ("o3", "pm2_5")}
        infos += ids.values()
        for row in rows_of(f"toco_toucan_RT0{number}.csv.xz"):
            time = us(row["Time"], "%m/%d/%Y %H:%M", EST_H)
            for name, column in (("o3", "O3 (ppb)"), ("pm2_5", "PM2.5 (ug/m3)")):
                if row[column]:
                    found.append((time, ids[name].series_id, float(row[column]) * PPB[name]))
    ids = {name: info("epa", name, **SITE) for name in ("o3", "pm2_5")}
    infos += ids.values()
    for row in rows_of("airnowtech_reference.csv.xz"):
        name = {"O3": "o3", "PM2.5": "pm2_5"}[row["Param"].split("-")[0]]
        if row["Value"]:
            time = us(f"{row['Date (UTC)']} {row['Time (UTC)']}", "%m/%d/%Y %H:%M")
            found.append((time, ids[name].series_id, float(row["Value"]) * PPB[name]))
    return sorted(found), infos


def streamed(feed, infos, change=None):
    settings = StreamsSettings(pane_s=300, windows_s=(3600,))
    stages = TwoStages(settings, infos, Sensors((Sensor(device="toco-*"),)))
    for first in range(0, len(feed), 20_000):
        part = feed[first : first + 20_000]
        time, sid, value = (np.array(column) for column in zip(*part, strict=True))
        stages.feed(sid, time, change(time, sid, value) if change else value)
    return stages


@pytest.fixture(scope="module")
def stages(recorded):
    return streamed(*recorded)


@pytest.mark.parametrize(
    ("number", "r2", "rmse", "bias"), [(1, 0.52, 3.53, -3.09), (2, 0.55, 3.51, -3.11), (3, 0.56, 3.93, -3.64)]
)
def test_the_checked_hours_agree_with_the_reference_as_published(stages, recorded, number, r2, rmse, bias):
    rows = stages.series(f"toco-{number}", "pm2_5", "checked", 3600)
    rows = rows.take((rows.completeness >= 0.75) & (rows.n > 0))
    reference = {time: value for time, sid, value in recorded[0] if sid == info("epa", "pm2_5").series_id}
    beside = np.array([reference.get(time, np.nan) for time in rows.window_start.tolist()])
    found = agreement(rows.mean, beside)
    assert found.n > 600
    assert found.r2 == pytest.approx(r2, abs=0.01)
    assert found.rmse == pytest.approx(rmse, abs=0.02)
    assert found.bias == pytest.approx(bias, abs=0.02)


@pytest.mark.parametrize("name", ["pm2_5", "o3"])
def test_sensors_side_by_side_seldom_disagree(stages, name):
    for device in ("toco-1", "toco-2", "toco-3", "epa"):
        rows = stages.series(device, "sensor_health", f"{name}:neighbours", 3600)
        judged = rows.take(rows.class_ >= 0)
        assert len(judged) > 500
        assert (judged.class_ == 3).mean() < 0.03, device
        assert (((judged.flags & NEIGHBOUR) != 0) == (judged.class_ == 3)).all()


def test_a_planted_offset_is_told_of_the_sensor_that_has_it(recorded):
    start = us("2019-08-20 00:00", "%Y-%m-%d %H:%M")
    sick = info("toco-2", "pm2_5").series_id

    def change(time, sid, value):
        return value + 25.0 * ((sid == sick) & (time >= start) & (time < start + 12 * HOUR_US))

    feed, infos = recorded
    days = [one for one in feed if start - 60 * HOUR_US <= one[0] < start + 18 * HOUR_US]
    stages = streamed(days, infos, change)
    for device in ("toco-1", "toco-2", "toco-3", "epa"):
        rows = stages.series(device, "sensor_health", "pm2_5:neighbours", 3600)
        during = rows.take((rows.window_start >= start) & (rows.window_start < start + 12 * HOUR_US))
        told = during.class_ == 3
        assert told.all() if device == "toco-2" else told.mean() < 0.2
        if device == "toco-2":
            assert np.median(during.mean) == pytest.approx(25, abs=4)


def daily(feed, sensor, reference):
    """(start, mean of the sensor, of the reference, hours) of the days on which both spoke, of the hours of both."""
    ids = (sensor.series_id, reference.series_id)
    hours = [{time: value for time, sid, value in feed if sid == one} for one in ids]
    day_of = lambda time: time // HOUR_US // 24 * 24 * HOUR_US  # noqa: E731  one line of arithmetic
    found = []
    for day in sorted({day_of(time) for time in hours[0]} & {day_of(time) for time in hours[1]}):
        both = [time for time in range(day, day + 24 * HOUR_US, HOUR_US) if all(time in one for one in hours)]
        means = [np.mean([one[time] for time in both]) if both else np.nan for one in hours]
        found.append((day, *means, len(both)))
    return found


def test_a_metal_oxide_sensor_is_seen_to_drift_from_its_reference():
    rows = rows_of("AirQualityUCI_no2.csv.xz")[: 24 * 180]
    sensor, reference = info("uci-1", "no2", lat=45.0, lon=9.0), info("station", "no2", lat=45.0, lon=9.001)
    settings = StreamsSettings(pane_s=3600, windows_s=(3600,), zone="UTC")
    stages = TwoStages(settings, [sensor, reference], Sensors((Sensor(device="uci-*"),)))
    feed = []
    for row in rows:
        time = us(f"{row['Date']} {row['Time']}", "%d/%m/%Y %H:%M:%S")
        for one, name in ((sensor, "PT08_S4_NO2"), (reference, "NO2_GT")):
            if float(row[name]) != -200:
                feed.append((time, one.series_id, float(row[name])))
    for first in range(0, len(feed), 500):
        time, sid, value = (np.array(column) for column in zip(*feed[first : first + 500], strict=True))
        stages.feed(sid, time, value)
    told = stages.series("uci-1", "sensor_health", "no2:reference", DAY_S)
    assert stages.catalogue.get(told.series_id[0]).channel == "no2:reference"
    assert 150 < len(told) <= 180
    learning = np.flatnonzero(told.class_ >= 0)[0]
    assert learning >= DriftMonitor.LEARN_STEPS
    first = int(np.argmax(told.class_ == 4))
    assert DriftMonitor.LEARN_STEPS <= first < 90
    judged = told.take(slice(first, None))
    judged = judged.take(judged.class_ >= 0)
    assert (judged.class_ == 4).mean() > 0.9
    assert ((judged.flags & DRIFT != 0) == (judged.class_ == 4)).all()
    expected = daily(feed, sensor, reference)
    assert told.window_start.tolist()[: len(expected)] == [day for day, *_ in expected][: len(told)]
    pairs = [(y, x) for _day, y, x, n in expected if n >= 18]
    slope, intercept = np.polyfit(*np.array(pairs[: DriftMonitor.LEARN_STEPS]).T[::-1], 1)
    learned = expected.index(next(one for one in expected if one[1:3] == pairs[DriftMonitor.LEARN_STEPS]))
    for row, (_day, y, x, n) in zip(range(learned, len(told)), expected[learned:], strict=False):
        off = y - slope * x - intercept if n >= 18 else np.nan
        assert told.n[row] == n
        np.testing.assert_allclose(told.mean[row], off, rtol=1e-6, atol=1e-3)
    assert len(stages.series("station", "sensor_health", "no2:reference", DAY_S)) == 0
    assert QUANTITIES["sensor_health"].high == 4
