"""Every border of every table of the air indices: just below it, at it and just above it.

The tables are typed in here as they are published, apart from those of the product, and name their source there.
"""

import numpy as np
import pytest

from pulssi.air_classes import COMPOUNDS
from pulssi.units import ppb_to_ug_m3
from streams.air import european, finnish, nowcast, thresholds, us_aqi
from streams.air.rules import DAILY, HOURLY, daily, hourly

PLACE = {name: place for place, name in enumerate(COMPOUNDS)}
HOURS = 24

# US EPA, EPA-454/B-24-002, May 2024: lowest and highest of each band, and the last digit that counts.
US = {
    "pm2_5_24h": (0.1, "0.0-9.0 9.1-35.4 35.5-55.4 55.5-125.4 125.5-225.4 225.5-325.4"),
    "pm10_24h": (1, "0-54 55-154 155-254 255-354 355-424 425-604"),
    "o3_8h": (0.001, "0-0.054 0.055-0.070 0.071-0.085 0.086-0.105 0.106-0.200"),
    "o3_1h": (0.001, "- - 0.125-0.164 0.165-0.204 0.205-0.404 0.405-0.604"),
    "co_8h": (0.1, "0.0-4.4 4.5-9.4 9.5-12.4 12.5-15.4 15.5-30.4 30.5-50.4"),
    "so2_1h": (1, "0-35 36-75 76-185 186-304"),
    "so2_24h": (1, "- - - - 305-604 605-1004"),
    "no2_1h": (1, "0-53 54-100 101-360 361-649 650-1249 1250-2049"),
}
INDEX = [(0, 50), (51, 100), (101, 150), (151, 200), (201, 300), (301, 500)]
BANDS = [
    (table, digit, *map(float, band.split("-")), *INDEX[place])
    for table, (digit, bands) in US.items()
    for place, band in enumerate(bands.split())
    if band != "-"
]

BANDS_BEGIN = {table: min(band[2] for band in BANDS if band[0] == table) for table in US}
BEYOND = dict.fromkeys(US, 500) | {"o3_8h": 300, "so2_1h": 200, "pm10_24h": 501}
"""One digit above a table: gases end with it, the last line of particles goes on (PM2.5 325.5 -> 500.2)."""


def us(table, concentration):
    return us_aqi.sub_index(table, np.array([concentration]))[0]


@pytest.mark.parametrize(("table", "digit", "low", "high", "first", "last"), BANDS)
def test_a_us_band_reaches_from_its_lowest_to_the_last_digit_of_its_highest(table, digit, low, high, first, last):
    assert us(table, low) == first
    assert us(table, high) == last
    assert us(table, high + 0.9 * digit) == last  # what is behind the last digit is cut off
    below = us(table, low - 0.1 * digit) if low else first - 1
    assert np.isnan(below) if first in {101, 201} and low == BANDS_BEGIN[table] else below == first - 1
    above = us(table, high + digit)
    ends = last == max(band[5] for band in BANDS if band[0] == table)
    assert above == (BEYOND[table] if ends else last + 1)


@pytest.mark.parametrize(("ppm", "index"), [(1.1, 13), (3.3, 38)])
def test_half_an_index_number_is_rounded_up(ppm, index):
    assert us("co_8h", ppm) == index  # 12.5 and 37.5


@pytest.mark.parametrize(("index", "category"), [(i, place) for place, band in enumerate(INDEX) for i in band])
def test_a_us_category_begins_and_ends_with_its_index(index, category):
    assert us_aqi.category(np.array([float(index)]))[0] == category


@pytest.mark.parametrize(
    ("oldest_first", "exact"),
    [
        ([34.9, 43, 50, 64.9, 69.2, 66.2, 53.7, 48.6, 49.2, 35, np.nan, 21], 28.409801),
        ([123.3, 80.2, 49.3, 101.8, 93.7, 143.2, 215.4, 130.6, 129.2, 59.8, 27.4, 46.3], 54.811258),
        ([28.5, 33.1, 32.6, 32.8, 30.7, 28.2, 31.1, 32.4, 30, 29.5, 28.8, 30.5], 30.3766),
        ([28.5, 33.1, 32.6, 32.8, 30.7, 28.2, 31.1, 32.4, 30, np.nan, 12.5, 30.5], 25.3873),
    ],
)
def test_a_nowcast_has_its_published_digits_before_it_is_truncated(oldest_first, exact):
    assert nowcast.pm_nowcast(np.array(oldest_first), 9) == pytest.approx(exact, abs=5e-5)


