"""Traffic indicators against a slow reckoning from final windows, in any batches, over restarts, with late readings."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulssi.frames import IndicatorKind, Indicators, Readings
from pulssi.messages import SeriesInfo
from pulssi.partitions import Record
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.catalogue import no_limits
from streams.readings_processor import ReadingsProcessor

T0 = 1_700_000_000_000_000 // 60_000_000 * 60_000_000
MINUTE_US = 60_000_000
DEVICE = "tms-23117"  # free flow 80 and 60 km/h, two lanes
QUANTITIES = ("speed_mean", "flow", "free_flow_share", "occupancy")
INFOS = {
    series_id(device, quantity, channel): SeriesInfo(
        series_id=series_id(device, quantity, channel),
        device_id=device,
        quantity=quantity,
        unit="",
        kind="traffic",
        channel=channel,
    )
    for device in (DEVICE, "tms-23103")
    for quantity in QUANTITIES
    for channel in ("1", "2", "1-60min")
}


def processor(snapshot=None):
    limits = StreamsSettings(windows_s=(60, 300), horizon_s=1200, lateness_s_max=1)
    return ReadingsProcessor(0, limits, Topics(), no_limits, snapshot, INFOS.get)


def record(offset, rows):
    """A frame of (quantity, channel, minute, value)."""
    ids = [series_id(DEVICE, quantity, channel) for quantity, channel, _, _ in rows]
    times = T0 + np.array([minute for _, _, minute, _ in rows], np.int64) * MINUTE_US
    values = np.array([value for *_, value in rows], np.float64)
    n = len(rows)
    receive = np.full(n, T0 + 10**12)
    return Record(
        offset,
        None,
        Readings(np.array(ids, np.int64), times, receive, values, np.zeros(n, np.uint16), np.arange(n)).encode(),
        {},
    )


def rows_of(outputs):
    frames = [Indicators.decode(one.value) for one in outputs if dict(one.headers).get("kinds") == b"window"]
    rows = Indicators.concat([Indicators.empty(), *frames])
    return rows.take(rows.kind == IndicatorKind.TRAFFIC), rows.take(rows.kind == IndicatorKind.WINDOW)


def final(rows):
    """Newest revision of each row."""
    found = {}
    for i in range(len(rows)):
        key = (int(rows.series_id[i]), int(rows.window_s[i]), int(rows.window_start[i]))
        if key not in found or rows.revision[i] > found[key][0]:
            found[key] = (int(rows.revision[i]), float(rows.value[i]), int(rows.class_[i]), int(rows.n[i]))
    return found


def steady(minutes, speed=60.0, flow=1200.0, channel="1"):
    return [
        one
        for minute in range(minutes)
        for one in (
            ("speed_mean", channel, minute, speed + minute % 2 / 1000),
            ("flow", channel, minute, flow + minute % 2 / 1000),
        )
    ]


def newest(rows, quantity, channel="1"):
    mine = rows.take(rows.series_id == series_id(DEVICE, quantity, channel))
    return mine.take(mine.window_start == mine.window_start.max())


def one_value(rows, quantity, channel="1"):
    chosen = newest(rows, quantity, channel)
    best = int(np.argmax(chosen.revision))
    return float(chosen.value[best]), int(chosen.class_[best])


def test_an_hour_of_steady_traffic():
    traffic, _ = rows_of(processor().process([record(0, steady(70))]))
    assert one_value(traffic, "free_flow_share") == (pytest.approx(75, rel=1e-4), 3)
    assert one_value(traffic, "density") == (pytest.approx(1200 / 60 / 2, rel=1e-4), 1)
    assert one_value(traffic, "travel_time_index") == (pytest.approx(80 / 60, rel=1e-4), -1)
    assert one_value(traffic, "planning_time_index") == (pytest.approx(80 / 60, rel=1e-4), -1)
    assert one_value(traffic, "buffer_index") == (pytest.approx(0, abs=1e-4), -1)
    assert one_value(traffic, "queue") == (0.0, 0)


def test_directions_have_their_own_free_flow_speed_and_fixed_windows_are_left_alone():
    other = [("speed_mean", "1-60min", minute, 7.0) for minute in range(10)]
    traffic, _ = rows_of(processor().process([record(0, steady(10, channel="2") + other)]))
    assert one_value(traffic, "free_flow_share", "2")[0] == pytest.approx(100, rel=1e-4)
    assert not np.isin(traffic.series_id, series_id(DEVICE, "free_flow_share", "1")).any()


def test_a_new_series_is_described_before_its_first_row():
    outputs = processor().process([record(0, steady(10))])
    topics = [one.topic for one in outputs]
    described = [int(one.key) for one in outputs if one.topic == "pulssi.series"]
    assert set(rows_of(outputs)[0].series_id.tolist()) <= set(described)
    assert topics.index("pulssi.series") < max(i for i, one in enumerate(topics) if one == "pulssi.indicators")


def test_a_road_without_vehicles_has_no_speed():
    rows = (
        steady(10)
        + [("speed_mean", "1", 10 + i, 60.0) for i in range(8)]
        + [("flow", "1", 10 + i, 0.0) for i in range(8)]
    )
    traffic, _ = rows_of(processor().process([record(0, rows)]))
    value, class_ = one_value(traffic, "free_flow_share")
    assert np.isnan(value)
    assert class_ == -1


def test_a_gap_is_no_zero():
    rows = steady(30) + [(q, c, m + 60, v) for q, c, m, v in steady(10)]
    traffic, _ = rows_of(processor().process([record(0, rows)]))
    share = traffic.take(traffic.series_id == series_id(DEVICE, "free_flow_share", "1"))
    np.testing.assert_allclose(share.value, 75, rtol=1e-4)
    index = newest(traffic, "travel_time_index")
    assert np.isnan(index.value).all()  # not enough of the hour
    assert index.completeness[-1] < 0.75


def test_the_share_sensor_counts_and_is_checked_against_speed():
    rows = steady(12) + [("free_flow_share", "1", minute, 90.0) for minute in range(12)]
    traffic, _ = rows_of(processor().process([record(0, rows)]))
    chosen = newest(traffic, "free_flow_share")
    best = int(np.argmax(chosen.revision))
    assert chosen.value[best] == 90.0
    assert chosen.flags[best] & (1 << 11)


def test_a_queue_needs_three_minutes_to_come_and_three_to_go():
    speeds = [60.0] * 10 + [10.0] * 12 + [28.0] * 12 + [60.0] * 12
    rows = [("speed_mean", "1", minute, speed) for minute, speed in enumerate(speeds)]
    one = processor()
    found = {}
    for offset, row in enumerate(rows):
        traffic, _ = rows_of(one.process([record(offset, [row])]))
        for i in np.flatnonzero(traffic.series_id == series_id(DEVICE, "queue", "1")):
            end = int(traffic.window_start[i] + 3600 * 1_000_000 - T0) // MINUTE_US
            found[end] = int(traffic.class_[i])
    begun = [end for end, class_ in found.items() if class_]
    assert min(begun) >= 10 + 5 + 2  # mean of five minutes below a quarter, three times
    assert max(begun) - min(begun) >= 12
    assert found[max(found)] == 0


def test_hours_without_a_vehicle_are_told_as_health():
    rows = [("flow", "1", minute, 0.0) for minute in range(300)]
    traffic, _ = rows_of(processor().process([record(0, rows)]))
    health = traffic.take(traffic.series_id == series_id(DEVICE, "detector_health", "1"))
    bad = health.take(health.class_ == 1)
    first = int(bad.window_start.min() + 14_400 * 1_000_000 - T0) // MINUTE_US
    assert 210 <= first <= 240  # nine tenths of four hours are enough
    assert (bad.flags & (1 << 2)).all()
    chatter, _ = rows_of(processor().process([record(0, steady(10, flow=9000.0))]))
    assert one_value(chatter, "detector_health") == (4.0, 4)


STEP = st.tuples(
    st.sampled_from(["speed_mean", "flow", "free_flow_share", "occupancy"]),
    st.sampled_from(["1", "2"]),
    st.integers(0, 18),
    st.sampled_from([0.0, 5.0, 20.0, 60.0, 100.0]),
)


@st.composite
def streams(draw):
    """Readings whose time goes on, with late ones inside the horizon, and how they are cut into batches."""
    rows, now = [], 20
    for quantity, channel, back, value in draw(st.lists(STEP, min_size=1, max_size=60)):
        now += draw(st.sampled_from([0, 0, 1, 1, 2, 100]))
        rows.append((quantity, channel, max(now - back, 0), value))
    cuts = draw(st.lists(st.integers(0, len(rows)), max_size=4))
    return rows, sorted({0, len(rows), *cuts})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(streams())
def test_batches_and_restarts_leave_no_trace(case):
    rows, cuts = case
    records = [record(offset, [row]) for offset, row in enumerate(rows)]
    single, told = processor(), {}
    for one in records:
        traffic, _ = rows_of(single.process([one]))
        for i in range(len(traffic)):
            key = (traffic.series_id[i], traffic.window_s[i], traffic.window_start[i], traffic.revision[i])
            content = traffic.take(np.array([i])).encode()
            assert told.setdefault(key, content) == content
    batched, found = processor(), []
    for begin, end in pairwise(cuts):
        traffic, _ = rows_of(batched.process(records[begin:end]))
        for i in range(len(traffic)):
            key = (traffic.series_id[i], traffic.window_s[i], traffic.window_start[i], traffic.revision[i])
            assert told[key] == traffic.take(np.array([i])).encode()
        found.append(traffic)
        batched = processor(batched.snapshot())
    assert batched.snapshot() == single.snapshot()
    newest_of = {key[:3]: max(k[3] for k in told if k[:3] == key[:3]) for key in told}
    mine = final(Indicators.concat([Indicators.empty(), *found]))
    assert {key: row[0] for key, row in mine.items()} == {tuple(map(int, k)): int(v) for k, v in newest_of.items()}


def test_a_backlog_in_one_record_is_on_time_whatever_the_order_of_its_series():
    rows = [(quantity, "1", minute, 60.0 + minute % 7) for quantity in ("flow", "speed_mean") for minute in range(120)]
    traffic, _ = rows_of(processor().process([record(0, rows)]))
    share = traffic.take(traffic.series_id == series_id(DEVICE, "free_flow_share", "1"))
    ends = (share.window_start + 300_000_000 - T0) // MINUTE_US
    assert sorted(set(ends.tolist())) == list(range(1, 119))
