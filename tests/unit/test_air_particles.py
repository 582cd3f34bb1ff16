"""Low-cost particle sensors through the processor of readings: checked series, health, and indices made of them."""

import numpy as np
import pytest

from pulssi.frames import IndicatorKind, Indicators, Readings
from pulssi.partitions import Record
from pulssi.quality import Quality
from pulssi.settings import StreamsSettings
from pulssi.topics import Content, Topics
from streams.air.particles import ParticleSensors
from streams.catalogue import no_limits
from streams.readings_processor import ReadingsProcessor
from streams.sensors import Calibration, Sensor, Sensors
from tests.fixtures.air import HOUR_US, info, said, windows

H = 490_000
SETTINGS = StreamsSettings(pane_s=3600, windows_s=(3600,), lateness_s_max=1)
CALIBRATED = Sensors((Sensor(device="pa-1", calibration=(Calibration(method="purpleair_2021"),)),))
KNOWN = {
    one.series_id: one
    for device in ("pa-1", "fmi-1")
    for one in (
        info(device, "pm2_5", "A", lat=60.2, lon=24.9, district="12"),
        info(device, "pm2_5", "B"),
        info(device, "humidity"),
        info(device, "no2"),
        info(device, "o3"),
    )
}
CHANNELS, HUMID = int(Quality.CHANNELS), int(Quality.HUMIDITY)


def record(offset, hour, values, device="pa-1"):
    """Four readings of each series in an hour, {(quantity, channel): value}."""
    ids = np.repeat([info(device, *one).series_id for one in values], 4)
    time = np.tile(hour * HOUR_US + np.arange(4) * 900_000_000, len(values))
    n = len(ids)
    value = np.repeat(list(values.values()), 4)
    return Record(offset, None, Readings(ids, time, time, value, np.zeros(n, np.uint16), np.arange(n)).encode(), {})


def processor(sensors, snapshot=None):
    return ReadingsProcessor(0, SETTINGS, Topics(), no_limits, snapshot, KNOWN.get, sensors)


def rows_of(outputs, hour, device="pa-1"):
    """{(quantity, channel): newest row} of an hour, for series that are described here or there."""
    named = {info(device, name, channel).series_id: (name, channel) for name, channel in NAMES}
    found = {}
    for one in outputs:
        if dict(one.headers).get("kinds") == b"window":
            rows = Indicators.decode(one.value)
            for i in np.flatnonzero(rows.window_start == hour * HOUR_US).tolist():
                row = {name: said(getattr(rows, name)[i].item()) for name in Indicators.SCHEMA.names}
                key = named.get(row["series_id"])
                if key is not None and row["revision"] >= found.get(key, row)["revision"]:
                    found[key] = row
    return found


NAMES = [
    *(("pm2_5", channel) for channel in ("A", "B", "checked")),
    *((name, "pm2_5") for name in ("sensor_health", "air_index_eu", "air_index_fi", "air_index_us")),
    ("air_index_eu", None),
]
AIR = {("humidity", None): 50.0, ("no2", None): 15.0, ("o3", None): 30.0}


def told(core, values):
    first = core.process([record(0, H, {**AIR, **values})])
    return first + core.process([record(1, H + 1, {**AIR, **values})])


def test_a_sensor_with_a_correction_has_a_series_of_its_own_and_the_raw_ones_stay():
    found = rows_of(told(processor(CALIBRATED), {("pm2_5", "A"): 39.0, ("pm2_5", "B"): 41.0}), H)
    assert (found["pm2_5", "A"]["value"], found["pm2_5", "B"]["value"]) == (39.0, 41.0)
    checked = found["pm2_5", "checked"]
    assert checked["value"] == pytest.approx((0.786 * 0.5 + 0.524 * 0.5) * 40 - 0.0862 * 50 + 5.75)
    assert (checked["kind"], checked["window_s"], checked["n"], checked["n_excluded"]) == (1, 3600, 8, 0)
    assert (checked["class_"], checked["flags"], checked["completeness"]) == (0, 0, 1.0)
    assert (found["sensor_health", "pm2_5"]["value"], found["sensor_health", "pm2_5"]["mean"]) == (0, 2.0)


def test_the_indices_use_the_corrected_value():
    values = {("pm2_5", "A"): 39.0, ("pm2_5", "B"): 41.0}
    with_it, without = (rows_of(told(processor(one), values), H) for one in (CALIBRATED, Sensors()))
    assert without["air_index_eu", "pm2_5"]["mean"] == 40.0
    assert with_it["air_index_eu", "pm2_5"]["mean"] == pytest.approx(27.64)
    assert with_it["air_index_fi", "pm2_5"]["mean"] == pytest.approx(27.64)
    assert with_it["air_index_eu", None]["value"] == 3
    assert ("pm2_5", "checked") not in without
    assert ("sensor_health", "pm2_5") not in without


def test_channels_that_disagree_are_left_out_by_name_and_number():
    found = rows_of(told(processor(CALIBRATED), {("pm2_5", "A"): 10.0, ("pm2_5", "B"): 40.0}), H)
    checked, health = found["pm2_5", "checked"], found["sensor_health", "pm2_5"]
    assert (checked["value"], checked["n"], checked["n_excluded"], checked["flags"]) == (None, 0, 8, CHANNELS)
    assert (health["value"], health["class_"], health["mean"], health["flags"]) == (2, 2, 30.0, CHANNELS)
    index = found["air_index_eu", "pm2_5"]
    assert (index["value"], index["class_"], index["n_excluded"], index["flags"]) == (None, -1, 8, CHANNELS)
    assert found["pm2_5", "B"]["flags"] == 0


