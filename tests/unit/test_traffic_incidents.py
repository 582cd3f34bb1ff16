"""The decision trees and deviates do what their papers say, minute by minute."""

import numpy as np
import pytest

from streams.season import Calendar
from streams.traffic.incidents import California7, California8, Samples, StandardNormalDeviate, occupancy_from
from streams.traffic.seasonal_contrast import SeasonalContrast, local

NAN = np.nan
MINUTE_US = 60_000_000
HELSINKI = Calendar("Europe/Helsinki", "FI")


def minute(up, down, flow_up=1200.0, flow_down=1200.0, at=0):
    return Samples(at * MINUTE_US, *(np.array([float(one)]) for one in (up, down, flow_up, flow_down)))


def said(detector, *pairs):
    return [bool(detector.update(minute(*pair))[0]) for pair in pairs]


def test_california_7_declares_in_the_second_minute_and_lets_go_when_the_difference_does():
    queue = (30, 6)
    assert said(California7((1,)), (8, 7), queue, queue, queue, (8, 7), queue) == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("pair", "why"),
    [((14, 6.1), "difference"), ((60, 45), "share"), ((60, 17), "downstream")],
)
def test_california_7_wants_all_three_signs(pair, why):
    assert not any(said(California7((1,)), *[pair] * 4)), why


def test_a_standing_incident_needs_the_share_alone():
    assert said(California7((1,)), (30, 6), (30, 6), (6, 4)) == [False, True, True]


@pytest.mark.parametrize("detector", [California7((1,)), California8((1,)), StandardNormalDeviate((1,))])
def test_a_gap_changes_nothing(detector):
    for _ in range(6):
        detector.update(minute(6, 6))
    assert said(detector, (60, 6), (NAN, 6), (60, 6), (NAN, NAN)) == [False, False, True, True]


def test_california_8_waits_while_a_wave_passes_downstream():
    wave = [(10, 10), (10, 10), (35, 40)]  # downstream became dense within two minutes
    behind = [(30, 6)] * 8
    assert said(California7((1,)), *wave, *behind)[3:] == [False] + [True] * 7
    assert said(California8((1,)), *wave, *behind)[3:] == [False] * 5 + [True] * 3


def test_california_8_is_7_without_waves():
    random = np.random.default_rng(1)
    up, down = random.uniform(0, 60, 500), random.uniform(0, 29, 500)
    pairs = list(zip(up, down, strict=True))
    assert said(California7((1,)), *pairs) == said(California8((1,)), *pairs)


def test_a_deviate_must_come_twice():
    calm = [(6, 6), (7, 6), (6, 6), (7, 6), (6, 6)]
    assert said(StandardNormalDeviate((1,)), *calm, (20, 6), (6, 6), (6, 6))[5:] == [False, False, False]
    assert said(StandardNormalDeviate((1,)), *calm, (20, 6), (20, 6), (20, 6), (6, 6))[5:] == [False, True, True, False]


def test_thresholds_can_be_tried_all_at_once():
    grid = np.array([[8.0], [40.0]])
    detector = California7((2, 1), grid)
    assert [detector.update(minute(30, 6)).ravel().tolist() for _ in range(2)] == [[False, False], [True, False]]


def test_occupancy_follows_from_flow_and_speed():
    found = occupancy_from(np.array([2400.0, 0, 100, 90_000]), np.array([80.0, 0, 0, 10]), 6.5, 2)
    np.testing.assert_allclose(found, [9.75, NAN, NAN, 100])


def day_of(minute_of_day):
    """What passes in a usual minute of a made-up road: a jam from 8 to 9, at a bottleneck between the stations."""
    jam = 480 <= minute_of_day < 540
    return (40.0, 9.0, 1750.0, 1700.0) if jam else (6.0, 6.0, 900.0, 900.0)


def learned(days=4):
    random = np.random.default_rng(2)
    detector = SeasonalContrast(1, calendar=lambda at: (0, at // MINUTE_US % 1440))
    alarms = 0
    for at in range(days * 1440):
        values = np.array(day_of(at % 1440)) * np.exp(0.1 * random.normal(size=4))
        alarms += bool(detector.update(minute(*values, at=at))[0])
    assert alarms == 0
    return detector


def test_a_jam_of_every_morning_is_none_but_a_blocked_road_is():
    detector, start = learned(), 4 * 1440
    jam = [bool(detector.update(minute(40, 9, 1750, 1700, at=start + at))[0]) for at in range(480, 540)]
    assert not any(jam)
    blocked = [bool(detector.update(minute(50, 3, 500, 400, at=start + at))[0]) for at in range(600, 610)]
    assert blocked.index(True) <= 2
    clear = [bool(detector.update(minute(6, 6, 900, 900, at=start + at))[0]) for at in range(610, 640)]
    assert not clear[-1]


def test_the_loss_of_flow_is_seen_before_the_queue_is_there():
    detector, start = learned(), 4 * 1440
    held = [bool(detector.update(minute(6, 3, 900, 400, at=start + at))[0]) for at in range(600, 610)]
    assert any(held)
    assert not any(said(California7((1,)), *[(6, 3)] * 10))


def test_a_queue_from_further_down_is_not_ours():
    detector, start = learned(), 4 * 1440
    assert not any(detector.update(minute(60, 30, 500, 400, at=start + at))[0] for at in range(600, 620))


def test_a_gap_keeps_the_evidence():
    detector, start = learned(), 4 * 1440
    detector.update(minute(50, 3, 500, 400, at=start + 600))
    before = detector.evidence.copy()
    assert before.max() > 0
    detector.update(minute(NAN, 3, 500, NAN, at=start + 601))
    np.testing.assert_array_equal(detector.evidence, before)


def test_local_days_of_helsinki():
    friday_2330 = 1_795_815_000 * 1_000_000  # 2026-11-27T21:30Z
    assert local(HELSINKI)(friday_2330) == (0, 23 * 60 + 30)
    assert local(HELSINKI)(friday_2330 + 30 * MINUTE_US) == (1, 0)


def test_a_holiday_is_like_a_weekend():
    independence_day_0900 = 1_828_076_400 * 1_000_000  # Monday 2027-12-06
    assert local(HELSINKI)(independence_day_0900)[0] == 1
    assert local(Calendar("Europe/Helsinki"))(independence_day_0900)[0] == 0


def test_a_pair_without_a_sample_stays_exactly_as_it_was():
    both, one = (SeasonalContrast(n, calendar=lambda at: (0, at // MINUTE_US % 1440)) for n in (2, 1))
    random = np.random.default_rng(3)
    for at in range(6 * 1440):
        up, down, flow_up, flow_down = random.gamma(9.0, 1.0, 4) * (1, 1, 100, 100)
        with_gap = Samples(at * MINUTE_US, *(np.array([x, NAN]) for x in (up, down, flow_up, flow_down)))
        gap = Samples(at * MINUTE_US, *(np.array([NAN, NAN]) for _ in range(4)))
        one.update(minute(up, down, flow_up, flow_down, at=at))
        both.update(gap)
        both.update(with_gap)
    for column in one.COLUMNS:
        np.testing.assert_array_equal(getattr(both, column)[..., :1], getattr(one, column))
        fresh = getattr(SeasonalContrast(1, calendar=lambda at: (0, at)), column)
        np.testing.assert_array_equal(getattr(both, column)[..., 1:], fresh)