def said(quantity, channel=None, **hours):
    """Value of an hourly rule for hours in ug/m3, oldest first, newest last; None where it says nothing."""
    means = np.full((1, len(COMPOUNDS), HOURS), np.nan)
    for name, series in hours.items():
        means[0, PLACE[name], HOURS - len(series) :] = series
    number = next(i for i, rule in enumerate(HOURLY) if (rule.quantity, rule.channel) == (quantity, channel))
    value = hourly(means, np.array([False]))[number].value[0]
    return None if np.isnan(value) else value


def test_an_hour_of_so2_gives_200_at_most_and_a_day_of_it_more():
    loud, quiet = ppb_to_ug_m3("so2", 900.5), ppb_to_ug_m3("so2", 100.0)
    assert said("air_index_us", "so2", so2=[quiet] * 23 + [loud]) == 200
    assert said("air_index_us", "so2", so2=[ppb_to_ug_m3("so2", 304.5)] * 24) == 200
    assert said("air_index_us", "so2", so2=[ppb_to_ug_m3("so2", 305.5)] * 24) == 201


def test_the_higher_of_the_hour_and_the_eight_hours_is_the_us_index_of_ozone():
    for ppb, index in ((124.5, 205), (125.5, 206), (404.5, 300), (405.5, 301), (604.5, 500)):
        assert said("air_index_us", "o3", o3=[ppb_to_ug_m3("o3", ppb)]) == index


# Finnish Meteorological Institute and HSY: upper limits of good, satisfactory, fair and poor; hourly means, ug/m3.
FINNISH = {
    "so2": (20, 80, 250, 350),
    "no2": (40, 70, 150, 200),
    "pm10": (20, 50, 100, 200),
    "pm2_5": (10, 25, 50, 75),
    "o3": (60, 100, 140, 180),
    "co": (4000, 8000, 20000, 30000),
    "trs": (5, 10, 20, 50),
    "black_carbon": (1, 3, 7, 12),
}


@pytest.mark.parametrize(
    ("compound", "place", "limit"),
    [(name, place, limit) for name, limits in FINNISH.items() for place, limit in enumerate(limits)],
)
def test_a_finnish_class_ends_below_its_limit_and_the_next_begins_at_it(compound, place, limit):
    means = np.array([limit * (1 - 1e-9), limit, limit * (1 + 1e-9)])
    number, next_class = (50, 75, 100, 150)[place], place + 1
    last = place == 3  # "> 350" is very poor, 350 is still poor
    classes = [place, place, next_class] if last else [place, next_class, next_class]
    assert finnish.sub_class(compound, means).tolist() == classes
    numbers = [number, number, number + 1] if last else [number, number + 1, number + 1]
    assert finnish.sub_index(compound, means).tolist() == numbers


def test_a_finnish_index_runs_linearly_between_its_limits():
    assert finnish.sub_index("no2", np.array([0.0, 20, 55, 110, 175, 225])).tolist() == [0, 25, 63, 88, 125, 175]


@pytest.mark.parametrize(("there", "index"), [(("no2", "pm10"), None), (("no2", "pm10", "trs"), 25)])
def test_a_finnish_index_needs_three_compounds_and_soot_is_none_of_them(there, index):
    hours = {name: [FINNISH[name][0] / 2] for name in there}
    assert said("air_index_fi", black_carbon=[50.0], **hours) == index


# European Environment Agency: ETC HE Report 2024/17, table 5.2, and the bands of 2017 to 2024; ug/m3.
EUROPE = {
    "2025": {
        "pm2_5": (5, 15, 50, 90, 140),
        "pm10": (15, 45, 120, 195, 270),
        "no2": (10, 25, 60, 100, 150),
        "o3": (60, 100, 120, 160, 180),
        "so2": (20, 40, 125, 190, 275),
    },
    "2017": {
        "pm2_5": (10, 20, 25, 50, 75),
        "pm10": (20, 40, 50, 100, 150),
        "no2": (40, 90, 120, 230, 340),
        "o3": (50, 100, 130, 240, 380),
        "so2": (100, 200, 350, 500, 750),
    },
}


@pytest.mark.parametrize(
    ("revision", "compound", "place", "bound"),
    [
        (revision, compound, place, bound)
        for revision, table in EUROPE.items()
        for compound, bounds in table.items()
        for place, bound in enumerate(bounds)
    ],
)
def test_a_european_bound_belongs_to_the_lower_band(revision, compound, place, bound):
    means = np.array([bound - 1e-6, bound, bound + 1e-6])
    assert european.band(compound, means, revision).tolist() == [place, place, place + 1]


