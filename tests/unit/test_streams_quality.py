"""Checks of single readings and of sequences: what is planted is found where it is, and nothing else."""

from itertools import pairwise

import numpy as np
import pytest

from pulssi.frames import IndicatorKind, Indicators, Readings
from pulssi.partitions import Record
from pulssi.quality import EXCLUDED, Quality
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.catalogue import Limits
from streams.grouping import Runs
from streams.quality.sequence import AROUND, NEIGHBOUR_S, SequenceChecks
from streams.quality.single import AHEAD_S_MAX, clock_flags, range_flags
from streams.readings_processor import ReadingsProcessor

S = 1_000_000
T0 = 1_700_000_040 * S
MINUTE = 60 * S
STEP, STUCK, SPIKE, GAP = (int(flag) for flag in (Quality.STEP, Quality.STUCK, Quality.SPIKE, Quality.GAP))


def limits_of(n, step=10.0, stuck_s=100.0):
    wide = np.full(n, np.inf)
    return Limits(-wide, wide, np.full(n, step), np.full(n, stuck_s), np.full(n, np.nan), np.full(n, np.nan))


def checks_of(lag=0):
    checks = SequenceChecks(MINUTE, lag)
    checks.grow(1)
    return checks


def check(checks, seconds, values, **limits):
    times = np.array(seconds, np.int64) * S
    n = len(times)
    runs, row, nothing = Runs(np.zeros(n)), np.zeros(min(n, 1), np.int64), np.zeros(n, np.int32)
    return checks.check(runs, row, times, np.array(values, np.float64), limits_of(n, **limits), nothing)


