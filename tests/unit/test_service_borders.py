"""Every border of every table of roads and transit: just below it, at it and just above it, typed in as published."""

import numpy as np
import pytest

from streams.traffic.flow import free_flow_class, level_of_service
from streams.traffic.health import LIMITS_BY_LANE, DetectorHealth, Health
from streams.transit.headways import adherence_level, on_time_level, regularity

S = 1_000_000
HOUR_S = 3600


def one(function, value):
    return int(function(np.array([value], np.float64))[0])


# Fintraffic, Digitraffic: percent of free flow. A limit belongs to the faster class, but 100 is still fluent.
@pytest.mark.parametrize(
    ("limit", "below", "at", "above"), [(10, 0, 1, 1), (25, 1, 2, 2), (75, 2, 3, 3), (90, 3, 4, 4), (100, 4, 4, 5)]
)
def test_a_share_of_free_flow_changes_its_class_at_digitraffics_limits(limit, below, at, above):
    shares = (limit - 1e-9, float(limit), limit + 1e-9)
    assert [one(free_flow_class, share) for share in shares] == [below, at, above]


# Highway Capacity Manual: highest density of levels A to E, passenger cars per mile and lane.
@pytest.mark.parametrize(("level", "limit"), list(enumerate([11, 18, 26, 35, 45])))
def test_a_density_at_its_limit_is_of_the_better_level(level, limit):
    per_km = np.array([limit - 1e-9, limit + 1e-9]) / 1.609344
    assert level_of_service(per_km).tolist() == [level, level + 1]


# TCRP report 100, exhibit 3-30: highest cvh of levels A to E, to hundredths.
@pytest.mark.parametrize(
    ("level", "highest", "next_lowest"),
    [(0, 0.21, 0.22), (1, 0.30, 0.31), (2, 0.39, 0.40), (3, 0.52, 0.53), (4, 0.74, 0.75)],
)
def test_headway_adherence_has_its_level_up_to_the_last_hundredth(level, highest, next_lowest):
    assert [one(adherence_level, cvh) for cvh in (highest, highest + 0.0049, next_lowest)] == [level, level, level + 1]
    assert one(adherence_level, highest + 0.0051) == level + 1


def test_headway_adherence_of_nothing_and_of_chaos():
    assert [one(adherence_level, cvh) for cvh in (0.0, 9.0, np.nan)] == [0, 5, -1]


# TCRP report 100: percent on time, lowest of levels A to E.
@pytest.mark.parametrize(("level", "lowest"), list(enumerate([95, 90, 85, 80, 75])))
def test_an_on_time_share_has_its_level_from_the_lowest_on(level, lowest):
    assert [one(on_time_level, share) for share in (lowest - 0.1, lowest, lowest + 0.1)] == [level + 1, level, level]


@pytest.mark.parametrize(
    ("headway_s", "bunched", "gap"),
    [(0, 100, 0), (299, 100, 0), (300, 0, 0), (900, 0, 0), (901, 0, 100)],
)
def test_bunched_is_below_half_and_a_gap_above_one_and_a_half_of_the_scheduled_headway(headway_s, bunched, gap):
    said = regularity(np.zeros(1, np.int64), np.array([headway_s]), np.array([600]))
    assert (said.bunched[0], said.gaps[0]) == (bunched, gap)


def test_irregular_buses_make_passengers_wait_longer():
    """Two of 600 s: E[h2] / 2E[h] = 300; one of 200 and one of 1000: 433.33."""
    said = regularity(np.zeros(2, np.int64), np.array([200, 1000]), np.array([600, 600]))
    assert said.excess_wait_s[0] == pytest.approx(433.3333 - 300, abs=1e-3)
    assert said.cvh[0] == pytest.approx(400 / 600)


# Minnesota DOT, IRIS: hours without a hit, and seconds at 100 % occupancy, after which a detector has failed.
LANES = {
    "mainline": (4, 120),
    "collector": (4, 1800),
    "merge": (12, 1800),
    "queue": (12, 1800),
    "passage": (12, 1800),
    "bypass": (72, 1800),
    "exit": (8, 1800),
    "hov": (8, 120),
    "auxiliary": (24, 1800),
    "parking": (14 * 24, 14 * 24 * HOUR_S),
}


def test_every_kind_of_lane_is_in_the_table():
    assert LIMITS_BY_LANE.keys() == LANES.keys()


def health(limits, flow, occupancy, times_s):
    core = DetectorHealth(1, limits=limits)
    return [
        int(core.update(np.array([time * S]), np.array([flow]), np.array([value]))[0])
        for time, value in zip(times_s, occupancy, strict=True)
    ]


@pytest.mark.parametrize("lane", LANES)
def test_a_detector_fails_when_its_time_is_over_and_not_before(lane):
    hours, locked_s = LANES[lane]
    limits = LIMITS_BY_LANE[lane]
    steps = [*range(0, hours * HOUR_S, 600), hours * HOUR_S - 1, hours * HOUR_S]
    changing = [float(i % 7) for i in range(len(steps))]
    assert health(limits, 0.0, changing, steps)[-2:] == [Health.GOOD, Health.NO_HITS]
    steps = [*range(0, locked_s, 60 if locked_s < HOUR_S else 600), locked_s - 1, locked_s]
    if locked_s < 24 * HOUR_S:
        assert health(limits, 60.0, [100.0] * len(steps), steps)[-2:] == [Health.GOOD, Health.LOCKED_ON]


def test_occupancy_may_stand_for_a_day_and_37_vehicles_pass_in_half_a_minute():
    limits = LIMITS_BY_LANE["mainline"]
    day = [*range(0, 24 * HOUR_S, 600), 24 * HOUR_S - 1, 24 * HOUR_S]
    assert health(limits, 60.0, [12.0] * len(day), day)[-2:] == [Health.GOOD, Health.NO_CHANGE]
    assert health(limits, 37 * 120.0, [5.0], [0]) == [Health.GOOD]
    assert health(limits, 37 * 120.0 + 1, [5.0], [0]) == [Health.CHATTER]
