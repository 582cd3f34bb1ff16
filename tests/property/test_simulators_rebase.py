"""Moving a recording in time and laying it into a replay, for any recording."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from simulators.recordings import Recording, rebased
from simulators.recordings.series import SeriesRecord
from simulators.replay import MAX_SPEED, ReplayOptions, batches, plan

MINUTE = 60_000_000
SECOND = 1_000_000
times = st.lists(st.integers(0, 10**13), min_size=1, max_size=60).map(sorted)
ends = st.integers(10**15, 2 * 10**15)


def records(moments):
    return [SeriesRecord(moment, "air", "a", {"no2": 1.0}) for moment in moments]


@given(times, ends)
def test_kept_gaps_move_everything_by_the_same_whole_minutes(moments, end):
    moved = rebased(records(moments), end)
    assert len({one.shift_us for one in moved}) == 1
    assert moved[0].shift_us % MINUTE == 0
    assert end - MINUTE < moved[-1].time <= end
    assert [b.time - a.time for a, b in pairwise(moved)] == [b - a for a, b in pairwise(moments)]


@given(times, ends, st.integers(120, 7200))
def test_squeezed_gaps_keep_order_and_every_short_difference(moments, end, gap_s):
    moved = rebased(records(moments), end, squeeze_s=gap_s)
    for (a, b), (old_a, old_b) in zip(pairwise(moved), pairwise(moments), strict=True):
        new, old = b.time - a.time, old_b - old_a
        assert b.shift_us % MINUTE == 0
        if old <= gap_s * SECOND:
            assert new == old
        else:
            assert MINUTE <= new < 2 * MINUTE


@given(times, ends, st.sampled_from([1, 60, 3600, MAX_SPEED]), st.booleans())
def test_nothing_leaves_before_its_time_and_nothing_comes_from_the_future(moments, start, speed, backlog):
    made = plan(Recording(records(moments), squeeze=False), ReplayOptions(speed, for_s=90, backlog=backlog), start)
    assert made.wall == sorted(made.wall)
    assert all(start <= wall <= start + 90 * SECOND + 1 for wall in made.wall)
    assert all(one.time <= wall + 1 for wall, one in zip(made.wall, made.moved, strict=True))
    if backlog or speed == MAX_SPEED:
        assert len(made.moved) == len(moments)
    assert [one for _, group in batches(made) for one in group] == made.moved
