"""A detector that hangs is found by the times and counts that its operators use."""

import numpy as np
import pytest

from streams.traffic.health import DetectorHealth, Health, HealthLimits, without_repeats

MINUTE_US = 60_000_000
NAN = np.nan


def run(flow, occupancy, step_min=1, lanes=1.0):
    """Health after each sample of one detector."""
    one = DetectorHealth(1, lanes)
    return [
        Health(one.update(np.array([i * step_min * MINUTE_US]), np.array([f]), np.array([o]))[0])
        for i, (f, o) in enumerate(zip(flow, occupancy, strict=True))
    ]


def test_no_vehicle_for_four_hours_is_too_long():
    said = run([0.0] * 300, [NAN] * 300)
    assert said[239] == Health.GOOD
    assert said[240] == Health.NO_HITS


def test_one_vehicle_begins_the_time_anew():
    flow = [0.0] * 300
    flow[200] = 60.0
    assert set(run(flow, [NAN] * 300)) == {Health.GOOD}


def test_a_loop_that_is_always_covered_is_locked_on_after_two_minutes():
    said = run([60.0, 0, 60, 0], [100.0] * 4)
    assert said == [Health.GOOD, Health.GOOD, Health.LOCKED_ON, Health.LOCKED_ON]


def test_what_has_not_changed_for_a_day_hangs():
    said = run([600.0] * 200, [12.0] * 200, step_min=10)
    assert said[143] == Health.GOOD
    assert said[144] == Health.NO_CHANGE
    occupancy = [12.0] * 200
    occupancy[100] = 12.5
    assert set(run([600.0] * 200, occupancy, step_min=10)) == {Health.GOOD}


@pytest.mark.parametrize(("flow", "lanes", "health"), [(4440, 1, 0), (4441, 1, 4), (4441, 2, 0), (8881, 2, 4)])
def test_more_vehicles_than_can_pass_a_lane_are_chatter(flow, lanes, health):
    assert run([float(flow)], [NAN], lanes=lanes) == [health]


def test_a_missing_sample_is_no_zero_and_a_long_gap_ends_the_run():
    assert set(run([NAN] * 600, [NAN] * 600)) == {Health.GOOD}
    short = [0.0] * 120 + [NAN] * 14 + [0.0] * 120
    assert run(short, [NAN] * len(short))[-1] == Health.NO_HITS
    long = [0.0] * 120 + [NAN] * 15 + [0.0] * 120
    assert run(long, [NAN] * len(long))[-1] == Health.GOOD


def test_detectors_do_not_know_each_other():
    one = DetectorHealth(2, limits=HealthLimits(no_hits_s=60))
    for minute in range(3):
        health = one.update(np.full(2, minute * MINUTE_US), np.array([0.0, 60.0 + minute]), np.full(2, NAN))
    assert health.tolist() == [Health.NO_HITS, Health.GOOD]


def test_repeats_are_gaps_and_an_empty_road_is_none():
    occupancy = np.array([[5.0, 6, 6, 6, 6, 6, 7], [0, 0, 0, 0, 0, 0, 0]]).T
    flow = np.array([[600.0, 660, 660, 660, 660, 660, 660], [0, 0, 0, 0, 0, 0, 0]]).T
    cleaned = without_repeats(np.stack([occupancy, flow]))
    assert np.isnan(cleaned[0, :, 0]).tolist() == [False, False, False, False, True, True, False]
    assert not np.isnan(cleaned[:, :, 1]).any()
