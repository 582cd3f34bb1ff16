"""The processor of readings against the oracle: windows, revisions, duplicates, batches, restarts, permutations."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulssi.frames import INDICATORS, IndicatorKind, Indicators, Readings
from pulssi.partitions import Record
from pulssi.quality import EXCLUDED, Quality
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.catalogue import Limits
from streams.quality import sequence
from streams.readings_processor import ReadingsProcessor
from tests.property.streams_oracle import Oracle

S = 1_000_000
T0 = 1_700_000_040 * S
LIMITS = {  # low, high, step, stuck
    1: (-10.0, 50.0, 9.0, 200.0),
    2: (-math.inf, math.inf, math.inf, math.inf),
    -3: (0.0, 1.0, 0.25, 1e9),
    4: (-1e9, 1e9, 2.0, 61.0),
}
LATENESS_S = {1: math.nan, 2: 5.0, -3: 130.0, 4: math.nan}
STREAMS = StreamsSettings(
    windows_s=(120, 300),
    long_windows_s=(600, 1500),
    long_slide_s=180,
    lateness_s_max=20,
    horizon_s=600,
    idle_s=90,
    series_max=100,
)

BY_PANE = STREAMS.model_copy(update={"long_slide_s": STREAMS.pane_s})
SECONDS = STREAMS.model_copy(  # panes of a second, which two readings in it crowd
    update={"pane_s": 1, "windows_s": (1, 4, 10), "long_windows_s": (20,), "long_slide_s": 3, "series_rate_max": 1}
)

slow = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def easily_stuck(monkeypatch):
    """Values are stuck after a few repeats, so that short journeys see it."""
    monkeypatch.setattr(sequence, "STUCK_REPEATS_MIN", 4)
    monkeypatch.setattr(sequence, "STUCK_CHANGES_MIN", 3)


def lookup(ids):
    known = np.array([LIMITS[one] for one in ids.tolist()]).reshape(-1, 4)
    lateness_s = np.array([LATENESS_S[one] for one in ids.tolist()])
    return Limits(*known.T, np.full(len(ids), np.nan), lateness_s)


def fresh(snapshot=None, streams=STREAMS):
    return ReadingsProcessor(0, streams, Topics(), lookup, snapshot)


@st.composite
def journeys(draw, *, late=True):
    """Frames of readings: clocks that mostly run on, readings out of order, too late, twice, after silences."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    series = rng.sample(list(LIMITS), draw(st.integers(1, 4)))
    scale = draw(st.sampled_from([1, 7, 20, 61]))
    wild = draw(st.sampled_from([0.0, 0.1, 0.5]))
    base = draw(st.sampled_from([0.0, 20.0, -3.0, 1e6]))
    constant = draw(st.sampled_from([0.0, 0.5, 0.9]))
    now, sent, frames = T0, [], []
    for _ in range(draw(st.integers(1, 40))):
        frame = []
        for _ in range(rng.randint(1, 8)):
            now += rng.choice([0, 1, 1, scale, scale]) * S + rng.choice([0, 0, 1, 999_999])
            if rng.random() < 0.02:
                now += rng.choice([100, 700, 1200, 5000]) * S
            if sent and rng.random() < wild / 2:
                reading = rng.choice(sent[-50:])
            else:
                back = rng.choice([5, 25, 90, 400, 900]) * S if late and rng.random() < wild else 0
                value = base + rng.choice([0.0, rng.gauss(0, 1), round(rng.uniform(-12, 60), 1), 1e-7])
                value = base if rng.random() < constant else value
                quality = rng.choice([0] * 8 + [int(Quality.CLOCK), int(Quality.HUMIDITY)])
                ahead = rng.choice([61, 301, 5_000, 10**9]) * S + rng.randint(0, 5) * S if rng.random() < 0.02 else 0
                reading = (rng.choice(series), now - back + ahead, value, quality)
                sent.append(reading)
            frame.append((reading[0], reading[1], now + rng.randint(0, 3) * S, *reading[2:]))
        frames.append(frame)
    return frames


