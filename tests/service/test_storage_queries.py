"""What dashboards and alerts read, on every tier; each answer beside one made from the rows by hand."""

import math
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from pulssi.frames import IndicatorKind
from pulssi.messages import to_json
from pulssi.topics import Content
from storage import outbox, queries
from storage.database import connect, open_pool
from tests.service.test_storage_writer import Feed, subscribe
from tests.storage_samples import T0, indicators, readings, series, transition, vehicles

pytestmark = pytest.mark.service

START = datetime.fromtimestamp(T0 / 1e6, UTC)
AGES = timedelta(days=1)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def feed(tier_database, owner):
    feed = Feed(tier_database)
    yield feed
    feed.writer.close()


@pytest.fixture
def reader(tier_database, feed):
    with connect(tier_database, "reader", autocommit=True) as connection:
        yield connection


SERIES = {
    1: {"device_id": "hsy-1", "quantity": "no2", "district": "01", "name": "Kallio", "lat": 60.2, "lon": 24.9},
    2: {"device_id": "hsy-1", "quantity": "pm2_5", "district": "01"},
    3: {"device_id": "tms-9", "quantity": "flow", "kind": "traffic", "district": "02", "channel": "1"},
    4: {"device_id": "tms-9", "quantity": "flow", "kind": "traffic", "district": "02", "channel": "2"},
    5: {"device_id": "tms-8", "quantity": "flow", "kind": "traffic"},
}


@pytest.fixture
def city(feed):
    feed(*((Content.SERIES, series(number, **names)) for number, names in SERIES.items()))
    feed((Content.READINGS, readings([1, 1, 2, 3, 4], [0, 60, 30, 10, 20], [1.0, 2.0, 3.0, 4.0, 5.0]).encode()))
    flag = {"series_id": 1, "kind": IndicatorKind.READING, "window_start": 60, "flags": 4}
    feed((Content.INDICATORS, indicators([flag, {**flag, "series_id": 3, "window_start": 9}]).encode()))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [1, 2, 5, 3, 4]),
        ({"kinds": ["traffic"]}, [5, 3, 4]),
        ({"kinds": []}, []),
        ({"quantities": ["no2", "pm2_5"]}, [1, 2]),
        ({"districts": ["02"]}, [3, 4]),
        ({"devices": ["tms-8", "hsy-1"], "kinds": ["air"]}, [1, 2]),
        ({"limit": 2}, [1, 2]),
    ],
)
def test_series_by_what_they_are(city, reader, wanted, found):
    assert [one.series_id for one in queries.list_series(reader, **wanted)] == found


def test_the_newest_reading_with_its_name_and_flags(city, reader):
    found = queries.latest_readings(reader, START - AGES)
    assert [(one.series_id, one.value, one.quality, one.event_time) for one in found] == [
        (1, 2.0, 4, at(60)),
        (2, 3.0, 0, at(30)),
        (3, 4.0, 0, at(10)),
        (4, 5.0, 0, at(20)),
    ]
    assert (found[0].name, found[0].lat, found[0].unit, found[2].channel) == ("Kallio", 60.2, "ug/m3", "1")
    assert [one.series_id for one in queries.latest_readings(reader, at(25))] == [1, 2]
    assert [one.series_id for one in queries.latest_readings(reader, START, districts=["02"])] == [3, 4]


