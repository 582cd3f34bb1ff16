"""The ledger check on a real database: it finds every planted trouble and nothing else."""

import random
from dataclasses import replace

import psycopg
import pytest

from pulssi.errors import ConfigurationError, Reason
from pulssi.settings import DatabaseSettings
from pulssi.times import us_datetime
from simulators.check import check
from simulators.formats import own_message, tms_message
from simulators.ledger import Ledger
from simulators.messages import Message
from simulators.recordings import shipped
from storage.migrate import migrate

pytestmark = pytest.mark.service

T0 = 1_795_000_000_000_000


@pytest.fixture(scope="module")
def tables(fresh_database):
    database = fresh_database
    migrate(
        DatabaseSettings(
            host=database.host,
            port=database.port,
            name=database.dbname,
            user=database.user,
            password=database.password,
            sslmode="disable",
        )
    )
    return database.conninfo


@pytest.fixture
def db(tables):
    with psycopg.connect(tables, autocommit=True) as connection:
        for table in ("readings", "vehicle_events", "dead_letters"):
            connection.execute(f"TRUNCATE {table}")
        yield connection


def own(n):
    return [
        own_message(T0, "air", f"air-{i % 7}", T0 + i * 1_000_000, {"no2": i / 7, "o3": -i / 3}, i) for i in range(n)
    ]


def store(db, messages):
    for message in messages:
        for series, time, value in message.readings:
            db.execute(
                "INSERT INTO readings VALUES (%s, %s, now(), %s, 0, -1) ON CONFLICT DO NOTHING",
                (series, us_datetime(time), value),
            )
        if message.event is not None:
            event_id, time, vehicle, delay = message.event
            db.execute(
                """INSERT INTO vehicle_events (event_id, vehicle, event, event_time, receive_time, delay_s)
                   VALUES (%s, %s, 'vp', %s, now(), %s)""",
                (event_id, vehicle, us_datetime(time), delay),
            )


def bury(db, message, reason, offset):
    db.execute(
        """INSERT INTO dead_letters (dead_letter_id, reason, detail, source, mqtt_topic, time, payload)
           VALUES (%s, %s, '', 'mqtt', %s, now(), %s)""",
        (str(offset), reason, message.topic.decode(), message.payload),
    )


def keep(folder, accepted, unanswered=(), malformed=()):
    with Ledger(folder, "test") as ledger:
        ledger.sent([*accepted, *unanswered, *malformed])
        ledger.accepted([*accepted, *malformed])


def vehicles():
    return [record.message(T0 - 1_698_585_850_000_000, -1) for record in shipped("hfp").records[:60]]


def test_all_is_well_when_everything_accepted_is_stored(db, tables, tmp_path):
    messages, events = own(100), vehicles()
    keep(tmp_path, messages + events)
    store(db, messages + events)
    verdict = check(tmp_path, tables)
    assert verdict.ok, verdict.as_dict()
    assert verdict.readings["stored"] == verdict.readings["accepted"] == 200
    assert verdict.vehicle_events["stored"] == verdict.vehicle_events["accepted"] == 60


def test_what_was_never_accepted_may_be_stored_or_not(db, tables, tmp_path):
    messages = own(20)
    keep(tmp_path, [], unanswered=messages)
    store(db, messages[:7])
    assert check(tmp_path, tables).ok


