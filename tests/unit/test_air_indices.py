"""Every published vector of the air indices, and the rules around them, one by one."""

import numpy as np
import pytest

from pulssi.air_classes import FINNISH_LIMITS
from pulssi.units import MOLAR_MASS_G, ppb_to_ug_m3, ug_m3_to_ppb
from streams.air import european, finnish, nowcast, thresholds, us_aqi


def _one(function, *arguments):
    return function(*arguments[:-1], np.array([arguments[-1]], np.float64))[0]


@pytest.mark.parametrize(
    ("table", "concentration", "index"),
    [
        ("o3_8h", 0.0375, 34),
        ("o3_8h", 0.0785333, 126),
        ("o3_8h", 0.085, 150),
        ("o3_8h", 0.2, 300),
        ("o3_8h", 0.25, 300),
        ("o3_1h", 0.162, 147),
        ("o3_1h", 0.405, 301),
        ("pm10_24h", 54.9, 50),
        ("pm10_24h", 210, 128),
        ("pm10_24h", 604, 500),
        ("co_8h", 8.4, 90),
        ("co_8h", 50.4, 500),
        ("so2_1h", 185, 150),
        ("so2_1h", 304, 200),
        ("so2_1h", 900, 200),
        ("so2_24h", 1004, 500),
        ("no2_1h", 360, 150),
        ("no2_1h", 1249, 300),
        ("no2_1h", 2049, 500),
        ("pm2_5_24h", 54.8, 149),
        ("pm2_5_24h", 9.09, 50),
        ("pm2_5_24h", 9.1, 51),
        ("pm2_5_24h", 35.4, 100),
        ("pm2_5_24h", -3.0, 0),
    ],
)
def test_the_us_index_of_a_known_concentration(table, concentration, index):
    assert _one(us_aqi.sub_index, table, concentration) == index


@pytest.mark.parametrize("table", us_aqi.TABLES)
def test_both_ends_of_every_us_band_have_the_index_of_its_ends(table):
    rules = us_aqi.TABLES[table]
    for (low, high), (index_low, index_high) in zip(rules.bands, us_aqi.INDEX[rules.first :], strict=False):
        assert _one(us_aqi.sub_index, table, low) == index_low
        assert _one(us_aqi.sub_index, table, high) == index_high


def test_the_us_index_of_particles_goes_on_above_its_table_and_of_gases_does_not():
    assert _one(us_aqi.sub_index, "pm2_5_24h", 425.4) > 600
    assert _one(us_aqi.sub_index, "no2_1h", 5000) == 500


def test_where_a_us_table_does_not_begin_yet_there_is_no_index():
    assert np.isnan(_one(us_aqi.sub_index, "o3_1h", 0.124))
    assert np.isnan(_one(us_aqi.sub_index, "so2_24h", 304.9))
    assert np.isnan(_one(us_aqi.sub_index, "pm10_24h", np.nan))


@pytest.mark.parametrize("digits", range(0, 1000, 7))
def test_truncation_does_not_lose_the_last_digit_of_a_decimal_number(digits):
    assert us_aqi.truncate(np.array([digits / 1000]), 3)[0] == digits / 1000


def test_the_highest_sub_index_is_the_index_of_the_us_site():
    index, dominant = us_aqi.site_index(
        {"pm2_5_24h": np.array([50.0, np.nan, np.nan]), "o3_8h": np.array([101.0, 7.0, np.nan])}
    )
    np.testing.assert_array_equal(index, [101, 7, np.nan])
    assert dominant.tolist() == ["o3_8h", "o3_8h", None]
    assert us_aqi.category(np.array([0, 50, 51, 100, 101, 200, 201, 301, 999, np.nan])).tolist() == [
        *(0, 0, 1, 1, 2, 3, 4, 5, 5, -1),
    ]


NA = np.nan


@pytest.mark.parametrize(
    ("oldest_first", "result"),
    [
        ([34.9, 43, 50, 64.9, 69.2, 66.2, 53.7, 48.6, 49.2, 35, NA, 21], 28.4),
        ([123.3, 80.2, 49.3, 101.8, 93.7, 143.2, 215.4, 130.6, 129.2, 59.8, 27.4, 46.3], 54.8),
        ([28.5, 33.1, 32.6, 32.8, 30.7, 28.2, 31.1, 32.4, 30, 29.5, 28.8, 30.5], 30.3),
        ([28.5, 33.1, 32.6, 32.8, 30.7, 28.2, 31.1, 32.4, 30, NA, 12.5, 30.5], 25.3),
        ([10] * 9 + [NA, NA, 20], NA),
        ([0] * 12, 0),
        ([-4] * 12, 0),
        ([NA] * 12, NA),
    ],
)
def test_the_nowcast_of_known_hours(oldest_first, result):
    np.testing.assert_equal(nowcast.pm_nowcast(np.array(oldest_first), 1), result)