def test_the_old_european_index_of_particles_is_that_of_a_day_and_of_gases_that_of_an_hour():
    assert said("air_index_eu_2017", "pm10", pm10=[10.0] * 18 + [500.0] * 6) == 5
    assert said("air_index_eu", "pm10", pm10=[10.0] * 18 + [500.0] * 6) == 6
    assert said("air_index_eu_2017", "pm10", pm10=[10.0] * 17) is None  # not 75 % of the day
    assert said("air_index_eu_2017", "no2", no2=[10.0] * 23 + [91.0]) == 3


# Directives 2008/50/EC and (EU) 2024/2881: quantity, compound, limit, level, hours in a row.
THRESHOLDS = [
    ("eu_threshold_level", "o3", 180, 1, 1),
    ("eu_threshold_level", "o3", 240, 2, 1),
    ("eu_threshold_level", "no2", 150, 1, 3),
    ("eu_threshold_level", "no2", 200, 2, 3),
    ("eu_threshold_level", "so2", 275, 1, 3),
    ("eu_threshold_level", "so2", 350, 2, 3),
    ("eu_threshold_level_2008", "o3", 180, 1, 1),
    ("eu_threshold_level_2008", "o3", 240, 2, 1),
    ("eu_threshold_level_2008", "no2", 400, 2, 3),
    ("eu_threshold_level_2008", "so2", 500, 2, 3),
]


@pytest.mark.parametrize(("quantity", "compound", "limit", "level", "hours"), THRESHOLDS)
def test_a_threshold_is_exceeded_above_it_for_its_hours_in_a_row(quantity, compound, limit, level, hours):
    above, at = limit + 1e-6, float(limit)
    assert said(quantity, compound, **{compound: [above] * hours}) == level
    assert said(quantity, compound, **{compound: [above] * (hours - 1) + [at]}) < level
    if hours > 1:
        assert said(quantity, compound, **{compound: [above] * (hours - 1)}) < level
        assert said(quantity, compound, **{compound: [above, np.nan] + [above] * (hours - 1)}) < level
        assert said(quantity, compound, **{compound: [above, at] + [above] * (hours - 1)}) < level


# Directive (EU) 2024/2881 and World Health Organization, Global Air Quality Guidelines, 2021; means of a day, ug/m3.
DAYS = [
    ("eu_threshold_level", "pm2_5", 50, 2),
    ("eu_threshold_level", "pm10", 90, 2),
    *(("who_2021_level", name, limit, 1) for name, limit in zip(
        ("pm2_5", "pm10", "no2", "so2", "co", "o3"), (15, 45, 25, 40, 4000, 100), strict=True
    )),
]  # fmt: skip


@pytest.mark.parametrize(("quantity", "compound", "limit", "level"), DAYS)
def test_a_daily_limit_is_exceeded_above_it(quantity, compound, limit, level):
    number = next(i for i, rule in enumerate(DAILY) if (rule.quantity, rule.channel) == (quantity, compound))
    for mean, found in ((limit - 1e-6, 0), (limit, 0), (limit + 1e-6, level)):
        hours = np.full((1, len(COMPOUNDS), 7 + 24), np.nan)
        hours[0, PLACE[compound]] = mean
        assert daily(hours)[number].value[0] == found


def test_the_daily_limit_of_ozone_is_for_its_highest_eight_hours():
    hours = np.full((1, len(COMPOUNDS), 7 + 24), np.nan)
    hours[0, PLACE["o3"]] = [20.0] * 15 + [101.0] * 8 + [20.0] * 8
    number = next(i for i, rule in enumerate(DAILY) if (rule.quantity, rule.channel) == ("who_2021_level", "o3"))
    assert daily(hours)[number].value[0] == 1
    hours[0, PLACE["o3"], 15] = 20.0
    assert daily(hours)[number].value[0] == 0


def test_every_rule_of_the_directives_is_in_the_table_above():
    named = {(one[0], one[1]) for one in THRESHOLDS}
    assert named == {(rule.quantity, rule.channel) for rule in HOURLY if rule.quantity.startswith("eu_threshold")}
    known = {
        (directive, compound)
        for table in (thresholds.INFORMATION, thresholds.ALERT)
        for directive, rules in table.items()
        for compound in rules
    }
    assert len(known) == len(named)
