"""What one Kafka record means for the tables."""

import math

import numpy as np
import pyarrow as pa
import pytest

from pulssi.errors import PoisonError, Reason
from pulssi.frames import VEHICLES, IndicatorKind, encode
from pulssi.messages import to_json
from pulssi.quality import Quality
from pulssi.topics import Content
from storage.batch import Batch, Place, Span, read
from storage.rows import Pile, follow, parts_of
from storage.tables import (
    ALERT_TRANSITIONS,
    DEAD_LETTERS,
    INDICATORS,
    INDICATORS_LATEST,
    LATEST,
    READING_FLAGS,
    READINGS,
    SERIES,
    VEHICLE_EVENTS,
    VEHICLES_LATEST,
)
from tests.storage_samples import T0, indicators, readings, series, taken, transition, vehicles


def only(content: Content, value: bytes, **more) -> dict:
    """Table and rows of a record that is for one table."""
    [part] = parts_of(content, taken(value, content, **more))
    return {"table": part.table, "rows": part.rows.to_pylist()}


def test_readings_are_rows_as_they_are():
    found = only(Content.READINGS, readings([5, -6], [1, 2], [0.5, -1.5]).encode())
    assert found["table"] is READINGS
    assert found["rows"] == [
        {
            "series_id": series_id,
            "event_time": T0 + second * 1_000_000,
            "receive_time": T0,
            "value": value,
            "quality": 0,
            "seq": -1,
        }
        for series_id, second, value in ((5, 1, 0.5), (-6, 2, -1.5))
    ]


def test_frames_of_single_readings_are_not_even_decoded_without_a_flag():
    assert parts_of(Content.INDICATORS, taken(b"junk", Content.INDICATORS, kinds="reading", flagged=0)) == []
    assert parts_of(Content.INDICATORS, taken(b"junk", Content.INDICATORS, kinds="reading")) == []


def test_flags_of_single_readings_are_kept():
    rows = indicators(
        [
            {"series_id": 1, "kind": IndicatorKind.READING, "window_s": 0, "window_start": 10, "flags": 0},
            {"series_id": 2, "kind": IndicatorKind.READING, "window_s": 0, "window_start": 11, "flags": Quality.STUCK},
        ],
    )
    found = only(Content.INDICATORS, rows.encode(), kinds="reading", flagged=1)
    assert found["table"] is READING_FLAGS
    assert found["rows"] == [{"series_id": 2, "event_time": T0 + 11_000_000, "flags": 4}]


def test_windows_keep_their_numbers_and_lose_not_a_number():
    rows = indicators([{"series_id": 1, "mean": 2.5, "std": math.nan, "n": 1, "p95": math.inf}])
    found = only(Content.INDICATORS, rows.encode(), kinds="window")
    [row] = found["rows"]
    assert found["table"] is INDICATORS
    assert (row["mean"], row["std"], row["n"], row["p95"]) == (2.5, None, 1, math.inf)


def test_a_frame_of_both_sorts_becomes_both():
    rows = indicators(
        [
            {"series_id": 1, "kind": IndicatorKind.READING, "flags": 1},
            {"series_id": 1, "kind": IndicatorKind.WINDOW},
        ],
    )
    tables = [part.table for part in parts_of(Content.INDICATORS, taken(rows.encode(), Content.INDICATORS))]
    assert tables == [READING_FLAGS, INDICATORS]


def test_vehicle_events_may_know_little():
    found = only(Content.VEHICLES, vehicles([{"vehicle": "0012/01913", "delay_s": -5}]))
    assert found["table"] is VEHICLE_EVENTS
    assert found["rows"][0]["delay_s"] == -5
    assert found["rows"][0]["route"] is None


@pytest.mark.parametrize("missing", ["event_id", "vehicle", "event", "event_time", "receive_time"])
def test_a_vehicle_event_without_identity_or_time_is_refused(missing):
    row = dict.fromkeys(VEHICLES.names) | {"event_id": 1, "vehicle": "v", "event": "vp"}
    row |= {"event_time": T0, "receive_time": T0, missing: None}
    frame = encode(pa.RecordBatch.from_pylist([row], schema=VEHICLES))
    with pytest.raises(PoisonError, match=missing) as refused:
        parts_of(Content.VEHICLES, taken(frame, Content.VEHICLES))
    assert refused.value.reason is Reason.BAD_FRAME


