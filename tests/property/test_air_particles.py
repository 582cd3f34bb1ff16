"""Low-cost particle sensors against a slow account: late hours, corrections, gaps, any batches and any restart."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from pulssi.frames import IndicatorKind, Indicators
from pulssi.quality import Quality
from pulssi.settings import StreamsSettings
from streams.air.particles import ParticleSensors
from streams.sensors import Sensor, Sensors
from tests.fixtures.air import HOUR_US, info, said, windows

STREAMS = StreamsSettings()
FROM = 490_000
HELD = range(FROM + 10, FROM + 30)
"""Hours in which a correction of `pa-1` holds."""
SENSORS = Sensors(
    (
        Sensor.model_validate(
            {
                "device": "pa-1",
                "calibration": [
                    {
                        "method": "purpleair_2021",
                        "valid_from": f"{np.datetime64(HELD.start, 'h')}:00:00Z",
                        "valid_to": f"{np.datetime64(HELD.stop, 'h')}:00:00Z",
                    },
                ],
            }
        ),
        Sensor(device="pa-*", calibration=()),
    )
)
SERIES = {
    one.series_id: one
    for device in ("pa-1", "pa-2", "fmi-1")
    for one in (
        *(info(device, name, channel) for name in ("pm2_5", "pm10") for channel in ("A", "B", "C")),
        info(device, "humidity"),
        info(device, "no2"),
    )
}
ARRIVAL = ("position", "receive_time")
HUMID, CHANNELS = int(Quality.HUMIDITY), int(Quality.CHANNELS)


def core_of(snapshot=None):
    return ParticleSensors(STREAMS, SENSORS, SERIES.get, snapshot)


def life_of(rng):
    """Windows in order of arrival: (series id, hour, mean or None, revision, position, further columns)."""
    events, gaps, wild = [], rng.choice([0.0, 0.2]), rng.choice([0.0, 0.4])
    for hour in range(FROM, FROM + 40):
        level = rng.random() ** 3 * 300
        for one in SERIES.values():
            if rng.random() < gaps:
                continue
            arrival = hour
            for revision in range(rng.choice([1, 1, 3])):
                value = rng.uniform(60, 100) if one.quantity == "humidity" else level * rng.uniform(0.6, 1.6)
                mean = None if rng.random() < gaps / 2 else round(value, 2)
                more = {"flags": rng.choice([0, 2]), "n_excluded": rng.choice([0, 3])}
                arrival += rng.random() * 5 if rng.random() < wild else 1e-6
                events.append((arrival, rng.random(), one.series_id, hour, mean, revision, more))
    events.sort(key=lambda one: one[:2])
    return [(sid, hour, mean, rev, at, more) for at, (_, _, sid, hour, mean, rev, more) in enumerate(events)]


def told(core, events, cuts, *, restart=False):
    parts, infos = [], []
    for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
        part, described = core.take(windows(events[first:last]))
        parts.append(part)
        infos += described
        if restart:
            core = core_of(core.snapshot())
    return parts, infos, core


def final(parts, infos):
    """{(device, quantity, channel, hour): newest row}."""
    named, found = {one.series_id: one for one in infos}, {}
    for part in parts:
        for i in range(len(part)):
            one = named[int(part.series_id[i])]
            row = {name: said(getattr(part, name)[i].item()) for name in Indicators.SCHEMA.names}
            key = (one.device_id, one.quantity, one.channel, row["window_start"] // HOUR_US)
            if key not in found or row["revision"] >= found[key]["revision"]:
                found[key] = row
    return found


# The slow account


def corrected(p, rh):
    """Of US EPA, October 2021, typed in again."""
    if p < 30:
        value = 0.524 * p - 0.0862 * rh + 5.75
    elif p < 50:
        value = (0.786 * (p / 20 - 3 / 2) + 0.524 * (1 - (p / 20 - 3 / 2))) * p - 0.0862 * rh + 5.75
    elif p < 210:
        value = 0.786 * p - 0.0862 * rh + 5.75
    elif p < 260:
        share = p / 50 - 21 / 5
        value = (0.69 * share + 0.786 * (1 - share)) * p - 0.0862 * rh * (1 - share)
        value += 2.966 * share + 5.75 * (1 - share) + 8.84e-4 * p * p * share
    else:
        value = 2.966 + 0.69 * p + 8.84e-4 * p * p
    return max(value, 0.0)


def account(events):
    """The same as `final`, (value, class, flags, n, n_excluded, revision) of both series, from the last revisions."""
    last = {}
    for sid, hour, mean, revision, _at, more in events:
        if revision >= last.get((sid, hour), (None, -1))[1]:
            last[sid, hour] = (mean, revision, more)
    found = {}
    for hour in range(FROM, FROM + 40):
        for device in ("pa-1", "pa-2"):
            air = [last[k] for k in [(info(device, "humidity").series_id, hour)] if k in last]
            for name in ("pm2_5", "pm10"):
                keys = [(info(device, name, channel).series_id, hour) for channel in "ABC"]
                cells = [last[key] for key in keys if key in last]
                held = device == "pa-1" and name == "pm2_5" and hour in HELD
                if cells and (air or not held):
                    found |= judged(device, name, hour, cells, air, held=held)
    return found


def judged(device, name, hour, cells, air, *, held):
    means = [mean for mean, _, _ in cells if mean is not None]
    humidity = next((mean for mean, _, _ in air if mean is not None), None)
    value, flags, health, distance = None, 0, -1, None
    for _, _, more in cells:
        flags |= more["flags"]
    if humidity is not None and humidity >= 85:
        flags |= HUMID
    n, left_out = sum(60 for mean, _, _ in cells if mean is not None), sum(more["n_excluded"] for *_, more in cells)
    if means:
        value, distance = sum(means) / len(means), max(means) - min(means)
        health = 1 if flags & HUMID else 0
        if distance > 5 and distance > 0.7 * value:
            value, health, flags, n, left_out = None, 2, flags | CHANNELS, 0, left_out + n
        elif held:
            value = None if humidity is None else corrected(value, humidity)
    revision = sum(one[1] + 1 for one in (*cells, *air)) - 1
    counts = {"n": n, "n_excluded": left_out, "flags": flags, "revision": revision}
    checked = {"value": value, "mean": value, "class_": 0 if held else -1, **counts}
    state = {"value": None if health < 0 else health, "mean": distance, "class_": health, **counts}
    return {(device, name, "checked", hour): checked, (device, "sensor_health", name, hour): state}


def close(one, other):
    return one == other or (None not in (one, other) and math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-9))


@pytest.mark.parametrize("seed", range(10))
def test_the_rows_are_those_of_the_account(seed):
    rng = random.Random(seed)
    events = life_of(rng)
    cuts = sorted(rng.choices(range(len(events) + 1), k=rng.randrange(12)))
    parts, infos, core = told(core_of(), events, cuts)
    found, expected = final(parts, infos), account(events)
    assert core.too_late == 0
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert all(close(found[key][name], value) for name, value in row.items()), (key, row, found[key])
    kinds = {(key[1] == "sensor_health", row["kind"]) for key, row in found.items()}
    assert kinds == {(False, int(IndicatorKind.WINDOW)), (True, int(IndicatorKind.AIR_INDEX))}


def test_the_lives_hold_everything_that_can_be_said():
    seen = [one for seed in range(10) for one in account(life_of(random.Random(seed))).items()]
    health = {row["class_"] for key, row in seen if key[1] == "sensor_health"}
    corrected_ones = [row for key, row in seen if key[2] == "checked" and row["class_"] == 0]
    assert health == {-1, 0, 1, 2}
    assert {row["value"] is None for row in corrected_ones} == {True, False}


@pytest.mark.parametrize("seed", range(10))
def test_batches_and_restarts_leave_no_trace(seed):
    rng = random.Random(seed)
    events = life_of(rng)
    cuts = sorted(rng.choices(range(len(events) + 1), k=rng.randrange(12)))
    once = told(core_of(), events, [])
    often = told(core_of(), events, cuts, restart=True)
    assert final(*once[:2]) == final(*often[:2])
    assert sorted(map(str, once[1])) == sorted(map(str, often[1]))
    assert once[2].snapshot() == often[2].snapshot()


@pytest.mark.parametrize("seed", range(10))
def test_a_replay_after_a_crash_gives_the_same_rows_again(seed):
    rng = random.Random(seed)
    events = life_of(rng)
    at = rng.randint(0, len(events))
    _parts, infos, core = told(core_of(), events[:at], [])
    saved = core.snapshot()
    lost, lost_infos, _core = told(core, events[at:], [*range(1, len(events) - at, 3)])
    again, again_infos, _core = told(core_of(saved), events[at:], [])
    every = final(lost, infos + lost_infos)
    assert final(again, infos + again_infos) == every
    assert final(lost + again, infos + lost_infos) == every


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_arrival_does_not_matter_in_the_end(seed):
    rng = random.Random(seed)
    events = life_of(rng)
    order = sorted(events, key=lambda one: (one[1] // 8, rng.random()))
    other = [(*one[:4], at, one[5]) for at, one in enumerate(order)]
    found = []
    for feed in (events, other):
        rows = final(*told(core_of(), feed, [])[:2])
        found.append({key: {k: v for k, v in row.items() if k not in ARRIVAL} for key, row in rows.items()})
    assert found[0] == found[1]


@pytest.mark.parametrize("seed", range(5))
def test_each_change_is_a_higher_revision(seed):
    events = life_of(random.Random(seed))
    parts, _infos, _core = told(core_of(), events, list(range(1, len(events), 5)))
    highest = {}
    for part in parts:
        keys = zip(part.series_id.tolist(), part.window_start.tolist(), strict=True)
        for key, revision in zip(keys, part.revision.tolist(), strict=True):
            assert revision > highest.get(key, -1)
            highest[key] = revision
