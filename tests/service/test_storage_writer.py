"""Batches into real databases of every tier: once, fenced, and without the rows that the database refuses."""

import math
from uuid import UUID

import numpy as np
import psycopg
import pytest

from pulssi.errors import ConfigurationError, FencedError, Reason
from pulssi.frames import IndicatorKind
from pulssi.messages import Severity, to_json
from pulssi.topics import Content
from storage import outbox
from storage.batch import Batch, Place, Span, read
from storage.database import connect
from storage.rows import Taken
from storage.topics_anew import accept
from storage.writer import Writer, Written, latencies_of
from tests.storage_samples import T0, indicators, readings, series, taken, transition, vehicles

pytestmark = pytest.mark.service

PLACE = Place("t", 0)


class Feed:
    """Feeds records to a writer as the sink does, each one batch unless said otherwise."""

    def __init__(self, settings, consumer: str = "sink") -> None:
        self.writer = Writer(lambda: connect(settings, "writer", autocommit=True), consumer)
        self.spans = self.writer.take([PLACE], {})

    def batch(self, *records: tuple[Content, bytes]) -> Batch:
        batch = Batch()
        span = self.spans[PLACE]
        for content, value in records:
            record = self.record(content, value, span.next_offset)
            batch.add(record, read(content, record)[0], span)
        return batch

    def record(self, content: Content, value: bytes, offset: int) -> Taken:
        return taken(value, content, PLACE.topic, PLACE.partition, offset)

    def write(self, batch: Batch, *, careful: bool = False) -> Written:
        written = self.writer.write(batch, {}, careful=careful)
        self.spans |= batch.advance()
        return written

    def __call__(self, *records: tuple[Content, bytes], careful: bool = False) -> Written:
        return self.write(self.batch(*records), careful=careful)


@pytest.fixture
def feed(tier_database, owner):
    feed = Feed(tier_database)
    yield feed
    feed.writer.close()


def rows(connection, statement: str, *values: object) -> list[tuple]:
    return connection.execute(statement, values).fetchall()


def seconds(column: str) -> str:
    """A time column as whole seconds after T0."""
    return f"extract(epoch FROM {column} - to_timestamp({T0 // 1_000_000}))::int"


@pytest.fixture(params=[False, True], ids=["at once", "careful"])
def careful(request) -> bool:
    return request.param