def test_text_that_is_no_utf8_in_a_frame_is_refused():
    frame = vehicles([{"vehicle": "hyvää"}]).replace("hyvää".encode(), b"hyv\xff\xff\xff\xff")
    with pytest.raises(PoisonError, match="UTF8"):
        parts_of(Content.VEHICLES, taken(frame, Content.VEHICLES))


def test_series_and_its_tombstone():
    found = only(Content.SERIES, series(3, channel="2", lat=60.1, lon=24.9, name="Kallio", district="11"))
    assert found["table"] is SERIES
    assert found["rows"][0]["name"] == "Kallio"
    assert parts_of(Content.SERIES, taken(b"", Content.SERIES)) == []


def test_an_alert_carries_its_evidence_as_json():
    found = only(Content.ALERT, to_json(transition(state="firing")))
    assert found["table"] is ALERT_TRANSITIONS
    assert found["rows"][0]["evidence"] == '{"n":3}'
    assert found["rows"][0]["state"] == "firing"


@pytest.mark.parametrize(
    ("content", "value", "reason"),
    [
        (Content.READINGS, b"junk", Reason.BAD_FRAME),
        (Content.READINGS, b"", Reason.BAD_FRAME),
        (Content.VEHICLES, readings([1], [1]).encode(), Reason.BAD_FRAME),
        (Content.INDICATORS, b"\xff\xff\xff\xff\x10\x00\x00\x00", Reason.BAD_FRAME),
        (Content.SERIES, b"{", Reason.BAD_JSON),
        (Content.SERIES, series(1, name="x").replace(b'"x"', b'"\\ud800"'), Reason.BAD_JSON),
        (Content.SERIES, series(1, name="x").replace(b'"x"', b'"\xed\xa0\x80"'), Reason.BAD_JSON),
        (Content.SERIES, b'{"series_id": 1}', Reason.BAD_SCHEMA),
        (Content.SERIES, series(1).replace(b"1", b"9" * 19, 1), Reason.BAD_RECORD),
        (Content.ALERT, b"[]", Reason.BAD_SCHEMA),
        (Content.ALERT, to_json(transition()).replace(b'"sequence":0', b'"sequence":4294967296'), Reason.BAD_RECORD),
    ],
)
def test_what_cannot_be_read_becomes_a_dead_letter(content, value, reason):
    parts, refused = read(content, taken(value, content, "pulssi.x", 3, 17))
    assert refused is reason
    assert parts[0].table is DEAD_LETTERS
    [letter] = parts[0].rows.to_pylist()
    assert letter["dead_letter_id"] == "pulssi.x/3/17"
    assert (letter["source"], letter["topic"], letter["partition"], letter["offset"]) == ("kafka", "pulssi.x", 3, 17)
    assert letter["payload"] == value
    assert letter["time"] == T0


def test_content_of_another_version_is_refused():
    record = taken(readings([1], [1]).encode(), Content.READINGS)._replace(headers={"version": b"2"})
    with pytest.raises(PoisonError, match="version"):
        parts_of(Content.READINGS, record)


def letter(**more) -> dict:
    """The row of a dead letter of another process."""
    return only(Content.DEADLETTER, b"\x00raw", topic="d", offset=4, **more)["rows"][0]


def from_kafka(**heads: str) -> dict:
    """The row of a letter whose headers are these and no others."""
    record = taken(b"x", Content.DEADLETTER, "d", 0, 4)
    record = record._replace(headers={name: value.encode() for name, value in heads.items()})
    [part] = parts_of(Content.DEADLETTER, record)
    return part.rows.to_pylist()[0]


def test_a_letter_from_mqtt_is_known_by_its_own_place():
    found = from_kafka(
        source="mqtt", reason="bad_json", detail="no", mqtt_topic="a/b", device="d1", time="2026-09-21T12:00:00Z"
    )
    assert found["dead_letter_id"] == "d/0/4"
    assert (found["reason"], found["mqtt_topic"], found["device"]) == ("bad_json", "a/b", "d1")
    assert found["time"] == 1_789_992_000_000_000


def test_a_letter_from_kafka_is_known_by_the_place_of_the_record():
    found = from_kafka(source="kafka", reason="bad_frame", topic="pulssi.readings", partition="2", offset="99")
    assert found["dead_letter_id"] == "pulssi.readings/2/99"
    own, _ = read(Content.READINGS, taken(b"junk", Content.READINGS, "pulssi.readings", 2, 99))
    assert own[0].rows.to_pylist()[0]["dead_letter_id"] == found["dead_letter_id"]