def record(offset, frame):
    columns = list(zip(*frame, strict=True))
    dtypes = (np.int64, np.int64, np.int64, np.float64, np.uint16)
    arrays = [np.array(column, dtype) for column, dtype in zip(columns, dtypes, strict=True)]
    return Record(offset, None, Readings(*arrays, np.full(len(frame), -1)).encode(), {})


def records(frames):
    return [record(10 + 3 * i, frame) for i, frame in enumerate(frames)]


def decoded(outputs):
    return [(dict(o.headers)["kinds"], Indicators.decode(o.value)) for o in outputs]


def run(source, cuts=(), restarts=(), streams=STREAMS):
    """All rows after feeding `source` in batches cut at `cuts`, and restarts from a snapshot at `restarts`."""
    processor, rows, bounds = fresh(None, streams), [], sorted({0, len(source), *cuts, *restarts})
    for start, stop in pairwise(bounds):
        if start in restarts:
            processor = fresh(processor.snapshot(), streams)
        rows += decoded(processor.process(source[start:stop]))
    return rows


FIELDS = [name for name in INDICATORS.names if name not in {"kind", "class_"}]


def windows_of(rows):
    """(every row by key and revision, the newest row of each key) of the windows in `rows`."""
    every, newest = {}, {}
    for kinds, frame in rows:
        if kinds != b"window":
            continue
        for i in np.flatnonzero(frame.kind == IndicatorKind.WINDOW).tolist():
            row = {name: getattr(frame, name)[i].item() for name in FIELDS}
            key = (row["series_id"], row["window_s"], row["window_start"])
            every[*key, row["revision"]] = row
            if key not in newest or row["revision"] >= newest[key]["revision"]:
                newest[key] = row
    return every, newest


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))


def close(a, b, scale):
    return same(a, b) or abs(a - b) <= 1e-12 * max(scale, 1e-300)


def readings_of(rows):
    return [
        tuple(getattr(frame, name)[i].item() for name in FIELDS)
        for kinds, frame in rows
        if kinds == b"reading"
        for i in range(len(frame))
    ]


def told(frames, streams=STREAMS):
    oracle = Oracle(streams, LIMITS, LATENESS_S)
    for i, frame in enumerate(frames):
        for sid, time, received, value, quality in frame:
            oracle.take(sid, time, received, value, quality, 10 + 3 * i)
    return oracle


@slow
@given(journeys(), st.data())
def test_windows_are_those_of_the_oracle_whatever_the_batches(frames, data):
    streams = data.draw(st.sampled_from([STREAMS, BY_PANE, SECONDS]))
    oracle = told(frames, streams)
    cuts = data.draw(st.lists(st.integers(0, len(frames)), max_size=5))
    rows = run(records(frames), cuts, streams=streams)
    _, newest = windows_of(rows)
    assert newest.keys() == oracle.rows.keys()
    for key, expected in oracle.rows.items():
        found = newest[key]
        scale = max(abs(expected["min"]), abs(expected["max"])) if expected["n"] else 0.0
        for name, value in expected.items():
            if name == "mean":
                assert close(found[name], value, scale), (key, name)
            elif name == "std":
                assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12 * scale, nan_ok=True), (key, name)
            else:
                assert same(found[name], value), (key, name, found[name], value)
        assert same(found["value"], found["mean"])


@slow
@given(journeys(), st.data())
def test_reading_rows_are_all_but_the_duplicates_in_order_of_arrival(frames, data):
    oracle = told(frames)
    cuts = data.draw(st.lists(st.integers(0, len(frames)), max_size=5))
    rows = [frame for kinds, frame in run(records(frames), cuts) if kinds == b"reading"]
    found = [
        (s, t, f)
        for frame in rows
        for s, t, f in zip(frame.series_id.tolist(), frame.window_start.tolist(), frame.flags.tolist(), strict=True)
    ]
    assert found == oracle.flags