def test_a_reference_station_whose_channels_disagree_says_so_in_its_index():
    found = rows_of(told(processor(Sensors()), {("pm2_5", "A"): 10.0, ("pm2_5", "B"): 40.0}), H)
    assert (found["air_index_eu", "pm2_5"]["value"], found["air_index_eu", "pm2_5"]["flags"]) == (None, CHANNELS)


def test_humid_air_is_told_of_low_cost_sensors_only():
    values = {("pm2_5", "A"): 12.0, ("pm2_5", "B"): 13.0, ("humidity", None): 91.0}
    found = rows_of(told(processor(Sensors((Sensor(device="pa-*"),))), values), H)
    assert (found["pm2_5", "checked"]["value"], found["pm2_5", "checked"]["class_"]) == (12.5, -1)
    for key in (("pm2_5", "checked"), ("sensor_health", "pm2_5"), ("air_index_eu", "pm2_5"), ("air_index_eu", None)):
        assert found[key]["flags"] == HUMID, key
    assert found["sensor_health", "pm2_5"]["value"] == 1
    other = rows_of(told(processor(Sensors()), values), H)
    assert other["air_index_eu", "pm2_5"]["flags"] == 0


def test_series_are_described_before_their_rows_and_once():
    core = processor(CALIBRATED)
    values = {**AIR, ("pm2_5", "A"): 39.0, ("pm2_5", "B"): 41.0}
    outputs = core.process([record(0, H, values)]) + core.process([record(1, H + 1, values)])
    again = processor(CALIBRATED, core.snapshot())
    outputs += again.process([record(2, H + 2, values)])
    new = [one for one in outputs if one.topic == "pulssi.series"]
    assert len({one.key for one in new}) == len(new)
    ours = str(info("pa-1", "pm2_5", "checked").series_id).encode()
    assert [dict(one.headers)["content"] for one in new if one.key == ours] == [Content.SERIES.value.encode()]
    place = next(i for i, one in enumerate(outputs) if one.key == ours)
    frames = [i for i, one in enumerate(outputs) if dict(one.headers).get("kinds") == b"window"]
    assert b'"district":"12"' in outputs[place].value
    assert any(int(ours) in Indicators.decode(outputs[i].value).series_id for i in frames if i > place)
    assert not any(int(ours) in Indicators.decode(outputs[i].value).series_id for i in frames if i < place)


def test_any_restart_gives_the_same_indices():
    rng = np.random.default_rng(3)
    hours = [
        {**AIR, ("humidity", None): rng.uniform(40, 99), ("pm2_5", "A"): a, ("pm2_5", "B"): a * rng.uniform(0.5, 2)}
        for a in rng.uniform(5, 80, 30)
    ]
    feed = [record(i, H + i, values) for i, values in enumerate(hours)]
    straight, core = processor(CALIBRATED), processor(CALIBRATED)
    expected, found = [], []
    for one in feed:
        expected += straight.process([one])
        found += core.process([one])
        core = processor(CALIBRATED, core.snapshot())
    assert found == expected
    assert core.snapshot() == straight.snapshot()


def test_a_correction_waits_for_the_humidity_and_a_late_one_is_a_revision():
    core = ParticleSensors(StreamsSettings(), CALIBRATED, KNOWN.get)
    a, humidity = (info("pa-1", *one).series_id for one in (("pm2_5", "A"), ("humidity",)))
    assert len(core.take(windows([(a, H, 40.0, 0, 1)]))[0]) == 0
    rows, _infos = core.take(windows([(humidity, H, 50.0, 0, 2)]))
    assert rows.kind.tolist() == [IndicatorKind.WINDOW, IndicatorKind.AIR_INDEX]
    assert (rows.value[0], rows.revision[0], rows.position[0]) == (pytest.approx(27.64), 1, 2)
    rows, _infos = core.take(windows([(humidity, H, None, 1, 3)]))
    assert np.isnan(rows.value[0])
    assert (rows.revision.tolist(), rows.class_.tolist()) == ([2, 2], [0, 0])


def test_an_hour_far_behind_its_device_is_counted_and_changes_nothing():
    core = ParticleSensors(StreamsSettings(), CALIBRATED, KNOWN.get)
    a = info("pa-1", "pm2_5", "A").series_id
    core.take(windows([(a, H, 40.0, 0, 1)]))
    core.take(windows([(a, H - 17, 40.0, 0, 2), (a, H - 18, 40.0, 0, 3)]))
    assert core.too_late == 1
    assert core.take(windows([(info("fmi-1", "pm2_5", "A").series_id, H, 5.0, 0, 4)]))[1] == []


def test_a_compound_that_fell_silent_long_ago_is_remembered_by_a_restart():
    sensors = Sensors((Sensor(device="pa-*"),))
    straight, humid = processor(sensors), {("humidity", None): 50.0}
    particles = {("pm2_5", "A"): 12.0}
    for offset, values in enumerate([particles] * 3 + [humid | AIR] * 70):
        straight.process([record(offset, H + offset, values)])
    again = processor(sensors, straight.snapshot())
    for offset, values in ((80, {**AIR, **particles}), (81, {**AIR, **particles})):
        feed = [record(offset, H + offset, values)]
        assert again.process(feed) == straight.process(feed)
    assert again.snapshot() == straight.snapshot()
