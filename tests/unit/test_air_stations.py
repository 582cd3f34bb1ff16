"""Rules of stations, hour by hour: channels, calibration, days, descriptions, what is too late."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from pulssi.air_classes import COMPOUNDS
from pulssi.settings import StreamsSettings
from streams.air.calibration import purpleair_2021
from streams.air.channels import agreed_mean
from streams.air.days import Days
from streams.air.station_indices import StationIndices
from tests.fixtures.air import final_rows, info, results, windows

H = 490_000
NAN = np.nan


def station(*series):
    """A core that knows these series of the station `s`, and their ids."""
    known = [info("s", *one, lat=60.2, lon=24.9, district="12") for one in series]
    core = StationIndices(StreamsSettings(), {one.series_id: one for one in known}.get)
    return core, [one.series_id for one in known]


def test_a_station_of_three_compounds_has_an_index_and_says_which_is_the_worst():
    core, (no2, pm10, o3) = station(("no2",), ("pm10",), ("o3",))
    parts, infos = core.take(windows([(no2, H, 62.0, 0, 1), (pm10, H, 60.0, 0, 1), (o3, H, 10.0, 0, 1)]))
    rows = final_rows([parts], infos)
    row = rows["s", "air_index_fi", None, 3600, H]
    assert (row["value"], row["class_"], row["mean"], COMPOUNDS[int(row["last"])]) == (80, 2, 60.0, "pm10")
    assert (row["n"], row["completeness"], row["position"], row["receive_time"]) == (3, 1.0, 1, 8)
    europe = rows["s", "air_index_eu", None, 3600, H]
    assert (europe["value"], europe["class_"], COMPOUNDS[int(europe["last"])]) == (4, 3, "no2")


def test_a_station_of_two_compounds_has_sub_indices_but_no_finnish_index():
    core, (no2, pm10) = station(("no2",), ("pm10",))
    parts, infos = core.take(windows([(no2, H, 55.0, 0, 1), (pm10, H, 60.0, 0, 1)]))
    found = results(final_rows([parts], infos), "s")
    assert found["air_index_fi", "no2", 3600, H][:2] == (63, 1)
    assert not [key for key in found if key[:2] in {("air_index_fi", None), ("air_index_eu", None)}]


def test_new_series_are_described_once_with_the_place_of_their_station():
    core, (no2,) = station(("no2",))
    _parts, infos = core.take(windows([(no2, H, 55.0, 0, 1)]))
    assert {(one.quantity, one.channel) for one in infos} == {
        *(("air_index_fi", "no2"), ("air_index_eu", "no2"), ("air_index_eu_2017", "no2"), ("air_index_us", "no2")),
        *(("air_index_us", None), ("eu_threshold_level", "no2"), ("eu_threshold_level_2008", "no2")),
    }
    assert {(one.device_id, one.kind, one.unit, one.lat, one.district) for one in infos} == {
        ("s", "air", "1", 60.2, "12"),
    }
    again = StationIndices(StreamsSettings(), {no2: info("s", "no2")}.get, core.snapshot())
    for one in (core, again):
        assert one.take(windows([(no2, H + 1, 56.0, 0, 2)]))[1] == []


def test_an_hour_that_is_not_three_quarters_complete_has_no_value_until_it_is():
    core, (no2,) = station(("no2",))
    first, infos = core.take(windows([(no2, H, 55.0, 0, 1, {"completeness": 0.7499})]))
    assert np.isnan(first.value).all()
    assert set(first.class_) == {-1}
    second, _infos = core.take(windows([(no2, H, 55.0, 1, 2, {"completeness": 0.75})]))
    rows = final_rows([first, second], infos)
    assert rows["s", "air_index_fi", "no2", 3600, H]["value"] == 63
    assert rows["s", "air_index_fi", "no2", 3600, H]["revision"] == 1


def test_windows_of_other_lengths_places_and_quantities_are_none_of_its_business():
    core, (no2, temperature) = station(("no2",), ("temperature",))
    rows = windows([(no2, H, 55.0, 0, 1), (no2, H, 55.0, 0, 1), (temperature, H, 5.0, 0, 1), (77, H, 5.0, 0, 1)])
    rows.window_s[0] = 900
    rows.window_start[1] += 60_000_000
    parts, infos = core.take(rows)
    assert len(parts) == 0
    assert infos == []


def test_an_hour_far_behind_its_station_is_counted_and_changes_nothing():
    core, (no2,) = station(("no2",))
    core.take(windows([(no2, H, 55.0, 0, 1)]))
    assert len(core.take(windows([(no2, H - 17, 55.0, 0, 2)]))[0]) > 0
    assert len(core.take(windows([(no2, H - 18, 55.0, 0, 3)]))[0]) == 0
    assert core.too_late == 1


def test_a_backlog_in_one_record_is_on_time_whatever_the_order_of_its_series():
    core, (no2, o3) = station(("no2",), ("o3",))
    hours = range(H, H + 200)
    parts, infos = core.take(windows([(series, hour, 30.0, 0, 5) for series in (o3, no2) for hour in hours]))
    found = results(final_rows([parts], infos), "s")
    assert core.too_late == 0
    assert [found["air_index_eu", name, 3600, hour][0] for name in ("o3", "no2") for hour in hours] == [
        *([1] * 200 + [3] * 200),
    ]


def test_what_a_sensor_gave_in_ppb_is_the_same_ppb_in_the_us_index():
    core, (so2,) = station(("so2",))
    parts, infos = core.take(windows([(so2, H, 75 * 64.066 / 24.055, 0, 1)]))
    assert results(final_rows([parts], infos), "s")["air_index_us", "so2", 3600, H][:2] == (100, 1)


@pytest.mark.parametrize(
    ("date", "length"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-24", 24)], ids=["spring", "autumn", "other"]
)
@pytest.mark.parametrize("missing", [0, 5, 6, 7])
def test_a_local_day_needs_three_quarters_of_the_hours_that_it_has(date, length, missing):
    start = int(datetime.fromisoformat(date).replace(tzinfo=ZoneInfo("Europe/Helsinki")).timestamp()) // 3600
    core, (pm10,) = station(("pm10",))
    hours = [*range(start - 3, start), *range(start + missing, start + length + 1)]
    parts, infos = core.take(windows([(pm10, hour, 45.5, 0, hour) for hour in hours]))
    rows = final_rows([parts], infos)
    row = rows.get(("s", "who_2021_level", "pm10", 86_400, start))
    if length - missing < 0.75 * length:
        assert row is None
    else:
        assert (row["value"], row["mean"], row["n"]) == (1, 45.5, length - missing)
        assert row["completeness"] == pytest.approx((length - missing) / length, abs=0.01)
        assert rows["s", "eu_threshold_level", "pm10", 86_400, start]["value"] == 0
        assert row["position"] == start + length - 1


def test_days_begin_at_local_midnight():
    days = Days("Europe/Helsinki")
    for date, length in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-07-01", 24)):
        day = datetime.fromisoformat(date).toordinal()
        start = days.start(day)
        assert [days.of(start - 1), days.of(start), days.of(start + length - 1), days.of(start + length)] == [
            *(day - 1, day, day, day + 1),
        ]


def test_channels_that_disagree_have_no_mean():
    channels = np.array([[10.0, 10.0, 1.0, 10.0, NAN, NAN], [12.0, 30.0, 5.9, 14.9, 8.0, NAN]])
    np.testing.assert_equal(agreed_mean("pm2_5", channels), [11.0, NAN, 3.45, 12.45, 8.0, NAN])
    np.testing.assert_equal(agreed_mean("no2", channels)[1], 20.0)


def test_a_station_with_two_channels_uses_their_mean_and_takes_it_back_when_they_disagree():
    core, (a, b) = station(("pm2_5", "A"), ("pm2_5", "B"))
    first, infos = core.take(windows([(a, H, 10.0, 0, 1)]))
    second, more = core.take(windows([(b, H, 12.0, 0, 2)]))
    third, _none = core.take(windows([(b, H, 40.0, 1, 3)]))
    seen = [final_rows([part], infos + more)["s", "air_index_eu", "pm2_5", 3600, H] for part in (first, second, third)]
    assert [(row["mean"], row["value"], row["revision"]) for row in seen] == [
        (10.0, 2, 0),
        (11.0, 2, 1),
        (None, None, 2),
    ]


@pytest.mark.parametrize(
    ("pm2_5", "humidity", "corrected"),
    [
        *[(1, 90, 0), (10, 50, 6.68), (30, 50, 17.16), (40, 60, 26.778), (50, 50, 40.74), (100, 40, 80.902)],
        *[(210, 30, 168.224), (235, 30, 200.904), (260, 30, 242.124), (500, 30, 568.966)],
    ],
)
def test_the_correction_of_a_known_reading(pm2_5, humidity, corrected):
    assert purpleair_2021(np.array([pm2_5]), np.array([humidity]))[0] == pytest.approx(corrected, abs=5e-4)


def test_the_correction_rises_without_a_jump():
    steps = np.diff(purpleair_2021(np.linspace(0, 600, 60_001), np.full(60_001, 50.0)))
    assert steps.min() >= 0
    assert steps.max() < 0.05