def test_nowcasts_of_many_stations_are_those_of_each():
    hours = np.random.default_rng(7).uniform(0, 200, (5, 4, 12))
    together = nowcast.pm_nowcast(hours, 0)
    assert together.shape == (5, 4)
    assert together[3, 2] == nowcast.pm_nowcast(hours[3, 2], 0)


def test_the_ozone_surrogate_takes_the_newest_of_three_hours():
    assert nowcast.ozone_surrogate(np.array([10.0, 20.0, 40.0])) == 0.85 * 40 + 4.5
    assert nowcast.ozone_surrogate(np.array([10.0, 20.0, NA])) == 0.85 * 20 + 4.5
    assert nowcast.ozone_surrogate(np.array([10.0, NA, NA])) == 0.85 * 10 + 4.5
    assert np.isnan(nowcast.ozone_surrogate(np.array([10.0, NA, NA, NA])))
    assert nowcast.ozone_surrogate(np.array([0.0, 0.0, -90.0])) == 0


@pytest.mark.parametrize("compound", FINNISH_LIMITS)
def test_the_finnish_classes_change_at_their_limits(compound):
    limits = FINNISH_LIMITS[compound]
    classes = [finnish.sub_class(compound, np.array([limit - 1e-6, limit, limit + 1e-6])).tolist() for limit in limits]
    assert classes == [[0, 1, 1], [1, 2, 2], [2, 3, 3], [3, 3, 4]]


@pytest.mark.parametrize("compound", FINNISH_LIMITS)
def test_the_finnish_number_is_in_the_range_of_its_class(compound):
    means = np.linspace(0, 1.5 * FINNISH_LIMITS[compound][-1], 400)
    numbers, classes = finnish.sub_index(compound, means), finnish.sub_class(compound, means)
    ranges = [(0, 50), (51, 75), (76, 100), (101, 150), (151, np.inf)]
    assert all(ranges[one][0] <= number <= ranges[one][1] for number, one in zip(numbers, classes, strict=True))
    assert (np.diff(numbers) >= 0).all()


def test_the_finnish_index_is_the_worst_compound_of_at_least_three():
    means = {"no2": np.array([160.0, 10, 10]), "pm10": np.array([10.0, 60, 10]), "o3": np.array([10.0, 10, np.nan])}
    index, classes, dominant = finnish.station_index({**means, "black_carbon": np.array([99.0, 99, 99])})
    assert index.tolist()[:2] == [110, 80]
    assert np.isnan(index[2])
    assert classes.tolist() == [3, 2, -1]
    assert dominant.tolist() == ["no2", "pm10", None]


@pytest.mark.parametrize("revision", european.BOUNDS)
def test_a_value_equal_to_a_european_bound_is_in_the_better_band(revision):
    for compound, bounds in european.BOUNDS[revision].items():
        values = np.array([bound + step for bound in bounds for step in (0, 0.001)])
        assert european.band(compound, values, revision).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert european.band("no2", np.array([np.nan, 0.0]), revision).tolist() == [-1, 0]


def test_a_european_index_needs_the_compounds_of_its_kind_of_station():
    means = {"no2": np.array([30.0, 30, np.nan]), "pm10": np.array([130.0, np.nan, 10]), "o3": np.array([np.nan] * 3)}
    bands, dominant = european.station_band(means, is_traffic_station=True)
    assert bands.tolist() == [3, -1, -1]
    assert dominant.tolist() == ["pm10", None, None]
    assert european.station_band(means, is_traffic_station=False)[0].tolist() == [-1, -1, -1]


def test_three_hours_in_a_row_and_not_fewer_exceed_an_alert_threshold():
    rule = thresholds.ALERT["2008/50/EC"]["no2"]
    hours = np.array([[401, 401, 400, 401, 402, 403, 404], [401, 402, NA, 401, 402, 10, 900]])
    assert thresholds.exceeded(hours, rule).tolist() == [[False] * 5 + [True] * 2, [False] * 7]
    assert thresholds.exceeded(np.array([180.0, 180.1]), thresholds.INFORMATION["2024/2881"]["o3"]).tolist() == [
        *(False, True),
    ]


@pytest.mark.parametrize(
    ("celsius", "factors"),
    [
        (20, {"o3": 1.9953, "no2": 1.9125, "so2": 2.6633, "co": 1.1644, "no": 1.2474}),
        (25, {"o3": 1.9619, "no2": 1.8804, "so2": 2.6186, "co": 1.1449, "no": 1.2265}),
    ],
)
def test_mixing_ratios_become_the_known_mass_concentrations(celsius, factors):
    assert set(factors) == set(MOLAR_MASS_G)
    for gas, factor in factors.items():
        assert ppb_to_ug_m3(gas, 1.0, celsius) == pytest.approx(factor, abs=1e-4)
        assert ug_m3_to_ppb(gas, ppb_to_ug_m3(gas, 17.0, celsius), celsius) == pytest.approx(17.0)
