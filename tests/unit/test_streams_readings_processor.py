import numpy as np
import pytest

from pulssi.errors import PoisonError
from pulssi.frames import IndicatorKind, Indicators, Readings
from pulssi.messages import SeriesInfo
from pulssi.partitions import Record
from pulssi.quality import Quality
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.catalogue import Catalogue, no_limits
from streams.readings_processor import ReadingsProcessor

T0 = 1_700_000_000_000_000


def frame(series, seconds, values, quality=0, ahead_s=0):
    n = len(series)
    times = T0 + np.round(np.array(seconds) * 1_000_000).astype(np.int64)
    return Readings(
        np.array(series, np.int64),
        times,
        times + 50_000 - ahead_s * 1_000_000,
        np.array(values, np.float64),
        np.full(n, quality, np.uint16),
        np.arange(n, dtype=np.int64),
    ).encode()


def processor(snapshot=None, lookup=no_limits, **settings):
    return ReadingsProcessor(2, StreamsSettings(**settings), Topics(), lookup, snapshot)


def test_each_reading_becomes_one_row_in_the_partition_of_its_source():
    outputs = processor().process([Record(7, None, frame([1, 2], [0, 1], [5.0, 6.0]), {})])
    (output,) = [one for one in outputs if dict(one.headers)["kinds"] == b"reading"]
    rows = Indicators.decode(output.value)
    assert (output.topic, output.partition) == ("pulssi.indicators", 2)
    assert dict(output.headers)["flagged"] == b"0"
    assert rows.series_id.tolist() == [1, 2]
    assert rows.value.tolist() == [5.0, 6.0]
    assert set(rows.kind) == {IndicatorKind.READING}
    assert rows.position.tolist() == [7, 7]
    assert rows.window_s.tolist() == [0, 0]
    assert (rows.window_start - T0).tolist() == [0, 1_000_000]


def test_what_is_no_frame_becomes_a_dead_letter_and_the_rest_goes_on():
    outputs = processor().process(
        [Record(1, b"air-1", b"not arrow", {}), Record(2, None, frame([1], [0], [1.0]), {})],
    )
    dead, good = outputs[0], outputs[1]
    said = dict(dead.headers)
    assert (dead.topic, dead.key, dead.value) == ("pulssi.deadletters", b"air-1", b"not arrow")
    assert (said["reason"], said["offset"], said["partition"]) == (b"bad_frame", b"1", b"2")
    assert len(Indicators.decode(good.value)) == 1


def test_a_value_that_is_not_finite_is_poison():
    outputs = processor().process([Record(1, None, frame([1], [0], [float("nan")]), {})])
    assert dict(outputs[0].headers)["reason"] == b"not_finite"


def feed(one, offset, *columns, **more):
    return decoded(one.process([Record(offset, None, frame(*columns, **more), {})]))


def decoded(outputs):
    return {dict(one.headers)["kinds"].decode(): Indicators.decode(one.value) for one in outputs}


def windows(rows):
    """(window_s, start in s, n, revision) of the WINDOW rows, sorted."""
    frame = rows.get("window", Indicators.empty())
    chosen = frame.take(frame.kind == IndicatorKind.WINDOW)
    starts = (chosen.window_start - T0) // 1_000_000
    return sorted(zip(*(c.tolist() for c in (chosen.window_s, starts, chosen.n, chosen.revision)), strict=True))


MINUTES = {"windows_s": (120,), "lateness_s_max": 10, "idle_s": 100, "horizon_s": 600}
FIRST = 40  # T0 is 40 s before the end of a pane: minute 0 of these tests begins at second 40


def at(minute, second=0):
    return FIRST + 60 * minute + second


def test_windows_are_half_open_and_close_when_the_watermark_passes():
    one = processor(**MINUTES)
    feed(one, 0, [1, 1], [at(0), at(0, 59)], [1.0, 2.0])
    assert windows(feed(one, 1, [1], [at(1)], [3.0])) == []
    assert windows(feed(one, 2, [1], [at(1, 9)], [4.0])) == []
    assert windows(feed(one, 3, [1], [at(1, 10)], [5.0])) == [(120, at(-1), 2, 0)]
    assert windows(feed(one, 4, [1], [at(2, 10)], [6.0])) == [(120, at(0), 5, 0)]


def test_a_late_reading_revises_the_windows_that_hold_it_and_no_other():
    one = processor(**MINUTES)
    feed(one, 0, [1] * 5, [at(minute) for minute in range(5)], [1.0] * 5)
    late = feed(one, 1, [1], [at(1, 30)], [7.0])
    assert windows(late) == [(120, at(0), 3, 1), (120, at(1), 3, 1)]
    assert late["reading"].flags.tolist() == [0]
    assert late["window"].position.tolist() == [1, 1]
    assert late["window"].max.tolist() == [7.0, 7.0]