@pytest.mark.parametrize("seed", range(3))
def test_planted_troubles_are_found_exactly(db, tables, tmp_path, seed):
    chance = random.Random(seed)
    messages, events = own(150), vehicles()
    keep(tmp_path, messages + events)
    lost = chance.sample(range(150), 4)
    corrupt = chance.sample([i for i in range(150) if i not in lost], 3)
    lost_events = set(chance.sample(range(60), 5))
    for i, message in enumerate(messages):
        if i in corrupt:
            first, second = message.readings
            store(db, [replace(message, readings=(first._replace(value=first.value + 1e-9), second))])
        elif i not in lost:
            store(db, [message])
    store(db, [event for i, event in enumerate(events) if i not in lost_events])
    series = messages[0].readings[0].series_id
    for n in range(2):
        db.execute(
            "INSERT INTO readings VALUES (%s, %s, now(), 1, 0, -1)", (series, us_datetime(T0 + 1_000_000 * n + 1))
        )
    late = next(i for i, event in enumerate(events) if i not in lost_events and event.event.delay_s is not None)
    db.execute("UPDATE vehicle_events SET delay_s = delay_s + 60 WHERE event_id = %s", (events[late].event.event_id,))
    again = next(event.event for i, event in enumerate(events) if i not in lost_events and i != late)
    store(db, [Message(0, again.vehicle, b"", b"", event=again._replace(event_time=again.event_time + 1))])
    store(db, [Message(0, again.vehicle, b"", b"", event=again._replace(event_id=5))])
    verdict = check(tmp_path, tables)
    assert verdict.readings["lost"] == 8
    assert verdict.readings["corrupt"] == 3
    assert verdict.readings["phantom"] == 2
    assert verdict.vehicle_events["lost"] == 5
    assert verdict.vehicle_events["corrupt"] == 1
    assert verdict.vehicle_events["duplicate"] == 1
    assert verdict.vehicle_events["phantom"] == 1
    assert set(verdict.examples) == {"lost", "corrupt", "phantom", "duplicate"}
    lost_seqs = {example["seq"] for example in verdict.examples["lost"] if "seq" in example}
    assert lost_seqs <= set(lost)


def test_a_dead_letter_is_a_refusal_and_not_a_loss(db, tables, tmp_path):
    messages, events = own(10), vehicles()[:10]
    keep(tmp_path, messages + events)
    store(db, messages[1:] + events[1:])
    bury(db, messages[0], "time_past", 0)
    bury(db, events[0], "no_time", 1)
    verdict = check(tmp_path, tables)
    assert verdict.ok
    assert (verdict.readings["refused"], verdict.vehicle_events["refused"]) == (2, 1)
    assert verdict.unplanned == {"time_past": 1, "no_time": 1}


def test_planted_bad_input_needs_one_dead_letter_with_a_reason_that_fits(db, tables, tmp_path):
    def bad(i):
        return Message(T0, "air-1", b"pulssi/v1/air/air-1/readings", b"{%d" % i, refusals=(Reason.BAD_JSON,))

    seen, unseen, other, twice = (bad(i) for i in range(4))
    keep(tmp_path, [], malformed=[seen, unseen, other, twice])
    bury(db, seen, "bad_json", 0)
    bury(db, other, "no_reading", 1)
    bury(db, twice, "bad_json", 2)
    bury(db, twice, "bad_json", 3)
    verdict = check(tmp_path, tables)
    assert verdict.dead_letters == {"planted": 4, "unseen": 1, "other_reason": 1, "repeated": 1, "stored": 4}
    assert (verdict.troubles["unseen"], verdict.troubles["other_reason"], verdict.troubles["duplicate"]) == (1, 1, 0)
    assert not verdict.ok


def test_bad_input_that_had_to_be_sent_twice_may_leave_two_dead_letters(db, tables, tmp_path):
    bad = Message(T0, "air-1", b"pulssi/v1/air/air-1/readings", b"{", refusals=(Reason.BAD_JSON,))
    with Ledger(tmp_path, "test") as ledger:
        ledger.sent([bad])
        ledger.sent_again([bad])
    bury(db, bad, "bad_json", 0)
    bury(db, bad, "bad_json", 1)
    verdict = check(tmp_path, tables)
    assert verdict.ok
    assert verdict.dead_letters["repeated"] == 0


def test_a_killed_broker_may_forget_messages_without_receipts(db, tables, tmp_path):
    numbered, foreign = own(5), [tms_message(T0, 23001, 5122, 1_795_000_000 + i, 80) for i in range(5)]
    keep(tmp_path, numbered + foreign)
    store(db, numbered)
    assert check(tmp_path, tables).readings["lost"] == 5
    assert check(tmp_path, tables, broker_killed=True).ok


def test_several_ledgers_are_one_book(db, tables, tmp_path):
    keep(tmp_path / "a", own(10))
    others = [tms_message(T0, 23001, 5122, 1_795_000_000 + i, 80) for i in range(5)]
    keep(tmp_path / "b", others)
    store(db, own(10) + others)
    verdict = check(tmp_path, tables)
    assert verdict.ok
    assert verdict.readings["stored"] == 25


def test_an_empty_folder_is_an_error_not_a_success(tables, tmp_path):
    with pytest.raises(ConfigurationError, match="there is no ledger"):
        check(tmp_path, tables)
