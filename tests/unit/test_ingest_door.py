"""what happens to a message at the door: rows, dead letters, receipts, series, and who waits for what"""

import json
import struct
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import structlog

from ingest import door as door_module
from ingest.acks import AckQueue, Train
from ingest.door import ALIKE_MIN, Door, Limits
from ingest.framing import Framer, encode_readings
from ingest.receipts import Receipts, addresses, ranges
from ingest.series import SeriesRegistry
from pulssi.errors import PoisonError, Reason
from pulssi.frames import VEHICLES, Readings, decode
from pulssi.geography import load_places
from pulssi.messages import Refusal, SeriesInfo
from pulssi.quantities import Kind
from pulssi.series import partition_of, series_id
from pulssi.settings import GatewaySettings
from pulssi.topics import Content, Topics

NOW = 1_764_000_000_000_000
NOW_MS = NOW // 1000
TOPICS = Topics("t", 4)
LIMITS = Limits(
    payload_bytes_max=1000,
    event_age_us_max=3600 * 10**6,
    event_ahead_us_max=300 * 10**6,
    frame_readings=5,
    frame_delay_us=20_000,
    frame_delay_us_max=40_000,
    topics_max=3,
)


class Bench:
    """A door with everything behind it."""

    def __init__(self, limits=LIMITS):
        self.receipts = Receipts(250_000)
        self.registry = SeriesRegistry(load_places(), 100)
        self.door = Door(TOPICS, limits, self.registry, self.receipts, structlog.get_logger())
        self.acks = AckQueue()

    def take(self, *messages, now=NOW):
        """Messages as (topic, payload) or with properties and first byte behind."""
        publishes = [
            (mid, topic.encode() if isinstance(topic, str) else topic, payload, *(more or (b"", 0x32)))
            for mid, (topic, payload, *more) in enumerate(messages, 1)
        ]
        train = Train(1, now, [one[0] for one in publishes], len(publishes), 100 * len(publishes))
        self.acks.add(train)
        return train, self.door.take(publishes, train)

    def drain(self, records):
        """Kafka confirms these records."""
        for record in records:
            for train in record.trains:
                train.waiting -= 1


@pytest.fixture
def bench():
    return Bench()


def own(device="dev-1", **body):
    return f"pulssi/v1/air/{device}/readings", json.dumps({"t": NOW_MS} | body).encode()


def by_topic(records, topic):
    return [record for record in records if record.topic == topic]


def header(record, name):
    return dict(record.headers)[name].decode()


def dead(records):
    (record,) = by_topic(records, TOPICS.deadletters)
    return record


# Rows


def test_readings_wait_in_the_frame_of_their_partition_and_leave_by_time(bench):
    train, now = bench.take(own(no2=18, seq=1), own("dev-2", no2=19), own(pm2_5=7.5, seq=2))
    assert {record.topic for record in now} == {TOPICS.series}
    assert bench.door.due(NOW + 19_999) == []
    frames = bench.door.due(NOW + 20_000)
    assert sorted(record.partition for record in frames) == sorted({partition_of(f"dev-{n}", 4) for n in (1, 2)})
    rows = Readings.concat([Readings.decode(record.value) for record in frames])
    expected = {
        (series_id("dev-1", "no2"), 18.0, 1),
        (series_id("dev-2", "no2"), 19.0, -1),
        (series_id("dev-1", "pm2_5"), 7.5, 2),
    }
    assert set(zip(rows.series_id.tolist(), rows.value.tolist(), rows.seq.tolist(), strict=True)) == expected
    assert set(rows.receive_time.tolist()) == {NOW}
    assert set(rows.event_time.tolist()) == {NOW}
    assert not rows.quality.any()
    assert bench.door.deadline() is None
    assert train.asked == [("pulssi/v1/air/dev-1/receipts", 1, b""), ("pulssi/v1/air/dev-1/receipts", 2, b"")]


def test_a_full_frame_leaves_at_once_and_never_holds_more_than_allowed(bench):
    train, records = bench.take(*(own(no2=n) for n in range(12)))
    frames = by_topic(records, TOPICS.readings)
    assert [record.units for record in frames] == [5, 5, 2]
    values = np.concatenate([Readings.decode(record.value).value for record in frames])
    assert values.tolist() == list(range(12))
    assert train.waiting == 3 + 1  # frames and the announcement


