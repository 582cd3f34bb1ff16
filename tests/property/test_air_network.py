"""Stations beside one another against a slow account: late windows, redelivery, moves, any batches and any restart."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from pulssi.errors import PoisonError
from pulssi.frames import IndicatorKind, Indicators
from pulssi.geography import Place, Places
from pulssi.quality import Quality
from pulssi.settings import StreamsSettings
from streams.air.compound_network import LATE_S
from streams.air.network import AirNetwork
from streams.sensors import Sensor, Sensors
from tests.fixtures.air import HOUR_US, info, said, windows

FROM = 490_000
HOURS = 90
MOVED_AT = FROM + 40
FLOOR = {"no2": 20.0, "pm2_5": 5.0}
NEIGHBOUR = int(Quality.NEIGHBOUR)
SETTINGS = StreamsSettings(neighbour_radius_m=2000.0)
LATE_H = (SETTINGS.horizon_s + LATE_S) // 3600
SITES = {f"s{k}": (60.17 + 0.004 * (k % 3), 24.94 + 0.008 * (k // 3)) for k in range(7)}  # 445 m apart
MOVES = {"s6": (MOVED_AT, (60.176, 24.943)), "s5": (MOVED_AT + 10, (60.30, 25.2))}  # across the street, out of town
PLACES = Places(
    [
        place
        for device, (hour, site) in MOVES.items()
        for place in (
            Place(device, "air", "before", *SITES[device], None, -(1 << 62), hour * HOUR_US),
            Place(device, "air", "after", *site, None, hour * HOUR_US, 1 << 62),
        )
    ]
)
SERIES = {
    one.series_id: one
    for device, (lat, lon) in SITES.items()
    for one in (
        info(device, "no2", lat=lat, lon=lon),
        info(device, "pm2_5", lat=lat, lon=lon),
        info(device, "no2", "1", lat=lat, lon=lon),
        info(device, "humidity", lat=lat, lon=lon),
    )
}


def core_of(snapshot=None, sensors=None):
    return AirNetwork(SETTINGS, SERIES.get, sensors or Sensors(), PLACES, snapshot)


def life_of(rng):
    """Records in the order of the topic, each of some windows: (series id, hour, mean, revision, further columns)."""
    gaps, wild = rng.choice([0.0, 0.15]), rng.choice([0.0, 0.3])
    events = []
    for name in ("no2", "pm2_5"):
        levels = {device: rng.uniform(-15, 15) for device in SITES}
        weather = 60.0
        for hour in range(FROM, FROM + HOURS):
            weather += rng.gauss(0, 3)
            for device in SITES:
                if rng.random() < gaps:
                    continue
                arrival = hour
                for revision in range(rng.choice([1, 1, 1, 2]) if wild else 1):
                    value = weather + levels[device] + rng.gauss(0, 1) + (60 if rng.random() < 0.03 else 0)
                    mean = None if rng.random() < gaps / 3 else round(value, 1)
                    arrival += rng.random() * (LATE_H - 1) / 2 if rng.random() < wild else rng.random() * 0.01
                    events.append((arrival, (info(device, name).series_id, hour, mean, revision)))
    events += [(hour, (info("s1", "no2", "1").series_id, hour, 900.0, 0)) for hour in range(FROM, FROM + 60)]
    events.sort(key=lambda one: one[0])
    if wild:  # a crash of a readings' processor: what it had sent comes once more
        at = rng.randrange(len(events))
        events[at:at] = events[max(at - 40, 0) : at]
    rows, records = [one for _, one in events], []
    while rows:
        n = rng.choice([1, 5, 14])
        records.append(rows[:n])
        rows = rows[n:]
    return records


def told(core, records, cuts, *, restart=False, first=0):
    parts, infos = [], []
    for start, stop in zip([0, *cuts], [*cuts, len(records)], strict=True):
        rows = [
            (sid, hour, mean, revision, first + at)
            for at in range(start, stop)
            for sid, hour, mean, revision in records[at]
        ]
        part, described = core.take(windows(rows))
        parts.append(part)
        infos += described
        if restart:
            core = core_of(core.snapshot())
    return parts, infos, core


def every(parts, infos):
    """All rows as they were told, by (device, channel, hour)."""
    named = {one.series_id: one for one in infos}
    found = []
    for part in parts:
        for i in range(len(part)):
            row = {name: said(getattr(part, name)[i].item()) for name in Indicators.SCHEMA.names}
            one = named[row["series_id"]]
            assert one.quantity == "sensor_health"
            found.append(((one.device_id, one.channel, row["window_start"] // HOUR_US), row))
    return found


def final(parts, infos):
    found = {}
    for key, row in every(parts, infos):
        if key not in found or row["revision"] >= found[key]["revision"]:
            found[key] = row
    return found


# The slow account


def place_of(device, hour):
    """Where a device stands, and since which hour."""
    moved = MOVES.get(device)
    return (SITES[device], 0) if moved is None or hour < moved[0] else (moved[1], moved[0])


def metres(one, other):
    (lat, lon), (lat2, lon2) = one, other
    east = math.radians(lon - lon2) * math.cos(math.radians((lat + lat2) / 2))
    return 6_371_008.8 * math.hypot(math.radians(lat - lat2), east)


def account(records):
    """{(device, channel, hour): (health, departure, n, revision)}, from the last revisions."""
    found = {}
    for name in ("no2", "pm2_5"):
        ids = {info(device, name).series_id: device for device in SITES}
        cells = {}
        for record in records:
            for sid, hour, mean, revision in record:
                if sid in ids and revision >= cells.get((ids[sid], hour), (None, -1))[1]:
                    cells[ids[sid], hour] = (mean, revision)
        newest = max(hour for _device, hour in cells)
        for device, hour in cells:
            row = row_of(cells, name, device, hour, newest)
            if row is not None:
                found[device, f"{name}:neighbours", hour] = row
    return found


def row_of(cells, name, device, hour, newest):
    here, _ = place_of(device, hour)
    around = [o for o in SITES if o != device and metres(place_of(o, hour)[0], here) <= 2000]
    waiting = any((o, hour - 1) in cells and (o, hour) not in cells for o in around)
    if sum((o, hour) in cells for o in around) < 3 or (hour == newest and waiting):
        return None

    def cell(one, at):
        return cells.get((one, at)) if at >= place_of(one, hour)[1] else None

    def difference(at):
        own = cell(device, at)
        others = [cell(o, at)[0] for o in around if cell(o, at) and cell(o, at)[0] is not None]
        return own[0] - statistics.median(others) if own and own[0] is not None and len(others) >= 3 else None

    past = [difference(at) for at in range(hour - 48, hour)]
    known, now = [one for one in past if one is not None], difference(hour)
    looked_at = [cell(one, at) for one in (device, *around) for at in range(hour - 48, hour + 1)]
    revision = sum(one[1] + 1 for one in looked_at if one) - 1
    n = sum(1 for o in around if cell(o, hour) and cell(o, hour)[0] is not None)
    if now is None or len(known) < 24:
        return -1, None, n, revision
    usual = statistics.median(known)
    spread = 1.4826 * statistics.median(abs(one - usual) for one in known)
    return 3 * (abs(now - usual) > max(6 * spread, FLOOR[name])), now - usual, n, revision


@pytest.mark.parametrize("seed", range(4))
def test_the_rows_are_those_of_the_account(seed):
    rng = random.Random(seed)
    records = life_of(rng)
    parts, infos, core = told(core_of(), records, sorted(rng.choices(range(len(records) + 1), k=5)))
    found, expected = final(parts, infos), account(records)
    assert core.too_late == 0
    # Of the newest hour something may have been told before a neighbour turned out to have spoken of the one before.
    assert {key for key in found if key[2] < FROM + HOURS - 1} == {key for key in expected if key[2] < FROM + HOURS - 1}
    assert found.keys() >= expected.keys()
    for key, (health, departure, n, revision) in expected.items():
        row = found[key]
        assert (row["class_"], row["n"], row["revision"]) == (health, n, revision), key
        assert row["value"] == (None if health < 0 else health)
        assert row["mean"] == (None if departure is None else pytest.approx(departure, abs=1e-9))
        assert row["flags"] == (NEIGHBOUR if health == 3 else 0)
        assert (row["kind"], row["window_s"], row["completeness"]) == (IndicatorKind.AIR_INDEX, 3600, 1.0)
    assert {one[0] for one in expected.values()} == {-1, 0, 3}


@pytest.mark.parametrize("seed", range(4))
def test_batches_and_restarts_leave_no_trace(seed):
    rng = random.Random(seed)
    records = life_of(rng)
    cuts = sorted(rng.choices(range(len(records) + 1), k=12))
    once = told(core_of(), records, [])
    often = told(core_of(), records, cuts, restart=True)
    assert every(*once[:2]) == every(*often[:2])
    assert sorted(map(str, once[1])) == sorted(map(str, often[1]))
    assert once[2].snapshot() == often[2].snapshot()


@pytest.mark.parametrize("seed", range(4))
def test_a_replay_after_a_crash_gives_the_same_rows_again(seed):
    rng = random.Random(seed)
    records = life_of(rng)
    at = rng.randint(0, len(records))
    _parts, infos, core = told(core_of(), records[:at], [])
    saved = core.snapshot()
    lost, lost_infos, _ = told(core, records[at:], [*range(1, len(records) - at, 3)], first=at)
    again, again_infos, _ = told(core_of(saved), records[at:], [], first=at)
    assert every(again, infos + again_infos) == every(lost, infos + lost_infos)


@pytest.mark.parametrize("seed", range(3))
def test_partitions_that_take_turns_in_any_way_say_the_same_in_the_end(seed):
    rng = random.Random(seed)
    records = life_of(rng)
    rows = [row for record in records for row in record]
    behind = {sid: rng.uniform(0, 4) for sid in SERIES}  # hours that the partition of a device is behind
    straight = told(core_of(), records, [])
    order = sorted(rows, key=lambda row: (row[1] + behind[row[0]], row[3]))
    other = told(core_of(), [order[i : i + 9] for i in range(0, len(order), 9)], [])
    cut = [
        {key: strip(row) for key, row in final(*one[:2]).items() if key[2] < FROM + HOURS - 1}
        for one in (straight, other)
    ]
    assert cut[0] == cut[1]


def strip(row):
    return {name: value for name, value in row.items() if name not in ("position", "receive_time")}


@pytest.mark.parametrize("seed", range(2))
def test_a_change_is_a_higher_revision_and_the_same_revision_the_same_row(seed):
    records = life_of(random.Random(seed))
    parts, infos, _ = told(core_of(), records, [])
    highest = {}
    for key, row in every(parts, infos):
        before = highest.get(key)
        assert before is None or row["revision"] > before["revision"] or strip(row) == strip(before)
        highest[key] = row


def test_nothing_is_said_of_a_newest_hour_before_the_neighbours_have_spoken():
    core = core_of()
    four = [info(f"s{k}", "no2").series_id for k in range(4)]
    core.take(windows([(sid, FROM, 40.0, 0, 0) for sid in four]))
    for at, sid in enumerate(four[:3], 1):
        assert len(core.take(windows([(sid, FROM + 1, 40.0, 0, at)]))[0]) == 0
    rows, _ = core.take(windows([(four[3], FROM + 1, 40.0, 0, 4)]))
    assert sorted(rows.series_id.tolist()) == sorted(
        info(f"s{k}", "sensor_health", "no2:neighbours").series_id for k in range(4)
    )
    core.take(windows([(sid, FROM + 2, 40.0, 0, 5) for sid in four[:3]]))
    rows, _ = core.take(windows([(four[0], FROM + 3, 40.0, 0, 6)]))  # time goes on without the fourth
    assert len(rows) == 0  # the other three have two neighbours each
    five = info("s4", "no2").series_id
    core.take(windows([(sid, FROM + 3, 40.0, 0, 7) for sid in (*four[1:], five)]))
    assert len(core.take(windows([(sid, FROM + 4, 40.0, 0, 8) for sid in four]))[0]) == 0
    rows, _ = core.take(windows([(five, FROM + 5, 40.0, 0, 9)]))
    assert (rows.window_start == (FROM + 4) * HOUR_US).all()
    assert len(rows) == 4


def test_a_record_that_comes_again_says_nothing():
    core = core_of()
    rows = windows([(info(f"s{k}", "no2").series_id, FROM, 40.0, 0, 0) for k in range(5)])
    assert len(core.take(rows)[0]) == 5
    saved = core.snapshot()
    rows.position += 7
    assert len(core.take(rows)[0]) == 0
    assert core.snapshot() == saved


def test_a_station_that_is_too_far_behind_is_counted_and_changes_nothing():
    core = core_of()
    a, b = (info(f"s{k}", "no2").series_id for k in range(2))
    core.take(windows([(a, FROM, 40.0, 0, 0)]))
    core.take(windows([(b, FROM - LATE_H, 40.0, 0, 1), (b, FROM - LATE_H - 1, 40.0, 0, 1)]))
    assert core.too_late == 1


def test_a_snapshot_of_other_sensors_is_refused():
    saved = core_of().snapshot()
    with pytest.raises(PoisonError):
        core_of(saved, Sensors((Sensor(device="s0"),)))
