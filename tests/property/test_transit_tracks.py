"""Vehicles that vanish or stand still, against a slow obvious oracle that follows one vehicle, one event at a time."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulssi.frames import IndicatorKind
from pulssi.partitions import Record
from pulssi.series import series_id
from pulssi.settings import StreamsSettings
from tests.property.test_transit_windows import event, frame, run

SETTINGS = StreamsSettings(
    pane_s=300,
    windows_s=(300,),
    service_window_s=900,
    service_step_s=900,
    lateness_s={"transit": 40},
    horizon_s=1500,
    vanished_after_s=130,
    standing_after_s=90,
    standing_radius_m=20,
)
STEP_S = 30
US = 1_000_000
KINDS = ("vanished", "vanished_vehicles", "standing_s", "standing_vehicles")
HELSINKI = (60.17, 24.94)
EVERY = settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


class Bus:
    """What one vehicle does: it goes on in one way for some minutes, then in another."""

    def __init__(self, rng, name):
        self.rng, self.name, self.trip = rng, name, 1
        self.metres, self.until, self.mood, self.route = 0.0, 0.0, "drive", rng.choice(["1001", "4400"])

    def next(self, number, t):
        """Its event at a time, or None."""
        if t >= self.until:
            moods = "drive drive stand stand stop silent silent sleep crawl end dead blind"
            self.mood, self.until = self.rng.choice(moods.split()), t + self.rng.choice([20, 70, 150, 300, 600])
            if self.rng.random() < 0.2:
                self.trip += 1
                self.route = self.rng.choice(["1001", "4400"])
        if self.mood in ("silent", "sleep") or self.rng.random() < 0.05:
            return None
        speed = {"drive": 8.0, "crawl": 0.9}.get(self.mood, 0.0)
        self.metres += speed * 10 + self.rng.choice([-3.7, 0, 3.7])
        lat = HELSINKI[0] + self.metres / 111_195
        row = event(
            number,
            self.name,
            round(t, 3),
            route=self.route,
            direction=1,
            trip=self.trip,
            received=round(t + self.rng.choice([0.1] * 8 + [-5, 12, 55]), 3),
            delay=self.rng.choice([None] + [30] * 40),
            journey="deadrun" if self.mood == "dead" else "journey",
        )
        row |= {"lat": lat, "lon": HELSINKI[1], "speed": self.rng.choice([None, speed]), "next_stop": "77"}
        row["door"] = self.rng.choice([None, 0])
        if self.mood == "stop":
            row |= self.rng.choice([{"stop": 7}, {"door": 1}])
        if self.mood == "blind":
            row |= {"lat": self.rng.choice([None, lat]), "speed": None}
            row["lon"] = None if row["lat"] is None else row["lon"]
        if self.mood == "end":
            row |= self.rng.choice([{"event": "vjout"}, {"next_stop": "EOL"}, {"event": "dout"}])
        return row


def street(seed, count):
    """Rows in order of receipt; at times nobody is heard."""
    rng = random.Random(seed)
    buses = [Bus(rng, f"0012/{number:05d}") for number in range(rng.choice([1, 2, 4]))]
    rows, t, away = [], 0.0, 0.0
    for number in range(count):
        t += rng.choice([3, 10, 10])
        if rng.random() < 0.004:
            away = t + rng.choice([100, 400, 2500])
        row = rng.choice(buses).next(number, t)
        if row and t >= away:
            rows += [row, *more_of(rng, row, count + number)]
    return sorted(rows, key=lambda row: row["receive_time"])


def more_of(rng, row, number):
    """The same message once more, or another one of the same time, received later."""
    later = row["receive_time"] + rng.choice([1, 29, 70]) * US
    same = {"receive_time": later}
    return (
        [row | rng.choice([same, same | {"event_id": rng.choice([-number, number]), "door": 1}])]
        if rng.random() < 0.1
        else []
    )


def records(parts):
    return [Record(offset, None, frame(rows), {}) for offset, rows in enumerate(parts)]


def cut(rng, rows):
    """Frames of a few rows, some of which come again."""
    parts, at = [], 0
    while at < len(rows):
        size = rng.choice([1, 3, 10])
        again = rng.sample(rows[:at], min(at, rng.choice([0, 0, 2])))
        parts.append(rows[at : at + size] + again)
        at += size
    return parts


def states(rows):
    """Rows about vehicles that have vanished or stand, by series and time."""
    found = [row for row in rows if row["kind"] == IndicatorKind.VEHICLE]
    keyed = {(row["series_id"], row["window_start"]): row for row in found}
    assert len(keyed) == len(found)
    return keyed


# -- the oracle


def metres(a, b):
    north = math.radians(b[0] - a[0]) * 6_371_008.8
    return math.hypot(north, math.radians(b[1] - a[1]) * 6_371_008.8 * math.cos(math.radians(a[0])))


def serves(row):
    return (
        row["journey_type"] == "journey"
        and row["delay_s"] is not None
        and row["route"] is not None
        and row["event"] not in ("vjout", "bout", "dout")
        and row["next_stop"] != "EOL"
    )


def stood_us(history):
    """How long the vehicle has been within the radius of where it began to stand, by its events of one journey."""
    anchor = since = None
    until = 0
    for time, row in history:
        if row["stop"] is not None or row["door"] or (row["speed"] or 0) >= 2:
            anchor = None
        elif row["lat"] is not None:
            here = row["lat"], row["lon"]
            if anchor is None or metres(anchor, here) > SETTINGS.standing_radius_m:
                anchor, since = here, time
            until = time
    return 0 if anchor is None else until - since


def journeys(rows):
    """Events of the journey that a vehicle is on after some events, empty when on none."""
    history = []
    for time, row in rows:
        same = history and (history[-1][1]["route"], history[-1][1]["trip"]) == (row["route"], row["trip"])
        history = [*(history if same else []), (time, row)] if serves(row) else []
    return history


def judged(parts):
    """Value and n by (series, start of step) from the set of rows, each from all events received before its end."""
    clock, steps, seen = 0, defaultdict(list), set()
    for rows in parts:
        clock = max(clock, *(row["receive_time"] for row in rows))
        for row in rows:
            sent = row["event_id"], row["receive_time"]
            if sent not in seen and row["event_time"] >= clock - SETTINGS.horizon_s * US:
                seen.add(sent)
                steps[row["receive_time"] // (STEP_S * US)].append(row)
    end = (clock - SETTINGS.lateness_s["transit"] * US) // (STEP_S * US)
    tracks, silent, received, before, expected = defaultdict(list), Counter(), {}, {}, {}
    for step in sorted(number for number in steps if number < end):
        heard = follow(steps[step], tracks, received)
        if not heard:
            continue
        for vehicle in tracks:
            silent[vehicle] = 0 if vehicle in heard else silent[vehicle] + STEP_S
            if (step + 1) * STEP_S * US - received[vehicle] > (SETTINGS.horizon_s + SETTINGS.vanished_after_s) * US:
                time, row = tracks[vehicle][-1]
                tracks[vehicle] = [(time, row | {"journey_type": "given up"})]
        now = {one: state(tracks[one], silent[one]) for one in tracks}
        expected |= told(before, now, step)
        before = now
    return expected


def key_of(row):
    return min(row["event_time"], row["receive_time"]), row["event_id"]


def follow(rows, tracks, received):
    first, heard = {}, set()
    for row in sorted(rows, key=lambda row: row["receive_time"]):
        first.setdefault(row["event_id"], row)
    for row in sorted(first.values(), key=key_of):
        track = tracks[row["vehicle"]]
        if not track or key_of(row) > key_of(track[-1][1]):
            track.append((key_of(row)[0], row))
            received[row["vehicle"]] = row["receive_time"]
            heard.add(row["vehicle"])
    return heard


def state(track, silent_s):
    """Route, whether it has vanished, how long it stands."""
    history = journeys(track)
    if not history:
        return None, 0, 0
    lost = silent_s >= SETTINGS.vanished_after_s
    long_enough = history[-1][0] - history[0][0] >= 60 * US
    stood = 0 if lost else stood_us(history) / US
    return history[-1][1]["route"], int(lost and long_enough), stood if stood >= 90 else 0


def told(before, now, step):
    found = {}
    for which, (of_vehicle, of_route) in ((1, KINDS[:2]), (2, KINDS[2:])):
        counts = defaultdict(lambda: [0, 0])
        for side, judgements in enumerate((before, now)):
            for route, *values in judgements.values():
                if route:
                    counts[route][side] += values[which - 1] > 0
        for vehicle, judgement in now.items():
            if judgement[which] or before.get(vehicle, (None, 0, 0))[which]:
                device = "veh:" + vehicle.replace("/", ":")
                found[series_id(device, of_vehicle), step * STEP_S * US] = (judgement[which], 1)
        for route, (was, are) in counts.items():
            if was or are:
                n = sum(route in (before.get(one, (None,))[0], now[one][0]) for one in now)
                found[series_id(f"route:{route}:1", of_route), step * STEP_S * US] = (are, n)
    return found


# -- the tests


@EVERY
@given(st.integers(0, 10**6), st.integers(1, 900))
def test_every_step_is_what_the_definition_says(seed, count):
    rows = street(seed, count)
    if not rows:
        return
    parts = cut(random.Random(seed), rows)
    found, _ = run(records(parts), settings=SETTINGS)
    expected = judged(parts)
    assert {key: (round(row["value"], 6), row["n"]) for key, row in states(found).items()} == expected


def test_the_streets_have_everything_in_them():
    seen = Counter()
    for seed in range(12):
        found, _ = run(records(cut(random.Random(seed), street(seed, 700))), settings=SETTINGS)
        names = {series_id(f"veh:0012:{n:05d}", kind): kind for n in range(4) for kind in KINDS[::2]}
        names |= {series_id(f"route:{route}:1", kind): kind for route in ("1001", "4400") for kind in KINDS[1::2]}
        seen.update((names[row["series_id"]], row["value"] > 0) for row in states(found).values())
    assert len(seen) == 8
    assert min(seen.values()) > 10


@EVERY
@given(st.integers(0, 10**6), st.data())
def test_restarts_and_batches_change_no_bit(seed, data):
    given_records = records(cut(random.Random(seed), street(seed, 250)))
    cuts = data.draw(st.sets(st.integers(1, max(len(given_records) - 1, 1)), max_size=8))
    cuts = sorted(cuts - {len(given_records)})
    assert run(given_records, cuts, settings=SETTINGS) == run(given_records, settings=SETTINGS)


@EVERY
@given(st.integers(0, 10**6), st.data())
def test_batches_that_come_again_after_a_restart_change_nothing(seed, data):
    """A record that was worked on is fed again, under another offset, at any later point and in any state."""
    parts = cut(random.Random(seed), street(seed, 250))
    again = [part for part in parts for _ in range(2)] if data.draw(st.booleans()) else list(parts)
    for part in data.draw(st.lists(st.sampled_from(parts), max_size=10)) if parts else []:
        again.insert(
            data.draw(st.integers(next(i for i, one in enumerate(again) if one is part) + 1, len(again))), part
        )
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(again) - 1, 1)), max_size=5)) - {len(again)})
    found = states(run(records(parts), settings=SETTINGS)[0]), states(run(records(again), cuts, settings=SETTINGS)[0])
    for keyed in found:
        for row in keyed.values():
            del row["position"]
    assert found[0] == found[1]


@EVERY
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_any_order_inside_the_bound_and_any_repetition_give_the_same_rows(seed, rng):
    rows = street(seed, 250)
    jitter = {id(row): row["receive_time"] + rng.uniform(0, SETTINGS.lateness_s["transit"] * US) for row in rows}
    mixed = sorted(rows, key=lambda row: jitter[id(row)])
    wide = SETTINGS.model_copy(update={"horizon_s": 20_000})
    found = [states(run(records(cut(rng, one)), settings=wide)[0]) for one in (rows, mixed)]
    for keyed in found:
        for row in keyed.values():
            del row["position"]
    assert found[0] == found[1]


@EVERY
@given(st.integers(0, 10**6))
def test_every_series_is_described_before_it_says_something_and_ends_with_a_nought(seed):
    rows, infos = run(records(cut(random.Random(seed), street(seed, 300))), settings=SETTINGS)
    described = {int(info.key) for info in infos}
    by_series = defaultdict(list)
    for (series, start), row in sorted(states(rows).items()):
        by_series[series].append((start, row["value"]))
    assert by_series.keys() <= described
    for said in by_series.values():
        assert said[0][1] > 0
        assert all(before[1] > 0 or after[1] > 0 for before, after in pairwise(said))