def test_a_redelivered_reading_leaves_no_trace():
    one = processor(**MINUTES)
    feed(one, 0, [1] * 4, [at(minute) for minute in range(4)], [1.0] * 4)
    assert one.process([Record(1, None, frame([1, 1], [at(1), at(3)], [9.0, 9.0]), {})]) == []
    assert one.counts.duplicates == 2


def test_what_is_older_than_the_horizon_is_flagged_and_in_no_window():
    one = processor(**MINUTES)
    feed(one, 0, [1], [at(30)], [1.0])
    late = feed(one, 1, [1], [at(19, 59)], [2.0])
    assert late["reading"].flags.tolist() == [int(Quality.LATE)]
    assert windows(late) == []
    on_time = feed(one, 2, [1], [at(20)], [2.0])
    assert on_time["reading"].flags.tolist() == [0]
    assert windows(on_time)


def test_a_silent_series_is_closed_by_the_clock_of_its_partition():
    one = processor(**MINUTES)
    feed(one, 0, [1, 2], [at(0), at(0)], [1.0, 5.0])
    assert windows(feed(one, 1, [2], [at(0, 99)], [6.0])) == [(120, at(-1), 1, 0)]
    closed = feed(one, 2, [2], [at(0, 100)], [6.0])
    assert windows(closed) == [(120, at(-1), 1, 0)]
    assert closed["window"].series_id.tolist() == [1]
    assert windows(feed(one, 3, [1], [at(0, 30)], [3.0])) == [(120, at(-1), 2, 1)]


def test_a_silent_partition_shows_its_open_windows_once_and_provisionally():
    one = processor(**MINUTES)
    feed(one, 0, [1, 1], [at(0), at(0, 30)], [1.0, 3.0])
    before = one.snapshot()
    now = T0 + at(5) * 1_000_000
    assert one.tick(now) == []
    assert one.tick(now + 99_000_000) == []
    (output,) = one.tick(now + 100_000_000)
    rows = Indicators.decode(output.value)
    assert (rows.n.tolist(), rows.mean.tolist(), rows.position.tolist()) == ([2], [2.0], [0])
    assert rows.revision[0] < 0
    assert one.tick(now + 300_000_000) == []
    assert one.snapshot() == before
    assert windows(feed(one, 1, [1], [at(2)], [1.0])) == [(120, at(-1), 2, 0)]


def test_a_backlog_of_a_day_in_one_batch_is_on_time():
    one = processor(**MINUTES)
    rows = feed(one, 0, [1] * 1440, [at(minute) for minute in range(1440)], np.arange(1440.0))
    found = windows(rows)
    assert len(found) == 1438
    assert {row[2:] for row in found[1:]} == {(2, 0)}
    assert not rows["reading"].flags.any()


def test_sums_of_far_values_keep_their_spread():
    one = processor(**MINUTES)
    values = [1e9 + 0.1, 1e9 + 0.2, 1e9 + 0.3]
    feed(one, 0, [1, 1, 1], [at(0), at(0, 1), at(0, 2)], values)
    row = feed(one, 1, [1], [at(1, 10)], [1e9])["window"]
    assert row.std[0] == pytest.approx(np.std(values), rel=1e-6)


def test_the_greatest_numbers_are_no_accident():
    one = processor(**MINUTES)
    feed(one, 0, [1, 1, 2], [at(0), at(0, 1), at(0)], [1.7e308, -1.7e308, 5e-324])
    row = feed(one, 1, [1, 2], [at(2), at(2)], [1.0, 1.0])["window"]
    assert row.max.tolist() == [1.7e308, 5e-324]


def test_checks_use_the_limits_of_the_series():
    limits = no_limits(np.zeros(1, np.int64))
    limits.low[:], limits.high[:], limits.step_max[:], limits.stuck_s[:] = 0.0, 10.0, 3.0, 60.0
    one = processor(lookup=lambda _: limits, **MINUTES)
    rows = feed(one, 0, [1] * 5, [0, 30, 60, 90, 120], [1.0, 1.0, 1.0, 9.0, 11.0])
    provisional = int(Quality.PROVISIONAL)
    expected = [0, 0, int(Quality.STUCK) | provisional, int(Quality.STEP) | provisional, int(Quality.RANGE)]
    assert rows["reading"].flags.tolist() == expected


