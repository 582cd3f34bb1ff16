"""Two partitions say together what one says: windows, flags, scores, air, traffic, delays and headways."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from pulssi.frames import IndicatorKind, Indicators, Readings
from pulssi.partitions import Record
from pulssi.settings import StreamsSettings
from pulssi.topics import Topics
from streams.catalogue import Catalogue
from streams.readings_processor import ReadingsProcessor
from streams.transit.processor import TransitProcessor
from tests.fixtures.air import info
from tests.property.test_transit_windows import KINDS, SETTINGS, START, TOPICS, event, frame, rows_of

S = 1_000_000
T0 = 1_790_000_000 // 3600 * 3600
STREAMS = StreamsSettings(
    pane_s=300, windows_s=(300, 900, 3600), horizon_s=7200, idle_s=900, anomaly_score_min=0.5, lateness_s={"air": 60}
)
DEVICES = {
    "fmi-1": ("no2", "pm10", "o3"),
    "tms-23117": ("speed_mean", "flow"),
    "fmi-2": ("pm2_5", "no2", "o3"),
    "tms-23103": ("speed_mean", "flow"),
}
LEVEL = {"no2": 60, "pm10": 50, "o3": 70, "pm2_5": 20, "speed_mean": 60, "flow": 900}
IGNORED = {"position", "revision"}
"""What counts offsets and batches of the partition, not readings."""


def channel(quantity):
    return "1" if quantity in ("speed_mean", "flow") else None


def readings(rng, hours):
    """(device, series, event time, receive time, value) in order of receipt: gaps, late ones, some twice, one stuck."""
    found = []
    for at in range(0, hours * 3600, 300):
        for device, quantities in DEVICES.items():
            for quantity in quantities:
                if rng.random() < 0.05:
                    continue
                value = max(0.0, round(rng.gauss(LEVEL[quantity], LEVEL[quantity] / 5), 1))
                value = 1e5 if rng.random() < 0.01 else value
                known = info(device, quantity, channel(quantity))
                delay = rng.choice([0, 0, 1, 40, 400, 3000])
                one = (device, known.series_id, T0 + at + rng.randrange(60), T0 + at + 60 + delay, value)
                found += [one] * rng.choice([1, 1, 1, 2])
    end = [(device, info(device, q, channel(q)).series_id) for device, all_ in DEVICES.items() for q in all_]
    last = T0 + hours * 3600 + 2 * 86_400
    return [*sorted(found, key=lambda one: one[3]), *((*one, last, last, 1.0) for one in end)]


def said(rows):
    """Rows of one partition, each the newest of its key, without what is of the partition."""
    found = {}
    for part in rows:
        columns = {name: getattr(part, name).tolist() for name in Indicators.SCHEMA.names}
        for values in zip(*columns.values(), strict=True):
            row = {
                name: None if isinstance(one, float) and math.isnan(one) else one
                for name, one in zip(columns, values, strict=True)
            }
            key = tuple(row[name] for name in ("series_id", "kind", "window_s", "window_start"))
            if key not in found or row["revision"] >= found[key]["revision"]:
                found[key] = row
    return {key: {name: one for name, one in row.items() if name not in IGNORED} for key, row in found.items()}


def processed(rows, batch):
    catalogue = Catalogue(STREAMS.lateness_of)
    for device, quantities in DEVICES.items():
        for quantity in quantities:
            catalogue.add(info(device, quantity, channel(quantity)))
    core, parts = ReadingsProcessor(0, STREAMS, Topics(), catalogue.limits, None, catalogue.get), []
    for offset in range(0, len(rows), batch):
        _, ids, time, received, value = (
            np.array(column) for column in zip(*rows[offset : offset + batch], strict=True)
        )
        n = len(ids)
        columns = (ids, time * S, received * S, value.astype(np.float64), np.zeros(n, np.uint16), np.full(n, -1))
        outputs = core.process([Record(offset, None, Readings(*columns).encode(), {})])
        parts += [Indicators.decode(one.value) for one in outputs if one.topic == Topics().indicators]
    return said(parts)


@pytest.mark.parametrize("seed", range(4))
def test_two_partitions_of_readings_say_what_one_says(seed):
    rng = random.Random(seed)
    rows = readings(rng, 30)
    whole = processed(rows, 37)
    parts = [processed([one for one in rows if (one[0] in chosen) is there], 11) for chosen in [("fmi-1", "tms-23103")]
             for there in (True, False)]  # fmt: skip
    assert parts[0].keys().isdisjoint(parts[1])
    assert parts[0] | parts[1] == whole
    kinds = {key[1] for key in whole}
    assert kinds >= {IndicatorKind.READING, IndicatorKind.WINDOW, IndicatorKind.AIR_INDEX, IndicatorKind.TRAFFIC}


@pytest.mark.parametrize("seed", range(4))
def test_two_partitions_of_vehicles_say_what_one_says(seed):
    rng = random.Random(seed)
    clock, events = 0.0, []
    for number in range(150):
        clock += rng.choice([0.2, 1, 5, 20])
        bus = rng.randint(1, 6)
        t = clock - rng.choice([0, 0, 0, 1, 15, 45, 100])
        one = event(
            number,
            f"0012/{bus:05d}",
            round(t, 3),
            delay=rng.choice([-100, 0, 33, 181, 250]),
            route=("1001", "4400", "2015")[bus % 3],
            name=rng.choice(KINDS),
            stop=rng.choice([7, 8, 9]),
            trip=int(t // 240),
            received=clock,
        )
        events += [one] * rng.choice([1, 1, 2])

    def told(rows):
        core, found = TransitProcessor(1, SETTINGS, TOPICS), {}
        for offset, row in enumerate(rows):
            outputs = core.process([Record(offset, None, frame([row]), {})])
            for one in rows_of(outputs):
                keep(one, found)
        for one in rows_of(core.tick((START + 10**6) * S)):
            keep(one, found)
        return {key: row for key, row in found.items() if row["n"]}  # n 0 takes back what was given out too early

    def keep(row, found):
        if row["kind"] in (IndicatorKind.DELAY, IndicatorKind.ON_TIME, IndicatorKind.HEADWAY):
            key = tuple(row[name] for name in ("series_id", "kind", "window_s", "window_start"))
            found[key] = {name: one for name, one in row.items() if name not in IGNORED}

    whole = told(events)
    parts = [told([one for one in events if (one["route"] == "4400") is there]) for there in (True, False)]
    assert parts[0].keys().isdisjoint(parts[1])
    assert parts[0] | parts[1] == whole
    assert len(whole) > 100
