"""Traffic indicators against the oracle: jams, nights, gaps, hanging loops, late readings, any order, any batches."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pulssi.frames import Indicators, Readings
from pulssi.partitions import Record
from pulssi.quality import Quality
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.catalogue import no_limits
from streams.readings_processor import ReadingsProcessor
from tests.property import traffic_oracle
from tests.property.test_traffic_stations import DEVICE, INFOS, MINUTE_US, QUANTITIES, T0, rows_of

FREE_FLOW = {"1": 80.0, "2": 60.0}
LANES = 2
SEEDS, LIFE_H = 4, 11
NAMES = {id_: (one.quantity, one.channel) for id_, one in INFOS.items() if one.device_id == DEVICE}
IDS = {name: id_ for id_, name in NAMES.items()}
RULES = ("free_flow_share", "density", "travel_time_index", "planning_time_index", "buffer_index", "queue")


def readings(rng, hours):
    """{(series, minute): value}: free flow, jams, an empty road, a loop that is covered, chatter, gaps."""
    found = {}
    for channel, free_flow in FREE_FLOW.items():
        measured = rng.sample(QUANTITIES, rng.randint(2, 4))
        until, state, gap = 0, "free", 0
        for minute in range(hours * 60):
            if minute >= until:
                state = rng.choice(["free", "free", "jam", "jam", "empty", "covered", "chatter", "hangs"])
                until = minute + {"empty": 300, "hangs": 90}.get(state, rng.choice([3, 4, 8, 15, 40]))
                gap = rng.choice([0.0, 0.05, 0.6])
            speed = {"jam": rng.choice([2.0, 12.0, 19.0, 33.0])}.get(state, rng.uniform(30, 100))
            flow = {"empty": 0.0, "chatter": 9000.0}.get(state, rng.uniform(0, 2500))
            occupancy = {"covered": 100.0, "empty": 0.0}.get(state, rng.uniform(0, 60))
            if state == "hangs":
                speed, flow, occupancy = 61.0, 620.0, 21.0
            values = (speed, flow, 100 * speed / free_flow + rng.uniform(-3, 3), occupancy)
            for quantity, value in zip(QUANTITIES, values, strict=True):
                if quantity in measured and rng.random() >= gap:
                    found[IDS[quantity, channel], minute] = round(value, 2)
    return found


def limits(ids):
    """Values of direction 1 may stand for half an hour."""
    found = no_limits(ids)
    found.stuck_s[np.isin(ids, [IDS[quantity, "1"] for quantity in QUANTITIES])] = 1800.0
    return found


def run(rng, found, delay_s):
    """Final TRAFFIC and WINDOW rows of readings that arrive so late, some twice, in random batches."""
    rows = [
        (T0 + minute * MINUTE_US + rng.randint(0, delay_s) * 1_000_000, series, minute, value)
        for (series, minute), value in found.items()
    ]
    rows = sorted(rows + rng.sample(rows, len(rows) // 5 if delay_s else 0))
    last = max(minute for _, minute in found) + 600
    end = [(T0 + last * MINUTE_US, series, last, 1.0) for series in sorted({series for series, _ in found})]
    streams = StreamsSettings(windows_s=(300,), horizon_s=1200, lateness_s_max=1)
    core, parts, offset = ReadingsProcessor(0, streams, Topics(), limits, None, INFOS.get), [], 0
    batches = []
    while offset < len(rows):
        size = rng.choice([1, 7, 40, 300])
        batches.append(rows[offset : offset + size])
        offset += size
    for number, batch in enumerate([*batches, end]):
        received, ids, minutes, values = (np.array(column) for column in zip(*batch, strict=True))
        n = len(batch)
        columns = (
            ids,
            T0 + minutes * MINUTE_US,
            received,
            values.astype(np.float64),
            np.zeros(n, np.uint16),
            np.full(n, -1),
        )
        parts.append(rows_of(core.process([Record(number, None, Readings(*columns).encode(), {})])))
    traffic, windows = (final(Indicators.concat([part[i] for part in parts])) for i in (0, 1))
    until = T0 + (last - 5) * MINUTE_US
    return (
        {key: row for key, row in rows.items() if key[2] <= until - key[1] * 1_000_000} for rows in (traffic, windows)
    )


def final(rows):
    """Newest row of each (series, window_s, window_start)."""
    columns = {name: getattr(rows, name).tolist() for name in Indicators.SCHEMA.names}
    found = {}
    for i in np.argsort(rows.revision, kind="stable").tolist():
        row = {name: column[i] if column[i] == column[i] else None for name, column in columns.items()}
        found[row["series_id"], row["window_s"], row["window_start"]] = row
    return found


def expected(windows):
    """What the oracle makes of the five-minute windows."""
    cells = {channel: {} for channel in FREE_FLOW}
    for (series, window_s, start), row in windows.items():
        if window_s == 300:
            quantity, channel = NAMES[series]
            pane = (start - T0) // MINUTE_US + 4
            said = (row["mean"], row["n"], bool(row["flags"] & int(Quality.STUCK)))
            cells[channel].setdefault(quantity, {})[pane] = said
    return {
        (series_id(DEVICE, quantity, channel), window_s, T0 + (end + 1) * MINUTE_US - window_s * 1_000_000): said
        for channel, own in cells.items()
        for (quantity, window_s, end), said in traffic_oracle.rows_of(
            own, free_flow=FREE_FLOW[channel], lanes=LANES
        ).items()
    }


def alike(row, said):
    value, class_, n = said
    near = None if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)
    return row["value"] == near and (row["class_"], row["n"]) == (class_, n)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_traffic_indicators_are_those_of_the_oracle_in_any_order(seed):
    found = readings(random.Random(seed), LIFE_H)
    said = []
    for delay_s in (0, 1080):
        traffic, windows = run(random.Random(seed + 100), found, delay_s)
        wanted = expected(windows)
        assert traffic.keys() == wanted.keys()
        wrong = [key for key, one in wanted.items() if not alike(traffic[key], one)]
        assert not wrong, [(NAMES.get(key[0]), key, traffic[key], wanted[key]) for key in wrong[:3]]
        said.append(traffic)
    content = [
        {key: {name: one for name, one in row.items() if name not in ORDER} for key, row in rows.items()}
        for rows in said
    ]
    assert content[0] == content[1]


ORDER = {"position", "revision", "receive_time"}
"""What tells of arrival."""


def test_the_streets_have_everything_in_them():
    classes = {}
    for seed in range(SEEDS):
        _, windows = run(random.Random(seed), readings(random.Random(seed), LIFE_H), 0)
        for (series, _, _), (_, class_, _) in expected(windows).items():
            for quantity in (*RULES, "detector_health"):
                if series in {series_id(DEVICE, quantity, channel) for channel in FREE_FLOW}:
                    classes.setdefault(quantity, set()).add(class_)
    assert classes["free_flow_share"] == {-1, 0, 1, 2, 3, 4, 5}
    assert classes["density"] == {-1, 0, 1, 2, 3, 4, 5}
    assert classes["queue"] == {0, 1}
    assert classes["detector_health"] == {0, 1, 2, 3, 4}
