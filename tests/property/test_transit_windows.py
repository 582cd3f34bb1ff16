"""Delays against a slow obvious oracle: whatever comes twice, late, in other batches or after a restart."""

from __future__ import annotations

import math
import random
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulssi.frames import VEHICLES, IndicatorKind, Indicators, encode
from pulssi.partitions import Record
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.transit.processor import TransitProcessor
from tests.property import transit_oracle

TOPICS = Topics("t", 4)
SETTINGS = StreamsSettings(
    pane_s=60,
    windows_s=(60, 180),
    lateness_s={"transit": 20},
    horizon_s=1200,
    idle_s=90,
    on_time_s=(-60, 180),
    on_time_bands_s=((0, 300), (-61, 33)),
    service_window_s=360,
    service_step_s=90,
)
BANDS = {None: (-60, 180), "0:300": (0, 300), "-61:33": (-61, 33)}
START = 1_790_000_000
KINDS = ("dep", "pas", "vp", "arr", "ars", "pde")


def event(
    number,
    vehicle,
    t,
    *,
    delay=30,
    route="4400",
    direction=1,
    name="vp",
    received=None,
    journey="journey",
    stop=7,
    trip=1,
):
    """One row of VEHICLES; times in seconds after START."""
    row = dict.fromkeys(VEHICLES.names)
    return row | {
        "event_id": number,
        "vehicle": vehicle,
        "mode": "bus",
        "journey_type": journey,
        "event": name,
        "route": route,
        "direction": direction,
        "delay_s": delay,
        "stop": stop if name != "vp" else None,
        "trip": None if trip is None else f"{route}/{direction}/2026-09-{21 + trip % 2}/{trip:05d}",
        "scheduled_time": int((START + t - (delay or 0)) * 1_000_000) if name != "vp" else None,
        "event_time": int((START + t) * 1_000_000),
        "receive_time": int((START + (t if received is None else received)) * 1_000_000),
    }


def frame(rows):
    return encode(pa.RecordBatch.from_pylist(rows, schema=VEHICLES))


def city(seed, count):
    """Frames of a few vehicles: late, twice, on a deadrun, without delay, changing routes, far too late."""
    rng = random.Random(seed)
    frames, sent, clock = [], [], 0.0
    for number in range(count):
        clock += rng.choice([0.2, 1, 5, 30] * 20 + [2000])
        t = clock - rng.choice([0, 0, 0, 1, 15, 45, 100, 400, 1500])
        row = event(
            number,
            f"0012/{rng.randint(1, 5):05d}",
            round(t, 3),
            delay=rng.choice([None, -100, -61, -60, 0, 33, 180, 181, 250]),
            route=rng.choice(["1001", "4400", None]),
            direction=rng.choice([1, 2]),
            name=rng.choice(KINDS),
            stop=rng.choice([7, 7, 8, 9, None]),
            trip=rng.choice([None, *[int(t // 240)] * 9]),
            received=clock,
            journey=rng.choice(["journey"] * 9 + ["deadrun"]),
        )
        sent.append(row)
        batch = [row, *rng.sample(sent, min(len(sent), rng.choice([0, 0, 1, 3])))]
        if frames and rng.random() < 0.6:
            frames[-1] += batch
        else:
            frames.append(batch)
    return frames


def run(records, cuts=(), *, tick=True, settings=SETTINGS):
    """Every row, and descriptions, with a restart at each cut."""
    processor, rows, infos = TransitProcessor(1, settings, TOPICS), [], []
    for start, end in zip((0, *cuts), (*cuts, len(records)), strict=True):
        outputs = processor.process(records[start:end])
        rows += rows_of(outputs)
        infos += [output for output in outputs if output.topic == TOPICS.series]
        processor = TransitProcessor(1, settings, TOPICS, processor.snapshot())
    if tick:
        rows += rows_of(processor.tick((START + 10**6) * 1_000_000))
    return rows, infos


def rows_of(outputs):
    rows = []
    for output in outputs:
        if output.topic == TOPICS.indicators:
            columns = Indicators.decode(output.value)
            numbers = (getattr(columns, name).tolist() for name in Indicators.SCHEMA.names)
            rows += zip(*([None if math.isnan(one) else one for one in column] for column in numbers), strict=True)
    return [dict(zip(Indicators.SCHEMA.names, row, strict=True)) for row in rows]


def counting(frames):
    """Each event that counts, once."""
    counted, clock = {}, 0
    for rows in frames:
        clock = max(clock, *(row["receive_time"] for row in rows))
        for row in rows:
            fresh = row["event_time"] >= clock - SETTINGS.horizon_s * 1_000_000
            if row["journey_type"] == "journey" and row["delay_s"] is not None and fresh:
                counted.setdefault(row["event_id"], row)
    return counted.values()


def oracle(frames):
    """Every window of every vehicle and route by the definition, from all events that count."""
    windows = defaultdict(list)
    for row in counting(frames):
        names = ["veh:" + row["vehicle"].replace("/", ":")]
        if row["route"] is not None:
            names.append(f"route:{row['route']}:{row['direction']}")
        pane = row["event_time"] // 60_000_000
        for name in names:
            for length in (1, 3):
                for start in range(pane - length + 1, pane + 1):
                    windows[name, start, length].append(row)
    expected = {}
    for (name, start, length), rows in windows.items():
        values = np.array([row["delay_s"] for row in rows], float)
        newest = max(rows, key=lambda row: (row["event_time"], row["event_id"]))
        p50, p95, p99 = np.percentile(values, [50, 95, 99])
        expected[series_id(name, "delay"), start * 60_000_000, length * 60] = {
            "kind": IndicatorKind.DELAY, "n": len(rows), "mean": values.mean(), "min": values.min(),
            "max": values.max(), "std": values.std(), "last": newest["delay_s"], "p50": p50, "p95": p95, "p99": p99,
            "value": p50, "receive_time": max(row["receive_time"] for row in rows),
        }  # fmt: skip
    return expected | service(frames)


def service(frames):
    """Every window of visits by the definition."""
    calls = transit_oracle.visits(counting(frames))
    expected, windows = {}, defaultdict(list)
    for call in calls:
        pane = call["time"] // 60
        for length in (1, 3):
            for start in range(pane - length + 1, pane + 1):
                windows[call["route"], start, length].append(call)
    for (name, start, length), inside in windows.items():
        for channel, band in BANDS.items():
            key = series_id(name, "on_time_share", channel), start * 60_000_000, length * 60
            expected[key] = transit_oracle.on_time(inside, band)
    return expected | transit_oracle.service(calls, 360, 90, BANDS)


def final(rows):
    """The last row of each window; one with n 0 says that there is none, and forecasts have no window."""
    found = {(row["series_id"], row["window_start"], row["window_s"]): row for row in rows}
    return {key: row for key, row in found.items() if row["n"] and row["window_s"]}


def records(frames):
    return [Record(offset, None, frame(rows), {}) for offset, rows in enumerate(frames)]


@settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.integers(1, 120))
def test_the_last_revision_of_every_window_is_what_the_definition_says(seed, count):
    frames = city(seed, count)
    rows, _ = run(records(frames))
    revisions = defaultdict(list)
    for row in filter(lambda row: row["window_s"], rows):
        revisions[row["series_id"], row["window_start"], row["window_s"]].append(row["revision"])
    found, expected = final(rows), oracle(frames)
    assert found.keys() == expected.keys()
    for key, fields in expected.items():
        assert {name: found[key][name] for name in fields} == pytest.approx(fields)
    assert all(sorted(set(one)) == one for one in revisions.values())


@settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.data())
def test_batches_and_restarts_change_no_row(seed, data):
    given_records = records(city(seed, 80))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(given_records)), max_size=8)) - {len(given_records)})
    assert run(given_records, cuts) == run(given_records)


@settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_any_order_inside_the_horizon_and_any_repetition_give_the_same_windows(seed, rng):
    wide = SETTINGS.model_copy(update={"horizon_s": 50_000})
    frames = city(seed, 60)
    sent = [row for rows in frames for row in rows]
    mixed = rng.sample(sent, len(sent)) + rng.sample(sent, len(sent) // 3)
    parts = sorted(rng.sample(range(1, len(mixed)), min(8, len(mixed) - 1)))
    other = [mixed[a:b] for a, b in zip((0, *parts), (*parts, len(mixed)), strict=True)]
    found = [final(run(records(one), settings=wide)[0]) for one in (frames, other)]
    for rows in found:
        for row in rows.values():
            del row["revision"], row["position"]
    assert found[0] == found[1]


def test_a_vehicle_that_is_late_by_its_clock_delays_nobody_else():
    rows, _ = run(
        records([[event(1, "1/1", 10, received=10)], [event(2, "1/2", 130, route="7", received=130)]]), tick=False
    )
    assert {row["series_id"] for row in rows} == set()
    rows, _ = run(records([[event(1, "1/1", 10)], [event(2, "1/1", 85)], [event(3, "1/2", 86, route="7")]]), tick=False)
    assert {row["series_id"] for row in rows} == {series_id("veh:1:1", "delay"), series_id("route:4400:1", "delay")}


def test_a_late_event_inside_the_horizon_revises_and_a_repeated_one_does_nothing():
    late = event(9, "1/1", 20, delay=100, received=90)
    rows, _ = run(records([[event(1, "1/1", 10, delay=40)], [event(2, "1/1", 85)], [late], [late]]), tick=False)
    minute = [row for row in rows if row["window_s"] == 60 and row["series_id"] == series_id("veh:1:1", "delay")]
    assert [(row["revision"], row["n"], row["value"], row["position"]) for row in minute] == [
        (0, 1, 40.0, 1),
        (1, 2, 70.0, 2),
    ]


def test_an_event_beyond_the_horizon_is_left_out():
    rows, _ = run(records([[event(1, "1/1", 10)], [event(2, "1/1", 1300)], [event(3, "1/1", 20, received=1301)]]))
    assert all(row["n"] == 1 for row in rows)


def test_a_vehicle_far_ahead_of_its_own_receive_time_counts_nowhere():
    rows, infos = run(records([[event(1, "1/1", 5000, received=0)]]))
    assert (rows, infos) == ([], [])


def test_the_delay_at_the_next_stop_is_foreseen_at_once_from_those_who_went_there():
    ahead = [event(1, "1/1", 0, delay=0, stop=7, name="dep"), event(2, "1/1", 200, delay=80, stop=8, name="ars")]
    behind = event(3, "1/2", 300, delay=30, stop=7, name="dep", trip=3)
    rows, infos = run(records([ahead[:1], ahead[1:], [behind]]), tick=False)
    forecasts = [row for row in rows if row["series_id"] == series_id("stop:8:4400:1", "delay_forecast")]
    assert [(row["window_start"], row["value"], row["last"], row["position"]) for row in forecasts] == [
        ((START + 300) * 1_000_000, 30 + 80 / 2, 30.0, 2),
    ]
    assert any(b"stop:8:4400:1" in info.value and b"delay_forecast" in info.value for info in infos)