def test_vehicle_events_go_to_the_partition_of_their_route_or_vehicle(bench):
    journey = "/hfp/v2/journey/ongoing/vp/bus/0012/01913/4400/1/Vantaankoski/15:21/1130110/4/60;24/19/72/15"
    body = {"veh": 1913, "tst": "2025-11-24T16:00:00.5Z", "lat": 60.1, "long": 24.9, "dl": -5, "oday": "2025-11-24"}
    deadrun = "/hfp/v2/deadrun/ongoing/vp/bus/0018/00679"
    bench.take(
        (journey, json.dumps({"VP": body}).encode()), (deadrun, json.dumps({"VP": body | {"veh": 679}}).encode())
    )
    records = bench.door.flush()
    assert {record.partition for record in records} == {partition_of("4400", 4), partition_of("0018/00679", 4)}
    rows = [row for record in records for row in decode(record.value, VEHICLES).to_pylist()]
    assert {(row["vehicle"], row["route"], row["delay_s"]) for row in rows} == {
        ("0012/01913", "4400", 5),
        ("0018/00679", None, None),
    }
    assert header(records[0], "content") == "vehicles"
    assert bench.door.received["vehicles"] == 2


def test_what_is_not_for_us_is_counted_and_acknowledged(bench):
    train, records = bench.take(("tms-v2/status", b'{"updated":1}'), ("weather-v2/1012/99", b'{"value":1,"time":1}'))
    assert (records, train.waiting, bench.door.received["ignored"]) == ([], 0, 2)
    assert bench.acks.release() == [train]


# Refusals


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (own(no2="18"), Reason.BAD_SCHEMA),
        (own(smog=18), Reason.UNKNOWN_QUANTITY),
        (own(t=NOW_MS // 1000, no2=1), Reason.TIME_PAST),  # seconds for milliseconds
        (own(t=NOW_MS * 1000, no2=1), Reason.TIME_FUTURE),  # microseconds for milliseconds
        (own(t=10**30, no2=1), Reason.TIME_FUTURE),
        (own(t=NOW_MS - 3_600_001, no2=1), Reason.TIME_PAST),
        (own(t=NOW_MS + 300_001, no2=1), Reason.TIME_FUTURE),
        ((own()[0], b"x" * 1001), Reason.TOO_LARGE),
        ((*own(no2=1), b"", 0x33), Reason.RETAINED),
        (("what/is/this", b"{}"), Reason.UNKNOWN_FORMAT),
        ((b"pulssi/v1/air/\xff/readings", b"{}"), Reason.BAD_ENCODING),
        (("pulssi/v1/air/a+b/readings", b"{}"), Reason.BAD_DEVICE_ID),
        (("tms-v2/1/x", b"{}"), Reason.BAD_TOPIC),
        (
            ("/hfp/v2/deadrun/ongoing/vp/bus/0018/00679", b'{"VP":{"veh":679,"tst":"2023-11-24T16:00:00Z"}}'),
            Reason.TIME_PAST,
        ),
        (("/hfp/v2/deadrun/ongoing/vp/bus/0018/00679", b"{}", b"", 0x33), Reason.RETAINED),
    ],
    ids=lambda value: str(value)[:70],
)
def test_a_refused_message_is_one_dead_letter_with_its_bytes_and_disturbs_nothing(bench, message, reason):
    train, records = bench.take(own("good", no2=1, seq=1), message, own("good", no2=2, t=NOW_MS + 1, seq=2))
    letter = dead(records)
    assert letter.value == message[1]
    assert header(letter, "reason") == reason
    assert header(letter, "content") == "deadletter"
    assert header(letter, "source") == "mqtt"
    assert header(letter, "time") == "2025-11-24T16:00:00.000Z"
    topic = message[0] if isinstance(message[0], str) else message[0].decode("utf-8", "backslashreplace")
    assert header(letter, "mqtt_topic") == topic
    assert bench.door.refused == {reason: 1}
    (frame,) = bench.door.flush()
    assert Readings.decode(frame.value).value.tolist() == [1.0, 2.0]
    assert [one[1] for one in train.asked] == [1, 2]