def test_readings_once_and_the_newest_of_each_series(feed, owner, careful):
    first = readings([1, 2, 1, 1], [10, 10, 30, 20], [1.0, 2.0, 3.0, 4.0])
    written = feed((Content.READINGS, first.encode()), careful=careful)
    assert written.stored == {"readings": 4, "latest": 2}
    again = readings([1, 1, 2, 2], [30, 40, 5, 10], [9.0, 5.0, 6.0, 9.0])
    written = feed((Content.READINGS, again.encode()), careful=careful)
    assert written.stored == {"readings": 2, "latest": 1}
    assert rows(owner, f"SELECT series_id, {seconds('event_time')}, value FROM readings ORDER BY 1, 2") == [
        (1, 10, 1.0), (1, 20, 4.0), (1, 30, 3.0), (1, 40, 5.0), (2, 5, 6.0), (2, 10, 2.0),
    ]  # fmt: skip
    assert rows(owner, f"SELECT series_id, {seconds('event_time')}, value FROM latest ORDER BY 1") == [
        (1, 40, 5.0),
        (2, 10, 2.0),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_first_of_each_reading_stays_whatever_is_sent_again_and_whoever_writes(tier_database, owner, seed):
    rng = np.random.default_rng(seed)
    feed, stored, sent = Feed(tier_database), {}, 0
    for _ in range(25):
        if rng.random() < 0.2:  # another sink takes over
            feed.writer.close()
            feed = Feed(tier_database)
        size = int(rng.integers(1, 9))
        series = rng.integers(1, 4, size).tolist()
        times = (sent // 2 + rng.integers(-9, 9, size)).tolist()
        values = [float(sent + i) for i in range(size)]
        sent += size
        before = len(stored)
        for key, value in zip(zip(series, times, strict=True), values, strict=True):
            stored.setdefault(key, value)
        written = feed((Content.READINGS, readings(series, times, values).encode()))
        assert written.stored["readings"] == len(stored) - before
    feed.writer.close()
    found = rows(owner, f"SELECT series_id, {seconds('event_time')}, value FROM readings")
    assert {(one, time): value for one, time, value in found} == stored


def test_a_reading_that_somebody_else_has_written_meanwhile_stops_nothing(feed, owner):
    feed((Content.READINGS, readings([1], [1], [1.0]).encode()))
    owner.execute(
        "INSERT INTO readings "
        "SELECT series_id, event_time + interval '5 s', receive_time, 5, quality, seq FROM readings"
    )
    batch = feed.batch((Content.READINGS, readings([1, 1], [6, 7], [6.0, 7.0]).encode()))
    with pytest.raises(psycopg.errors.UniqueViolation):
        feed.writer.write(batch, {})
    assert rows(owner, "SELECT next_offset FROM offsets") == [(1,)]
    assert feed.write(batch, careful=True).stored == {"readings": 1, "latest": 1}
    again = feed((Content.READINGS, readings([1, 1, 1], [6, 7, 8], [9.0, 9.0, 9.0]).encode()))
    assert again.stored == {"readings": 1, "latest": 1}
    assert rows(owner, "SELECT value FROM readings ORDER BY event_time") == [(1.0,), (5.0,), (7.0,), (9.0,)]


def test_every_column_of_a_reading(feed, owner):
    one = readings([-(2**63)], [7], [0.1], receive=T0 + 5)
    one.quality[:], one.seq[:] = 65535, 2**40
    feed((Content.READINGS, one.encode()))
    [row] = rows(owner, "SELECT * FROM readings")
    assert (row[0], *row[3:]) == (-(2**63), 0.1, 65535, 2**40)
    assert row[1].timestamp() == T0 / 1e6 + 7
    assert row[2].microsecond == 5


def test_readings_of_many_days_find_their_place(feed, owner):
    days = [day * 86_400 for day in (-30, -1, 0, 3, 0, -30)]
    feed((Content.READINGS, readings(list(range(6)), days).encode()))
    feed((Content.READINGS, readings([9], [-86_400 * 29]).encode()))
    assert rows(owner, "SELECT count(*) FROM readings") == [(7,)]


def test_indicators_only_by_newer_revisions(feed, owner, careful):
    def window(start: int, revision: int, value: float, **more) -> dict:
        base = {"series_id": 1, "window_start": start, "revision": revision, "value": value}
        return {**base, "std": math.nan, **more}

    provisional = [window(0, -9, 0.1), window(300, -9, 0.2), window(300, -8, 0.3), window(600, -9, 0.4, window_s=60)]
    feed((Content.INDICATORS, indicators(provisional).encode()), careful=careful)
    found = f"window_s, {seconds('window_start')}, revision, value, std FROM"
    assert rows(owner, f"SELECT {found} indicators_latest ORDER BY 1") == [
        (60, 600, -9, 0.4, None),
        (300, 300, -8, 0.3, None),
    ]
    first = [window(0, 0, 1.0), window(300, 0, 2.0), window(0, 2, 3.0), window(0, 1, 4.0)]
    feed((Content.INDICATORS, indicators(first).encode()), careful=careful)
    second = [window(0, 1, 5.0), window(300, 1, 6.0, std=0.5), window(0, 2, 7.0), window(600, 0, 8.0, window_s=60)]
    feed((Content.INDICATORS, indicators(second).encode()), careful=careful)
    assert rows(owner, f"SELECT {found} indicators ORDER BY 1, 2") == [
        (60, 600, 0, 8.0, None),
        (300, 0, 2, 3.0, None),
        (300, 300, 1, 6.0, 0.5),
    ]
    assert rows(owner, f"SELECT {found} indicators_latest ORDER BY 1") == [
        (60, 600, 0, 8.0, None),
        (300, 300, 1, 6.0, 0.5),
    ]


def test_flags_of_readings_the_last_word_counts(feed, owner):
    def flagged(series_id: int, flags: int) -> dict:
        return {"series_id": series_id, "kind": IndicatorKind.READING, "window_start": 10, "flags": flags}

    feed((Content.INDICATORS, indicators([flagged(1, 2), flagged(2, 4), flagged(1, 6), flagged(3, 0)]).encode()))
    feed((Content.INDICATORS, indicators([flagged(2, 5)]).encode()))
    assert rows(owner, "SELECT series_id, flags FROM reading_flags ORDER BY 1") == [(1, 6), (2, 5)]
    settled = [flagged(series_id, flags) | {"kind": IndicatorKind.FLAGS} for series_id, flags in ((1, 0), (4, 8))]
    feed((Content.INDICATORS, indicators(settled).encode()))
    found = rows(owner, "SELECT series_id, flags FROM reading_flags ORDER BY 1")
    assert found == [(1, 0), (2, 5), (4, 8)]
    assert rows(owner, "SELECT count(*) FROM indicators") == [(0,)]


def test_vehicle_events_once_and_where_each_vehicle_is(feed, owner, careful):
    def event(number: int, second: int, **more) -> dict:
        return {"event_id": number, "vehicle": "0012/01913", "event_time": second, **more}

    place = {"lat": 60.2, "lon": 24.9, "route": "4400", "direction": 1, "delay_s": 90}
    feed((Content.VEHICLES, vehicles([event(1, 20, **place), event(2, 10, lat=60.1, lon=24.8)])), careful=careful)
    again = vehicles([event(1, 20, **place), event(3, 30), event(4, 15, lat=1.0, lon=2.0, headsign="Herttoniemi (M)")])
    feed((Content.VEHICLES, again), careful=careful)
    assert rows(owner, "SELECT event_id, lat, headsign FROM vehicle_events ORDER BY 1") == [
        (1, 60.2, None),
        (2, 60.1, None),
        (3, None, None),
        (4, 1.0, "Herttoniemi (M)"),
    ]
    latest = rows(owner, f"SELECT vehicle, lat, route, delay_s, {seconds('event_time')} FROM vehicles_latest")
    assert latest == [("0012/01913", 60.2, "4400", 90, 20)]


def test_a_series_is_renamed_and_keeps_its_first_day(feed, owner):
    feed((Content.SERIES, series(1, name="Kallio")))
    before = rows(owner, "SELECT first_seen FROM series")
    feed(
        (Content.SERIES, series(1, name="x")), (Content.SERIES, series(2)), (Content.SERIES, series(1, name="Kallio 2"))
    )
    assert rows(owner, "SELECT series_id, name FROM series ORDER BY 1") == [(1, "Kallio 2"), (2, None)]
    assert rows(owner, "SELECT first_seen FROM series WHERE series_id = 1") == before


def alert(*steps) -> list[tuple[Content, bytes]]:
    return [(Content.ALERT, to_json(step)) for step in steps]


def test_an_alert_is_its_newest_step(feed, owner, careful):
    feed(*alert(transition(), transition(sequence=1, state="firing")), careful=careful)
    feed(*alert(transition(sequence=1, state="firing", value=1.0)), careful=careful)
    state = f"SELECT state, value, {seconds('fired_time')}, {seconds('resolved_time')} FROM alerts"
    assert rows(owner, state) == [("firing", 210.0, 1, None)]
    feed(*alert(transition(sequence=2, state="resolved")), careful=careful)
    assert rows(owner, state) == [("resolved", 210.0, 1, 2)]
    assert rows(owner, "SELECT count(*) FROM alert_transitions") == [(3,)]
    assert rows(owner, "SELECT evidence, texts ->> 'fi' FROM alerts") == [({"n": 3}, "Typpidioksidia paljon")]


def test_a_whole_life_in_one_batch_fires_too(feed, owner):
    feed(*alert(*(transition(sequence=n, state=s) for n, s in enumerate(("pending", "firing", "resolved")))))
    assert rows(owner, f"SELECT state, {seconds('fired_time')} FROM alerts") == [("resolved", 1)]


WISHES = [
    ({}, True),
    ({"districts": ["01", "02"]}, True),
    ({"districts": ["02"]}, False),
    ({"quantities": ["no2"]}, True),
    ({"quantities": ["o3"]}, False),
    ({"kinds": ["air"]}, True),
    ({"kinds": ["traffic"]}, False),
    ({"devices": ["hsy-1"]}, True),
    ({"devices": ["hsy-2"]}, False),
    ({"severity_min": 1}, True),
    ({"severity_min": 2}, False),
    ({"districts": []}, False),
    ({"districts": ["01"], "quantities": ["o3"]}, False),
]


def subscribe(owner, created: int = -10, **wish) -> outbox.Subscription:
    """A subscription made `created` seconds after T0."""
    made = outbox.subscribe(owner, outbox.NewSubscription(target="https://example.org/hook", secret="s", **wish))
    owner.execute(
        "UPDATE subscriptions SET created_time = to_timestamp(%s) WHERE subscription_id = %s",
        (T0 / 1e6 + created, made.subscription_id),
    )
    return made


def test_a_firing_alert_is_due_to_those_who_asked_for_it(feed, owner):
    wanted = {str(subscribe(owner, **wish).subscription_id): due for wish, due in WISHES}
    feed(*alert(transition(), transition(sequence=1, state="firing")))
    found = {row[0] for row in rows(owner, "SELECT subscription_id::text FROM outbox")}
    assert found == {name for name, due in wanted.items() if due}
    ids = {row[0] for row in rows(owner, "SELECT notification_id FROM outbox")}
    assert ids == {f"{name}:a1:1" for name in found}


@pytest.mark.parametrize(("severity", "due"), [("info", False), ("warning", True), ("critical", True)])
def test_severities_rise(feed, owner, severity, due):
    subscribe(owner, severity_min=1)
    feed(*alert(transition(sequence=1, state="firing", severity=Severity(severity))))
    assert rows(owner, "SELECT count(*) = 1 FROM outbox") == [(due,)]


def test_the_end_is_told_to_those_who_heard_the_beginning(feed, owner):
    early = subscribe(owner)
    feed(*alert(transition(sequence=1, state="firing")))
    subscribe(owner, created=30)
    feed(*alert(transition(sequence=100, state="acknowledged"), transition(sequence=200, state="resolved")))
    found = rows(owner, "SELECT subscription_id, sequence FROM outbox ORDER BY 2")
    assert found == [(early.subscription_id, 1), (early.subscription_id, 200)]


def test_old_alerts_and_paused_subscriptions_are_not_due(feed, owner):
    subscribe(owner, created=3600)
    paused = subscribe(owner)
    outbox.set_active(owner, paused.subscription_id, active=False)
    feed(*alert(transition(sequence=1, state="firing")))
    assert rows(owner, "SELECT count(*) FROM outbox") == [(0,)]


def test_offsets_move_with_the_rows_and_count_once(feed, owner):
    frame = readings([1, 2], [1, 1], receive=T0 + 9_000_000).encode()
    feed((Content.READINGS, frame), (Content.READINGS, b"junk"))
    feed((Content.SERIES, series(1)))
    found = f"SELECT next_offset, owner, records, rows, {seconds('newest_receive_time')} FROM offsets"
    assert rows(owner, found) == [(3, 1, 3, 4, 9)]


def test_a_commit_whose_answer_was_lost_is_not_written_again(feed, owner):
    batch = feed.batch((Content.READINGS, readings([1], [1]).encode()))
    feed.writer.write(batch, {("readings", T0 - T0 % 60_000_000, 5): 1})
    assert feed.writer.write(batch, {("readings", T0 - T0 % 60_000_000, 5): 1}).again
    assert rows(owner, "SELECT rows FROM offsets") == [(1,)]
    assert rows(owner, "SELECT n FROM latency_counts") == [(1,)]


def test_who_takes_over_fences_the_one_before(feed, owner, tier_database):
    batch = feed.batch((Content.READINGS, readings([1], [1]).encode()))
    other = Feed(tier_database)
    assert other.spans[PLACE] == Span(2, 0, 0)
    with pytest.raises(FencedError, match="t/0"):
        feed.write(batch)
    assert rows(owner, "SELECT count(*) FROM readings") == [(0,)]
    other((Content.READINGS, readings([1], [1]).encode()))
    with pytest.raises(FencedError):
        feed.write(batch)
    assert rows(owner, "SELECT next_offset, owner, rows FROM offsets") == [(1, 2, 1)]
    other.writer.close()


def test_who_takes_over_ends_a_transaction_that_is_stuck_in_the_middle_of_its_rows(feed, owner, tier_database):
    feed((Content.READINGS, readings([1], [0], [1.0]).encode()))
    with connect(tier_database, "writer") as stuck:  # a process that was stopped: the server waits for the rest
        stuck.execute("UPDATE offsets SET rows = rows + 1")
        stuck.pgconn.send_query(b"COPY readings FROM STDIN")
        heir = Feed(tier_database)
        heir((Content.READINGS, readings([2], [0], [2.0]).encode()))
        heir.writer.close()
        stuck.close()
    assert rows(owner, "SELECT series_id FROM readings ORDER BY 1") == [(1,), (2,)]
    assert rows(owner, "SELECT next_offset, rows FROM offsets WHERE consumer = 'sink'") == [(2, 2)]


def test_consumers_do_not_fence_each_other(feed, tier_database):
    other = Feed(tier_database, "another")
    other((Content.READINGS, readings([1], [1]).encode()))
    feed((Content.READINGS, readings([1], [1]).encode()))
    other.writer.close()


def test_one_partition_lost_is_the_whole_batch_lost(feed, owner, tier_database):
    two = Place("t", 1)
    feed.spans |= feed.writer.take([two], {})
    other = Feed(tier_database)
    other.writer.take([two], {})
    batch = feed.batch((Content.READINGS, readings([1], [1]).encode()))
    record = taken(readings([2], [1]).encode(), Content.READINGS, "t", 1)
    batch.add(record, read(Content.READINGS, record)[0], feed.spans[two])
    with pytest.raises(FencedError, match="t/1"):
        feed.write(batch)
    assert rows(owner, "SELECT count(*), max(next_offset) FROM readings, offsets") == [(0, None)]
    other.writer.close()


OLD, NEW = UUID(int=1), UUID(int=2)


def test_a_topic_that_was_made_again_is_refused_and_nothing_changes(feed, owner):
    feed.spans = feed.writer.take([PLACE], {"t": OLD})  # the first that is known is taken for what it was
    feed((Content.READINGS, readings([1], [1]).encode()))
    stands = "SELECT next_offset, owner, topic_id FROM offsets"
    before = rows(owner, stands)
    assert before == [(1, 2, OLD)]
    assert feed.writer.made_anew({"t": OLD, "another": NEW}) == []
    assert feed.writer.made_anew({"t": NEW}) == ["t"]
    with pytest.raises(ConfigurationError, match=r"topic t was deleted and made again.*pulssi db accept-topics"):
        feed.writer.take([PLACE], {"t": NEW})
    assert rows(owner, stands) == before
    feed.writer.take([PLACE], {})  # Kafka gives no ids
    assert rows(owner, stands) == [(1, 3, OLD)]


def test_an_accepted_topic_begins_at_0_and_its_dead_letters_do_not_pass_for_old_ones(feed, owner, tier_database):
    feed.spans = feed.writer.take([PLACE], {"t": OLD})
    feed((Content.READINGS, b"no frame"))
    feed((Content.READINGS, readings([1], [1]).encode()))
    assert accept(owner, "somebody else", {"t": NEW}) == []
    assert accept(owner, "sink", {"t": OLD}) == []
    assert accept(owner, "sink", {"t": NEW}) == ["t"]
    owner.commit()
    with pytest.raises(FencedError):
        feed((Content.READINGS, readings([2], [1]).encode()))
    again = Feed(tier_database)
    again.spans = again.writer.take([PLACE], {"t": NEW})
    assert again.spans[PLACE].next_offset == 0
    again((Content.READINGS, b"no frame either"))
    again.writer.close()
    assert rows(owner, "SELECT dead_letter_id, payload FROM dead_letters ORDER BY time, dead_letter_id") == [
        (f"{OLD}:t/0/0", b"no frame"),
        ("t/0/0", b"no frame either"),
    ]


def poison(seed: int) -> tuple[list[tuple[Content, bytes]], set[str], int]:
    """Records with bad rows at random places, the letters that must come of them, and how many readings are good."""
    rng = np.random.default_rng(seed)
    records, letters, good = [], set(), 0
    for offset in range(12):
        frame = readings([int(rng.integers(9))] * 50, list(range(offset * 50, offset * 50 + 50)))
        bad = rng.choice(50, int(rng.integers(0, 3)), replace=False)
        for row in bad:
            kind = rng.integers(3)
            if kind == 0:
                frame.value[row] = rng.choice([math.nan, math.inf, -math.inf])
            else:
                frame.event_time[row] = rng.choice([-(2**63), 2**63 - 1, 0, T0 * 1000])
        records.append((Content.READINGS, frame.encode()))
        letters |= {f"t/0/{offset}"} if len(bad) else set()
        good += 50 - len(bad)
    return records, letters, good


@pytest.mark.parametrize("seed", range(3))
def test_bad_rows_are_found_and_the_others_stored(feed, owner, seed):
    records, letters, good = poison(seed)
    with pytest.raises(psycopg.Error):
        feed.write(feed.batch(*records))
    feed.spans = feed.writer.take([PLACE], {})
    written = feed(*records, careful=True)
    assert {row[0] for row in rows(owner, "SELECT dead_letter_id FROM dead_letters")} == letters
    assert rows(owner, "SELECT count(*) FROM readings") == [(good,)]
    assert written.refused == {Reason.BAD_RECORD: 600 - good}
    assert rows(owner, "SELECT next_offset FROM offsets") == [(12,)]
    stray = "SELECT count(*) FROM latest WHERE value = 'NaN' OR value = 'Infinity' OR value = '-Infinity'"
    assert rows(owner, stray) == [(0,)]
    payloads = dict(rows(owner, "SELECT dead_letter_id, payload FROM dead_letters"))
    assert all(payloads[f"t/0/{n}"] == records[n][1] for n in range(12) if f"t/0/{n}" in letters)


def test_nul_in_a_name_goes_to_the_dead_letters_alone(feed, owner):
    records = [(Content.SERIES, series(1)), (Content.SERIES, series(2, name="a\0b")), (Content.SERIES, series(3))]
    with pytest.raises(psycopg.DataError):
        feed.write(feed.batch(*records))
    feed.spans = feed.writer.take([PLACE], {})
    feed(*records, careful=True)
    assert rows(owner, "SELECT series_id FROM series ORDER BY 1") == [(1,), (3,)]
    [(name, detail)] = rows(owner, "SELECT dead_letter_id, detail FROM dead_letters")
    assert name == "t/0/1"
    assert detail.startswith("row 0: ")


def test_a_key_too_long_for_the_index_is_a_dead_letter_and_not_an_endless_retry(feed, owner):
    name = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnop"), 20_000))
    frame = vehicles([{"vehicle": name, "lat": 1.0, "lon": 1.0}, {"vehicle": "a", "event_id": 1}])
    feed((Content.VEHICLES, frame), careful=True)
    assert rows(owner, "SELECT vehicle FROM vehicle_events") == [("a",)]
    assert rows(owner, "SELECT count(*) FROM dead_letters") == [(1,)]


def test_a_missing_table_is_for_a_person(feed, owner):
    owner.execute("ALTER TABLE latest RENAME TO elsewhere")
    try:
        with pytest.raises(ConfigurationError, match="latest"):
            feed((Content.READINGS, readings([1], [1]).encode()))
    finally:
        owner.execute("ALTER TABLE elsewhere RENAME TO latest")


def test_the_same_refusal_twice_is_one_letter(feed, owner):
    feed((Content.READINGS, b"junk"))
    record = taken(b"junk", Content.DEADLETTER, "t", 0, 1)
    heads = {"source": "kafka", "topic": "t", "partition": "0", "offset": "0", "reason": "bad_frame"}
    record = record._replace(headers={name: value.encode() for name, value in heads.items()})
    batch = Batch()
    batch.add(record, read(Content.DEADLETTER, record)[0], feed.spans[PLACE])
    feed.write(batch)
    assert rows(owner, "SELECT dead_letter_id, reason FROM dead_letters") == [("t/0/0", "bad_frame")]


def test_latencies_are_from_receive_time_to_now(feed, owner):
    written = feed((Content.READINGS, readings([1, 2, 3], [1, 1, 1]).encode()))
    counts = latencies_of(written, T0 + 250_000)
    [(what, minute, bucket)] = counts
    assert (what, minute % 60_000_000, counts[what, minute, bucket]) == ("readings", 0, 3)
    feed.writer.write(feed.batch((Content.SERIES, series(1))), counts)
    assert rows(owner, "SELECT what, bucket, n FROM latency_counts") == [("readings", bucket, 3)]


def test_a_lost_connection_is_made_again(feed, owner):
    feed((Content.READINGS, readings([1], [1]).encode()))
    owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    batch = feed.batch((Content.READINGS, readings([2], [1]).encode()))
    with pytest.raises(psycopg.OperationalError):
        feed.writer.write(batch, {})
    feed.write(batch)
    assert rows(owner, "SELECT count(*) FROM readings") == [(2,)]