@pytest.mark.parametrize("place", [{}, {"topic": "t", "partition": "x", "offset": "1"}, {"partition": "1"}])
@pytest.mark.parametrize("offset", ["", "-1", "²", "9" * 19, "1_0"])
def test_a_letter_is_taken_whatever_its_headers(place, offset):
    found = from_kafka(source="kafka", reason="a\0b", **{"topic": "t", "partition": "1", **place, "offset": offset})
    assert found["dead_letter_id"] == "d/0/4"
    assert found["reason"] == "a\ufffdb"
    assert found["time"] == T0


def test_the_newest_reading_of_each_series_follows():
    [part] = parts_of(Content.READINGS, taken(readings([1], [1]).encode(), Content.READINGS))
    [latest] = follow(READINGS, part.rows)
    assert latest.table is LATEST
    assert latest.rows.schema.names == LATEST.schema.names


def test_only_vehicles_with_a_place_are_on_the_map():
    frame = vehicles([{"vehicle": "a", "lat": 60.1, "lon": 24.9}, {"vehicle": "b", "lat": 60.1}, {"vehicle": "c"}])
    [part] = parts_of(Content.VEHICLES, taken(frame, Content.VEHICLES))
    [latest] = follow(VEHICLE_EVENTS, part.rows)
    assert latest.table is VEHICLES_LATEST
    assert latest.rows.column("vehicle").to_pylist() == ["a"]
    assert follow(VEHICLE_EVENTS, part.rows.slice(1)) == []
    assert follow(INDICATORS, part.rows)[0].table is INDICATORS_LATEST
    assert follow(SERIES, part.rows) == []


def test_a_pile_knows_where_each_row_came_from():
    pile = Pile(READINGS)
    records = [taken(b"", Content.READINGS, offset=offset) for offset in range(3)]
    for record, length in zip(records, (2, 1, 3), strict=True):
        pile.parts.append(pa.RecordBatch.from_pydict({"x": np.zeros(length)}))
        pile.origins.append(record)
    assert len(pile.rows()) == 6
    places = [(pile.origin(row)[0].offset, pile.origin(row)[1]) for row in range(6)]
    assert places == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2)]


def test_rows_that_came_one_by_one_are_a_batch_in_their_order():
    pile = Pile(SERIES)
    for number in (3, 1, 2):
        [part] = parts_of(Content.SERIES, taken(series(number, channel="1"), Content.SERIES))
        pile.parts.append(part.rows)
        pile.origins.append(taken(b"", Content.SERIES, offset=number))
    assert pile.rows().schema == SERIES.schema
    assert pile.rows().column("series_id").to_pylist() == [3, 1, 2]
    assert [pile.origin(row)[0].offset for row in range(3)] == [3, 1, 2]
    assert pile.rows().to_pylist()[0] == pile.parts[0].to_pylist()[0]


def test_the_receive_time_of_a_part_is_the_newest_of_its_rows():
    frame = readings([1, 2], [1, 2], receive=T0 + 7).encode()
    [part] = parts_of(Content.READINGS, taken(frame, Content.READINGS))
    assert part.newest_receive_time == T0 + 7
    step = transition(state="firing")
    [part] = parts_of(Content.ALERT, taken(to_json(step), Content.ALERT))
    assert part.newest_receive_time == step.receive_time
    [part] = parts_of(Content.SERIES, taken(series(1), Content.SERIES))
    assert part.newest_receive_time == 0


@pytest.mark.parametrize("number", [-(2**31), 2**31 - 1])
def test_numbers_at_the_edge_of_their_column_are_taken(number):
    step = to_json(transition()).replace(b'"sequence":0', b'"sequence":%d' % number)
    assert only(Content.ALERT, step)["rows"][0]["sequence"] == number


def test_a_batch_moves_its_partitions_on():
    batch = Batch()
    place, span = Place("t", 0), Span(owner=3, expected=5, next_offset=5)
    for offset, receive in ((5, T0 + 2), (6, T0 + 1)):
        record = taken(readings([1, 2], [1, 2], receive=receive).encode(), Content.READINGS, offset=offset)
        batch.add(record, read(Content.READINGS, record)[0], span)
    assert batch.rows == 4
    assert batch.spans == {place: Span(3, 5, 7, records=2, rows=4, newest_receive_time=T0 + 2)}
    assert batch.advance() == {place: Span(3, 7, 7)}
