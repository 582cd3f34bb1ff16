"""Arrivals that HSL published in 2022: what the stream says of them is what a plain batch computation says.

The batch computation below works on lists of arrivals and shares no code with the processor. A day of the data is in
the repository; the whole set is taken where it lies beside the checkout.
"""

import base64
import csv
import gzip
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from pulssi.frames import VEHICLES, IndicatorKind, Indicators, encode
from pulssi.partitions import Record
from pulssi.series import hash64
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.transit.processor import TransitProcessor
from tests.fixtures import recorded

ROOT = Path(__file__).parents[2]
CUT = ROOT / "tests/data/hsl_stop_arrivals_2022"
WHOLE = {one.parent for one in recorded.whole("hsl_stop_arrivals_2022")}
TOPICS = Topics("t", 4)
BANDS = {"on_time_share": StreamsSettings().on_time_s, "on_time_share 0:300": (0, 300)}
HOUR, STEP = 3600, 900
FRAME_S = 600
COLUMNS = ("kind", "n", "mean", "std", "p50", "p95", "p99", "value", "class_")


class Arrival(NamedTuple):
    route: str
    direction: int
    stop: int
    trip: str
    day: str
    time: int
    scheduled: int
    delay: int


@pytest.fixture(scope="module", params=[CUT, *WHOLE], ids=lambda folder: "cut" if folder == CUT else "whole")
def arrivals(request):
    """The last that was said of each trip at each stop, by time."""
    last = {}
    for file in sorted(request.param.glob("*.csv.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as text:
            for row in csv.DictReader(text):
                one = arrival(row)
                said = float(row["timestamp"]), one
                last[one.trip, one.stop] = max(said, last.get((one.trip, one.stop), said))
    return sorted((one for _, one in last.values()), key=lambda one: (one.time, one.trip))


def arrival(row):
    route, _, _, direction, start = base64.b64decode(row["routeID"]).decode().split(":")[2].split("_")
    noon = datetime.fromtimestamp(int(row["serviceDay"]), UTC) + timedelta(hours=12)  # local midnight is a UTC evening
    day = noon.date().isoformat()
    trip = f"{route}/{direction}/{day}/{start[:2]}:{start[2:]}"
    scheduled, delay = int(row["serviceDay"]) + int(row["scheduledArrival"]), int(row["arrivalDelay"])
    return Arrival(route, int(direction), int(row["stopName"][1:]), trip, day, scheduled + delay, scheduled, delay)


def event(one):
    row = dict.fromkeys(VEHICLES.names) | {
        "event_id": hash64(repr(one).encode()), "vehicle": f"0099/{hash64(one.trip.encode()) % 10**15}",
        "journey_type": "journey", "event": "arr", "route": one.route, "direction": one.direction, "trip": one.trip,
        "stop": one.stop, "delay_s": one.delay, "scheduled_time": one.scheduled * 1_000_000,
        "event_time": one.time * 1_000_000, "receive_time": one.time * 1_000_000 + 400_000,
    }  # fmt: skip
    return tuple(row.values())


@pytest.fixture(scope="module")
def streamed(arrivals):
    """Last row of each window by device, quantity, start and length in s."""
    processor = TransitProcessor(0, StreamsSettings(pane_s=STEP, windows_s=(HOUR,)), TOPICS)
    outputs = []
    for offset, (_, batch) in enumerate(groupby(arrivals, key=lambda one: one.time // FRAME_S)):
        columns = zip(*map(event, batch), strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, VEHICLES, strict=True)]
        frame = encode(pa.RecordBatch.from_arrays(arrays, schema=VEHICLES))
        outputs += processor.process([Record(offset, None, frame, {})])
    outputs += processor.tick(arrivals[-1].time * 1_000_000 + 10**12)
    names, found = {}, {}
    for output in outputs:
        if output.topic == TOPICS.series:
            info = json.loads(output.value)
            quantity = " ".join(filter(None, (info["quantity"], info.get("channel"))))
            names[info["series_id"]] = info["device_id"], quantity
        else:
            rows = Indicators.decode(output.value)
            starts = (rows.window_start // 1_000_000).tolist()
            keys = zip(rows.series_id.tolist(), starts, rows.window_s.tolist(), strict=True)
            values = zip(*(getattr(rows, name).tolist() for name in COLUMNS), strict=True)
            found |= dict(zip(keys, values, strict=True))
    rows = {(*names[key[0]], *key[1:]): dict(zip(COLUMNS, row, strict=True)) for key, row in found.items()}
    return {key: row for key, row in rows.items() if row["n"]}


def of(streamed, quantity, kind):
    chosen = {key: row for key, row in streamed.items() if key[1] == quantity and key[3] == HOUR}
    return {(key[0], key[2]): row for key, row in chosen.items() if row["kind"] == kind and key[2] % STEP == 0}


def hours(items):
    """Items (device, time, what) by device and hour, an hour beginning each quarter."""
    windows = defaultdict(list)
    for device, time, what in items:
        last = time // STEP * STEP
        for start in range(last - HOUR + STEP, last + STEP, STEP):
            windows[device, start].append(what)
    return windows


def stop(one):
    return f"stop:{one.stop}:{one.route}:{one.direction}"


def route(one):
    return f"route:{one.route}:{one.direction}"


def test_delays_at_stops_have_the_quantiles_of_the_batch(arrivals, streamed):
    expected = {
        key: [len(delays), *np.percentile(delays, [50, 95, 99]), np.mean(delays), np.std(delays)]
        for key, delays in hours((stop(one), one.time, one.delay) for one in arrivals).items()
    }
    found = of(streamed, "delay", IndicatorKind.DELAY)
    found = {key: row for key, row in found.items() if key[0].startswith("stop:")}
    assert found.keys() == expected.keys()
    rows = [[found[key][name] for name in ("n", "p50", "p95", "p99", "mean", "std")] for key in expected]
    np.testing.assert_allclose(rows, list(expected.values()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("band", BANDS)
def test_on_time_shares_of_stops_and_routes_are_those_of_the_batch(arrivals, streamed, band):
    early_s, late_s = BANDS[band]
    calls = [(name(one), one.time, early_s <= one.delay <= late_s) for name in (stop, route) for one in arrivals]
    expected = {key: (len(hits), 100 * sum(hits) / len(hits)) for key, hits in hours(calls).items()}
    found = of(streamed, band, IndicatorKind.ON_TIME)
    assert {key: (row["n"], row["value"]) for key, row in found.items()} == expected


def gaps(arrivals, time):
    """Seconds since the one before at the same stop, by arrival."""
    found = {}
    by_stop = defaultdict(list)
    for one in arrivals:
        by_stop[stop(one), one.day].append(one)
    for calls in by_stop.values():
        for before, after in pairwise(sorted(calls, key=lambda one: (getattr(one, time), one.trip))):
            gap = getattr(after, time) - getattr(before, time)
            if gap <= 7200:
                found[after] = gap
    return found


def level(cvh):
    return "ABCDEF"[sum(round(cvh, 2) > limit for limit in (0.21, 0.30, 0.39, 0.52, 0.74))]


def test_headway_adherence_bunching_gaps_and_excess_wait_are_those_of_the_batch(arrivals, streamed):
    actual, planned = gaps(arrivals, "time"), gaps(arrivals, "scheduled")
    follows = [one for one in arrivals if one in actual and one in planned]
    pairs = hours((name(one), one.time, (actual[one], planned[one])) for name in (stop, route) for one in follows)
    adherence = of(streamed, "headway", IndicatorKind.HEADWAY)
    others = [of(streamed, name, IndicatorKind.HEADWAY) for name in ("bunched_share", "gap_share", "excess_wait")]
    assert adherence.keys() == pairs.keys()
    found, expected, levels = [], [], set()
    for key, headways in pairs.items():
        real, planned_s = zip(*headways, strict=True)
        bunched = 100 * sum(h < 0.5 * s for h, s in headways) / len(real)
        gap = 100 * sum(s > 0 and h > 1.5 * s for h, s in headways) / len(real)
        wait = [sum(h * h for h in side) / (2 * sum(side)) if sum(side) else 0 for side in (real, planned_s)]
        cvh, letter = np.nan, "-"
        if len(real) > 1 and sum(planned_s):
            cvh = np.std([h - s for h, s in headways]) / np.mean(planned_s)
            letter = level(cvh)
        assert "ABCDEF-"[adherence[key]["class_"]] == letter
        levels.add(letter)
        expected.append([len(real), np.mean(real), cvh, bunched, gap, wait[0] - wait[1]])
        row = adherence[key]
        found.append([row["n"], row["mean"], row["value"], *(rows[key]["value"] for rows in others)])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert levels == set("ABCDEF-")


def test_forecasts_of_the_next_stop_are_closer_than_that_the_delay_stays(arrivals, streamed):
    trips = defaultdict(list)
    for one in arrivals:
        trips[route(one), one.trip].append(one)
    changes = [abs(after.delay - before.delay) for calls in trips.values() for before, after in pairwise(calls)]
    errors = of(streamed, "delay_forecast_error", IndicatorKind.DELAY)
    hourly = [row for (_, start), row in errors.items() if start % HOUR == 0]
    assert sum(row["n"] for row in hourly) == len(changes) > 50
    assert sum(row["n"] * row["value"] for row in hourly) / len(changes) < 0.9 * mean(changes)
