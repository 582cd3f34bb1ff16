"""Air indices of stations against the oracle: late hours, corrections, gaps, any batches and any restart."""

from __future__ import annotations

import random

import pytest

from pulssi.settings import StreamsSettings
from streams.air.station_indices import StationIndices
from tests.fixtures.air import final_rows, info, results, windows
from tests.property.air_oracle import ORDER, rows_of

STREAMS = StreamsSettings(roadside_stations=("road",))
DEVICES = ("yard", "road")
TOP = {"so2": 900, "no2": 500, "pm10": 700, "pm2_5": 400, "o3": 400, "co": 40_000, "trs": 60, "black_carbon": 15}
SPRING, AUTUMN, WINTER = 492_910, 497_950, 490_000  # hours before a change of the clocks in Finland, and far from any
JITTER = 12


def life_of(rng):
    """(hourly means, events): what each series finally says of each hour, and windows in order of arrival."""
    hour, days = rng.choice([SPRING, AUTUMN, WINTER]) + rng.randrange(24), rng.choice([1, 2, 4])
    gaps, wild = rng.choice([0.0, 0.1, 0.4]), rng.choice([0.0, 0.3])
    measured = {device: rng.sample(ORDER, rng.randint(1, 8)) for device in DEVICES}
    means, events, jump = {}, [], 0
    for at in range(hour, hour + 24 * days):
        if rng.random() < 0.02:
            jump += rng.choice([5, 30, 200])
        for device in DEVICES:
            for compound in measured[device]:
                if rng.random() < gaps:
                    continue
                key = (device, compound, at + jump)
                arrival = at + jump
                for revision in range(rng.choice([1, 1, 1, 3]) if wild else 1):
                    mean = None if rng.random() < gaps / 2 else round(rng.random() ** 2 * TOP[compound], 1)
                    means[key] = mean
                    if rng.random() < wild:
                        arrival = max(arrival, at + jump + rng.random() * JITTER)
                    events.append((arrival, rng.random(), *key, mean, revision))
                    arrival += 1e-6
    events.sort(key=lambda one: one[0])
    return means, [event[2:] for event in events]


def told(core, events, cuts, *, restart=False):
    """Rows and descriptions that a core gives for events in these batches."""
    parts, infos = [], []
    for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
        rows = [
            (info(device, compound).series_id, hour, mean, revision, position)
            for position, (device, compound, hour, mean, revision) in enumerate(events[first:last], first)
        ]
        part, described = core.take(windows(rows))
        parts.append(part)
        infos += described
        if restart:
            core = StationIndices(STREAMS, describe, core.snapshot())
    return parts, infos, core


SERIES = {one.series_id: one for one in (info(device, compound) for device in DEVICES for compound in ORDER)}
describe = SERIES.get


def alike(row):
    return tuple(None if one is None else pytest.approx(one, rel=1e-9, abs=1e-9) for one in row)


@pytest.mark.parametrize("seed", range(12))
def test_the_rows_are_those_of_the_oracle(seed):
    rng = random.Random(seed)
    means, events = life_of(rng)
    cuts = sorted(rng.choices(range(len(events) + 1), k=rng.randrange(12)))
    parts, infos, _core = told(StationIndices(STREAMS, describe), events, cuts)
    rows = final_rows(parts, infos)
    for device in DEVICES:
        hours = {}
        for (one, compound, hour), mean in means.items():
            if one == device:
                hours.setdefault(compound, {})[hour] = mean
        expected = rows_of(hours, roadside=device == "road")
        found = results(rows, device)
        assert found.keys() == expected.keys()
        for key, row in expected.items():
            assert found[key] == alike(row), key


@pytest.mark.parametrize("seed", range(12))
def test_batches_and_restarts_leave_no_trace(seed):
    rng = random.Random(seed)
    _means, events = life_of(rng)
    cuts = sorted(rng.choices(range(len(events) + 1), k=rng.randrange(12)))
    once = told(StationIndices(STREAMS, describe), events, [])
    often = told(StationIndices(STREAMS, describe), events, cuts, restart=True)
    assert final_rows(*once[:2]) == final_rows(*often[:2])
    assert sorted(map(str, once[1])) == sorted(map(str, often[1]))
    assert once[2].snapshot() == often[2].snapshot()


@pytest.mark.parametrize("seed", range(12))
def test_a_replay_after_a_crash_gives_the_same_rows_again(seed):
    rng = random.Random(seed)
    _means, events = life_of(rng)
    at = rng.randint(0, len(events))
    _parts, infos, core = told(StationIndices(STREAMS, describe), events[:at], [])
    saved = core.snapshot()
    lost, lost_infos, _core = told(core, events, [at, *range(at + 1, len(events), 3)])
    del lost[0]
    again, again_infos, _core = told(StationIndices(STREAMS, describe, saved), events, [at])
    del again[0]
    every = final_rows(lost, infos + lost_infos)
    assert final_rows(again, infos + again_infos) == every
    assert final_rows(lost + again, infos + lost_infos) == every


@pytest.mark.parametrize("seed", range(8))
def test_each_change_is_a_higher_revision(seed):
    rng = random.Random(seed)
    _means, events = life_of(rng)
    parts, _infos, _core = told(StationIndices(STREAMS, describe), events, list(range(1, len(events), 5)))
    highest = {}
    for part in parts:
        for i in range(len(part)):
            key = tuple(int(column[i]) for column in (part.series_id, part.window_s, part.window_start))
            assert part.revision[i] > highest.get(key, -1)
            highest[key] = part.revision[i]