@pytest.mark.parametrize("seed", range(4))
def test_points_keep_mean_and_extremes(feed, reader, seed):
    rng = np.random.default_rng(seed)
    times, values = rng.permutation(2000)[:300], np.round(rng.normal(size=300), 3)
    feed((Content.READINGS, readings([int(one) for one in rng.integers(1, 3, 300)], times.tolist(), values).encode()))
    rows = reader.execute("SELECT series_id, event_time, value FROM readings").fetchall()
    points_max = int(rng.integers(1, 40))
    start, end = at(100), at(1900)
    found = queries.points(reader, [1, 2], start, end, points_max=points_max)
    buckets = defaultdict(list)
    width = (end - start) / points_max
    for series_id, event_time, value in rows:
        if start <= event_time < end:
            buckets[series_id, (event_time - start) // width].append((event_time, value))
    expected = [
        (key[0], min(rows)[0], len(rows), min(value for _, value in rows), max(value for _, value in rows))
        for key, rows in sorted(buckets.items())
    ]
    assert [(one.series_id, one.time, one.n, one.min, one.max) for one in found] == expected
    for one, (_, rows) in zip(found, sorted(buckets.items()), strict=True):
        assert one.mean == pytest.approx(sum(value for _, value in rows) / len(rows))


def test_few_readings_are_points_as_they_are(city, reader):
    found = queries.points(reader, [1], at(-10), at(100))
    assert [(one.time, one.n, one.mean, one.flags) for one in found] == [(at(0), 1, 1.0, 0), (at(60), 1, 2.0, 4)]
    assert queries.points(reader, [1], at(100), at(100)) == []
    assert queries.points(reader, [], START, at(100)) == []


def test_the_newest_window_of_each_series(city, feed, reader):
    windows = [
        {"series_id": 1, "window_start": 0, "value": 1.0},
        {"series_id": 1, "window_start": 60, "value": 2.0, "std": math.nan},
        {"series_id": 1, "window_start": 0, "window_s": 3600, "value": 3.0},
        {"series_id": 99, "window_start": 0, "value": 4.0},
        {"series_id": 1, "window_start": 120, "kind": IndicatorKind.ANOMALY, "value": 0.9},
    ]
    feed((Content.INDICATORS, indicators(windows).encode()))
    found = queries.latest_indicators(reader, IndicatorKind.WINDOW, START - AGES)
    assert [(one.device_id, one.window_s, one.value, one.std) for one in found] == [
        ("hsy-1", 300, 2.0, None),
        ("hsy-1", 3600, 3.0, 0.0),
        (None, 300, 4.0, 0.0),
    ]
    short = queries.latest_indicators(reader, IndicatorKind.WINDOW, at(30), window_s=300)
    assert [one.series_id for one in short] == [1]
    row = queries.indicators(reader, 1, IndicatorKind.WINDOW, 300, START, at(60))
    assert [(one.window_start, one.value, one.class_) for one in row] == [(START, 1.0, -1)]


def test_vehicles_seen_lately(feed, reader):
    places = {"lat": 60.2, "lon": 24.9}
    rows = [{"vehicle": "b", "event_time": 50, "delay_s": 30, **places}, {"vehicle": "a", "event_time": 10, **places}]
    feed((Content.VEHICLES, vehicles(rows)))
    assert [one.vehicle for one in queries.vehicles(reader, START)] == ["a", "b"]
    [late] = queries.vehicles(reader, at(20))
    assert (late.vehicle, late.delay_s, late.event_time) == ("b", 30, at(50))


def test_alerts_open_and_recent(feed, reader):
    steps = [
        transition("a1", 1, "firing"),
        transition("a2", 2, "firing"),
        transition("a2", 3, "resolved"),
        transition("a3", 90, "pending"),
    ]
    feed(*((Content.ALERT, to_json(step)) for step in steps))
    assert [one.alert_id for one in queries.alerts(reader, START)] == ["a3", "a2", "a1"]
    assert [one.alert_id for one in queries.alerts(reader, START, only_open=True)] == ["a3", "a1"]
    assert [one.alert_id for one in queries.alerts(reader, at(2))] == ["a3", "a2"]
    assert [one.alert_id for one in queries.alerts(reader, START, limit=1)] == ["a3"]
    found = queries.alert(reader, "a2")
    assert (found.state, found.fired_time, found.resolved_time) == ("resolved", at(2), at(3))
    assert found.texts["fi"] == "Typpidioksidia paljon"
    assert queries.alert(reader, "no") is None
    assert [one.sequence for one in queries.transitions(reader, "a2")] == [2, 3]


def test_dead_letters_by_reason(feed, reader):
    feed((Content.READINGS, b"x"), (Content.READINGS, b"y"), (Content.SERIES, b"{"))
    assert [(one.reason, one.n) for one in queries.dead_letter_counts(reader, START)] == [
        ("bad_frame", 2),
        ("bad_json", 1),
    ]
    assert queries.dead_letter_counts(reader, at(1)) == []


def test_progress_and_latency(feed, reader):
    counts = {("readings", T0 // 60_000_000 * 60_000_000, 100): 99, ("readings", T0 // 60_000_000 * 60_000_000, 200): 1}
    feed.writer.write(feed.batch((Content.READINGS, readings([1], [1]).encode())), counts)
    [one] = queries.progress(reader)
    assert (one.consumer, one.topic, one.next_offset, one.records, one.rows) == ("sink", "t", 1, 1, 1)
    assert one.newest_receive_time == START
    [latency] = queries.latencies(reader, START)
    assert (latency.what, latency.n) == ("readings", 100)
    assert latency.p50_s == pytest.approx(1e-4 * 1.05**100.5)
    assert latency.p99_s == latency.p50_s
    assert queries.latencies(reader, at(120)) == []


def test_a_pool_hands_out_living_connections_only(tier_database, owner, feed):
    with open_pool(tier_database, "reader", size_max=2) as pool:
        with pool.connection() as connection:
            queries.progress(connection)
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        with pool.connection() as connection:
            assert queries.progress(connection) is not None


@pytest.fixture
def due(feed, owner):
    """Notifications that are due to two subscribers."""
    subscribe(owner)
    subscribe(owner, language="sv")
    feed(*((Content.ALERT, to_json(transition(f"a{n}", 1, "firing"))) for n in range(5)))
    return owner


def test_what_is_claimed_is_nobody_elses_for_a_while(due, tier_database):
    first = outbox.claim(due, 4, lease_s=60)
    with connect(tier_database, "writer") as other:
        rest = outbox.claim(other, 100, lease_s=60)
    assert len(first) == 4
    assert len({one.notification_id for one in first + rest}) == 10
    assert {one.language for one in first + rest} == {"fi", "sv"}
    assert first[0].transition.texts == {"fi": "Typpidioksidia paljon"}
    assert (first[0].attempt, first[0].channel) == (1, "webhook")
    assert outbox.claim(due, 100, lease_s=60) == []


def test_claims_at_the_same_time_do_not_meet(due, tier_database):
    with connect(tier_database, "writer") as one, connect(tier_database, "writer") as two:
        ours, theirs = outbox.claim(one, 5, lease_s=60), outbox.claim(two, 100, lease_s=60)
    assert len(ours) + len(theirs) == 10
    assert not {a.notification_id for a in ours} & {b.notification_id for b in theirs}


def test_who_died_is_followed_after_the_lease(due):
    outbox.claim(due, 10, lease_s=0.0)
    assert {one.attempt for one in outbox.claim(due, 100, lease_s=60)} == {2}


def test_every_attempt_is_in_the_log(due):
    one, two, three = outbox.claim(due, 3, lease_s=60)
    outbox.delivered(due, one, 204, 12)
    outbox.failed(due, two, "refused", 5, status=500, retry_time=datetime.now(UTC) - timedelta(seconds=1))
    outbox.failed(due, three, "gone", 7, status=410, retry_time=None)
    assert outbox.counts(due) == outbox.OutboxCounts(pending=8, delivered=1, dead=1)
    [again] = [n for n in outbox.claim(due, 100, lease_s=60) if n.notification_id == two.notification_id]
    assert again.attempt == 2
    outbox.delivered(due, again, 200, 3)
    log = {(one.notification_id, one.attempt): (one.status, one.error) for one in outbox.deliveries(due)}
    assert log == {
        (one.notification_id, 1): (204, None),
        (two.notification_id, 1): (500, "refused"),
        (two.notification_id, 2): (200, None),
        (three.notification_id, 1): (410, "gone"),
    }


def test_who_unsubscribes_is_forgotten(due):
    one, two = outbox.subscriptions(due)
    assert outbox.set_active(due, one.subscription_id, active=False)
    assert [wish.subscription_id for wish in outbox.subscriptions(due, active=True)] == [two.subscription_id]
    assert outbox.unsubscribe(due, two.subscription_id)
    assert not outbox.unsubscribe(due, two.subscription_id)
    assert outbox.counts(due).pending == 5


@pytest.mark.parametrize("wish", [{"severity_min": 3}, {"language": "de"}, {"channel": "fax"}])
def test_a_subscription_says_what_can_be_done(owner, wish):
    new = outbox.NewSubscription(target="https://example.org", secret="s", **wish)
    with pytest.raises(psycopg.errors.CheckViolation):
        outbox.subscribe(owner, new)


def test_text_of_anybody_is_a_value_and_nothing_else(city, reader):
    evil = "'; DROP TABLE series; --"
    assert queries.list_series(reader, devices=[evil]) == []
    assert len(queries.list_series(reader, devices=[evil, *random.Random(0).sample(["hsy-1"], 1)])) == 2