def found(seconds, values, lag=0, **limits):
    """Flags of each reading that is judged, by its time in seconds."""
    _, judged = check(checks_of(lag), seconds, values, **limits)
    return {time // S: flags for time, flags in zip(judged.time.tolist(), judged.flags.tolist(), strict=True) if flags}


# one reading


def test_range_is_closed_at_both_ends():
    flags = range_flags(np.array([-0.1, 0.0, 5.0, 5.1]), np.zeros(4), np.full(4, 5.0))
    assert flags.tolist() == [1, 0, 0, 1]


def test_a_reading_from_the_future_has_a_wrong_clock_and_one_of_the_past_may_have_been_under_way():
    received = np.full(4, 1000 * S)
    ahead = np.array([AHEAD_S_MAX * S + 1, AHEAD_S_MAX * S, 0, -(10**9) * S])
    assert clock_flags(received + ahead, received).tolist() == [int(Quality.CLOCK), 0, 0, 0]


# step, stuck, gap


def test_a_step_is_a_jump_between_neighbours_and_no_jump_after_a_pause():
    checks = checks_of()
    assert check(checks, [0, 60, 120], [1.0, 11.0, 22.0])[0].tolist() == [0, 0, STEP]
    assert check(checks, [180], [0.0])[0].tolist() == [STEP]
    assert check(checks, [181 + NEIGHBOUR_S], [500.0])[0].tolist() == [0]


def test_stuck_begins_when_the_value_has_stood_long_enough_and_ends_with_a_change():
    checks = checks_of()
    assert check(checks, [0, 60, 99], [1.0, 1.0, 1.0])[0].tolist() == [0, 0, 0]
    assert check(checks, [100, 150, 160], [1.0, 1.0, 2.0])[0].tolist() == [STUCK, STUCK, 0]
    assert check(checks, [200], [2.0])[0].tolist() == [0]


def test_a_lively_series_is_stuck_after_thirty_repeats_and_a_sluggish_one_is_not():
    rng = np.random.default_rng(3)
    lively, sluggish = rng.normal(0, 1, 200), np.repeat(rng.normal(0, 1, 200), 8)
    still = np.full(60, 0.5)
    flags, _ = check(checks_of(), np.arange(260), np.concatenate((lively, still)), stuck_s=1e6)
    assert np.flatnonzero(flags & STUCK).tolist() == list(range(230, 260))
    flags, _ = check(checks_of(), np.arange(1635), np.concatenate((sluggish, still[:35])), stuck_s=1e6)
    assert not (flags & STUCK).any()


def test_a_sensor_may_be_stuck_more_than_once_and_a_habit_is_learned():
    lively, still = np.random.default_rng(3).normal(0, 1, 200), np.full(60, 0.5)
    values = np.concatenate([lively, still, lively, still, lively, still])
    flags, _ = check(checks_of(), np.arange(len(values)), values, stuck_s=1e6)
    assert np.flatnonzero(flags & STUCK).tolist() == [*range(230, 260), *range(490, 520)]


def test_a_quantity_that_may_stand_still_is_never_stuck():
    flags, _ = check(checks_of(), np.arange(400), np.concatenate((np.arange(200.0), np.zeros(200))), stuck_s=np.inf)
    assert not (flags & STUCK).any()


def test_a_gap_is_the_first_reading_after_five_intervals_once_the_interval_is_known():
    seconds = [*range(0, 1200, 60), 1140 + 300, 1440 + 301, 1801]
    assert found(seconds, np.arange(len(seconds)) % 7, stuck_s=1e6) == {1741: GAP}
    early = [0, 60, 120, 720, 780]
    assert found(early, np.arange(5.0), stuck_s=1e6) == {}


# spikes


def quiet(n, seed=1):
    return np.random.default_rng(seed).normal(20, 0.2, n)


@pytest.mark.parametrize("at", [3, 4, 50, 96])
@pytest.mark.parametrize("height", [8.0, -8.0])
def test_a_single_spike_is_settled_on_its_reading_and_on_no_other(at, height):
    values = quiet(100)
    values[at] += height
    assert found(np.arange(100), values, lag=AROUND, step=10.0, stuck_s=1e6) == {at: SPIKE}


def test_a_change_of_level_is_a_spike_only_until_what_follows_is_known():
    values = quiet(100)
    values[50:] += 8.0
    on_arrival = found(np.arange(100), values, step=10.0, stuck_s=1e6)
    assert on_arrival == {50: SPIKE, 51: SPIKE, 52: SPIKE}
    assert found(np.arange(100), values, lag=AROUND, step=10.0, stuck_s=1e6) == {}


def test_a_ramp_is_no_spike_and_small_noise_is_none():
    assert found(np.arange(100), np.arange(100) * 9.0, lag=AROUND, stuck_s=1e6) == {}
    values = quiet(100)
    values[50] += 2.4  # twelve standard deviations, but less than a quarter of the credible step
    assert found(np.arange(100), values, lag=AROUND, stuck_s=1e6) == {}


def test_readings_in_a_wide_scatter_are_no_spikes():
    values = np.random.default_rng(5).normal(0, 30, 1000)
    flagged = found(np.arange(1000), values, lag=AROUND, step=80.0, stuck_s=1e6)
    assert sum(1 for flags in flagged.values() if flags & SPIKE) < 30


def test_batches_change_nothing():
    rng = np.random.default_rng(2)
    seconds = np.cumsum(rng.choice([1, 1, 1, 1, 40], 600))
    values = np.round(quiet(600), 1) + 9 * (rng.random(600) < 0.02)
    for lag in (0, AROUND):
        whole = check(checks_of(lag), seconds, values, step=10.0, stuck_s=30)
        checks, cuts = checks_of(lag), [0, 1, 2, 9, 10, 17, 300, 301, 600]
        parts = [check(checks, seconds[a:b], values[a:b], step=10.0, stuck_s=30) for a, b in pairwise(cuts)]
        assert np.array_equal(np.concatenate([own for own, _ in parts]), whole[0])
        for name in ("time", "flags", "note"):
            joined = np.concatenate([getattr(judged, name) for _, judged in parts])
            assert np.array_equal(joined, getattr(whole[1], name)), name
        assert (whole[1].flags & STUCK).any()
        assert (whole[1].flags & GAP).any()
        assert (whole[1].flags & SPIKE).any()


# what the processor makes of them

SETTINGS = StreamsSettings(windows_s=(300,), lateness_s_max=10, idle_s=10_000, horizon_s=600)


def run(seconds, values, *, order=None, quality=None, ahead_s=0, step=10.0, stuck_s=1e6):
    """READING, FLAGS and WINDOW rows of one series: {second: flags}, {second: flags}, newest window by its end."""
    processor = ReadingsProcessor(0, SETTINGS, Topics(), lambda ids: limits_of(len(ids), step, stuck_s))
    order = np.arange(len(seconds)) if order is None else order
    times = T0 + np.array(seconds, np.int64)[order] * S
    n = len(times)
    flags = np.zeros(n, np.uint16) if quality is None else np.array(quality, np.uint16)[order]
    received = np.maximum.accumulate(times) - ahead_s * S
    readings = Readings(np.full(n, 7), times, received, np.array(values, np.float64)[order], flags, np.full(n, -1))
    outputs = [
        output
        for i in range(n)
        for output in processor.process([Record(i, None, readings.take(slice(i, i + 1)).encode(), {})])
    ]
    told, settled, windows = {}, {}, {}
    for rows in (Indicators.decode(output.value) for output in outputs):
        for i in range(len(rows)):
            second = (int(rows.window_start[i]) - T0) // S
            if rows.kind[i] == IndicatorKind.READING:
                told[second] = int(rows.flags[i])
            elif rows.kind[i] == IndicatorKind.FLAGS:
                settled[second] = int(rows.flags[i])
            elif rows.kind[i] == IndicatorKind.WINDOW:
                windows[second + 300] = rows.take(slice(i, i + 1))
    return {s: f for s, f in told.items() if f}, settled, windows


PROVISIONAL = int(Quality.PROVISIONAL)


def test_a_spike_is_told_at_once_and_settles_when_the_horizon_has_passed():
    values = quiet(60)
    values[20] += 9
    told, settled, _ = run(np.arange(60) * 30, values)
    assert told == {600: SPIKE | PROVISIONAL}
    assert settled == {600: SPIKE}


def test_what_looked_like_a_spike_is_withdrawn_when_the_level_has_changed():
    values = quiet(60)
    values[20:] += 9
    told, settled, _ = run(np.arange(60) * 30, values)
    assert told == dict.fromkeys((600, 630, 660), SPIKE | PROVISIONAL)
    assert settled == dict.fromkeys((600, 630, 660), 0)


def test_a_step_is_withdrawn_when_the_reading_between_comes_late():
    seconds, values = np.arange(60) * 30, np.concatenate((np.full(20, 0.0), [8.0], np.full(39, 16.0)))
    values = values + np.tile([0.0, 0.1], 30)
    order = np.array([*range(20), 21, 20, *range(22, 60)])
    told, settled, _ = run(seconds, values, order=order)
    assert told[630] & STEP
    assert 600 not in told
    assert settled[630] == 0
    assert run(seconds, values)[1].get(630, 0) == 0


def test_a_reading_out_of_order_alone_gets_no_flag():
    order = np.array([*range(20), 21, 20, *range(22, 60)])
    assert run(np.arange(60) * 30, quiet(60), order=order)[:2] == ({}, {})


def test_flags_of_the_device_stay_when_others_settle():
    values = quiet(60)
    values[20] += 9
    quality = np.full(60, int(Quality.HUMIDITY))
    told, settled, _ = run(np.arange(60) * 30, values, quality=quality)
    assert told[600] == SPIKE | PROVISIONAL | int(Quality.HUMIDITY)
    assert settled == {600: SPIKE | int(Quality.HUMIDITY)}


def test_a_stuck_sensor_leaves_the_windows_when_it_has_settled():
    values = quiet(120)
    values[30:80] = 20.0
    told, settled, windows = run(np.arange(120) * 30, values, stuck_s=300)
    stuck = [30 * i for i in range(40, 80)]
    assert sorted(told) == stuck
    assert {settled[second] for second in stuck} == {STUCK}
    row = windows[2100]  # from half an hour on, long after the value began to stand
    assert (row.n.tolist(), row.n_excluded.tolist(), row.flags.tolist()) == ([0], [10], [STUCK])
    assert np.isnan(row.mean[0])
    assert row.revision[0] > 0
    before = windows[1200]
    assert (before.n.tolist(), before.n_excluded.tolist(), before.flags.tolist()) == ([10], [0], [0])


@pytest.mark.parametrize("flag", [flag for flag in Quality if flag in EXCLUDED])
def test_windows_name_how_much_was_left_out_and_why(flag):
    """Each excluding flag, as it comes about; what came too late or twice is in no window, and has no trace there."""
    seconds, values, more = np.arange(120) * 30, quiet(120), {}
    quality = np.zeros(120, np.int64)
    if flag is Quality.STUCK:
        values[40:60], more = 20.0, {"stuck_s": 60}
    elif flag is Quality.CLOCK:
        more = {"ahead_s": AHEAD_S_MAX + 1}
    elif flag in Quality.LATE | Quality.DUPLICATE:
        order = np.array([*range(120), 2])
        told, _, windows = run(seconds, values, order=order)
        assert told == {60: int(Quality.LATE)}
        assert all(row.n_excluded[0] == 0 for row in windows.values())
        return
    else:
        quality[40:60] = int(flag)
    _, _, windows = run(seconds, values, quality=quality, **more)
    row = windows[1800]  # readings 50 ... 59
    assert (row.n.tolist(), row.n_excluded.tolist(), row.flags.tolist()) == ([0], [10], [int(flag)])