def test_a_pack_is_accepted_or_refused_as_a_whole(bench):
    pack = [{"n": "no2", "v": 1, "t": NOW / 1e6, "seq": 4}, {"n": "o3", "v": 2, "t": NOW / 1e6 + 1000}]
    train, records = bench.take((own()[0], json.dumps(pack).encode()), own(no2=3, seq=5))
    assert header(dead(records), "reason") == Reason.TIME_FUTURE
    (frame,) = bench.door.flush()
    assert Readings.decode(frame.value).value.tolist() == [3.0]
    assert [one[1] for one in train.asked] == [5]


def test_the_device_is_told_at_once_with_the_seq_even_of_a_broken_payload(bench):
    bench.take((own()[0], b'{"t": 1, "seq": 41, "no2":'))
    (answer,) = bench.receipts.due(NOW)
    assert answer.topic == "pulssi/v1/air/dev-1/receipts"
    told = json.loads(answer.payload)["refused"]
    assert [(one["reason"], one["seq"]) for one in told] == [("bad_json", 41)]


def test_a_dead_letter_names_its_device_where_the_topic_is_sound(bench):
    _, records = bench.take(own(no2="x"), ("pulssi/v1/air/a b/readings", b"{}"))
    letters = by_topic(records, TOPICS.deadletters)
    assert [letter.key for letter in letters] == [b"dev-1", b""]
    assert header(letters[0], "device") == "dev-1"
    assert "device" not in dict(letters[1].headers)


def test_a_decoder_that_fails_costs_one_dead_letter_not_the_gateway(bench, monkeypatch):
    bench.take(own(no2=1))
    route = bench.door._routes[own()[0].encode()]
    monkeypatch.setattr(route, "decode", lambda *_: 1 / 0)
    _, records = bench.take(own(no2=2))
    assert header(dead(records), "reason") == Reason.BAD_RECORD
    assert "ZeroDivisionError" in header(dead(records), "detail")


def test_details_are_short_and_headers_are_utf_8(bench):
    _, records = bench.take(own(**{"x" * 900: 1}))
    assert len(header(dead(records), "detail")) <= door_module.DETAIL_MAX


# Topics remembered


