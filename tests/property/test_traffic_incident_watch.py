"""Incidents live against a slow reckoning that sorts everything first: any turns, batches and restarts."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulssi.corridors import lanes
from pulssi.frames import IndicatorKind, Indicators
from pulssi.partitions import Record
from pulssi.series import partition_of, series_id
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.groups_processor import GroupsProcessor
from streams.season import Calendar
from streams.traffic.incident_watch import CALIFORNIA_7, EVIDENCE_MIN
from streams.traffic.incidents import California7, Samples, occupancy_from
from streams.traffic.seasonal_contrast import SeasonalContrast, local
from tests.fixtures.corridor import INCIDENT, INFOS, MINUTE_US, MINUTES, MONDAY_0700, PAIRS, STATIONS, in_order, told

TOPICS = Topics(partitions=3)
ROAD = partition_of("road:1", TOPICS.partitions)
SETTINGS = StreamsSettings(group_lateness_s_max=7200)


def turns(draw, sources, ahead_min=100):
    """One order of rows in which no source gets further ahead of another than that."""
    places, rows = [0] * len(sources), []
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    while True:
        heads = [
            source[place][3] if place < len(source) else 1 << 40 for source, place in zip(sources, places, strict=True)
        ]
        if min(heads) == 1 << 40:
            return rows
        which = int(random.choice([one for one, head in enumerate(heads) if head - min(heads) < ahead_min]))
        length = int(random.integers(1, 30))
        for _ in range(length):
            if places[which] < len(sources[which]) and sources[which][places[which]][3] - min(heads) < ahead_min:
                rows.append(sources[which][places[which]])
                places[which] += 1


def frame(rows):
    found = Indicators.empty(len(rows))
    for i, (device, quantity, channel, minute, value, received) in enumerate(rows):
        found.series_id[i] = series_id(device, quantity, channel)
        found.window_start[i], found.mean[i], found.receive_time[i] = minute * MINUTE_US, value, received
    found.kind[:], found.window_s[:], found.n[:] = IndicatorKind.WINDOW, 60, 1
    return found.encode()


def processor(snapshot=None):
    return GroupsProcessor(ROAD, SETTINGS, TOPICS, snapshot, INFOS.get)


def run(rows, cuts, restarts=(), batch=1):
    """Rows as records that begin at `cuts`, some of them together, with restarts before some of them."""
    bounds = sorted({0, *cuts, len(rows)})
    records = [
        Record(offset, None, frame(rows[begin:end]), {})
        for offset, (begin, end) in enumerate(itertools.pairwise(bounds))
    ]
    core, outputs = processor(), []
    for first in range(0, len(records), batch):
        if first in restarts:
            core = processor(core.snapshot())
        outputs += core.process(records[first : first + batch])
    return outputs, core


def rows_of(outputs):
    """Each row without its position, which tells of the order."""
    frames = [Indicators.decode(one.value) for one in outputs if one.topic == TOPICS.indicators]
    rows = Indicators.concat([Indicators.empty(), *frames])
    names = [name for name in Indicators.SCHEMA.names if name != "position"]
    return list(zip(*([repr(one) for one in getattr(rows, name).tolist()] for name in names), strict=True)), rows


def slowly(rows):
    """(series, minute) -> value, class, seconds since the onset: one pair and one minute at a time."""
    first = {}
    for device, quantity, channel, minute, value, _ in rows:
        first.setdefault((device, quantity, channel, minute), value)
    found = {}
    for pair in PAIRS:
        contrast = SeasonalContrast(1, EVIDENCE_MIN, calendar=local(Calendar(SETTINGS.zone, SETTINGS.holidays)))
        california, since, heard = California7((1,), *CALIFORNIA_7), None, 0
        channel = str(pair.direction)
        for minute in MINUTES:
            keys = [
                (one, q, channel, minute) for one in (pair.upstream, pair.downstream) for q in ("flow", "speed_mean")
            ]
            if not all(key in first for key in keys):
                continue
            if minute - heard > 30:
                contrast.evidence[:], contrast.standing[:], california.state[:] = 0, False, 0
            heard = minute
            flow_up, speed_up, flow_down, speed_down = (np.array([first[key]]) for key in keys)
            up = occupancy_from(flow_up, speed_up, 6.5, lanes()[pair.upstream])
            down = occupancy_from(flow_down, speed_down, 6.5, lanes()[pair.downstream])
            samples = Samples((minute + 1) * MINUTE_US, up, down, flow_up, flow_down)
            learned, simple = bool(contrast.update(samples)[0]), bool(california.update(samples)[0])
            known = bool(contrast.known[0])
            if known:
                since = (minute if since is None else since) if learned else None
            lasted = 0 if since is None else (minute + 1 - since) * 60
            ours = series_id(pair.upstream, "incident", channel)
            found[ours, minute] = (float(learned) if known else None, int(learned) if known else -1, float(lasted))
            theirs = series_id(pair.upstream, "incident_california_7", channel)
            found[theirs, minute] = (float(simple), int(simple))
    return found


def by_key(rows):
    found = {}
    for i in range(len(rows)):
        key = (int(rows.series_id[i]), int(rows.window_start[i]) // MINUTE_US)
        more = () if np.isnan(rows.last[i]) else (float(rows.last[i]),)
        value = None if np.isnan(rows.value[i]) else float(rows.value[i])
        found[key] = (value, int(rows.class_[i]), *more)
    assert len(found) == len(rows)
    return found


@given(data=st.data(), seed=st.integers(0, 3))
@settings(derandomize=True, max_examples=6, deadline=None)
def test_as_if_everything_had_been_sorted_first(data, seed):
    sources = [[], [], []]
    for number, device in enumerate(STATIONS):
        sources[number % 3] += told(seed)[device]
    sources = [sorted(source, key=lambda row: row[3]) for source in sources]
    rows = turns(data.draw, sources)
    cuts = range(0, len(rows), data.draw(st.integers(1, 400)))
    restarts = data.draw(st.sets(st.integers(0, 40), max_size=4))
    outputs, core = run(rows, cuts, restarts, data.draw(st.integers(1, 20)))
    assert by_key(rows_of(outputs)[1]) == slowly(rows)
    straight = sorted((row for source in sources for row in source), key=lambda row: row[3])
    others, other = run(straight, ())
    assert sorted(rows_of(outputs)[0]) == sorted(rows_of(others)[0])
    assert without_positions(core) == without_positions(other)


def without_positions(core):
    """The state of a core but for where in the topic its open rows came from."""
    watch = core._parts["incidents"]
    arrays = {name: one for name, one in watch._arrays().items() if name != "minutes.position"}
    return {name: (one.dtype.str, one.shape, one.tobytes()) for name, one in arrays.items()}


@given(data=st.data())
@settings(derandomize=True, max_examples=8, deadline=None)
def test_batches_and_restarts_leave_no_trace(data):
    rows = in_order(1)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)), min_size=1, max_size=60)))
    single, core = run(rows, cuts)
    restarts = data.draw(st.sets(st.integers(0, len(cuts)), max_size=5))
    batched, other = run(rows, cuts, restarts, data.draw(st.integers(2, 30)))
    assert core.snapshot() == other.snapshot()
    for one, two in zip(rows_of(single), rows_of(batched), strict=True):
        if isinstance(one, list):
            assert sorted(one) == sorted(two)
        else:
            assert sorted(one.position.tolist()) == sorted(two.position.tolist())


def test_rows_that_come_again_change_nothing():
    rows = in_order(2)
    begin = len(rows) - 300
    _, core = run(rows, range(0, len(rows), 50))
    before = core.snapshot()
    again = [(*row[:4], row[4] + 50.0, row[5]) for row in rows[begin:]]
    assert core.process([Record(10**6, None, frame(again), {})]) == []
    assert core.snapshot() == before


def test_each_series_goes_forward_and_is_described_before_its_first_row():
    rows = turns(lambda _: 5, [told(3)[device] for device in STATIONS])
    outputs, _ = run(rows, range(0, len(rows), 17))
    described, newest = set(), {}
    for output in outputs:
        if output.topic == TOPICS.series:
            described.add(int(output.key))
            continue
        _, found = rows_of([output])
        assert (output.partition, dict(output.headers)["kinds"]) == (ROAD, b"window")
        for series, start in zip(found.series_id.tolist(), found.window_start.tolist(), strict=True):
            assert series in described
            assert start > newest.get(series, 0)
            newest[series] = start
    assert len(described) == 2 * len(PAIRS)


def test_the_incident_stands_between_the_right_stations():
    rows = in_order(0)
    found = by_key(rows_of(run(rows, ())[0])[1])
    right = series_id(STATIONS[1], "incident", "1")
    ours = {
        series: [minute for (one, minute), said in found.items() if one == series and said[0]]
        for series in (series_id(device, "incident", channel) for device in STATIONS for channel in ("1", "2"))
    }
    assert INCIDENT[1] <= min(ours[right]) <= INCIDENT[6]
    assert INCIDENT[-2] <= max(ours[right]) <= INCIDENT[-1] + 10
    late = INCIDENT[-2]
    assert found[right, late] == (1.0, 1, 60.0 * (late + 1 - min(ours[right])))
    assert not any(minutes for series, minutes in ours.items() if series != right)


def test_until_it_has_learned_it_says_nothing_while_california_7_does():
    at = MONDAY_0700 + 20
    blocked = {"flow": 700.0, "speed_mean": 5.0}
    rows = [
        (*row[:4], blocked[row[1]] + row[3] % 2, row[5])
        if row[0] == STATIONS[1] and row[2] == "1" and row[3] >= at
        else row
        for row in in_order(0)
        if row[3] < at + 20
    ]
    found = by_key(rows_of(run(rows, ())[0])[1])
    ours, theirs = (series_id(STATIONS[1], one, "1") for one in ("incident", "incident_california_7"))
    assert found[ours, at + 5] == (None, -1, 0.0)
    assert found[theirs, at + 5] == (1.0, 1)


@pytest.mark.parametrize(("silent_min", "stands"), [(25, True), (35, False)])
def test_after_a_long_silence_what_stood_there_is_forgotten(silent_min, stands):
    blocked = INCIDENT[8]
    rows = [row for row in in_order(0) if row[3] <= blocked]
    _, core = run(rows, ())
    back = [(*row[:3], blocked + silent_min, *row[4:]) for row in in_order(0) if row[3] == blocked]
    found = by_key(rows_of(core.process([Record(10**6, None, frame(back), {})]))[1])
    assert found[series_id(STATIONS[1], "incident", "1"), blocked + silent_min][0] == stands


@pytest.mark.parametrize("hangs_min", [4, 12])
def test_a_station_that_hangs_is_a_gap(hangs_min):
    at = MINUTES[-1] - 20
    rows = [row for one in told(0).values() for row in one if row[3] < INCIDENT[0]]
    core = run(sorted(rows, key=lambda row: row[3]), ())[1]
    place = core._parts["incidents"].pairs.index(next(one for one in PAIRS if one.upstream == STATIONS[0]))
    for minute in range(at, at + hangs_min):
        now = [
            (device, quantity, "1", minute, value + (0 if device == STATIONS[0] else minute % 7), 0)
            for device in STATIONS
            for quantity, value in (("flow", 1800.0), ("speed_mean", 85.0))
        ]
        core.process([Record(10**6 + minute, None, frame(now), {})])
    learned = core._parts["incidents"]._contrast.count[..., 3, place].sum()
    told_min = sum(1 for row in told(0)[STATIONS[0]] if row[1:3] == ("flow", "1") and row[3] < INCIDENT[0])
    assert learned <= told_min + min(hangs_min, 9)


def test_roads_of_other_partitions_are_left_alone():
    other = (ROAD + 1) % TOPICS.partitions
    core = GroupsProcessor(other, SETTINGS, TOPICS, None, INFOS.get)
    rows = told(0)[STATIONS[0]][:40] + told(0)[STATIONS[1]][:40]
    assert core.process([Record(0, None, frame(rows), {})]) == []


def test_a_snapshot_of_other_pairs_is_refused():
    with pytest.raises(Exception, match="other pairs"):
        GroupsProcessor(ROAD, SETTINGS, Topics(partitions=4), processor().snapshot(), INFOS.get)