def test_an_unusual_reading_is_told_with_what_was_expected():
    one = processor(**MINUTES)
    rng = np.random.default_rng(2)
    rows = feed(one, 0, [1] * 300, [at(minute) for minute in range(300)], rng.normal(20, 1, 300))
    assert rows["window"].kind.tolist() == [IndicatorKind.WINDOW] * 298
    rows = feed(one, 1, [1], [at(300)], [80.0])
    told = rows["window"].take(rows["window"].kind == IndicatorKind.ANOMALY)
    assert told.last.tolist() == [80.0]
    assert told.value[0] > 0.9999
    assert told.mean[0] == pytest.approx(20, abs=2)
    assert told.std[0] == pytest.approx(0.8, abs=0.5)
    assert rows["reading"].last.tolist() == told.value.tolist()


def test_series_beyond_the_bound_are_passed_on_without_state():
    one = processor(series_max=1, **MINUTES)
    rows = feed(one, 0, [1, 2, 2], [at(0), at(0), at(3)], [1.0, 2.0, 3.0])
    assert rows["reading"].value.tolist() == [1.0, 2.0, 3.0]
    assert set(rows["window"].series_id) == {1}
    assert (one.series, one.counts.without_state) == (1, 2)


def test_a_clock_that_is_far_ahead_is_told_and_makes_nothing_late():
    one = processor(**MINUTES)
    feed(one, 0, [1], [at(0)], [1.0])
    far = feed(one, 1, [1, 2], [at(0) + 30_000_000, at(0) + 30_000_301], [9.0, 9.0], ahead_s=30_000_000)
    assert far["reading"].flags.tolist() == [int(Quality.CLOCK)] * 2
    assert (one.series, one.counts.quarantined, one.counts.without_state) == (1, 2, 0)
    back = [feed(one, 2, [1, 1], [at(1), at(2, 10)], [2.0, 3.0]), feed(one, 3, [2, 2], [at(0), at(2, 10)], [4.0, 5.0])]
    assert [rows["reading"].flags.tolist() for rows in back] == [[0, 0]] * 2
    assert windows(back[0]) == [(120, at(0), 2, 0)]


def test_a_device_that_runs_wild_is_passed_on_and_fills_no_more_than_its_panes():
    one = processor(series_rate_max=1, **MINUTES)
    times = [at(0) + i / 100 for i in range(5000)]
    rows = feed(one, 0, [1] * 5000, times, [1.0] * 5000)
    assert len(rows["reading"]) == 5000
    assert one.counts.crowded == 5000 - 60
    assert windows(feed(one, 1, [1], [at(2)], [1.0])) == [(120, at(-1), 60, 0)]


def test_each_source_has_its_own_lateness_bound():
    known = {"lateness_s": {"tms-*": 25, "weather": 60}, "lateness_s_max": 10}
    bounds = StreamsSettings(**known)
    said = [bounds.lateness_of(*one) for one in (("traffic", "tms-1"), ("weather", "rws-1"), ("air", "a"))]
    assert said == [25, 60, 10]
    catalogue = Catalogue(bounds.lateness_of)
    for number, (kind, device) in enumerate([("traffic", "tms-1"), ("air", "a")], 1):
        catalogue.add(SeriesInfo(series_id=number, device_id=device, quantity="x", unit="1", kind=kind))
    one = processor(lookup=catalogue.limits, **{**MINUTES, **known})
    feed(one, 0, [1, 2], [at(0), at(0)], [1.0, 1.0])
    closed = [feed(one, 1 + s, [1, 2], [at(1, s), at(1, s)], [1.0, 1.0]) for s in range(10, 30)]
    closing = {
        i: [s for s, rows in enumerate(closed, 10) if "window" in rows and i in rows["window"].series_id]
        for i in (1, 2)
    }
    assert closing == {1: [25], 2: [10]}


def test_many_rows_are_cut_into_frames_that_a_client_sends():
    n = 12_000
    outputs = processor().process([Record(0, None, frame(range(n), [0] * n, [1.0] * n, quality=1), {})])
    assert [len(Indicators.decode(one.value)) for one in outputs] == [5000, 5000, 2000]
    assert [dict(one.headers)["flagged"] for one in outputs] == [b"5000", b"5000", b"2000"]
    assert max(len(one.value) for one in outputs) < 1 << 20


def test_a_snapshot_of_other_windows_is_refused():
    snapshot = processor(windows_s=(120,)).snapshot()
    with pytest.raises(PoisonError, match="other settings: windows"):
        processor(snapshot=snapshot, windows_s=(180,))


def test_an_empty_batch_and_an_empty_frame_give_nothing():
    one = processor()
    assert one.process([]) == []
    assert one.process([Record(0, None, frame([], [], []), {})]) == []
