"""Stations that disagree with their neighbours, and humid air."""

import statistics

import numpy as np
import pytest

from pulssi.quality import Quality
from streams.quality.low_cost import HUMID, humidity_flags
from streams.quality.neighbours import disagreement, neighbours_within

NEIGHBOUR = int(Quality.NEIGHBOUR)


def test_neighbours_are_those_within_the_radius_and_never_oneself():
    lat, lon = np.array([60.17, 60.17, 60.26]), np.array([24.94, 24.958, 24.94])  # 1 km east, 10 km north
    assert neighbours_within(lat, lon, 1100).tolist() == [[False, True, False], [True, False, False], [False] * 3]
    assert neighbours_within(lat, lon, 900).sum() == 0
    assert neighbours_within(lat, lon, 11_000).sum() == 6


def city(stations=8, times=400, seed=1):
    """Values that rise and fall together, each station on a level of its own."""
    rng = np.random.default_rng(seed)
    weather = 20 + 10 * np.sin(np.arange(times) / 12) + np.cumsum(rng.normal(0, 0.5, times))
    return weather + rng.normal(0, 8, stations)[:, None] + rng.normal(0, 0.5, (stations, times))


ALL = ~np.eye(8, dtype=bool)


def test_stations_that_go_together_agree_whatever_their_levels():
    assert (disagreement(city(), ALL, floor=3.0) != 0).mean() < 0.001


@pytest.mark.parametrize("change", [15.0, -15.0])
def test_a_station_that_leaves_the_others_is_the_one_that_is_flagged(change):
    values = city()
    values[3, 200:230] += change
    flags = disagreement(values, ALL, floor=3.0)
    assert (flags[3, 200:215] == NEIGHBOUR).all()
    assert (flags[np.arange(8) != 3] != 0).mean() < 0.001


def test_weather_that_comes_over_all_of_them_is_no_disagreement():
    values = city()
    values[:, 200:] += 60
    assert (disagreement(values, ALL, floor=3.0) != 0).mean() < 0.001


def test_with_two_neighbours_nobody_knows_who_is_wrong():
    values = city(3)
    values[0, 200:] += 50
    assert not disagreement(values, ~np.eye(3, dtype=bool), floor=3.0).any()
    assert not disagreement(values[:, :48], ~np.eye(3, dtype=bool)).any()


def slowly(values, near, past, deviations, floor):
    stations, times = values.shape
    difference = np.full(values.shape, np.nan)
    for s in range(stations):
        for t in range(times):
            others = [values[o, t] for o in range(stations) if near[s, o] and not np.isnan(values[o, t])]
            if len(others) >= 3:
                difference[s, t] = values[s, t] - statistics.median(others)
    flags = np.zeros(values.shape, np.int32)
    for s in range(stations):
        for t in range(past, times):
            known = [d for d in difference[s, t - past : t] if not np.isnan(d)]
            if 2 * len(known) >= past and not np.isnan(difference[s, t]):
                usual = statistics.median(known)
                spread = 1.4826 * statistics.median(abs(d - usual) for d in known)
                if abs(difference[s, t] - usual) > max(deviations * spread, floor):
                    flags[s, t] = NEIGHBOUR
    return flags


@pytest.mark.parametrize("seed", range(8))
def test_disagreement_is_that_of_a_slow_account(seed):
    rng = np.random.default_rng(seed)
    values = city(6, 60, seed)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[rng.random(values.shape) < 0.05] += 20
    near = neighbours_within(rng.uniform(60.1, 60.3, 6), rng.uniform(24.8, 25.1, 6), 12_000)
    found = disagreement(values, near, past=12, deviations=4.0, floor=1.0)
    assert np.array_equal(found, slowly(values, near, 12, 4.0, 1.0))


def test_humid_air_is_told_and_unknown_air_is_not():
    flags = humidity_flags(np.array([HUMID - 0.1, HUMID, 100.0, np.nan]))
    assert flags.tolist() == [0, int(Quality.HUMIDITY), int(Quality.HUMIDITY), 0]