def test_a_mean_whose_time_is_the_end_of_its_hour_is_kept_under_the_beginning():
    ending = GatewaySettings(interval_ending_s={"fmi-*": 3600, "weather": 600})
    bench = Bench(replace(LIMITS, ends_after_s=ending.ends_after_s))
    records = []
    for _ in range(5):  # what is of one shape is read one by one at first, then together
        records += bench.take(*[own(device, pm2_5=7.0) for device in ("fmi-1", "dev-2")] * ALIKE_MIN)[1]
    records += bench.take(("weather-v2/1/1", b'{"value": 3.5, "time": 1764000000}'))[1]
    found = Counter()
    for frame in by_topic(records + bench.door.flush(), TOPICS.readings):
        rows = Readings.decode(frame.value)
        found.update(zip(rows.series_id.tolist(), ((NOW - rows.event_time) // 1_000_000).tolist(), strict=True))
    kept = {("fmi-1", "pm2_5", 3600): 20, ("dev-2", "pm2_5", 0): 20, ("rws-1", "temperature", 600): 1}
    assert found == {(series_id(device, quantity), back_s): n for (device, quantity, back_s), n in kept.items()}


def test_a_time_that_is_refused_is_the_one_that_was_sent():
    ending = GatewaySettings(interval_ending_s={"air": 3600})
    bench = Bench(replace(LIMITS, ends_after_s=ending.ends_after_s))
    ahead, old = (own(t=NOW_MS + away, pm2_5=7.0) for away in (301_000, -3_601_000))
    _, records = bench.take(ahead, old)
    assert [dict(one.headers)["reason"] for one in records] == [b"time_future", b"time_past"]


def test_remembered_topics_are_bounded(bench):
    for number in range(50):
        bench.take(own(f"dev-{number}", no2=1))
        assert len(bench.door._routes) <= LIMITS.topics_max
    assert bench.door.received["readings"] == 50


# Series


def test_a_series_is_announced_once_before_its_first_row_with_name_place_and_unit(bench):
    message = ("pulssi/v1/air/fmi-100662/readings", json.dumps({"t": NOW_MS, "pm2_5/a": 1}).encode())
    train, records = bench.take(message, message)
    (record,) = records
    key = series_id("fmi-100662", "pm2_5", "a")
    assert (record.topic, record.partition, record.key) == (TOPICS.series, 0, str(key).encode())
    assert json.loads(record.value) == {
        "series_id": key,
        "device_id": "fmi-100662",
        "quantity": "pm2_5",
        "unit": "ug/m3",
        "kind": "air",
        "channel": "a",
        "name": "Kallio 2",
        "lat": 60.18739,
        "lon": 24.9506,
        "district": json.loads(record.value)["district"],
    }
    assert bench.take(message)[1] == []
    assert train.waiting == 2  # announcement and frame


def test_a_series_that_the_topic_has_is_not_announced_again_unless_it_changed():
    registry = SeriesRegistry(load_places(), 10)
    _, said = registry.learn("dev-1", Kind.AIR, "no2", None, NOW)
    again = SeriesRegistry(load_places(), 10)
    key = series_id("dev-1", "no2")
    again.load(SeriesInfo(**json.loads(said)))
    assert again.learn("dev-1", Kind.AIR, "no2", None, NOW) == (key, None)
    assert again.learn("dev-1", Kind.WEATHER, "no2", None, NOW)[1] is not None


def test_two_names_never_share_an_id(monkeypatch, bench):
    monkeypatch.setattr("ingest.series.series_id", lambda *_: 7)
    _, records = bench.take(own(no2=1), own(no2=2, t=NOW_MS + 1), own("dev-2", no2=3))
    assert header(dead(records), "reason") == Reason.SERIES_COLLISION
    assert header(dead(records), "device") == "dev-2"


def test_remembered_series_are_bounded_and_a_forgotten_one_is_announced_again():
    registry = SeriesRegistry(load_places(), 2)
    for device in ("a", "b", "c"):
        assert registry.learn(device, Kind.AIR, "no2", None, NOW)[1] is not None
    assert len(registry) == 2
    assert registry.learn("c", Kind.AIR, "no2", None, NOW)[1] is None
    assert registry.learn("a", Kind.AIR, "no2", None, NOW)[1] is not None


# Acks


def test_trains_are_released_in_receive_order_when_all_their_records_are_confirmed(bench):
    first, one = bench.take(own(no2=1), own("dev-2", no2="bad"))
    second, two = bench.take(own("dev-3", no2=1), now=NOW + 1)
    frames = bench.door.due(NOW + 20_001)
    assert bench.acks.messages == 3
    bench.drain(two)
    bench.drain([record for record in frames if second in record.trains and first not in record.trains])
    bench.drain(one)
    shared = [record for record in frames if first in record.trains]
    assert bench.acks.release() == []
    bench.drain(shared)
    assert [train.mids for train in bench.acks.release()] == [[1, 2], [1]]
    assert (bench.acks.messages, bench.acks.size, len(bench.acks)) == (0, 0, 0)
    assert first.waiting == second.waiting == 0


# Messages of one shape


def rows_of(records):
    """Sorted rows of all frames of readings: series, event time, value, seq."""
    frames = [Readings.decode(record.value) for record in by_topic(records, TOPICS.readings)]
    columns = [[one.series_id, one.event_time, one.value, one.seq] for one in frames]
    return sorted(row for frame in columns for row in zip(*(column.tolist() for column in frame), strict=True))


def fleet(n, devices=2, **more):
    """Messages of `devices` devices in turn, one reading each, and the rows that they are."""
    names = [f"dev-{at % devices}" for at in range(n)]
    messages = [own(name, t=NOW_MS + at, pm2_5=at / 2, seq=at, **more) for at, name in enumerate(names)]
    rows = [(series_id(name, "pm2_5"), NOW + 1000 * at, at / 2, at) for at, name in enumerate(names)]
    return messages, sorted(rows)


@pytest.fixture
def together(monkeypatch):
    """How many messages were read together, of the trains so far."""
    counted = []
    take = Door._take_alike
    monkeypatch.setattr(Door, "_take_alike", lambda *given: take(*given) and (counted.append(len(given[2])) or True))
    return counted


def test_messages_of_known_topics_and_one_shape_are_read_together(bench, together):
    first, _ = fleet(2)
    bench.take(*first)
    bench.door.flush()
    messages, rows = fleet(8)
    train, records = bench.take(*messages)
    assert rows_of(records + bench.door.flush()) == rows
    assert together == [8]
    assert train.asked == [(f"pulssi/v1/air/dev-{at % 2}/receipts", at, b"") for at in range(8)]
    assert bench.door.received["readings"] == 10


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (own("dev-0", pm2_5="7"), Reason.BAD_SCHEMA),
        (own("dev-0", pm2_5=1, t=NOW_MS + 10**9), Reason.TIME_FUTURE),
        ((own("dev-0", pm2_5=1)[0], b'{"t":%d,"pm2_5":1,"pm2_5":2,"seq":1}' % NOW_MS), Reason.DUPLICATE_KEY),
        ((*own("dev-0", pm2_5=1, seq=1), b"", 0x33), Reason.RETAINED),
        ((own("dev-0")[0], json.dumps({"t": NOW_MS, "pm2_5": 1, "seq": 1}).encode().ljust(1001)), Reason.TOO_LARGE),
    ],
)
def test_one_bad_message_is_refused_alone(bench, together, spoilt, reason):
    bench.take(*fleet(2)[0])
    bench.door.flush()
    messages, rows = fleet(8)
    train, records = bench.take(*messages[:4], spoilt, *messages[4:])
    assert [header(record, "reason") for record in by_topic(records, TOPICS.deadletters)] == [reason]
    assert rows_of(records + bench.door.flush()) == rows
    assert together == []
    bench.take(*[one for one in messages if "dev-1" in one[0]])
    assert together == [4]  # the others still go together
    assert len(train.asked) == 8


def test_a_topic_of_many_shapes_is_read_one_by_one_in_the_end(bench, together):
    bench.take(*fleet(2)[0])
    bench.door.flush()
    shapes = [{"o3": 1}, {"no2": 1}]
    for turn in range(20):
        body = {"t": NOW_MS + turn, **shapes[turn % 2]}
        restless = ("pulssi/v1/air/dev-0/readings", json.dumps(body).encode())
        steady = [own("dev-1", t=NOW_MS + at, pm2_5=1, seq=at) for at in range(4)]
        _, records = bench.take(restless, *steady)
        assert len(rows_of(records + bench.door.flush())) == 5
    assert together == [4] * len(together)
    assert len(together) >= 20 - door_module.CHANCES


def test_readings_of_one_topic_keep_their_order(bench, together):
    bench.take(*fleet(2)[0])
    bench.door.flush()
    messages = [own("dev-0", t=NOW_MS, pm2_5=value, seq=value) for value in range(4)]
    _, records = bench.take(own("dev-9", pm2_5=1), *messages)
    records = by_topic(records + bench.door.flush(), TOPICS.readings)
    found = [Readings.decode(record.value) for record in records]
    mine = series_id("dev-0", "pm2_5")
    assert [seq for one in found for sid, seq in zip(one.series_id, one.seq, strict=True) if sid == mine] == [
        0,
        1,
        2,
        3,
    ]
    assert together == [4]


def test_routes_forgotten_while_others_are_read_together(bench):
    bench.take(*fleet(2)[0])
    strangers = [own(f"new-{at}", pm2_5=1) for at in range(6)]  # more than topics_max
    messages, rows = fleet(8)
    bench.door.flush()
    _, records = bench.take(*strangers, *messages)
    assert len(rows_of(records + bench.door.flush())) == len(rows) + 6


# Framer


def test_a_frame_of_several_trains_releases_each_and_opens_anew():
    framer = Framer("r", Content.READINGS, encode_readings, partitions=1, rows_max=4, delay_us=10, delay_us_max=10)
    trains = [Train(1, NOW + n, [n], 1, 1) for n in range(3)]
    framer.frames[0].rows.extend([(1, 2, 3, 4.0, 5)] * 2)
    assert framer.join(trains[0]) == []
    assert framer.join(trains[1]) == []  # brought nothing
    assert framer.deadline() == NOW + 10
    framer.frames[0].rows.extend([(1, 2, 3, 4.0, 5)] * 3)
    full = framer.join(trains[2])
    assert [record.units for record in full] == [4, 1]
    assert [train.waiting for train in trains] == [2, 0, 2]
    assert framer.deadline() is None
    assert framer.flush() == framer.due(2**62) == []


def test_frames_wait_longer_the_more_comes_and_no_longer_than_they_may():
    framer = Framer(
        "r", Content.READINGS, encode_readings, partitions=2, rows_max=10_000, delay_us=20_000, delay_us_max=40_000
    )
    now = NOW

    def waited(rows):
        """How long frames wait after a turn in which `rows` came and the frames fell due."""
        nonlocal now
        framer.frames[0].rows.extend([(1, 2, 3, 4.0, 5)] * rows)
        framer.join(Train(1, now, [], rows, 1))
        now = framer.deadline()
        assert framer.due(now - 1) == []
        assert len(framer.due(now)) == 1
        framer.frames[1].rows.append((1, 2, 3, 4.0, 5))
        framer.join(Train(1, now, [], 1, 1))
        found = framer.deadline() - now
        framer.flush()
        return found

    assert waited(1) == 20_000
    assert waited(90) == 20_000  # 4,500 a second
    assert 29_000 < waited(150) < 31_000
    assert waited(3_000) == 40_000
    assert waited(1) == 20_000
    now += 10**6
    assert waited(600) == 20_000  # after a silence it is a burst, not a load


# Receipts


def test_seqs_become_the_fewest_ranges():
    assert ranges([5, 3, 4, 9, 4, 10, 1]) == [(1, 1), (3, 5), (9, 10)]
    assert ranges([]) == []


def test_accepted_seqs_are_gathered_per_device_for_the_delay():
    receipts = Receipts(250_000)
    receipts.accept([("a", 1, b""), ("b", 7, b""), ("a", 2, b"")], NOW)
    receipts.accept([("a", 4, b"")], NOW + 100_000)
    assert receipts.deadline() == NOW + 250_000
    assert receipts.due(NOW + 249_999) == []
    told = {answer.topic: json.loads(answer.payload) for answer in receipts.due(NOW + 250_000)}
    assert told == {"a": {"accepted": [[1, 2], [4, 4]]}, "b": {"accepted": [[7, 7]]}}
    assert (receipts.due(2**62), len(receipts), receipts.deadline()) == ([], 0, None)


def properties(topic, correlation=b""):
    out = b"\x08" + struct.pack("!H", len(topic)) + topic
    return out + (b"\x09" + struct.pack("!H", len(correlation)) + correlation if correlation else b"")


def test_a_response_topic_of_the_device_gets_the_receipt_with_its_correlation_data():
    receipts = Receipts(0)
    home = "pulssi/v1/air/dev-1/receipts"
    asked = properties(b"pulssi/v1/air/dev-1/inbox", b"\x00\xff")
    receipts.accept([(home, 1, asked), (home, 2, b"")], NOW)
    receipts.refuse(home, asked, Refusal(reason="bad_json"))
    assert [(one.topic, one.correlation, json.loads(one.payload).keys()) for one in receipts.due(NOW)] == [
        (home, b"", {"refused"}),
        ("pulssi/v1/air/dev-1/inbox", b"\x00\xff", {"refused"}),
        (home, b"", {"accepted"}),
        ("pulssi/v1/air/dev-1/inbox", b"\x00\xff", {"accepted"}),
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        b"pulssi/v1/air/dev-2/inbox",
        b"pulssi/v1/air/dev-10/receipts",
        b"pulssi/v1/air/dev-1/readings",
        b"pulssi/v1/air/dev-1/+",
        b"pulssi/v1/air/dev-1/#",
        b"$SYS/broker",
        b"\xff\xfe",
        b"",
    ],
)
def test_a_response_topic_of_anybody_else_is_not_used(wanted):
    home = "pulssi/v1/air/dev-1/receipts"
    assert addresses(home, properties(wanted, b"x")) == [(home, b"")]


def test_broken_properties_ask_for_nothing():
    assert addresses("home", b"\x08\x00\xff") == [("home", b"")]


def test_poison_is_what_the_door_understands():
    assert str(PoisonError(Reason.TOO_LARGE, "9 bytes")) == "too_large: 9 bytes"