@slow
@given(journeys(), st.data())
def test_batches_and_restarts_leave_every_bit_as_it_is(frames, data):
    source = records(frames)
    atoms = [record(10 + 3 * i, [reading]) for i, frame in enumerate(frames) for reading in frame]
    single = run(atoms, range(len(atoms)))
    every, newest = windows_of(single)
    whole = run(source)
    cuts = data.draw(st.lists(st.integers(0, len(source)), max_size=5))
    restarts = data.draw(st.lists(st.integers(1, max(1, len(source) - 1)), max_size=3))
    pieces = run(source, cuts, restarts)
    for rows in (whole, pieces):
        some, last = windows_of(rows)
        assert last.keys() == newest.keys()
        for key, row in some.items():
            assert all(same(row[name], every[key][name]) for name in FIELDS), key
        for key, row in last.items():
            assert all(same(row[name], newest[key][name]) for name in FIELDS), key
    assert readings_of(whole) == readings_of(pieces) == readings_of(single)


@slow
@given(journeys(late=False), st.randoms(use_true_random=False))
def test_order_within_the_horizon_and_duplicates_change_no_final_window(frames, rng):
    readings = [reading for frame in frames for reading in frame]
    first = {}
    for reading in readings:
        first.setdefault((reading[0], reading[1]), reading)
    distinct = sorted(first.values(), key=lambda reading: reading[1])
    span = STREAMS.horizon_s * S // 2
    jittered = sorted(distinct, key=lambda reading: reading[1] + rng.randint(0, span - 1))
    doubled = jittered + rng.sample(jittered, len(jittered) // 3)
    doubled.sort(key=lambda reading: reading[1] + rng.randint(0, span - 1))
    end = [(sid, T0 + 10**6 * S, T0 + 10**6 * S, 0.5, 0) for sid in {key[0] for key in first}]
    both = [run(records([*([one] for one in order), end])) for order in (distinct, doubled)]
    assert last_words(both[0]) == last_words(both[1])
    finals = [windows_of(rows)[1] for rows in both]
    assert finals[0].keys() == finals[1].keys()
    for key, row in finals[0].items():
        other = finals[1][key]
        scale = max(abs(row["min"]), abs(row["max"])) if row["n"] else 0.0
        for name in ("n", "n_excluded", "min", "max", "last", "p50", "p95", "p99", "flags", "receive_time"):
            assert same(row[name], other[name]), (key, name)
        assert close(row["mean"], other["mean"], scale)
        assert row["std"] == pytest.approx(other["std"], rel=1e-9, abs=1e-12 * scale, nan_ok=True)


def last_words(rows):
    """Newest flags of each reading that has settled: all but the last ones, which still wait for their neighbours."""
    words, times = {}, {}
    for _, frame in rows:
        for kind, sid, time, flags in zip(
            *(getattr(frame, name).tolist() for name in ("kind", "series_id", "window_start", "flags")), strict=True
        ):
            if kind in {IndicatorKind.READING, IndicatorKind.FLAGS}:
                words[sid, time] = flags
            if kind == IndicatorKind.READING and not flags & int(EXCLUDED & ~Quality.STUCK):
                times.setdefault(sid, set()).add(time)
    waiting = {(sid, time) for sid, found in times.items() for time in sorted(found)[-sequence.AROUND - 1 :]}
    return {key: flags for key, flags in words.items() if key not in waiting}


def settled_of(rows):
    return [
        (sid, time, flags, position)
        for kinds, frame in rows
        if kinds == b"window"
        for kind, sid, time, flags, position in zip(
            *(getattr(frame, name).tolist() for name in ("kind", "series_id", "window_start", "flags", "position")),
            strict=True,
        )
        if kind == IndicatorKind.FLAGS
    ]


@slow
@given(journeys(), st.data())
def test_flags_settle_to_those_of_the_oracle_whatever_the_batches(frames, data):
    oracle = told(frames)
    cuts = data.draw(st.lists(st.integers(0, len(frames)), max_size=5))
    assert sorted(settled_of(run(records(frames), cuts))) == sorted(oracle.settled)
